//! Stops the parser at PHP's `memory_limit`.
//!
//! Since the security releases of October 2026 an allocation over the limit no longer ends a native call: the engine
//! notes it and waits for the call to return. A call that continues to twice the limit has its whole process killed.
//! Code that allocates in a loop therefore has to check the limit itself.

use ext_php_rs::ffi;

/// Bytes of JSON between two checks: the smallest arrays take some 50 bytes per byte of JSON, so this is less than one
/// megabyte.
pub const CHECK_INTERVAL_BYTES: usize = 16 * 1024;

/// From this size on the allocator takes memory from the system for a single block.
const HUGE: usize = 2 * 1024 * 1024 - 4096;

extern "C" {
    fn zend_memory_usage(real: bool) -> usize;
}

/// False if the limit is exceeded.
#[cold]
#[inline(never)]
pub fn is_within_limit() -> bool {
    fits(0)
}

/// False if a single block of `bytes` would exceed the limit. Smaller blocks always fit: they are checked by
/// [`is_within_limit`].
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
    // A negative limit means no limit.
    usize::try_from(limit).map_or(true, |limit| used.saturating_add(bytes) <= limit)
}
