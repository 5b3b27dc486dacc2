//! The end of a spool file in memory: a record is appended by a copy, without a system call, and survives the process.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

/// The file grows by this much. A multiple of every page size.
pub(super) const CHUNK: u64 = 64 << 10;
/// Larger records are written with `write(2)`.
const MAX_LENGTH: u64 = 16 * CHUNK;

/// A part of a file. The file must not become shorter while it exists: an access beyond its end kills the process.
#[derive(Debug)]
pub(super) struct Mapping {
    start: *mut libc::c_void,
    offset: u64,
    length: usize,
}

// SAFETY: a memory area with a single owner.
unsafe impl Send for Mapping {}
// SAFETY: as above, and it is changed by `&mut self` only.
unsafe impl Sync for Mapping {}

impl Mapping {
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
fn reserves_space(file: &File) -> bool {
    let mut about = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: an open file; the buffer is read where the call has filled it.
    unsafe {
        libc::fstatfs(file.as_raw_fd(), about.as_mut_ptr()) == 0
            && matches!(
                about.assume_init().f_type,
                libc::EXT4_SUPER_MAGIC | libc::XFS_SUPER_MAGIC | libc::TMPFS_MAGIC
            )
    }
}

#[cfg(not(target_os = "linux"))]
fn reserves_space(_: &File) -> bool {
    false
}

impl Drop for Mapping {
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
