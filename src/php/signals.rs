//! SIGTERM and SIGINT while consuming: the current record is finished, then `consume()` returns.
//!
//! Signals that PHP code handles itself are left alone; its handlers run between records and polls. Zend keeps its own
//! table of handlers, so ours are installed through `zend_sigaction` where PHP is built with it.

use std::sync::atomic::{AtomicUsize, Ordering};

use ext_php_rs::types::ZendCallable;

use super::zend;
use crate::worker::StopSignal;

type Sigaction =
    unsafe extern "C" fn(libc::c_int, *const libc::sigaction, *mut libc::sigaction) -> libc::c_int;

/// Number of live [`SignalHandlers`]. While it is above 0, a signal received earlier still has to be acted on.
static INSTALLED: AtomicUsize = AtomicUsize::new(0);

/// Installed handlers; dropping restores the previous ones.
pub struct SignalHandlers {
    previous: Vec<(libc::c_int, libc::sigaction)>,
}

extern "C" fn on_signal(_signal: libc::c_int) {
    StopSignal::signal();
}

fn sigaction() -> Sigaction {
    match zend::symbol(c"zend_sigaction") {
        // SAFETY: `zend_sigaction` has libc's signature.
        Some(found) => unsafe { std::mem::transmute::<*mut libc::c_void, Sigaction>(found) },
        None => libc::sigaction,
    }
}

impl SignalHandlers {
    /// True while handlers are installed: a signal received since then must not be discarded.
    pub fn any_installed() -> bool {
        INSTALLED.load(Ordering::Relaxed) > 0
    }

    /// Handles SIGTERM and SIGINT where no handler is set.
    pub fn install() -> Self {
        let sigaction = sigaction();
        let mut previous = Vec::new();
        for signal in [libc::SIGTERM, libc::SIGINT] {
            // SAFETY: plain signal calls with local memory; the handler only touches an atomic.
            unsafe {
                let mut old: libc::sigaction = std::mem::zeroed();
                if sigaction(signal, std::ptr::null(), &raw mut old) != 0
                    || old.sa_sigaction != libc::SIG_DFL
                {
                    continue;
                }
                let mut new: libc::sigaction = std::mem::zeroed();
                new.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
                libc::sigemptyset(&raw mut new.sa_mask);
                new.sa_flags = libc::SA_RESTART;
                if sigaction(signal, &raw const new, std::ptr::null_mut()) == 0 {
                    previous.push((signal, old));
                }
            }
        }
        INSTALLED.fetch_add(1, Ordering::Relaxed);
        Self { previous }
    }
}

impl Drop for SignalHandlers {
    fn drop(&mut self) {
        INSTALLED.fetch_sub(1, Ordering::Relaxed);
        let sigaction = sigaction();
        for (signal, old) in &self.previous {
            // SAFETY: restores the previous handlers.
            unsafe { sigaction(*signal, std::ptr::from_ref(old), std::ptr::null_mut()) };
        }
    }
}

/// Blocks SIGTERM and SIGQUIT on this thread until dropped.
pub struct BlockedSignals {
    previous: libc::sigset_t,
}

impl BlockedSignals {
    pub fn block() -> Self {
        // SAFETY: plain signal-mask calls on local memory.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            let mut previous: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::sigaddset(&raw mut set, libc::SIGQUIT);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut previous);
            Self { previous }
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: restores the previous mask; signals that arrived in between are delivered now.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.previous,
                std::ptr::null_mut(),
            )
        };
    }
}

/// Runs PHP's own signal handlers.
pub fn dispatch() {
    zend::serve_interrupt();
    // Without pcntl_async_signals(), handlers run only when dispatched, and no PHP code runs while we wait for Kafka.
    if let Ok(function) = ZendCallable::try_from_name("pcntl_signal_dispatch") {
        // An exception thrown by a handler stays pending for the caller.
        drop(function.try_call(vec![]));
    }
}
