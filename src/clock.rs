//! A clock that costs a few nanoseconds, right to some milliseconds: enough to ask between two records what is due. And the moment
//! at which the process has to be gone, once a signal has asked for it.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// When the process has to be gone: a signal asked for it. 0 for no such moment.
static DEADLINE: AtomicU64 = AtomicU64::new(0);

/// What a signal leaves for everything after the callback that is running: commits, leaving the group, the last flush. Under the
/// five seconds that are promised by what passes until somebody looks whether there was a signal, and by a busy machine.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(4);

/// A signal asked the process to end: waits that come after this share what is left. The first call counts; whoever notices the
/// signal after it gets no time of its own.
pub fn begin_shutdown() {
    let deadline = coarse_ms() + u64::try_from(SHUTDOWN_GRACE.as_millis()).unwrap_or(0);
    let _ = DEADLINE.compare_exchange(0, deadline, Ordering::Relaxed, Ordering::Relaxed);
}

/// Nothing asks the process to end any more.
pub fn cancel_shutdown() {
    DEADLINE.store(0, Ordering::Relaxed);
}

/// A wait, cut to what is left where the process has to hurry.
#[must_use]
pub fn bounded(wait: Duration) -> Duration {
    match DEADLINE.load(Ordering::Relaxed) {
        0 => wait,
        deadline => wait.min(Duration::from_millis(deadline.saturating_sub(coarse_ms()))),
    }
}

#[cfg(test)]
mod tests {
    use super::{begin_shutdown, bounded, cancel_shutdown, Duration, SHUTDOWN_GRACE};

    #[test]
    fn a_shutdown_deadline_bounds_every_later_wait() {
        let long = Duration::from_secs(60);
        assert_eq!(bounded(long), long);
        begin_shutdown();
        assert!(bounded(long) <= SHUTDOWN_GRACE);
        std::thread::sleep(Duration::from_millis(60));
        begin_shutdown();
        let passed = SHUTDOWN_GRACE.saturating_sub(bounded(long));
        assert!(
            passed >= Duration::from_millis(40),
            "{passed:?} of it have passed"
        );
        assert_eq!(bounded(Duration::ZERO), Duration::ZERO);
        cancel_shutdown();
        assert_eq!(bounded(long), long);
    }
}
