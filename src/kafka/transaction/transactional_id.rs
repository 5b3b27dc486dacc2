//! Assigns each worker of a machine a transactional.id of its own that is stable across restarts, so that Kafka can
//! fence the previous process.
//!
//! A killed worker leaves its transaction open: consumers of its records, and of records written after them, wait until
//! its id is initialized again or `transaction.timeout.ms` has passed. Its number is therefore reused before any other.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::call_with_timeout;
use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::kafka::client::NativeClient;
use crate::kafka::producer::Producer;
use crate::spool::{effective_user, lock_exclusively};
use crate::{runtime, runtime::clock};

/// Upper limit of workers per group and machine.
const MAX_WORKERS: u32 = 1024;

/// A worker number, held by a file lock for the life of the process. The file is not empty from [`Self::mark_in_use`]
/// until [`Self::mark_clean`].
pub struct TransactionalIdLock {
    file: File,
    number: u32,
    is_marked: Cell<bool>,
}

impl TransactionalIdLock {
    /// Acquires the lowest number whose worker ended without [`Self::mark_clean`], otherwise the lowest free one.
    ///
    /// # Errors
    /// Configuration: the directory of the lock files cannot be used, or all numbers are taken.
    pub fn acquire(config: &BrokerConfig) -> Result<Self> {
        let (directory, prefix) = lock_file_location(config);
        let cannot_lock = |error: io::Error| {
            Error::configuration(format!(
                "The lock file for exactly-once cannot be created in {}: {error}. \
                 Set transactional_id, or make the directory writable.",
                directory.display()
            ))
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(cannot_lock)?;
        for number in unclean_numbers(&directory, &prefix) {
            if let Ok(Some(lock)) = Self::try_lock(&directory, &prefix, number) {
                // Another worker may have marked it clean since; then it is as good as any.
                return Ok(lock);
            }
        }
        for number in 0..MAX_WORKERS {
            if let Some(lock) = Self::try_lock(&directory, &prefix, number).map_err(cannot_lock)? {
                return Ok(lock);
            }
        }
        Err(Error::configuration(format!(
            "{MAX_WORKERS} workers of group \"{}\" are already running on this machine. \
             Set transactional_id to run more.",
            config.consumer_group
        )))
    }

    /// Numbers of workers that ended without [`Self::mark_clean`] and are not held by another worker. The caller aborts
    /// their transactions and marks them clean.
    #[must_use]
    pub fn orphaned(config: &BrokerConfig) -> Vec<Self> {
        let (directory, prefix) = lock_file_location(config);
        let try_lock = |number| Self::try_lock(&directory, &prefix, number).ok().flatten();
        let numbers = unclean_numbers(&directory, &prefix).into_iter();
        numbers.filter_map(try_lock).collect()
    }

    /// `None` if another process holds the lock.
    fn try_lock(directory: &Path, prefix: &str, number: u32) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(directory.join(format!("{prefix}{number}.lock")))?;
        if !lock_exclusively(&file) {
            return Ok(None);
        }
        // An earlier worker may have left its transaction open.
        let is_marked = Cell::new(file.metadata()?.len() > 0);
        Ok(Some(Self {
            file,
            number,
            is_marked,
        }))
    }

    /// Records that a transaction may be open under this id, before the first one begins. On a full disk the mark is
    /// missing, and the next worker takes the lowest number instead.
    pub fn mark_in_use(&self) {
        if !self.is_marked.replace(true) {
            let _ = self.file.write_all_at(b"open\n", 0);
        }
    }

    /// Records that no transaction is open under this id.
    pub fn mark_clean(&self) {
        // On failure the number is merely reused before others.
        self.is_marked.set(self.file.set_len(0).is_err());
    }

    /// The transactional.id of this worker: host, group and number.
    #[must_use]
    pub fn transactional_id(&self, config: &BrokerConfig) -> String {
        format!("{}-{}-{}", host_name(), config.consumer_group, self.number)
    }
}

/// The directory of the lock files, and the prefix of their names for a group on a cluster.
fn lock_file_location(config: &BrokerConfig) -> (PathBuf, String) {
    let group = format!("{}\n{}", config.brokers, config.consumer_group);
    let group = crc32fast::hash(group.as_bytes());
    (directory(config), format!("worker-{group:08x}-"))
}

/// Numbers that are not marked clean, held or not; empty if the directory cannot be listed.
fn unclean_numbers(directory: &Path, prefix: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let file_name = entry.file_name();
        let number = file_name.to_str().and_then(|file_name| {
            let rest = file_name.strip_prefix(prefix)?;
            rest.strip_suffix(".lock")?.parse::<u32>().ok()
        });
        let Some(number) = number.filter(|number| *number < MAX_WORKERS) else {
            continue;
        };
        // The file may be deleted in the meantime.
        if entry.metadata().is_ok_and(|about| about.len() > 0) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    numbers
}

/// The spool directory if there is one, otherwise a directory per user below the system's temporary directory.
fn directory(config: &BrokerConfig) -> PathBuf {
    config.spool.clone().unwrap_or_else(|| {
        let user = effective_user();
        std::env::temp_dir().join(format!("toporia-realtime-{user}"))
    })
}

fn host_name() -> String {
    let mut transactional_id = [0_u8; 256];
    // SAFETY: the buffer is ours; the last byte stays zero.
    let known = unsafe {
        libc::gethostname(
            transactional_id.as_mut_ptr().cast(),
            transactional_id.len() - 1,
        )
    } == 0;
    let length = transactional_id
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(0);
    if known && length > 0 {
        String::from_utf8_lossy(&transactional_id[..length]).into_owned()
    } else {
        "localhost".to_owned()
    }
}

/// The worker's own records wait during this time.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// Aborts open transactions of this group's workers that were killed on this machine, except for the id that this
/// worker has taken over. If Kafka does not respond in time, the next worker or the timeout does it.
///
/// Consumers with `read_committed` cannot read past an open transaction, not even records that others commit after
/// it, until its transactional.id is initialized again or `transaction.timeout.ms` has passed.
pub(super) fn abort_orphans(config: &Arc<BrokerConfig>, timeout_ms: u64) {
    let until = Instant::now() + clock::bounded(TIME_LIMIT);
    for lock in TransactionalIdLock::orphaned(config) {
        if Instant::now() >= until {
            return;
        }
        let id = lock.transactional_id(config);
        let Ok(producer) = Producer::start_transactional(Arc::clone(config), &id, timeout_ms)
        else {
            continue;
        };
        let step = Box::new(NativeClient::init_transactions);
        let outcome = call_with_timeout(&producer, until, step);
        producer.aborting.store(true, Ordering::Release);
        producer.close(Instant::now());
        if outcome.is_ok() {
            lock.mark_clean();
            runtime::warn(format!(
                    "A worker was killed, or Kafka did not respond when it ended; the transaction that it may have \
                     left open as \"{id}\" was aborted."
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TransactionalIdLock;
    use crate::config::{testing, Value};

    #[test]
    fn workers_get_distinct_ids_lowest_free_number_first() {
        let directory = std::env::temp_dir().join(format!("rt-slots-{}", std::process::id()));
        let config = testing::config(&[
            ("spool", Value::from(directory.to_str().expect("a path"))),
            ("consumer_group", Value::from("orders")),
        ]);
        let first = TransactionalIdLock::acquire(&config).expect("a slot");
        let second = TransactionalIdLock::acquire(&config).expect("another");
        assert!(first.transactional_id(&config).ends_with("-orders-0"));
        assert!(second.transactional_id(&config).ends_with("-orders-1"));
        first.mark_clean();
        drop(first);
        let again = TransactionalIdLock::acquire(&config).expect("the first again");
        assert_eq!(again.number, 0);
        std::fs::remove_dir_all(directory).expect("ours");
    }

    #[test]
    fn the_id_of_a_killed_worker_is_reused_first() {
        let directory = std::env::temp_dir().join(format!("rt-killed-{}", std::process::id()));
        let config = testing::config(&[
            ("spool", Value::from(directory.to_str().expect("a path"))),
            ("consumer_group", Value::from("orders")),
        ]);
        let locks: Vec<TransactionalIdLock> = (0..4)
            .map(|_| TransactionalIdLock::acquire(&config).expect("a slot"))
            .collect();
        // Only the worker 2 has begun no transaction.
        for number in [0, 1, 3] {
            locks[number].mark_in_use();
        }
        locks[0].mark_clean();
        // The kernel releases the locks of a killed process as well.
        drop(locks);
        let acquired: Vec<TransactionalIdLock> = (0..4)
            .map(|_| TransactionalIdLock::acquire(&config).expect("a slot"))
            .collect();
        let numbers: Vec<u32> = acquired.iter().map(|lock| lock.number).collect();
        assert_eq!(numbers, [1, 3, 0, 2]);
        // All numbers are held by this process, so none is orphaned.
        assert!(TransactionalIdLock::orphaned(&config).is_empty());
        acquired[2].mark_in_use();
        let held = acquired.into_iter().next().expect("the first");
        let orphaned = TransactionalIdLock::orphaned(&config);
        let numbers: Vec<u32> = orphaned.iter().map(|lock| lock.number).collect();
        assert_eq!(numbers, [0, 3]);
        for lock in &orphaned {
            lock.mark_clean();
        }
        drop(orphaned);
        assert!(TransactionalIdLock::orphaned(&config).is_empty());
        drop(held);
        std::fs::remove_dir_all(directory).expect("ours");
    }
}
