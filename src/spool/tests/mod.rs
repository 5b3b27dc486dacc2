//! Tests of the spool.
#![allow(unsafe_code)] // fork, resource limits, mounts

mod append;
mod concurrency;
mod damage;
mod directory;
mod journal;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Spool, SpoolKey, SpoolRecord};

const KEY: SpoolKey<'static> = SpoolKey {
    brokers: "kafka-1:9092,kafka-2:9092",
    prefix: "realtime",
    application: "shop",
};

/// A temporary directory, removed when dropped.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "spool-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn spool(&self) -> Spool {
        self.bounded(u64::MAX)
    }

    fn bounded(&self, max_bytes: u64) -> Spool {
        Spool::open(&self.0.join("spool"), &KEY, max_bytes).unwrap()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn record(id: &str) -> SpoolRecord {
    SpoolRecord {
        id: id.to_owned(),
        topic: "realtime_user_1".to_owned(),
        partition: None,
        key: Some(b"user.1".to_vec()),
        value: Some(format!("{{\"id\":\"{id}\"}}").into_bytes()),
        headers: vec![("x-realtime-hops".to_owned(), Some(b"1".to_vec()))],
        timestamp_ms: 1_763_700_000_123,
        reason: "no broker".to_owned(),
    }
}

fn records(from: usize, to: usize) -> Vec<SpoolRecord> {
    (from..to).map(|i| record(&i.to_string())).collect()
}

/// Size of a file with these records.
fn file_size(records: &[SpoolRecord]) -> u64 {
    let mut bytes = Vec::new();
    for record in records {
        super::format::frame(&mut bytes, 0, record).unwrap();
    }
    super::format::HEADER + bytes.len() as u64
}

/// Replays everything that can be claimed; returns the ids in order. Waits a little for files that are in use: a child
/// that another test has just forked may hold them.
fn drain(spool: &Spool) -> Vec<String> {
    let mut ids = drain_now(spool);
    for _ in 0..5 {
        if spool.files() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            ids.extend(drain_now(spool));
        }
    }
    ids
}

fn drain_now(spool: &Spool) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(mut claim) = spool.claim().unwrap() {
        while let Some(record) = claim.next().unwrap() {
            ids.push(record.id);
            claim.mark_done(usize::try_from(claim.position()).unwrap());
        }
        claim.finish().unwrap();
    }
    ids
}

fn ids(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|i| i.to_string()).collect()
}

/// File names in a directory, sorted; empty if it does not exist.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .map(|entries| {
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

/// The only file with waiting records.
fn only_file(spool: &Spool) -> PathBuf {
    let files = super::directory::list(spool.directory()).unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

// SAFETY: as the C library has them. They touch no memory but what a reference lends.
unsafe extern "C" {
    safe fn alarm(seconds: libc::c_uint) -> libc::c_uint;
    safe fn _exit(code: libc::c_int) -> !;
    safe fn getpid() -> libc::pid_t;
    safe fn kill(process: libc::pid_t, signal: libc::c_int) -> libc::c_int;
    safe fn waitpid(
        process: libc::pid_t,
        status: &mut libc::c_int,
        options: libc::c_int,
    ) -> libc::pid_t;
}

/// A forked process that runs `body` and exits without destructors: 0 if it returned, 101 if it panicked.
pub(crate) struct Child(libc::pid_t);

impl Child {
    pub(crate) fn run(body: impl FnOnce()) -> Self {
        // SAFETY: the child leaves through _exit and touches nothing of the test harness.
        match unsafe { libc::fork() } {
            0 => {
                // A panic message may wait for a lock that another thread held at the fork.
                alarm(60);
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
                _exit(if result.is_ok() { 0 } else { 101 })
            }
            pid => {
                assert!(pid > 0);
                Self(pid)
            }
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        waitpid(self.0, &mut 0, libc::WNOHANG) == 0
    }

    pub(crate) fn kill(&self) {
        kill(self.0, libc::SIGKILL);
    }

    /// Exit code, or the negated number of the signal that ended it.
    pub(crate) fn wait(self) -> i32 {
        let mut status = 0;
        assert_eq!(waitpid(self.0, &mut status, 0), self.0);
        if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            -libc::WTERMSIG(status)
        }
    }
}
