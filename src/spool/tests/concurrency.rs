//! Concurrent replays, appends and kills.

use std::collections::HashMap;
use std::io::Write;
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
