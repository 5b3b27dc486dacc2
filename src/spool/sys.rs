//! System calls of the spool: file locks, the fork hook, access checks, the file size limit.
//!
//! `flock` belongs to the open file description, so a forked child that inherits the descriptor keeps its parent's file
//! locked after the parent died. Locked descriptors are therefore listed in a lock-free table, and the child closes all
//! of them before anything else runs in it. (It must not unlock them: that would also release the parent's lock.)
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Maximum number of listed files (own files, claims, the quota lock). A file beyond this works as well, but stays
/// locked by a child forked while it is open until the child ends.
const MAX_LOCKED_FILES: usize = 256;

// SAFETY: as the C library has them. They touch no memory.
unsafe extern "C" {
    safe fn flock(file: BorrowedFd<'_>, operation: libc::c_int) -> libc::c_int;
    safe fn geteuid() -> libc::uid_t;
}

static GENERATION: AtomicU32 = AtomicU32::new(0);
static FORK_LOCK: AtomicBool = AtomicBool::new(false);
static HOOK_INSTALLED: AtomicBool = AtomicBool::new(false);
static LOCKED: [AtomicI32; MAX_LOCKED_FILES] = [const { AtomicI32::new(-1) }; MAX_LOCKED_FILES];

/// Number of forks between the process that loaded the library and this one.
pub(super) fn generation() -> u32 {
    GENERATION.load(Ordering::SeqCst)
}

/// Installs the fork hook once per process.
pub(super) fn install_fork_hook() {
    if !HOOK_INSTALLED.swap(true, Ordering::SeqCst) {
        // SAFETY: the hooks are plain functions that live as long as the library does.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
    }
}

/// Prevents a fork between opening a file and listing it, and between unlisting and closing it: the child would keep
/// the file locked. A spin lock, because the child can release it; it covers a single `open` or `close`.
struct ForkGuard;

impl ForkGuard {
    fn enter() -> Self {
        while FORK_LOCK.swap(true, Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Self
    }
}

impl Drop for ForkGuard {
    fn drop(&mut self) {
        FORK_LOCK.store(false, Ordering::SeqCst);
    }
}

extern "C" fn before_fork() {
    std::mem::forget(ForkGuard::enter());
}

extern "C" fn in_parent() {
    drop(ForkGuard);
}

/// Runs in the child before `fork()` returns: only atomics and `close`, both async-signal-safe.
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
    for slot in &LOCKED {
        let fd = slot.swap(-1, Ordering::SeqCst);
        if fd >= 0 {
            // SAFETY: the table lists only open descriptors; their owners do not use them in the child.
            unsafe { libc::close(fd) };
        }
    }
    drop(ForkGuard);
}

/// A file locked by this process until dropped. Unusable in a forked child (see [`LockedFile::file`]).
#[derive(Debug)]
pub(crate) struct LockedFile {
    file: Option<File>,
    slot: Option<usize>,
    generation: u32,
}

/// How [`LockedFile::open`] opens the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// The file must exist.
    Existing,
    /// The file must not exist.
    New,
    /// Creates the file if it does not exist.
    Any,
}

impl LockedFile {
    /// Opens and locks without waiting. `None`: another process holds the lock, or the file was renamed or deleted
    /// between opening and locking, so that the lock is not on the file at `path`.
    pub(crate) fn open(path: &Path, how: OpenMode) -> io::Result<Option<Self>> {
        let fork_guard = ForkGuard::enter();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(how == OpenMode::Any)
            .create_new(how == OpenMode::New)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        let generation = generation();
        let fd = file.as_raw_fd();
        let slot = LOCKED.iter().position(|slot| {
            slot.compare_exchange(-1, fd, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        });
        let locked = Self {
            file: Some(file),
            slot,
            generation,
        };
        drop(fork_guard);
        if !locked.file()?.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        while !lock_exclusively(locked.file()?) {
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Ok(None),
                _ => return Err(error),
            }
        }
        Ok(locked.is_at(path).then_some(locked))
    }

    /// As [`LockedFile::open`] with [`OpenMode::Any`], retrying until `timeout`.
    pub(crate) fn wait(path: &Path, timeout: Duration) -> io::Result<Option<Self>> {
        let since = Instant::now();
        loop {
            if let Some(locked) = Self::open(path, OpenMode::Any)? {
                return Ok(Some(locked));
            }
            if since.elapsed() >= timeout {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The file, except in a forked child: there the descriptor is closed and its number may be in use by another file.
    pub(crate) fn file(&self) -> io::Result<&File> {
        match &self.file {
            Some(file) if self.is_ours() => Ok(file),
            _ => Err(io::Error::other(
                "it was opened before this process was forked; open it again",
            )),
        }
    }

    /// True in the process that opened the file.
    pub(super) fn is_ours(&self) -> bool {
        self.generation == generation()
    }

    /// True while `path` refers to this file.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        let Ok(Ok(ours)) = self.file().map(File::metadata) else {
            return false;
        };
        path.symlink_metadata()
            .is_ok_and(|there| there.dev() == ours.dev() && there.ino() == ours.ino())
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        match (self.is_ours(), self.slot) {
            (true, Some(slot)) => {
                let _fork_guard = ForkGuard::enter();
                LOCKED[slot].store(-1, Ordering::SeqCst);
                self.file = None;
            }
            // The fork hook has closed the descriptor.
            (false, Some(_)) => {
                let _ = self.file.take().map(IntoRawFd::into_raw_fd);
            }
            (_, None) => {}
        }
    }
}

/// Takes the lock of an open file without waiting; false if another open file has it, or on an error.
pub(crate) fn lock_exclusively(file: &File) -> bool {
    flock(file.as_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0
}

/// Checks that the effective user may read, write and enter the directory.
pub(super) fn check_access(dir: &Path) -> io::Result<()> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    let mode = libc::R_OK | libc::W_OK | libc::X_OK;
    // SAFETY: a path that ends in NUL, and no pointer is kept.
    match unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(crate) fn effective_user() -> u32 {
    geteuid()
}

/// Returns an error if writing up to `length` would raise SIGXFSZ, which ends the process.
pub(super) fn check_file_size_limit(length: u64) -> io::Result<()> {
    if length > file_size_limit() {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(())
}

/// File size limit of the process, in bytes.
pub(super) fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: fills the struct it is given.
    if unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } == 0 {
        limit.rlim_cur
    } else {
        u64::MAX
    }
}
