//! A monotonic clock that costs a few nanoseconds at a resolution of some milliseconds, cheap enough to read between
//! two records; and the shutdown deadline that a signal sets.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::ids::read_clock;

// The clocks of the kernel's last tick; elsewhere than on Linux the exact ones.
#[cfg(target_os = "linux")]
const CLOCKS: (libc::clockid_t, libc::clockid_t) =
    (libc::CLOCK_MONOTONIC_COARSE, libc::CLOCK_REALTIME_COARSE);
#[cfg(not(target_os = "linux"))]
const CLOCKS: (libc::clockid_t, libc::clockid_t) = (libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME);

/// Milliseconds since an arbitrary point in the past; monotonic.
#[inline]
#[must_use]
pub fn coarse_ms() -> u64 {
    let (seconds, nanos) = read_clock(CLOCKS.0);
    seconds * 1000 + u64::from(nanos / 1_000_000)
}

/// Nanoseconds since an arbitrary point in the past; monotonic. A quarter of the instructions of `Instant::elapsed()`.
#[inline]
#[must_use]
pub fn monotonic_ns() -> u64 {
    let (seconds, nanos) = read_clock(libc::CLOCK_MONOTONIC);
    seconds * 1_000_000_000 + u64::from(nanos)
}

/// Set by a signal handler, which may touch nothing but an atomic.
static SIGNALLED: AtomicBool = AtomicBool::new(false);

/// A signal asks every worker of the process to stop; async-signal-safe.
pub fn signal_stop() {
    SIGNALLED.store(true, Ordering::Relaxed);
}

/// True once a stop signal arrived.
#[inline]
#[must_use]
pub fn is_signalled() -> bool {
    SIGNALLED.load(Ordering::Relaxed)
}

/// Forgets an earlier stop signal.
pub fn clear_signal() {
    SIGNALLED.store(false, Ordering::Relaxed);
}

/// Time at which the process must have ended, set by a signal. 0: none.
static DEADLINE: AtomicU64 = AtomicU64::new(0);

/// Time for everything after the running callback: commits, leaving the group, the last flush. Below the promised five
/// seconds, to leave room for noticing the signal late on a busy machine.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(4);

/// Sets the deadline for all later waits, because a signal asked the process to end. The first call counts; later calls
/// do not extend it.
pub fn begin_shutdown() {
    begin(SHUTDOWN_GRACE);
}

/// As [`begin_shutdown`], with a time of the host.
pub fn begin_shutdown_within(time: Duration) {
    begin(time);
}

/// Runs `work` within `time`, or within the deadline that is set already, which stays.
pub fn within(time: Duration, work: impl FnOnce()) {
    let is_own = begin(time);
    work();
    if is_own {
        cancel_shutdown();
    }
}

/// False if a deadline is set already.
fn begin(time: Duration) -> bool {
    let deadline = coarse_ms() + u64::try_from(time.as_millis()).unwrap_or(0);
    let set = DEADLINE.compare_exchange(0, deadline, Ordering::Relaxed, Ordering::Relaxed);
    set.is_ok()
}

pub fn cancel_shutdown() {
    DEADLINE.store(0, Ordering::Relaxed);
}

/// `wait`, cut to the time left before the shutdown deadline.
#[must_use]
pub fn bounded(wait: Duration) -> Duration {
    match DEADLINE.load(Ordering::Relaxed) {
        0 => wait,
        deadline => wait.min(Duration::from_millis(deadline.saturating_sub(coarse_ms()))),
    }
}

#[cfg(test)]
mod tests {
    use super::{begin_shutdown, bounded, cancel_shutdown, within, Duration, SHUTDOWN_GRACE};

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
        // A flush that does not end the process leaves the deadline as it is, and sets none.
        within(Duration::ZERO, || assert!(!bounded(long).is_zero()));
        assert!(bounded(long) <= SHUTDOWN_GRACE);
        cancel_shutdown();
        within(Duration::ZERO, || assert!(bounded(long).is_zero()));
        assert_eq!(bounded(long), long);
    }
}
