//! Concurrent replays, appends and kills.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::super::sys::{LockedFile, OpenMode};
use super::*;

/// Creates files of three records each, whose processes have ended.
fn leave_files(temp: &TempDir, count: usize) {
    for n in 0..count {
        temp.spool().append(&records(n * 3, n * 3 + 3)).unwrap();
    }
}

fn counted(ids: impl IntoIterator<Item = String>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for id in ids {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

/// Replays everything and writes the ids to `out`.
fn replay_to(temp: &TempDir, out: &Path) {
    let replayed = drain(&temp.spool());
    fs::write(out, replayed.join("\n")).unwrap();
}

#[test]
fn concurrent_processes_replay_each_record_once() {
    let temp = TempDir::new();
    leave_files(&temp, 50);
    let outs: Vec<PathBuf> = (0..8).map(|n| temp.0.join(format!("out{n}"))).collect();
    let children: Vec<Child> = outs
        .iter()
        .map(|out| Child::run(|| replay_to(&temp, out)))
        .collect();
    for child in children {
        assert_eq!(child.wait(), 0);
    }
    let all: Vec<String> = outs
        .iter()
        .flat_map(|out| {
            let text = fs::read_to_string(out).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let counts = counted(all);
    assert_eq!(counts.len(), 150);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert_eq!(temp.spool().files(), 0);
}

#[test]
fn threads_replay_each_record_once_while_others_append() {
    let temp = TempDir::new();
    let done = AtomicU32::new(0);
    let all = std::thread::scope(|scope| {
        for n in 0..2 {
            let (temp, done) = (&temp, &done);
            scope.spawn(move || {
                for i in 0..100 {
                    let id = format!("{n}-{i}");
                    temp.spool().append(&[record(&id)]).unwrap();
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        let replayers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let spool = temp.spool();
                    let mut all = Vec::new();
                    loop {
                        let over = done.load(Ordering::SeqCst) == 2;
                        all.extend(drain(&spool));
                        if over {
                            assert!(spool.take_notices().is_empty());
                            return all;
                        }
                    }
                })
            })
            .collect();
        replayers
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    let mut counts = counted(all);
    for id in drain(&temp.spool()) {
        *counts.entry(id).or_default() += 1;
    }
    assert_eq!(counts.len(), 200);
    assert!(counts.values().all(|count| *count == 1));
    assert_eq!(temp.spool().files(), 0);
}

#[test]
fn replayers_killed_mid_file_lose_nothing() {
    let temp = TempDir::new();
    leave_files(&temp, 10);
    let out = temp.0.join("sent");
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&out)
        .unwrap();
    for round in 0..8 {
        let replayer = Child::run(|| {
            let spool = temp.spool();
            while let Some(mut claim) = spool.claim().unwrap() {
                while let Some(record) = claim.next().unwrap() {
                    (&log)
                        .write_all(format!("{}\n", record.id).as_bytes())
                        .unwrap();
                    std::thread::sleep(Duration::from_micros(500));
                    claim.mark_done(usize::try_from(claim.position()).unwrap());
                }
                claim.finish().unwrap();
            }
        });
        std::thread::sleep(Duration::from_micros(1100 * round));
        replayer.kill();
        replayer.wait();
    }
    let sent = fs::read_to_string(&out).unwrap();
    let before = sent.lines().count();
    let rest = drain(&temp.spool());
    let all = counted(sent.lines().map(str::to_owned).chain(rest.iter().cloned()));
    assert_eq!(all.len(), 30);
    // Each kill repeats at most one record.
    assert!(before + rest.len() <= 38, "{before} + {}", rest.len());
}

#[test]
fn a_lock_on_a_deleted_file_is_not_returned() {
    let temp = TempDir::new();
    let path = temp.0.join("contested");
    let locked = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    if let Some(file) = LockedFile::open(&path, OpenMode::Any).unwrap() {
                        assert!(file.is_at(&path), "the lock is on the file of that name");
                        fs::remove_file(&path).unwrap();
                        locked.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(locked.into_inner() > 0);
}

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
