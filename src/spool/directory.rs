//! The spool directory: creating it, checking access, listing and measuring files; its owner, which is the name of the
//! sub-directory and `about.json`. And the errors of the spool: what was not stored, where, why, and what to do.
//!
//! Messages belong to a cluster, a prefix and an application. The name of the directory has the brokers instead of the
//! cluster, because Kafka may be away when it is created. `about.json` gets the id of the cluster as soon as a process
//! knows it, so that other brokers of the cluster can be configured later.

use std::fmt::Display;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{fchown, DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{json, Value};

use super::record::SpoolRecord;
use super::{format, sys};
use crate::error::{Error, FailedMessage, Kind, Result};
use crate::ids::fnv1a;

/// Extension of files with waiting records.
pub(super) const EXTENSION: &str = "spool";
/// Sub-directory for records that can never be sent.
pub(super) const FAILED: &str = "failed";
/// Sub-directory for unreadable files, and torn ends of files.
pub(super) const DAMAGED: &str = "damaged";

/// Disk usage of a spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolUsage {
    /// Files with waiting records, including those of running processes.
    pub files: usize,
    /// Bytes of these files.
    pub waiting: u64,
    /// Bytes of files without a waiting record, which processes keep for their next messages.
    pub idle: u64,
    pub failed: u64,
    pub damaged: u64,
}

impl SpoolUsage {
    /// Bytes that count against `spool_max_bytes`.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.waiting + self.idle + self.failed + self.damaged
    }
}

/// Measures the disk usage. Files that vanish during the measurement are skipped; a missing directory is empty.
pub(super) fn usage(dir: &Path) -> io::Result<SpoolUsage> {
    let mut usage = SpoolUsage {
        failed: sizes(&entries(&dir.join(FAILED))?),
        damaged: sizes(&entries(&dir.join(DAMAGED))?),
        ..SpoolUsage::default()
    };
    for path in list(dir)? {
        let is_idle = open_to_read(&path).and_then(|file| format::is_idle(&file));
        if is_idle.unwrap_or_default() {
            usage.idle += size(&path);
        } else {
            usage.files += usize::from(path.exists());
            usage.waiting += size(&path);
        }
    }
    Ok(usage)
}

/// The total of the disk usage, without a look into the files.
pub(super) fn used(dir: &Path) -> io::Result<u64> {
    let all = [
        list(dir)?,
        entries(&dir.join(FAILED))?,
        entries(&dir.join(DAMAGED))?,
    ];
    Ok(all.iter().map(|files| sizes(files)).sum())
}

/// Files with waiting records, oldest first: names start with the time.
pub(super) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = entries(dir)?;
    files.retain(|path| path.extension().is_some_and(|end| end == EXTENSION));
    files.sort_unstable();
    Ok(files)
}

pub(super) fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn sizes(files: &[PathBuf]) -> u64 {
    files.iter().map(|path| size(path)).sum()
}

fn size(path: &Path) -> u64 {
    path.symlink_metadata().map_or(0, |about| about.len())
}

/// Checks that the key's directory `dir` below `base` exists and is writable, or can be created. Writes nothing.
pub(super) fn check(base: &Path, dir: &Path) -> Result<()> {
    // The base may be a symlink (deployments link storage directories); the directory of the key may not.
    match dir.symlink_metadata() {
        Ok(about) if !about.is_dir() => {
            Err(unusable(dir, "it is a file or a symlink, not a directory"))
        }
        Ok(about) if sys::effective_user() != 0 && about.uid() != sys::effective_user() => {
            Err(unusable(
                dir,
                format!(
                    "it belongs to user {}, and this process runs as user {}",
                    about.uid(),
                    sys::effective_user()
                ),
            ))
        }
        Ok(_) => sys::check_access(dir).map_err(|error| unusable(dir, error)),
        Err(error) if is_missing(&error) => check_base(base),
        Err(error) => Err(unusable(base, error)),
    }
}

/// True if the path, or a parent of it, does not exist.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn check_base(base: &Path) -> Result<()> {
    for place in base.ancestors() {
        match fs::metadata(place) {
            Ok(about) if !about.is_dir() => {
                return Err(unusable(
                    base,
                    format!("{} is not a directory", place.display()),
                ))
            }
            Ok(_) => {
                return sys::check_access(place)
                    .map_err(|error| unusable(base, format!("{}: {error}", place.display())))
            }
            Err(error) if !is_missing(&error) => return Err(unusable(base, error)),
            // A dangling symlink. (Anything else was created by another process in the meantime.)
            Err(_) if place.is_symlink() => {
                return Err(unusable(
                    base,
                    format!("{} is a dangling symlink", place.display()),
                ))
            }
            Err(_) => {}
        }
    }
    Err(unusable(base, "no such directory"))
}

/// Creates a directory with mode 0700, and missing parents, and syncs it against a power failure.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    let parent = dir.parent().unwrap_or(Path::new("/"));
    let mut made = DirBuilder::new().mode(0o700).create(dir);
    if matches!(&made, Err(error) if error.kind() == io::ErrorKind::NotFound) && parent != dir {
        make(parent)?;
        made = DirBuilder::new().mode(0o700).create(dir);
    }
    match made {
        Ok(()) => {
            let opened = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY)
                .open(dir)?;
            chown_like(&opened, parent)?;
            sync(parent)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// As root, gives the file to the owner of the directory: PHP-FPM's user must be able to replay what a cron job of root
/// wrote.
pub(super) fn chown_like(file: &File, directory: &Path) -> io::Result<()> {
    if sys::effective_user() != 0 {
        return Ok(());
    }
    let owner = fs::metadata(directory)?;
    if owner.uid() == 0 {
        return Ok(());
    }
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// Syncs the entries of a directory against a power failure.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes a small private file atomically. Processes that write it concurrently write the same content.
pub(super) fn write_note(dir: &Path, name: &str, content: &str) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let part = dir.join(format!(".{name}.{}-{count}", std::process::id()));
    let written = new_private(&part)
        .and_then(|mut file| {
            chown_like(&file, dir)?;
            file.write_all(content.as_bytes())
        })
        .and_then(|()| fs::rename(&part, dir.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

/// Creates or truncates a private file.
pub(super) fn new_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Opens a file for reading that another process may hold. Neither follows a symlink nor blocks on a pipe.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

/// The directory cannot be used for a spool.
pub(super) fn unusable(dir: &Path, why: impl Display) -> Error {
    Error::configuration(format!(
        "The spool directory {} cannot be used: {why}. Let the user that runs PHP write there, or set `spool` to \
         another directory.",
        dir.display()
    ))
}

/// `spool_max_bytes` leaves no space for the records after the first `stored`.
pub(super) fn full_error(
    dir: &Path,
    max_bytes: u64,
    usage: SpoolUsage,
    records: &[SpoolRecord],
    stored: usize,
) -> Error {
    let reason = format!(
        "The spool {} is full: {} of spool_max_bytes = {max_bytes} bytes are used ({} waiting, {} kept by running \
         processes for their next messages, {} in failed/, {} in damaged/)",
        dir.display(),
        usage.total(),
        usage.waiting,
        usage.idle,
        usage.failed,
        usage.damaged
    );
    let advice =
        "Start Kafka so that waiting messages are sent, raise spool_max_bytes, or clear failed/ and damaged/.";
    not_stored(records, stored, &reason, advice)
}

/// The system failed to store the records after the first `stored`.
pub(super) fn disk_error(
    dir: &Path,
    records: &[SpoolRecord],
    stored: usize,
    error: &impl Display,
) -> Error {
    let reason = format!("Cannot write to the spool {}: {error}", dir.display());
    let advice = "Free space there, or set `spool` to a directory on another disk.";
    not_stored(records, stored, &reason, advice)
}

/// The directory cannot be listed, so nothing can be replayed from it.
pub(super) fn unlisted_error(dir: &Path, error: &io::Error) -> Error {
    Error::delivery(
        format!(
            "Cannot list the spool {}: {error}. \
             Its messages are not sent until the user that runs PHP can read the directory.",
            dir.display()
        ),
        Vec::new(),
    )
}

fn not_stored(records: &[SpoolRecord], stored: usize, reason: &str, advice: &str) -> Error {
    let lost = &records[stored..];
    let failed = lost.iter().map(|record| FailedMessage {
        id: record.id.clone(),
        topic: record.topic.clone(),
        reason: format!("{}; not spooled: {reason}", record.reason),
        kind: Kind::Delivery,
        permanent: false,
    });
    Error::delivery(
        format!(
            "{reason}, so {} of {} messages were not stored. {advice}",
            lost.len(),
            records.len()
        ),
        failed.collect(),
    )
}

/// The file in a spool directory that names its owner.
pub(super) const ABOUT: &str = "about.json";

/// Owner of a spool. Messages are never sent to another cluster, environment or application.
#[derive(Debug, Clone, Copy)]
pub struct SpoolKey<'a> {
    /// Bootstrap servers, comma separated. Order and spaces do not matter; credentials are removed.
    pub brokers: &'a str,
    pub prefix: &'a str,
    /// Application: a name or path that distinguishes it from others.
    pub application: &'a str,
}

impl SpoolKey<'_> {
    /// Name of the sub-directory: a readable part, and 16 hex digits of a hash over all parts.
    pub(super) fn directory(&self) -> String {
        let brokers = self.hosts();
        let first = brokers.first().map_or("", String::as_str);
        let mut readable: String = [self.application, self.prefix, first]
            .join("-")
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        // Keeps the end, which is more specific: an application may be a long path.
        let cut = readable.len().saturating_sub(80);
        readable.drain(..cut);
        let hash = hash_of(&[&brokers.join(","), self.prefix, self.application]);
        format!("{}-{hash:016x}", readable.trim_matches('_'))
    }

    /// The owner; its cluster is not known yet.
    pub(super) fn owner(&self) -> SpoolOwner {
        SpoolOwner {
            brokers: self.hosts(),
            prefix: self.prefix.to_owned(),
            application: self.application.to_owned(),
            cluster: None,
            adopted_by: None,
        }
    }

    /// Hosts, sorted, without the part before an `@`.
    fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = self
            .brokers
            .split(',')
            .map(|part| part.rsplit('@').next().unwrap_or("").trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }
}

/// The content of `about.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpoolOwner {
    /// Sorted, without credentials.
    pub brokers: Vec<String>,
    pub prefix: String,
    pub application: String,
    /// The id of the cluster, once known.
    pub cluster: Option<String>,
    /// The cluster that may send the messages as well, because `realtime:spool --adopt` says so.
    pub adopted_by: Option<String>,
}

impl SpoolOwner {
    /// The owner of a directory; `None` if it has no readable `about.json`.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let about: Value = serde_json::from_slice(&fs::read(dir.join(ABOUT)).ok()?).ok()?;
        let text = |name: &str| about[name].as_str().map(str::to_owned);
        let brokers = about["brokers"].as_array()?.iter();
        Some(Self {
            brokers: brokers
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            prefix: text("prefix")?,
            application: text("application")?,
            cluster: text("cluster"),
            adopted_by: text("adopted_by"),
        })
    }

    pub(super) fn about(&self) -> String {
        let mut about = json!({
            "what": "Messages of toporia_realtime not acknowledged by Kafka; the next process sends them",
            "format": 1,
            "brokers": self.brokers,
            "prefix": self.prefix,
            "application": self.application,
        });
        for (name, value) in [("cluster", &self.cluster), ("adopted_by", &self.adopted_by)] {
            if let Some(value) = value {
                about[name] = json!(value);
            }
        }
        format!("{about:#}\n")
    }

    /// True if this owner may send the messages of `other`: the same cluster, prefix and application. Where the cluster
    /// of one is not known, a common broker shows that it is the same.
    pub(super) fn may_send(&self, other: &Self) -> bool {
        if other.adopted_by.is_some() && other.adopted_by == self.cluster {
            return true;
        }
        self.prefix == other.prefix
            && self.application == other.application
            && match (&self.cluster, &other.cluster) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => other.brokers.iter().any(|host| self.brokers.contains(host)),
            }
    }
}

/// A hash over the parts and their lengths.
fn hash_of(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| {
        let length = (part.len() as u64).to_le_bytes();
        length.into_iter().chain(part.bytes())
    });
    fnv1a(bytes)
}
