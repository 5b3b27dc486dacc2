//! System calls of the spool: file locks, the fork hook, access checks, the file size limit, files mapped into memory.
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

/// The file grows by this much. A multiple of every page size.
pub(super) const CHUNK: u64 = 64 << 10;
/// Larger records are written with `write(2)`.
pub(super) const MAX_LENGTH: u64 = 32 * CHUNK;

/// The end of a spool file in memory: a record is appended by a copy, without a system call, and survives the process.
/// The file must not become shorter while it exists: an access beyond its end kills the process.
#[derive(Debug)]
pub(super) struct FileMapping {
    start: *mut libc::c_void,
    offset: u64,
    length: usize,
}

// SAFETY: a memory area with a single owner.
unsafe impl Send for FileMapping {}
// SAFETY: as above, and it is changed by `&mut self` only.
unsafe impl Sync for FileMapping {}

impl FileMapping {
    /// Maps the part that holds `from..to` and allocates it on the disk, filled with zeros: with the space allocated, a
    /// full disk is an error here and not a signal later. `None`: the disk is full, or the file system allocates
    /// nothing in advance.
    pub(super) fn open(file: &File, from: u64, to: u64) -> Option<Self> {
        let offset = from / CHUNK * CHUNK;
        let length = to.div_ceil(CHUNK) * CHUNK - offset;
        if length > MAX_LENGTH || !reserves_space(file) {
            return None;
        }
        let at = libc::off_t::try_from(offset).ok()?;
        let size = libc::off_t::try_from(length).ok()?;
        let length = usize::try_from(length).ok()?;
        // SAFETY: an open file; the kernel selects the address, and `drop` releases it.
        let start = unsafe {
            if allocate(file.as_raw_fd(), at, size) != 0 {
                return None;
            }
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                at,
            )
        };
        (start != libc::MAP_FAILED).then_some(Self {
            start,
            offset,
            length,
        })
    }

    /// Offset in the mapping of the bytes `at..at + length` of the file, if all are mapped.
    #[inline]
    fn place(&self, at: u64, length: usize) -> Option<usize> {
        let begin = usize::try_from(at.checked_sub(self.offset)?).ok()?;
        (begin.checked_add(length)? <= self.length).then_some(begin)
    }

    /// True if `length` bytes at `at` are mapped.
    #[inline]
    pub(super) fn has(&self, at: u64, length: usize) -> bool {
        self.place(at, length).is_some()
    }

    /// The bytes `at..at + length` of the file, if all are mapped.
    #[inline]
    pub(super) fn part(&mut self, at: u64, length: usize) -> Option<&mut [u8]> {
        let begin = self.place(at, length)?;
        // SAFETY: inside of the area, which this owns; other processes only read the file.
        Some(unsafe { std::slice::from_raw_parts_mut(self.start.cast::<u8>().add(begin), length) })
    }

    /// Fills `from..to` with zeros; false if not all of it is mapped.
    pub(super) fn clear(&mut self, from: u64, to: u64) -> bool {
        let length = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        let part = self.part(from, length);
        part.map(|bytes| bytes.fill(0)).is_some()
    }
}

/// True on file systems that keep the space that was allocated. Others may need it again when the page is written: a
/// full disk would be a signal that ends the process.
#[cfg(target_os = "linux")]
#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
fn reserves_space(file: &File) -> bool {
    let mut about = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: an open file; the buffer is read where the call has filled it.
    unsafe {
        libc::fstatfs(file.as_raw_fd(), about.as_mut_ptr()) == 0
            && [
                libc::EXT4_SUPER_MAGIC,
                libc::XFS_SUPER_MAGIC,
                libc::TMPFS_MAGIC,
            ]
            // Their types differ between C libraries.
            .map(|magic| magic as u64)
            .contains(&(about.assume_init().f_type as u64))
    }
}

#[cfg(not(target_os = "linux"))]
fn reserves_space(_: &File) -> bool {
    false
}

impl Drop for FileMapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `open`. A forked child releases its own view of it.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

#[cfg(target_os = "linux")]
unsafe fn allocate(fd: libc::c_int, offset: libc::off_t, length: libc::off_t) -> libc::c_int {
    // Not posix_fallocate, which writes the zeros itself where the file system cannot allocate.
    libc::fallocate(fd, 0, offset, length)
}

#[cfg(not(target_os = "linux"))]
unsafe fn allocate(_: libc::c_int, _: libc::off_t, _: libc::off_t) -> libc::c_int {
    -1
}
