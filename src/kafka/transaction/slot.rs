//! A number that no other worker of this machine has at the same time: it makes the transactional id of each worker its own, and
//! the same again after a restart, so that Kafka can fence the one before.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::config::BrokerConfig;
use crate::error::{Error, Result};

/// More workers of one group on one machine than this are not expected.
const MOST: u32 = 1024;

/// A slot, held by a lock on a file as long as the process lives.
pub struct Slot {
    _file: File,
    number: u32,
}

impl Slot {
    /// Takes the lowest free one.
    ///
    /// # Errors
    /// Configuration: the directory of the lock files cannot be used, or every slot is taken.
    pub fn take(config: &BrokerConfig) -> Result<Self> {
        let directory = directory(config);
        let trouble = |error: std::io::Error| {
            Error::configuration(format!(
                "No lock file for exactly-once can be made in {}: {error}. Set transactional_id, or make the directory writable.",
                directory.display()
            ))
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(trouble)?;
        let place = format!("{}\n{}", config.brokers, config.consumer_group);
        let place = crc32fast::hash(place.as_bytes());
        for number in 0..MOST {
            let path = directory.join(format!("worker-{place:08x}-{number}.lock"));
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path)
                .map_err(trouble)?;
            // SAFETY: plain call on a file of ours.
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
                return Ok(Self {
                    _file: file,
                    number,
                });
            }
        }
        Err(Error::configuration(format!(
            "{MOST} workers of group \"{}\" run on this machine already. Set transactional_id for more.",
            config.consumer_group
        )))
    }

    /// The transactional id of this worker: host, group and slot.
    #[must_use]
    pub fn name(&self, config: &BrokerConfig) -> String {
        format!("{}-{}-{}", host(), config.consumer_group, self.number)
    }
}

/// Beside the spool where there is one; else in the system's directory for temporary files, one for each user.
fn directory(config: &BrokerConfig) -> PathBuf {
    config.spool.clone().unwrap_or_else(|| {
        // SAFETY: cannot fail.
        let user = unsafe { libc::geteuid() };
        std::env::temp_dir().join(format!("toporia-realtime-{user}"))
    })
}

fn host() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the buffer is ours; the last byte stays zero.
    let known = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) } == 0;
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    if known && length > 0 {
        String::from_utf8_lossy(&name[..length]).into_owned()
    } else {
        "localhost".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Slot;
    use crate::config::{testing, Value};

    #[test]
    fn each_worker_has_its_own_and_the_lowest_free_one() {
        let directory = std::env::temp_dir().join(format!("rt-slots-{}", std::process::id()));
        let config = testing::config(&[
            ("spool", Value::from(directory.to_str().expect("a path"))),
            ("consumer_group", Value::from("orders")),
        ]);
        let first = Slot::take(&config).expect("a slot");
        let second = Slot::take(&config).expect("another");
        assert!(first.name(&config).ends_with("-orders-0"));
        assert!(second.name(&config).ends_with("-orders-1"));
        drop(first);
        let again = Slot::take(&config).expect("the first again");
        assert_eq!(again.number, 0);
        std::fs::remove_dir_all(directory).expect("ours");
    }
}
