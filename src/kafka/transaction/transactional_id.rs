//! A number that no other worker of this machine has at the same time: it makes the transactional id of each worker its own, and
//! the same again after a restart, so that Kafka can fence the one before.
//!
//! A worker that is killed leaves its transaction open: readers of what it sent, and of what others sent behind that, wait until
//! somebody takes its id or `transaction.timeout.ms` has passed. So its number is taken again before any other.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::BrokerConfig;
use crate::error::{Error, Result};

/// More workers of one group on one machine than this are not expected.
const MAX_WORKERS: u32 = 1024;

/// A slot, held by a lock on a file as long as the process lives. The file has bytes in it until [`Self::mark_clean`].
pub struct TransactionalIdLock {
    file: File,
    number: u32,
}

impl TransactionalIdLock {
    /// Takes the lowest one whose worker ended without settling it; else the lowest free one.
    ///
    /// # Errors
    /// Configuration: the directory of the lock files cannot be used, or every slot is taken.
    pub fn acquire(config: &BrokerConfig) -> Result<Self> {
        let (directory, prefix) = lock_file_location(config);
        let cannot_lock = |error: io::Error| {
            Error::configuration(format!(
                "No lock file for exactly-once can be made in {}: {error}. Set transactional_id, or make the directory writable.",
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
                // Whoever had it meanwhile may have settled it; then it is as good as any.
                return Ok(lock.mark_in_use());
            }
        }
        for number in 0..MAX_WORKERS {
            if let Some(lock) = Self::try_lock(&directory, &prefix, number).map_err(cannot_lock)? {
                return Ok(lock.mark_in_use());
            }
        }
        Err(Error::configuration(format!(
            "{MAX_WORKERS} workers of group \"{}\" run on this machine already. Set transactional_id for more.",
            config.consumer_group
        )))
    }

    /// Those of workers that ended without settling them, and that nobody has taken since. To be settled by whoever sees to what
    /// they left open.
    #[must_use]
    pub fn orphaned(config: &BrokerConfig) -> Vec<Self> {
        let (directory, prefix) = lock_file_location(config);
        let try_lock = |number| Self::try_lock(&directory, &prefix, number).ok().flatten();
        let numbers = unclean_numbers(&directory, &prefix).into_iter();
        numbers.filter_map(try_lock).collect()
    }

    /// `None` where another process has it.
    fn try_lock(directory: &Path, prefix: &str, number: u32) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(directory.join(format!("{prefix}{number}.lock")))?;
        // SAFETY: plain call on a file of ours.
        let is_ours = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0;
        Ok(is_ours.then_some(Self { file, number }))
    }

    /// From now on it is unsettled. On a full disk it is not, and the next worker takes the lowest.
    fn mark_in_use(self) -> Self {
        let _ = self.file.set_len(0);
        let _ = (&self.file).write_all(b"open\n");
        self
    }

    /// Nothing is open under this number any more.
    pub fn mark_clean(&self) {
        // Where this fails it is taken before others, which does no harm.
        let _ = self.file.set_len(0);
    }

    /// The transactional id of this worker: host, group and slot.
    #[must_use]
    pub fn transactional_id(&self, config: &BrokerConfig) -> String {
        format!("{}-{}-{}", host_name(), config.consumer_group, self.number)
    }
}

/// The directory of the lock files, and how those of a group on a cluster begin.
fn lock_file_location(config: &BrokerConfig) -> (PathBuf, String) {
    let group = format!("{}\n{}", config.brokers, config.consumer_group);
    let group = crc32fast::hash(group.as_bytes());
    (directory(config), format!("worker-{group:08x}-"))
}

/// The numbers that were not settled, whether somebody has them or not; none where the directory does not tell.
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
        // One that goes away meanwhile is nobody's.
        if entry.metadata().is_ok_and(|about| about.len() > 0) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    numbers
}

/// Beside the spool where there is one; else in the system's directory for temporary files, one for each user.
fn directory(config: &BrokerConfig) -> PathBuf {
    config.spool.clone().unwrap_or_else(|| {
        // SAFETY: cannot fail.
        let user = unsafe { libc::geteuid() };
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
        for number in [0, 2] {
            locks[number].mark_clean();
        }
        // The kernel takes the locks of a killed process away, too.
        drop(locks);
        let acquired: Vec<TransactionalIdLock> = (0..4)
            .map(|_| TransactionalIdLock::acquire(&config).expect("a slot"))
            .collect();
        let numbers: Vec<u32> = acquired.iter().map(|lock| lock.number).collect();
        assert_eq!(numbers, [1, 3, 0, 2]);
        // All are held; of those that end unsettled again, the one that is held is nobody else's.
        assert!(TransactionalIdLock::orphaned(&config).is_empty());
        acquired[3].mark_clean();
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
