//! The spool: messages Kafka did not acknowledge wait on disk until a process sends them again.
//!
//! ```text
//! <spool>/<application-prefix-broker-hash>/     0700, one for each brokers + prefix + application
//!     about.json                                 which those are, and the id of the cluster
//!     00001763700000000000-4711.spool            records of process 4711, in their order
//!     failed/00001763….jsonl                     records that can never be sent, with the reason, readable
//!     damaged/                                   files, or torn ends of files, that could not be read
//! ```
//!
//! Each [`Spool`] appends to its own file and holds a lock on it (`flock`). A file whose lock can be acquired belongs
//! to no running process: exactly one process gets it as a [`Claim`], and deletes it after its last record. Messages
//! are therefore sent at least once, with their original ids, in order within one file.
//!
//! Fork: a child never uses, unlocks or deletes its parent's file. A fork hook closes locked descriptors in the child;
//! a `Spool` used there starts its own file, a `Claim` created before the fork returns errors.
//!
//! Modules: `record` a spooled message · `format` file format, and a reader that reads past damage · `file` appends,
//! has the state of a spool per fork generation · `journal` writes before sending · `claim` replays, and
//! keeps what cannot be sent or read · `directory` directories and their owners, disk usage, errors · `sys` locks, the
//! fork hook, mapped files.

mod claim;
mod directory;
mod file;
mod format;
mod journal;
mod record;
mod sys;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use claim::Claim;
pub use directory::{SpoolKey, SpoolUsage};
pub use journal::Journal;
pub use record::SpoolRecord;
pub(crate) use sys::{effective_user, lock_exclusively, LockedFile, OpenMode};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use directory::{SpoolOwner, ABOUT};
use file::{Appended, Generations, OwnFile};

/// How long an append waits for other processes that measure the directory. After that the limit may be exceeded by
/// what they are writing: a stopped process must not cause a loss of messages.
const QUOTA_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// The spool of one set of brokers, prefix and application. Can be shared between threads and used after a fork.
#[derive(Debug)]
pub struct Spool {
    base: PathBuf,
    dir: PathBuf,
    /// Its cluster is set once a broker has responded.
    owner: Mutex<SpoolOwner>,
    max_bytes: u64,
    generations: Generations,
}

impl Spool {
    /// Opens the spool of `key` below `dir`, with a limit of `max_bytes` for all processes together (waiting, failed
    /// and damaged). Does not access the disk: [`Spool::check`] checks the directory, the first [`Spool::append`]
    /// creates it.
    ///
    /// # Errors
    /// Configuration: `dir` is empty or cannot be made absolute.
    pub fn open(dir: &Path, key: &SpoolKey<'_>, max_bytes: u64) -> Result<Self> {
        sys::install_fork_hook();
        // Made absolute, so that a later chdir() does not move the spool.
        let base = std::path::absolute(dir).map_err(|error| directory::unusable(dir, error))?;
        Ok(Self {
            dir: base.join(key.directory()),
            base,
            owner: Mutex::new(key.owner()),
            max_bytes,
            generations: Generations::new(),
        })
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// True once [`Spool::set_cluster`] was called.
    #[must_use]
    pub fn has_cluster(&self) -> bool {
        self.owner.lock().cluster.is_some()
    }

    /// The cluster of the brokers, which is noted in the directory. Messages that the directory has for another cluster
    /// (the brokers were replaced under the same addresses) are set aside.
    pub fn set_cluster(&self, id: &str) {
        self.owner.lock().cluster = Some(id.to_owned());
        let noted = self.note_cluster(id);
        if let Err(error) = noted {
            let state = self.generations.current();
            state.notice_once(
                &self.dir,
                format!(
                    "The cluster cannot be noted in {}: {error}.",
                    self.dir.join(ABOUT).display()
                ),
            );
        }
    }

    fn note_cluster(&self, id: &str) -> io::Result<()> {
        let Some(about) = SpoolOwner::read(&self.dir) else {
            return Ok(());
        };
        if about.cluster.as_deref() == Some(id) {
            return Ok(());
        }
        let _lock = LockedFile::wait(&self.dir.join(".lock"), QUOTA_LOCK_TIMEOUT)?;
        // Another process may have done it since.
        match SpoolOwner::read(&self.dir) {
            Some(about) if about.cluster.is_some() && about.cluster.as_deref() != Some(id) => {
                self.set_aside(&about, id)
            }
            Some(about) if about.cluster.is_none() => {
                let owner = SpoolOwner {
                    adopted_by: about.adopted_by,
                    ..self.owner.lock().clone()
                };
                directory::write_note(&self.dir, ABOUT, &owner.about())
            }
            _ => Ok(()),
        }
    }

    /// Renames a directory whose messages are for another cluster.
    fn set_aside(&self, about: &SpoolOwner, id: &str) -> io::Result<()> {
        let usage = directory::usage(&self.dir)?;
        if usage.total() == usage.idle {
            let owner = self.owner.lock().clone();
            return directory::write_note(&self.dir, ABOUT, &owner.about());
        }
        let theirs = about.cluster.as_deref().unwrap_or_default();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let mut name = self.dir.as_os_str().to_owned();
        name.push(".");
        name.push(theirs.replace(|c| !is_plain(c), "_"));
        let mut other = PathBuf::from(name);
        if other.exists() {
            other
                .as_mut_os_string()
                .push(format!(".{}", std::process::id()));
        }
        std::fs::rename(&self.dir, &other)?;
        self.generations.current().notice(format!(
            "The spool directory {} has messages for the cluster {theirs}, and these brokers belong to {id}. It is \
             now {}; `realtime:spool` shows it.",
            self.dir.display(),
            other.display()
        ));
        Ok(())
    }

    /// This spool's directory, and those of the same cluster, prefix and application that were written with other
    /// brokers in the configuration.
    fn directories(&self) -> Vec<PathBuf> {
        let owner = self.owner.lock().clone();
        let mut all = directory::entries(&self.base).unwrap_or_default();
        all.retain(|dir| {
            *dir != self.dir && SpoolOwner::read(dir).is_some_and(|other| owner.may_send(&other))
        });
        all.sort_unstable();
        all.insert(0, self.dir.clone());
        all
    }

    /// Checks that the directory can be used or created. Writes nothing.
    ///
    /// # Errors
    /// Configuration: the directory and what is wrong with it.
    pub fn check(&self) -> Result<()> {
        directory::check(&self.base, &self.dir)
    }

    /// Stores the records in order; synced to disk when it returns.
    ///
    /// # Errors
    /// Delivery: the spool or the disk is full, or the disk fails. As many records as possible are stored, from the
    /// first on; `failed()` lists exactly the others. Configuration: the directory cannot be used, and nothing is
    /// stored.
    pub fn append(&self, records: &[SpoolRecord]) -> Result<()> {
        let mut done = 0;
        while done < records.len() {
            done += match self.append_to_file(&records[done..]) {
                Ok(stored) => stored,
                Err(error) if done > 0 && error.failed().is_empty() => {
                    return Err(directory::disk_error(&self.dir, records, done, &error));
                }
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    /// Bytes available to all processes together, at least `needed`; creates the directory.
    fn available_bytes(&self, records: &[SpoolRecord], needed: u64) -> Result<u64> {
        self.prepare(records)?;
        let used = directory::used(&self.dir)
            .map_err(|error| directory::disk_error(&self.dir, records, 0, &error))?;
        let available_bytes = self.max_bytes.saturating_sub(used);
        if available_bytes < needed {
            return Err(self.full(records, 0));
        }
        Ok(available_bytes)
    }

    fn full(&self, records: &[SpoolRecord], stored: usize) -> Error {
        directory::full_error(&self.dir, self.max_bytes, self.usage(), records, stored)
    }

    /// Stores as many records as fit into one file and returns their number; the caller continues with a new file.
    fn append_to_file(&self, records: &[SpoolRecord]) -> Result<usize> {
        let state = self.generations.current();
        let mut own = state.own.lock();
        if let Some(gone) = own.take_if(|file| !file.is_there()) {
            state.notice(format!(
                "The spool file {} with {} messages was deleted or moved while in use; \
                 a new file is written.",
                gone.path().display(),
                gone.records()
            ));
        }
        self.prepare(records)?;
        let quota = LockedFile::wait(&self.dir.join(".lock"), QUOTA_LOCK_TIMEOUT)
            .map_err(|error| directory::disk_error(&self.dir, records, 0, &error))?;
        if let Some(lock) = quota.as_ref().and_then(|quota| quota.file().ok()) {
            let _ = directory::chown_like(lock, &self.dir);
        }
        let used = directory::used(&self.dir)
            .map_err(|error| directory::disk_error(&self.dir, records, 0, &error))?;
        let header = if own.is_some() { 0 } else { format::HEADER };
        let available_bytes = self.max_bytes.saturating_sub(used + header);
        if available_bytes == 0 {
            return Err(self.full(records, 0));
        }
        if own.is_none() {
            *own = Some(
                OwnFile::create(&self.dir)
                    .map_err(|error| directory::disk_error(&self.dir, records, 0, &error))?,
            );
        }
        let Some(file) = own.as_mut() else {
            return Ok(0);
        };
        let batch = file.batch(records);
        let fitting = batch.fitting(available_bytes);
        let possible = batch.fitting(available_bytes.min(file.available_bytes(0)));
        let Appended { stored, error } = file.write(&batch, possible);
        // The new size is visible to other processes now; they need not wait for the sync.
        drop(quota);
        let synced = file.sync(&batch, stored);
        let used = file.records() > 0;
        if error.is_some() || synced.is_err() || possible < fitting || !used {
            // Not reused: a file after a failed write, a file at the file size limit, and an empty file.
            *own = None;
        }
        match (synced, error) {
            (Err(error), _) => Err(directory::disk_error(&self.dir, records, 0, &error)),
            (Ok(()), Some(error)) => Err(directory::disk_error(&self.dir, records, stored, &error)),
            (Ok(()), None) if stored == records.len() || (stored < fitting && used) => Ok(stored),
            (Ok(()), None) if stored < fitting => {
                let error = io::Error::from_raw_os_error(libc::EFBIG);
                Err(directory::disk_error(&self.dir, records, stored, &error))
            }
            (Ok(()), None) => Err(self.full(records, stored)),
        }
    }

    /// Claims the oldest file with records to send that no running process holds; `None` if there is none. Never claims
    /// the file this spool is writing (see [`Spool::rotate_own`]). An unfinished claim that was dropped is returned
    /// again, so wait between calls. Removes empty files, quarantines unreadable ones, and skips files that cannot be
    /// opened with a notice ([`Spool::take_notices`]).
    ///
    /// # Errors
    /// Delivery: the directory cannot be listed.
    pub fn claim(&self) -> Result<Option<Claim>> {
        let state = self.generations.current();
        let mut files = Vec::new();
        for dir in self.directories() {
            files.extend(
                directory::list(&dir).map_err(|error| directory::unlisted_error(&dir, &error))?,
            );
        }
        let mut held = 0;
        for path in files {
            match Claim::open(&path, state) {
                Ok(Some(claim)) => return Ok(Some(claim)),
                Ok(None) => held += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => state.notice_once(&path, format!(
                    "The spool file {} cannot be replayed: {error}. Let the user that runs PHP read and write it.",
                    path.display()
                )),
            }
        }
        state.held.store(held, Ordering::Relaxed);
        Ok(None)
    }

    /// Deletes what processes that are gone left without a record. A process does so when it ends, because it may not
    /// have claimed anything.
    pub fn sweep(&self) {
        for path in directory::list(&self.dir).unwrap_or_default() {
            let locked = LockedFile::open(&path, OpenMode::Existing);
            if let Ok(Some(locked)) = locked {
                let is_idle = locked.file().and_then(format::is_idle);
                if is_idle.unwrap_or_default() {
                    let _ = std::fs::remove_file(&path);
                }
            }
        }
    }

    /// Number of files that [`Spool::claim`] found in use when it last returned `None`.
    #[must_use]
    pub fn files_in_use(&self) -> usize {
        self.generations.current().held.load(Ordering::Relaxed)
    }

    /// True while a file is open that [`Spool::rotate_own`] closes.
    #[must_use]
    pub fn has_own(&self) -> bool {
        self.generations.current().own.lock().is_some()
    }

    /// Closes the file this spool is writing, so that any process can claim it.
    pub fn rotate_own(&self) {
        *self.generations.current().own.lock() = None;
    }

    /// Notices for the error log since the last call: quarantined, deleted and inaccessible files.
    #[must_use]
    pub fn take_notices(&self) -> Vec<String> {
        self.generations.current().take_notices()
    }

    /// Bytes of the files with waiting records, of all processes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let usage = |dir: PathBuf| directory::usage(&dir).unwrap_or_default().waiting;
        self.directories().into_iter().map(usage).sum()
    }

    /// Files with waiting records, of all processes.
    #[must_use]
    pub fn files(&self) -> usize {
        let usage = |dir: PathBuf| directory::usage(&dir).unwrap_or_default().files;
        self.directories().into_iter().map(usage).sum()
    }

    /// Disk usage; zeros if the directory does not exist or cannot be read.
    #[must_use]
    pub fn usage(&self) -> SpoolUsage {
        directory::usage(&self.dir).unwrap_or_default()
    }

    /// Number of waiting records according to the file headers: an estimate after a crash, otherwise exact.
    #[must_use]
    pub fn records_waiting(&self) -> u64 {
        let directories = self.directories().into_iter();
        let files: Vec<PathBuf> = directories
            .flat_map(|dir| directory::list(&dir).unwrap_or_default())
            .collect();
        let waiting = |path: &PathBuf| -> io::Result<u64> {
            let file = directory::open_to_read(path)?;
            format::estimate(&file, file.metadata()?.len())
        };
        files.iter().filter_map(|path| waiting(path).ok()).sum()
    }

    /// Creates missing parts of the directory.
    fn prepare(&self, records: &[SpoolRecord]) -> Result<()> {
        self.check()?;
        directory::make(&self.dir)
            .and_then(|()| {
                let about = self.dir.join(ABOUT);
                if about.exists() {
                    return Ok(());
                }
                let owner = self.owner.lock().clone();
                directory::write_note(&self.dir, ABOUT, &owner.about()).or_else(|error| {
                    if about.exists() {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })
            })
            .map_err(|error| match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    directory::disk_error(&self.dir, records, 0, &error)
                }
                _ => directory::unusable(&self.dir, error),
            })
    }
}
