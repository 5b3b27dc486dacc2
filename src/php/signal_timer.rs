//! The timer after which a deferred signal is passed on although its record is still being handled.
//!
//! Only Linux has timers that signal a thread. Elsewhere the signal waits for the end of the record.

#[cfg(target_os = "linux")]
use std::ptr::null_mut;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

/// The timer of one signal, which carries the address of this value. It must be a static.
pub struct SignalTimer {
    signal: libc::c_int,
    /// -1: none.
    id: AtomicIsize,
}

impl SignalTimer {
    pub const fn new(signal: libc::c_int) -> Self {
        Self {
            signal,
            id: AtomicIsize::new(-1),
        }
    }

    /// In a forked child, which inherits no timers.
    pub fn forget(&self) {
        self.id.store(-1, Ordering::Relaxed);
    }
}

#[cfg(target_os = "linux")]
impl SignalTimer {
    /// Creates the timer for the calling thread, if there is none.
    pub fn create(&self) {
        if self.id.load(Ordering::Relaxed) >= 0 {
            return;
        }
        // SAFETY: plain call with local memory; the value is the address of a static.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = self.signal;
            event.sigev_notify_thread_id = libc::gettid();
            event.sigev_value.sival_ptr = std::ptr::from_ref(self).cast_mut().cast();
            let mut timer: libc::timer_t = null_mut();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) == 0 {
                self.id.store(timer as isize, Ordering::Relaxed);
            }
        }
    }

    /// Async-signal-safe. Zero stops the timer.
    pub fn set(&self, wait: Duration) {
        let timer = self.id.load(Ordering::Relaxed);
        if timer < 0 {
            return;
        }
        // SAFETY: a timer of this process; async-signal-safe.
        unsafe {
            let mut spec: libc::itimerspec = std::mem::zeroed();
            spec.it_value.tv_sec = wait.as_secs().try_into().unwrap_or(0);
            libc::timer_settime(timer as libc::timer_t, 0, &raw const spec, null_mut());
        }
    }

    pub fn delete(&self) {
        let timer = self.id.swap(-1, Ordering::Relaxed);
        if timer >= 0 {
            // SAFETY: a timer of this process.
            unsafe { libc::timer_delete(timer as libc::timer_t) };
        }
    }

    /// True for the information of a signal that this timer has sent. Async-signal-safe.
    pub fn is_sender(&self, info: *const libc::siginfo_t) -> bool {
        // SAFETY: null or the kernel's information, which has a value where a timer has sent the signal.
        unsafe { info.as_ref() }.is_some_and(|info| {
            info.si_code == libc::SI_TIMER
                // SAFETY: as above.
                && unsafe { info.si_value() }.sival_ptr == std::ptr::from_ref(self).cast_mut().cast()
        })
    }
}

#[cfg(not(target_os = "linux"))]
#[allow(clippy::unused_self)]
impl SignalTimer {
    pub fn create(&self) {
        let _ = self.signal;
    }

    pub fn set(&self, _wait: Duration) {}

    pub fn delete(&self) {}

    pub fn is_sender(&self, _info: *const libc::siginfo_t) -> bool {
        false
    }
}
