//! Replaces the `poll` of librdkafka's objects (`--wrap` in `build.rs`), because its broker thread does not wait while
//! an idempotent producer has five messages in flight to a partition.
//!
//! The fault, in librdkafka 2.12.1 and since 1.0: `rd_kafka_toppar_producer_serve()` limits the requests in flight per
//! partition with `max_requests = RD_MIN(max_requests, RD_KAFKA_IDEMP_MAX_INFLIGHT - inflight)`. `inflight` is
//! `rktp_msgs_inflight`, which counts messages, not requests. With five messages in flight, in one request or in five,
//! nothing more is sent to that partition until the acknowledgement. But `rd_kafka_msgq_allow_wakeup_at()` was called
//! before: a batch is ready, so the wake-up time is now, and `rd_kafka_broker_producer_serve()` calls
//! `poll(..., 0)` in a loop for as long as Kafka takes to answer, with up to a whole core. Correct would be to count
//! requests, and not to set the wake-up time of a partition that may not send: the response wakes the thread.
//!
//! Here the third empty poll in a row, of the same descriptors and without a timeout, waits for a millisecond. The
//! socket and the pipe through which librdkafka wakes the thread are among those descriptors and end the wait.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::c_int;

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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

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
}
