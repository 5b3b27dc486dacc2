//! A clock that costs a few nanoseconds: right to some milliseconds, which is enough to ask between two records what is due.
#![allow(unsafe_code)]

/// Milliseconds since some moment in the past; never goes back.
#[inline]
#[must_use]
pub fn coarse_ms() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: plain call with local memory; this clock is in every Linux we support.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}
