//! Replaces the clocks of librdkafka's objects (`--wrap` in `build.rs`) during a call that queues a message, because
//! that reads three: the monotonic clock for the message, Unix time for its timestamp, and the monotonic clock for its
//! queue. Together they take longer than the copy of the message.
//!
//! Here one read serves all three. Unix time is the monotonic clock plus their difference, which is measured again when
//! it is older than a millisecond. All other reads, also those of this crate, are passed on.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{c_int, c_void};

/// Age of the difference between the clocks, in nanoseconds: a clock that is set is followed after this time.
const SAME_DIFFERENCE: i64 = 1_000_000;

/// The clocks of a thread while it queues a message.
struct Clocks {
    is_queueing: Cell<bool>,
    /// The monotonic clock when the call began.
    monotonic: Cell<libc::timespec>,
    /// The monotonic clock when the difference was measured, in nanoseconds.
    measured: Cell<i64>,
    /// Unix time minus the monotonic clock, in nanoseconds.
    difference: Cell<i64>,
}

const ZERO: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

thread_local! {
    static CLOCKS: Clocks = const {
        Clocks {
            is_queueing: Cell::new(false),
            monotonic: Cell::new(ZERO),
            measured: Cell::new(i64::MIN / 2),
            difference: Cell::new(0),
        }
    };
}

extern "C" {
    fn __real_clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int;
    fn __real_gettimeofday(time: *mut libc::timeval, zone: *mut c_void) -> c_int;
}

/// Runs a call that queues one message and returns without waiting.
#[inline]
pub(super) fn with_one_read<R>(queue: impl FnOnce() -> R) -> R {
    CLOCKS.with(|clocks| {
        // SAFETY: as clock_gettime(3); nothing else uses this thread's cell during the call.
        unsafe { __real_clock_gettime(libc::CLOCK_MONOTONIC, clocks.monotonic.as_ptr()) };
        clocks.is_queueing.set(true);
        let result = queue();
        clocks.is_queueing.set(false);
        result
    })
}

fn nanos(time: libc::timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// # Safety
/// As clock_gettime(3).
#[no_mangle]
unsafe extern "C" fn __wrap_clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> c_int {
    if clock == libc::CLOCK_MONOTONIC {
        let known = CLOCKS.with(|clocks| clocks.is_queueing.get().then(|| clocks.monotonic.get()));
        if let Some(known) = known {
            *time = known;
            return 0;
        }
    }
    __real_clock_gettime(clock, time)
}

/// # Safety
/// As gettimeofday(3).
#[no_mangle]
unsafe extern "C" fn __wrap_gettimeofday(time: *mut libc::timeval, zone: *mut c_void) -> c_int {
    CLOCKS.with(|clocks| {
        if !clocks.is_queueing.get() {
            return __real_gettimeofday(time, zone);
        }
        let now = nanos(clocks.monotonic.get());
        if now - clocks.measured.get() > SAME_DIFFERENCE {
            let mut wall = ZERO;
            __real_clock_gettime(libc::CLOCK_REALTIME, &raw mut wall);
            clocks.measured.set(now);
            clocks.difference.set(nanos(wall) - now);
        }
        let micros = (now + clocks.difference.get()) / 1000;
        (*time).tv_sec = micros / 1_000_000;
        (*time).tv_usec = micros % 1_000_000;
        0
    })
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use super::with_one_read;

    // SAFETY: as the C library has it; without a zone it touches no memory but what the reference lends.
    unsafe extern "C" {
        safe fn gettimeofday(time: &mut libc::timeval, zone: *mut libc::c_void) -> libc::c_int;
    }

    /// Microseconds of the function that librdkafka calls: the wrapping is linked into this binary too.
    fn micros_of_day() -> i64 {
        let mut time = libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        gettimeofday(&mut time, std::ptr::null_mut());
        time.tv_sec * 1_000_000 + time.tv_usec
    }

    fn unix_micros() -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        i64::try_from(now.expect("after 1970").as_micros()).expect("small")
    }

    #[test]
    fn the_clock_is_read_once_for_a_message() {
        for _ in 0..3 {
            let before = unix_micros();
            let (first, day, second) = with_one_read(|| {
                let first = Instant::now();
                let day = micros_of_day();
                sleep(Duration::from_millis(2));
                (first, day, Instant::now())
            });
            let after = unix_micros();
            assert_eq!(first, second);
            assert!(
                (before - 2000..after + 2000).contains(&day),
                "{day} {before}"
            );
            sleep(Duration::from_millis(2));
            assert!(first.elapsed() >= Duration::from_millis(4));
            assert!(micros_of_day() >= before + 4000);
        }
    }

    #[test]
    fn each_message_has_the_time_at_which_it_is_queued() {
        let first = with_one_read(Instant::now);
        sleep(Duration::from_millis(1));
        let second = with_one_read(Instant::now);
        assert!(second - first >= Duration::from_millis(1));
    }
}
