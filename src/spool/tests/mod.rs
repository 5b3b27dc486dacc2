//! Tests of the spool; here those of its directory: key, modes, ownership, and directories that cannot be used.
#![allow(unsafe_code)] // fork, resource limits, mounts

mod append;
mod concurrency;
mod damage;
mod journal;

use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{effective_user, Spool, SpoolKey, SpoolRecord};
use crate::error::Kind;
use crate::tests::TempDir;

const KEY: SpoolKey<'static> = SpoolKey {
    brokers: "kafka-1:9092,kafka-2:9092",
    prefix: "realtime",
    application: "shop",
};

impl TempDir {
    fn spool(&self) -> Spool {
        self.bounded(u64::MAX)
    }

    fn bounded(&self, max_bytes: u64) -> Spool {
        Spool::open(&self.0.join("spool"), &KEY, max_bytes).unwrap()
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

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn assert_refused(spool: &Spool, part: &str) {
    for error in [
        spool.check().unwrap_err(),
        spool.append(&records(0, 1)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Configuration, "{error}");
        assert!(error.message().contains(part), "{error}");
        assert!(error.message().contains("The spool directory /"), "{error}");
    }
}

#[test]
fn each_key_has_its_own_readable_directory_without_credentials() {
    let temp = TempDir::new();
    let open = |brokers, prefix, application| {
        let key = SpoolKey {
            brokers,
            prefix,
            application,
        };
        Spool::open(&temp.0, &key, u64::MAX).unwrap()
    };
    let spool = open("me:secret@b:9092, a:9092", "realtime", "/var/www/shop");
    let same = open("a:9092,other:password@b:9092,", "realtime", "/var/www/shop");
    assert_eq!(spool.directory(), same.directory());
    for other in [
        open("a:9092", "realtime", "/var/www/shop"),
        open("b:9092,a:9092", "realtime_staging", "/var/www/shop"),
        open("b:9092,a:9092", "realtime", "/var/www_shop"),
        open("b:9092,a:9092", "realtim", "e/var/www/shop"),
    ] {
        assert_ne!(spool.directory(), other.directory());
    }
    spool.append(&records(0, 1)).unwrap();
    let name = spool.directory().file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("var_www_shop-realtime-a_9092-"), "{name}");
    let about = fs::read_to_string(spool.directory().join("about.json")).unwrap();
    let about: serde_json::Value = serde_json::from_str(&about).unwrap();
    assert_eq!(about["brokers"], serde_json::json!(["a:9092", "b:9092"]));
    assert_eq!(about["prefix"], "realtime");
    assert_eq!(about["application"], "/var/www/shop");
    let long = open("a:9092", "p", &"ứng dụng/".repeat(100));
    assert!(long.directory().file_name().unwrap().len() < 120);
    long.append(&records(0, 1)).unwrap();
}

#[test]
fn files_and_directories_are_private_to_the_owner() {
    let temp = TempDir::new();
    let key = KEY;
    let spool = Spool::open(&temp.0.join("a/b/c"), &key, u64::MAX).unwrap();
    spool.check().unwrap();
    spool.append(&records(0, 2)).unwrap();
    spool.rotate_own();
    let mut claim = spool.claim().unwrap().unwrap();
    let bad = claim.next().unwrap().unwrap();
    claim.fail(&bad, "no").unwrap();
    assert_eq!(mode(&temp.0.join("a")), 0o700);
    assert_eq!(mode(&temp.0.join("a/b/c")), 0o700);
    assert_eq!(mode(spool.directory()), 0o700);
    assert_eq!(mode(&spool.directory().join("failed")), 0o700);
    assert_eq!(mode(claim.path()), 0o600);
    assert_eq!(mode(&spool.directory().join("about.json")), 0o600);
    let failed = names(&spool.directory().join("failed"));
    assert_eq!(
        mode(&spool.directory().join("failed").join(&failed[0])),
        0o600
    );
}

#[test]
fn a_file_in_place_of_a_directory_is_refused() {
    let temp = TempDir::new();
    fs::write(temp.0.join("spool"), "").unwrap();
    assert_refused(&temp.spool(), "is not a directory");
    let below = Spool::open(&temp.0.join("spool/deeper/still"), &KEY, u64::MAX).unwrap();
    assert_refused(&below, "is not a directory");
    assert_eq!(
        Spool::open(Path::new(""), &KEY, 1).unwrap_err().kind(),
        Kind::Configuration
    );
}

#[test]
fn a_symlinked_base_is_followed_but_a_symlinked_key_and_a_dangling_link_are_refused() {
    let temp = TempDir::new();
    fs::create_dir(temp.0.join("real")).unwrap();
    symlink(temp.0.join("real"), temp.0.join("spool")).unwrap();
    let spool = temp.spool();
    spool.append(&records(0, 1)).unwrap();
    spool.rotate_own();
    assert_eq!(names(&temp.0.join("real")).len(), 1);
    assert_eq!(drain(&spool), ids(0, 1));

    fs::remove_dir_all(spool.directory()).unwrap();
    fs::create_dir(temp.0.join("elsewhere")).unwrap();
    symlink(temp.0.join("elsewhere"), spool.directory()).unwrap();
    assert_refused(&spool, "not a directory");
    assert!(names(&temp.0.join("elsewhere")).is_empty());

    fs::remove_file(temp.0.join("spool")).unwrap();
    symlink(temp.0.join("nowhere"), temp.0.join("spool")).unwrap();
    assert_refused(&temp.spool(), "is a dangling symlink");
}

/// Root may write everywhere, so such tests run as an unprivileged user.
fn as_unprivileged_user(body: impl FnOnce()) {
    let child = Child::run(|| {
        if effective_user() == 0 {
            // SAFETY: plain numbers, in a child.
            unsafe {
                assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
                assert_eq!(libc::setgid(65534), 0);
                assert_eq!(libc::setuid(65534), 0);
            }
        }
        body();
    });
    assert_eq!(child.wait(), 0);
}

#[test]
fn a_directory_without_write_permission_is_refused() {
    let temp = TempDir::new();
    let base = temp.0.join("spool");
    fs::create_dir(&base).unwrap();
    for (bits, part) in [(0o555, "Permission denied"), (0o000, "Permission denied")] {
        fs::set_permissions(&base, fs::Permissions::from_mode(bits)).unwrap();
        as_unprivileged_user(|| assert_refused(&temp.spool(), part));
    }
    assert!(names(&base).is_empty());
    fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn files_written_by_root_can_be_replayed_by_the_owner() {
    let root = effective_user() == 0;
    let temp = TempDir::new();
    let base = temp.0.join("spool");
    fs::create_dir(&base).unwrap();
    if root {
        std::os::unix::fs::chown(&base, Some(65534), Some(65534)).unwrap();
    }
    let spool = temp.spool();
    spool.append(&records(0, 3)).unwrap();
    spool.rotate_own();
    let mut claim = spool.claim().unwrap().unwrap();
    let bad = claim.next().unwrap().unwrap();
    claim.fail(&bad, "no").unwrap();
    claim.mark_done(1);
    drop(claim);
    as_unprivileged_user(|| {
        let spool = temp.spool();
        assert_eq!(drain(&spool), ids(1, 3));
        spool.append(&records(3, 4)).unwrap();
    });
    assert_eq!(drain(&spool), ids(3, 4));
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let temp = TempDir::new();
    let spool = temp.spool();
    spool.append(&records(0, 1)).unwrap();
    if effective_user() == 0 {
        for dir in [temp.0.join("spool").as_path(), spool.directory()] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
        }
        as_unprivileged_user(|| assert_refused(&temp.spool(), "it belongs to user 0"));
    }
}

#[test]
fn messages_belong_to_a_cluster_whatever_the_brokers_are() {
    let temp = TempDir::new();
    let open = |brokers| Spool::open(&temp.0, &SpoolKey { brokers, ..KEY }, u64::MAX).unwrap();
    let before = open("old-1:9092");
    before.set_cluster("A");
    before.append(&records(0, 2)).unwrap();
    drop(before);
    let moved = open("new-1:9092,new-2:9092");
    assert!(moved.claim().unwrap().is_none(), "the cluster is not known");
    moved.set_cluster("A");
    assert_eq!(moved.files(), 1);
    let claim = moved.claim().unwrap().expect("the same cluster");
    drop(claim);
    let other = open("new-1:9092");
    other.set_cluster("B");
    assert!(other.claim().unwrap().is_none(), "another cluster");
    let prefix = SpoolKey {
        prefix: "staging",
        ..KEY
    };
    let other = Spool::open(&temp.0, &prefix, u64::MAX).unwrap();
    other.set_cluster("A");
    assert!(other.claim().unwrap().is_none(), "another prefix");
}

#[test]
fn one_more_broker_in_the_list_is_the_same_cluster() {
    let temp = TempDir::new();
    let open = |brokers| Spool::open(&temp.0, &SpoolKey { brokers, ..KEY }, u64::MAX).unwrap();
    // As earlier versions left it: without the cluster.
    open("a:9092").append(&records(0, 1)).unwrap();
    let added = open("a:9092,b:9092");
    added.set_cluster("A");
    assert!(added.claim().unwrap().is_some());
    let same = open("a:9092");
    same.set_cluster("A");
    let about = fs::read_to_string(same.directory().join("about.json")).unwrap();
    assert!(about.contains(r#""cluster": "A""#), "{about}");
    let mut claim = same.claim().unwrap().unwrap();
    assert_eq!(claim.next().unwrap().unwrap().id, "0");
}

#[test]
fn messages_for_a_cluster_that_was_replaced_are_set_aside() {
    let temp = TempDir::new();
    let spool = temp.spool();
    spool.set_cluster("A");
    spool.append(&records(0, 1)).unwrap();
    drop(spool);
    let spool = temp.spool();
    spool.set_cluster("B");
    assert!(spool.claim().unwrap().is_none());
    assert!(spool.take_notices()[0].contains("cluster A"));
    spool.append(&records(1, 2)).unwrap();
    spool.rotate_own();
    let mut claim = spool.claim().unwrap().unwrap();
    assert_eq!(claim.next().unwrap().unwrap().id, "1");
    drop((claim, spool));
    let spool = temp.spool();
    spool.set_cluster("A");
    let mut ids = Vec::new();
    while let Some(mut claim) = spool.claim().unwrap() {
        ids.push(claim.next().unwrap().unwrap().id);
        claim.mark_done(1);
        claim.finish().unwrap();
    }
    assert_eq!(ids, ["0"], "those of B are set aside in turn");
}

#[test]
fn an_adopted_directory_is_sent_by_the_cluster_that_adopted_it() {
    let temp = TempDir::new();
    let orphan = temp.spool();
    orphan.append(&records(0, 1)).unwrap();
    let about = orphan.directory().join("about.json");
    let text = fs::read_to_string(&about).unwrap();
    fs::write(&about, text.replacen('{', r#"{"adopted_by": "A","#, 1)).unwrap();
    drop(orphan);
    let key = SpoolKey {
        brokers: "elsewhere:9092",
        prefix: "another",
        application: "another",
    };
    let spool = Spool::open(&temp.0.join("spool"), &key, u64::MAX).unwrap();
    spool.set_cluster("B");
    assert!(spool.claim().unwrap().is_none());
    spool.set_cluster("A");
    assert!(spool.claim().unwrap().is_some());
}
