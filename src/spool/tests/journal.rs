//! The journal: acknowledgement in any order, kept and cancelled messages, replay after the process has ended.

use super::super::Journal;
use super::*;

fn written(spool: &Spool, numbers: std::ops::RangeInclusive<u64>) -> Journal {
    let journal = Journal::default();
    for number in numbers {
        journal
            .write(spool, number, &record(&number.to_string()))
            .expect("written");
    }
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
    journal.write(&spool, 4, &record("4")).expect("written");
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
    journal.write(&spool, 3, &record("3")).expect("written");
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
        journal.write(&spool, number, &record).err()
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
            let id = number.to_string();
            journal
                .write(&spool, number, &record(&id))
                .expect("written");
        }
        // SAFETY: ends the child without any destructor.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    });
    assert_eq!(child.wait(), -libc::SIGKILL);
    let path = only_file(&spool);
    let length = fs::metadata(&path).unwrap().len();
    assert_eq!(length % super::super::mapping::CHUNK, 0, "{length}");
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
    let all = [record("1"), record("2"), record("3")];
    assert_eq!(spool.bytes(), file_size(&all));
    assert_eq!(drain(&spool), ["1", "2", "3"]);
}
