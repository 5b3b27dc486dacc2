//! Several processes: locks, forks, kills.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;

#[test]
fn files_of_running_processes_cannot_be_claimed_files_of_dead_processes_can() {
    let temp = TempDir::new();
    let (mut ready, mut notify) = UnixStream::pair().unwrap();
    let other = Child::run(|| {
        let spool = temp.spool();
        spool.append(&records(0, 2)).unwrap();
        notify.write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_secs(60));
    });
    ready.read_exact(&mut [0]).unwrap();
    let spool = temp.spool();
    spool.append(&records(2, 3)).unwrap();
    assert_eq!((spool.files(), spool.records_waiting()), (2, 3));
    assert!(spool.claim().unwrap().is_none());
    other.kill();
    assert_eq!(other.wait(), -libc::SIGKILL);
    assert_eq!(drain(&spool), ids(0, 2));
}

#[test]
fn a_forked_child_writes_its_own_file_and_holds_no_inherited_lock() {
    let temp = TempDir::new();
    let (mut ready, mut notify) = UnixStream::pair().unwrap();
    let (mut wait, mut go) = UnixStream::pair().unwrap();
    let (mut grandchild, mut report) = UnixStream::pair().unwrap();
    // The parent of the fork exits while its child continues.
    let parent = Child::run(|| {
        let spool = temp.spool();
        spool.append(&records(0, 2)).unwrap();
        Child::run(|| {
            spool.append(&records(2, 3)).unwrap();
            notify.write_all(b"x").unwrap();
            wait.read_exact(&mut [0]).unwrap();
            report.write_all(b"x").unwrap();
        });
        ready.read_exact(&mut [0]).unwrap();
        assert_eq!(spool.files(), 2);
        assert!(
            spool.claim().unwrap().is_none(),
            "the child did not unlock ours"
        );
        spool.append(&records(3, 4)).unwrap();
    });
    assert_eq!(parent.wait(), 0);
    let spool = temp.spool();
    assert_eq!(drain(&spool), ["0", "1", "3"]);
    assert_eq!(spool.files(), 1, "the child's");
    go.write_all(b"x").unwrap();
    grandchild.read_exact(&mut [0]).unwrap();
    // The child's lock is released when it exits.
    let since = std::time::Instant::now();
    let mut rest = Vec::new();
    while rest.is_empty() && since.elapsed() < Duration::from_secs(10) {
        rest = drain(&spool);
    }
    assert_eq!(rest, ["2"]);
}

#[test]
fn an_inherited_claim_fails_in_the_child_and_stays_valid_in_the_parent() {
    let temp = TempDir::new();
    temp.spool().append(&records(0, 3)).unwrap();
    let mut spool = Some(temp.spool());
    let mut claim = spool.as_ref().unwrap().claim().unwrap();
    let first = claim.as_mut().unwrap().next().unwrap().unwrap();
    let child = Child::run(|| {
        let mut claim = claim.take().unwrap();
        let error = claim.next().unwrap_err();
        assert!(error.message().contains("forked"), "{error}");
        claim.mark_done(1);
        assert!(claim.fail(&first, "no").is_err());
        assert!(claim.finish().is_err());
        // The child's own descriptors, with the same numbers as the parent's.
        let files: Vec<_> = (0..20)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        drop(spool.take());
        for file in files {
            file.metadata().unwrap();
        }
        assert!(
            temp.spool().claim().unwrap().is_none(),
            "the parent holds it"
        );
    });
    assert_eq!(child.wait(), 0);
    assert_eq!(claim.unwrap().next().unwrap().unwrap().id, "1");
    assert_eq!(
        only_file(&temp.spool()).parent().unwrap(),
        temp.spool().directory()
    );
}

#[test]
fn a_fork_during_an_append_does_not_hang_the_child() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                spool.append(&records(0, 1)).unwrap();
            }
        });
        let mut codes = Vec::new();
        for n in 0..20 {
            let child = Child::run(|| {
                // Ends this child if it hangs.
                alarm(20);
                spool.append(&[record(&format!("child {n}"))]).unwrap();
                spool.rotate_own();
            });
            codes.push(child.wait());
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(codes, [0; 20]);
    });
    spool.rotate_own();
    let all = drain(&spool);
    let of = |n| all.iter().filter(|id| **id == format!("child {n}")).count();
    assert!((0..20).all(|n| of(n) == 1));
}

#[test]
fn appended_records_survive_sigkill_at_any_point() {
    for round in 0..12 {
        let temp = TempDir::new();
        let (mut acknowledged, mut notify) = UnixStream::pair().unwrap();
        let writer = Child::run(|| {
            let spool = temp.spool();
            for n in 0.. {
                spool.append(&records(n * 5, n * 5 + 5)).unwrap();
                notify.write_all(b"x").unwrap();
            }
        });
        drop(notify);
        acknowledged.read_exact(&mut [0]).unwrap();
        std::thread::sleep(Duration::from_micros(1700 * round));
        writer.kill();
        assert_eq!(writer.wait(), -libc::SIGKILL);
        let mut rest = Vec::new();
        acknowledged.read_to_end(&mut rest).unwrap();
        let found = drain(&temp.spool());
        assert!(found.len() >= (rest.len() + 1) * 5);
        assert_eq!(found, ids(0, found.len()));
    }
}
