//! Functions of the C library that librdkafka calls through this file (`--wrap` in `build.rs`): `poll`, which it calls
//! in a loop without waiting, and the clocks, which it reads three times for each message.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{c_int, c_void};

// `poll`: the broker thread does not wait while an idempotent producer has five messages in flight to a partition.
//
// The fault, in librdkafka 2.12.1 and since 1.0: `rd_kafka_toppar_producer_serve()` limits the requests in flight per
// partition with `max_requests = RD_MIN(max_requests, RD_KAFKA_IDEMP_MAX_INFLIGHT - inflight)`. `inflight` is
// `rktp_msgs_inflight`, which counts messages, not requests. With five messages in flight, in one request or in five,
// nothing more is sent to that partition until the acknowledgement. But `rd_kafka_msgq_allow_wakeup_at()` was called
// before: a batch is ready, so the wake-up time is now, and `rd_kafka_broker_producer_serve()` calls
// `poll(..., 0)` in a loop for as long as Kafka takes to answer, with up to a whole core. Correct would be to count
// requests, and not to set the wake-up time of a partition that may not send: the response wakes the thread.
//
// Here the third empty poll in a row, of the same descriptors and without a timeout, waits for a millisecond. The
// socket and the pipe through which librdkafka wakes the thread are among those descriptors and end the wait.

/// Empty polls in a row that return immediately: one before, and one after a queue was served.
const FREE_POLLS: u32 = 2;
const WAIT_MS: c_int = 1;

thread_local! {
    /// The descriptors of the last poll without a timeout, and how often in a row it found nothing.
    static EMPTY: Cell<(*mut libc::pollfd, u32)> = const { Cell::new((std::ptr::null_mut(), 0)) };
}

extern "C" {
    fn __real_poll(fds: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int) -> c_int;
}

/// # Safety
/// As poll(2).
#[no_mangle]
unsafe extern "C" fn __wrap_poll(
    fds: *mut libc::pollfd,
    count: libc::nfds_t,
    timeout: c_int,
) -> c_int {
    if timeout != 0 {
        EMPTY.set((std::ptr::null_mut(), 0));
        return __real_poll(fds, count, timeout);
    }
    let (last, times) = EMPTY.get();
    let times = if last == fds { times } else { 0 };
    let wait = if times < FREE_POLLS { 0 } else { WAIT_MS };
    let ready = __real_poll(fds, count, wait);
    EMPTY.set((fds, if ready == 0 { times + 1 } else { 0 }));
    ready
}

/// The name of `poll` in C that was compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As poll(2); `size` is that of the array in bytes.
#[no_mangle]
unsafe extern "C" fn __wrap___poll_chk(
    fds: *mut libc::pollfd,
    count: libc::nfds_t,
    timeout: c_int,
    size: libc::size_t,
) -> c_int {
    if size / size_of::<libc::pollfd>() < usize::try_from(count).unwrap_or(usize::MAX) {
        std::process::abort();
    }
    __wrap_poll(fds, count, timeout)
}

// The clocks: a call that queues a message reads three, the monotonic clock for the message, Unix time for its
// timestamp, and the monotonic clock for its queue. Together they take longer than the copy of the message.
//
// Here one read serves all three. Unix time is the monotonic clock plus their difference, which is measured again when
// it is older than a millisecond. All other reads, also those of this crate, are passed on.

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
    // SAFETY: as clock_gettime(3); nothing else uses this thread's cell during the call. The cell has no destructor: it
    // lives as long as the thread.
    let clocks = unsafe {
        let clocks = &*CLOCKS.with(std::ptr::from_ref);
        __real_clock_gettime(libc::CLOCK_MONOTONIC, clocks.monotonic.as_ptr());
        clocks
    };
    clocks.is_queueing.set(true);
    let result = queue();
    clocks.is_queueing.set(false);
    result
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
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::thread::sleep;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use super::with_one_read;

    fn poll(fds: &mut [libc::pollfd], timeout: i32) -> (i32, Duration) {
        let started = Instant::now();
        // SAFETY: the slice is as long as its length says.
        let ready = unsafe {
            libc::poll(
                fds.as_mut_ptr(),
                libc::nfds_t::try_from(fds.len()).expect("few"),
                timeout,
            )
        };
        (ready, started.elapsed())
    }

    /// Through the symbol that librdkafka calls: the wrapping is linked into this binary too.
    #[test]
    fn the_third_empty_poll_in_a_row_waits_and_a_descriptor_ends_the_wait() {
        let (reader, mut writer) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let mut fds = [libc::pollfd {
            fd: reader.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        let started = Instant::now();
        for _ in 0..2 + 20 {
            assert_eq!(poll(&mut fds, 0).0, 0);
        }
        assert!(
            started.elapsed() >= Duration::from_millis(20),
            "{:?}",
            started.elapsed()
        );
        // A poll with a timeout starts again.
        assert_eq!(poll(&mut fds, 1).0, 0);
        let fastest = (0..50)
            .map(|_| {
                poll(&mut fds, 1);
                poll(&mut fds, 0).1
            })
            .min();
        assert!(fastest < Some(Duration::from_micros(500)), "{fastest:?}");
        writer.write_all(b"x").expect("written");
        assert_eq!(poll(&mut fds, 0).0, 1);
    }

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
