//! The journal: acknowledgement in any order, kept and cancelled messages, replay after the process has ended.

use super::super::Journal;
use super::*;

fn write(journal: &Journal, spool: &Spool, number: u64) {
    let record = record(&number.to_string());
    let written = journal.write(spool, number, &record.message());
    written.expect("written");
}

fn written(spool: &Spool, numbers: std::ops::RangeInclusive<u64>) -> Journal {
    let journal = Journal::default();
    numbers.for_each(|number| write(&journal, spool, number));
    journal
}

#[test]
fn a_segment_acknowledged_in_any_order_is_deleted() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let journal = written(&spool, 1..=5);
    assert!(spool.bytes() > 0 && spool.claim().unwrap().is_none());
    for number in [3, 1, 5, 2] {
        journal.done(number);
    }
    journal.prune(&spool, true);
    assert_eq!((spool.files(), spool.records_waiting()), (1, 2));
    journal.done(4);
    journal.prune(&spool, false);
    assert!(journal.is_busy(), "requests come one after the other");
    journal.prune(&spool, true);
    assert!(!journal.is_busy());
    assert_eq!(spool.files(), 0);
}

#[test]
fn unacknowledged_entries_are_replayed_in_order() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let journal = written(&spool, 1..=5);
    for number in [1, 2, 4] {
        journal.done(number);
    }
    journal.close(&spool);
    // 4 was acknowledged after an unacknowledged message, so it is repeated.
    assert_eq!(drain(&spool), ["3", "4", "5"]);
}

#[test]
fn a_segment_with_a_kept_entry_is_released_for_replay_and_writing_continues_in_a_new_file() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let journal = written(&spool, 1..=3);
    journal.done(1);
    journal.keep(2);
    write(&journal, &spool, 4);
    journal.done(3);
    journal.prune(&spool, false);
    assert_eq!(drain(&spool), ["2", "3"]);
    assert_eq!(spool.files(), 1, "that of the fourth");
    journal.done(4);
    journal.prune(&spool, true);
    assert_eq!(spool.files(), 0);
}

#[test]
fn a_cancelled_entry_is_removed() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let journal = written(&spool, 1..=2);
    journal.cancel(2);
    write(&journal, &spool, 3);
    journal.cancel(1);
    journal.close(&spool);
    assert_eq!(drain(&spool), ["1", "3"]);
}

#[test]
fn the_size_limit_holds() {
    let temp = TempDir::new();
    let spool = temp.bounded(4000);
    let journal = Journal::default();
    let refused = (1..100).find_map(|number| {
        let record = record(&number.to_string());
        journal.write(&spool, number, &record.message()).err()
    });
    let error = refused.expect("full");
    assert!(error.message().contains("spool_max_bytes"), "{error}");
    assert_eq!(error.failed().len(), 1);
    assert!(spool.bytes() <= 4000);
}

#[test]
fn the_mapped_end_of_a_killed_process_reads_as_the_end() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let child = Child::run(|| {
        let journal = written(&spool, 1..=5);
        journal.done(1);
        journal.cancel(5);
        // More than a part of the file that is mapped at a time.
        for number in 6..1000 {
            write(&journal, &spool, number);
        }
        kill(getpid(), libc::SIGKILL);
    });
    assert_eq!(child.wait(), -libc::SIGKILL);
    let path = only_file(&spool);
    let length = fs::metadata(&path).unwrap().len();
    assert_eq!(length % super::super::sys::CHUNK, 0, "{length}");
    let ids: Vec<String> = (1..=4).chain(6..1000).map(|n| n.to_string()).collect();
    assert_eq!(drain(&spool), ids);
    assert_eq!((spool.files(), spool.usage().damaged), (0, 0));
}

#[test]
fn a_closed_file_has_no_zeros_at_its_end() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let journal = written(&spool, 1..=3);
    journal.close(&spool);
    let all = ["1", "2", "3"].map(|id| SpoolRecord {
        reason: "not sent".to_owned(),
        ..record(id)
    });
    assert_eq!(spool.bytes(), file_size(&all));
    assert_eq!(drain(&spool), ["1", "2", "3"]);
}

/// Lets a journal whose messages are all done become idle.
fn rest(journal: &Journal, spool: &Spool) {
    std::thread::sleep(std::time::Duration::from_millis(230));
    journal.prune(spool, false);
    assert!(!journal.is_busy());
}

fn inode(spool: &Spool) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&fs::metadata(only_file(spool)).unwrap())
}

#[test]
fn an_idle_file_is_used_again_and_does_not_count_as_waiting() {
    for (limit, messages) in [(u64::MAX, 3), (u64::MAX, 2000), (1 << 20, 3)] {
        let temp = TempDir::new();
        let spool = temp.bounded(limit);
        let journal = written(&spool, 1..=messages);
        let file = inode(&spool);
        (1..=messages).for_each(|number| journal.done(number));
        rest(&journal, &spool);
        assert_eq!((spool.files(), spool.bytes()), (0, 0));
        assert_eq!(spool.records_waiting(), 0);
        let usage = spool.usage();
        assert!(
            usage.idle == usage.total() && usage.idle <= 65536,
            "{usage:?}"
        );
        for number in messages + 1..messages + 4 {
            write(&journal, &spool, number);
            assert_eq!((inode(&spool), spool.files()), (file, 1));
            if number < messages + 3 {
                journal.done(number);
                rest(&journal, &spool);
            }
        }
        journal.close(&spool);
        assert_eq!(drain(&spool), [(messages + 3).to_string()]);
        assert!(spool.take_notices().is_empty());
        assert_eq!(spool.usage().total(), 0);
    }
}

/// Writes messages of 60 KB, most of which are acknowledged; a file that was used again in between.
fn steady_load(
    journal: &Journal,
    spool: &Spool,
    numbers: std::ops::RangeInclusive<u64>,
) -> fs::File {
    let mut watched = None;
    for number in numbers {
        let mut large = record(&number.to_string());
        large.value = Some(vec![b'x'; 60_000]);
        journal
            .write(spool, number, &large.message())
            .expect("written");
        if number > 30 {
            journal.done(number - 30);
        }
        if number == 200 {
            let name = names(spool.directory()).pop().expect("a file");
            watched = fs::File::open(spool.directory().join(name)).ok();
        }
        if number % 10 == 0 {
            journal.prune(spool, false);
        }
    }
    watched.expect("a file")
}

#[test]
fn under_steady_load_files_are_used_again_and_deleted_afterwards() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let journal = Journal::default();
    let watched = steady_load(&journal, &spool, 1..=400);
    let now = watched.metadata().expect("metadata");
    assert_eq!(
        std::os::unix::fs::MetadataExt::nlink(&now),
        1,
        "not deleted"
    );
    assert!(names(spool.directory()).len() <= 12);
    (371..=400).for_each(|number| journal.done(number));
    rest(&journal, &spool);
    assert!(spool.usage().total() <= 65536, "{:?}", spool.usage());
    journal.close(&spool);
    assert_eq!(spool.usage().total(), 0);
}

#[test]
fn files_that_are_used_again_are_replayed_in_the_order_of_their_messages() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let child = Child::run(|| {
        let journal = Journal::default();
        steady_load(&journal, &spool, 1..=400);
        journal.prune(&spool, false);
        kill(getpid(), libc::SIGKILL);
    });
    assert_eq!(child.wait(), -libc::SIGKILL);
    assert_eq!(drain(&spool), ids(371, 401));
    assert_eq!((spool.files(), spool.usage().damaged), (0, 0));
}

#[test]
fn a_closed_client_leaves_no_idle_file() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let journal = written(&spool, 1..=1);
    journal.done(1);
    rest(&journal, &spool);
    journal.close(&spool);
    assert_eq!(spool.usage().total(), 0);
}

#[test]
fn idle_files_of_killed_processes_are_removed_and_what_was_written_after_is_sent() {
    let temp = TempDir::new();
    for last in [1, 2] {
        let child = Child::run(|| {
            let spool = temp.spool();
            let journal = written(&spool, 1..=1);
            journal.done(1);
            rest(&journal, &spool);
            if last == 2 {
                write(&journal, &spool, 2);
            }
            kill(getpid(), libc::SIGKILL);
        });
        assert_eq!(child.wait(), -libc::SIGKILL);
    }
    let spool = temp.spool();
    let files = |spool: &Spool| {
        super::super::directory::list(spool.directory())
            .unwrap()
            .len()
    };
    assert_eq!(files(&spool), 2);
    spool.sweep();
    assert_eq!(files(&spool), 1, "that with a message");
    assert_eq!(drain(&spool), ["2"]);
    assert_eq!(names(spool.directory()), ["about.json"]);
    assert!(spool.take_notices().is_empty());
}

#[test]
fn a_directory_that_is_removed_while_the_journal_is_idle_is_created_again() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let journal = written(&spool, 1..=1);
    journal.done(1);
    rest(&journal, &spool);
    fs::remove_dir_all(spool.directory()).unwrap();
    write(&journal, &spool, 2);
    assert_eq!(spool.files(), 1);
    journal.close(&spool);
    assert_eq!(drain(&spool), ["2"]);
}

#[test]
fn a_child_leaves_the_idle_file_of_its_parent_alone() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let mut journal = Some(written(&spool, 1..=1));
    journal.as_ref().unwrap().done(1);
    rest(journal.as_ref().unwrap(), &spool);
    let file = only_file(&spool);
    let child = Child::run(|| {
        let inherited = journal.take().unwrap();
        assert!(inherited.write(&spool, 2, &record("2").message()).is_ok());
        inherited.close(&spool);
    });
    assert_eq!(child.wait(), 0);
    let journal = journal.unwrap();
    journal
        .write(&spool, 2, &record("parent").message())
        .expect("written");
    assert_eq!(
        fs::read(&file)
            .unwrap()
            .windows(6)
            .filter(|part| part == b"parent")
            .count(),
        2
    );
    journal.close(&spool);
    let mut left = drain(&spool);
    left.sort();
    assert_eq!(left, ["2", "parent"]);
}

#[test]
fn processes_are_in_use_while_they_keep_an_idle_file() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let journal = written(&spool, 1..=1);
    journal.done(1);
    rest(&journal, &spool);
    assert!(temp.spool().claim().unwrap().is_none());
    assert!(spool.claim().unwrap().is_none());
    assert_eq!((spool.files_in_use(), spool.has_own()), (1, false));
}
