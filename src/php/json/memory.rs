//! Stops the parser at PHP's `memory_limit`.
//!
//! Since the security releases of October 2026 an allocation over the limit no longer ends a native call: the engine notes it
//! and waits for the call to return. One that goes on to twice the limit has its whole process killed. So whoever
//! allocates in a loop has to look for himself.

use ext_php_rs::ffi;

/// At most so many bytes of JSON are read between two looks: as the smallest arrays take some 50 bytes for each byte of
/// JSON, this is less than one megabyte.
pub const CHECK_INTERVAL_BYTES: usize = 16 * 1024;

/// From this size on the allocator takes memory from the system for one block alone.
const HUGE: usize = 2 * 1024 * 1024 - 4096;

extern "C" {
    fn zend_memory_usage(real: bool) -> usize;
}

/// False where the limit is passed already.
#[cold]
#[inline(never)]
pub fn is_within_limit() -> bool {
    fits(0)
}

/// False where a single block of `bytes` would pass the limit. Smaller ones always fit: they are counted by [`is_within_limit`].
#[inline]
pub fn fits_in_limit(bytes: usize) -> bool {
    bytes < HUGE || fits(bytes)
}

fn fits(bytes: usize) -> bool {
    // SAFETY: reads two numbers of this thread.
    let (limit, used) = unsafe {
        (
            (*ffi::ext_php_rs_process_globals()).memory_limit,
            zend_memory_usage(true),
        )
    };
    // A negative limit is none.
    usize::try_from(limit).map_or(true, |limit| used.saturating_add(bytes) <= limit)
}
