//! The spool's directory: making it, judging whether it can be used, listing and measuring what is in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{fchown, DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::errors::unusable;
use super::sys;
use crate::error::Result;

/// How the files with waiting records end.
pub(super) const EXTENSION: &str = "spool";
/// Sub-directory of records that can never be sent.
pub(super) const FAILED: &str = "failed";
/// Sub-directory of files, and torn ends of files, that could not be read.
pub(super) const DAMAGED: &str = "damaged";

/// What a spool takes up on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolUsage {
    /// Files with waiting records, those of living processes included.
    pub files: usize,
    /// Their bytes.
    pub waiting: u64,
    /// Bytes in `failed/`.
    pub failed: u64,
    /// Bytes in `damaged/`.
    pub damaged: u64,
}

impl SpoolUsage {
    /// Bytes that count against `spool_max_bytes`.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.waiting + self.failed + self.damaged
    }
}

/// Measures. What vanishes meanwhile counts as gone; a directory that is not there is empty.
pub(super) fn usage(dir: &Path) -> io::Result<SpoolUsage> {
    let waiting = list(dir)?;
    Ok(SpoolUsage {
        files: waiting.len(),
        waiting: waiting.iter().map(|path| size(path)).sum(),
        failed: entries(&dir.join(FAILED))?.iter().map(|p| size(p)).sum(),
        damaged: entries(&dir.join(DAMAGED))?.iter().map(|p| size(p)).sum(),
    })
}

/// The files with waiting records, oldest first: names begin with the time.
pub(super) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = entries(dir)?;
    files.retain(|path| path.extension().is_some_and(|end| end == EXTENSION));
    files.sort_unstable();
    Ok(files)
}

fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn size(path: &Path) -> u64 {
    path.symlink_metadata().map_or(0, |about| about.len())
}

/// Whether the key's directory `dir` below `base` exists and can be written, or could be made. Writes nothing.
pub(super) fn check(base: &Path, dir: &Path) -> Result<()> {
    // The base may be a link (deployments link storage directories); what we make ourselves below it may not.
    match dir.symlink_metadata() {
        Ok(about) if !about.is_dir() => Err(unusable(dir, "it is not a directory of its own")),
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

/// Not there, or below something that is no directory.
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
            // Not there, and yet a link. (Anything else there was made by another process just now.)
            Err(_) if place.is_symlink() => {
                return Err(unusable(
                    base,
                    format!("{} is a link to nothing", place.display()),
                ))
            }
            Err(_) => {}
        }
    }
    Err(unusable(base, "no such directory"))
}

/// Makes a directory with mode 0700, those above it where missing too, so that it survives a power failure.
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
            give_to_owner(&opened, parent)?;
            sync(parent)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Root writes for whoever owns the directory: a cron job of root must not leave files that PHP-FPM's user cannot replay.
pub(super) fn give_to_owner(file: &File, directory: &Path) -> io::Result<()> {
    if sys::effective_user() != 0 {
        return Ok(());
    }
    let owner = fs::metadata(directory)?;
    if owner.uid() == 0 {
        return Ok(());
    }
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// Makes what a directory lists survive a power failure.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes a small private file of `dir` whole or not at all. Processes that do it at once write the same.
pub(super) fn write_note(dir: &Path, name: &str, content: &str) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let part = dir.join(format!(".{name}.{}-{count}", std::process::id()));
    let written = new_private(&part)
        .and_then(|mut file| {
            give_to_owner(&file, dir)?;
            file.write_all(content.as_bytes())
        })
        .and_then(|()| fs::rename(&part, dir.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

/// A private file that was not there before, or takes the place of what was.
pub(super) fn new_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// For a look at a file that somebody else may hold. A link or a pipe of that name is neither followed nor waited for.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}
