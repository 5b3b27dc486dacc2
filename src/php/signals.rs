//! SIGTERM and SIGINT while consuming: the record in hand is finished, then `consume()` returns.
//!
//! Where PHP code has handlers of its own, those run instead (between records and polls) and ours stay away. Zend keeps the
//! table of handlers itself, so they are set through it where it is built in.

use std::sync::atomic::{AtomicUsize, Ordering};

use ext_php_rs::types::ZendCallable;

use super::zend;
use crate::worker::StopSignal;

type Sigaction =
    unsafe extern "C" fn(libc::c_int, *const libc::sigaction, *mut libc::sigaction) -> libc::c_int;

/// How many of them live: while there are any, a signal that came is still to be answered.
static INSTALLED: AtomicUsize = AtomicUsize::new(0);

/// Our handlers, for as long as this lives.
pub struct SignalHandlers {
    previous: Vec<(libc::c_int, libc::sigaction)>,
}

extern "C" fn on_signal(_signal: libc::c_int) {
    StopSignal::signal();
}

fn sigaction() -> Sigaction {
    match zend::symbol(c"zend_sigaction") {
        // SAFETY: the engine's function has libc's signature.
        Some(found) => unsafe { std::mem::transmute::<*mut libc::c_void, Sigaction>(found) },
        None => libc::sigaction,
    }
}

impl SignalHandlers {
    /// True while somebody has taken the signals: what came since is not to be forgotten.
    pub fn any_installed() -> bool {
        INSTALLED.load(Ordering::Relaxed) > 0
    }

    /// Takes SIGTERM and SIGINT where nobody has them.
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
            // SAFETY: restores what was there.
            unsafe { sigaction(*signal, std::ptr::from_ref(old), std::ptr::null_mut()) };
        }
    }
}

/// Holds SIGTERM and SIGQUIT back on this thread for as long as it lives.
pub struct BlockedSignals {
    previous: libc::sigset_t,
}

impl BlockedSignals {
    /// From now on.
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
        // SAFETY: restores what was there; what came meanwhile is delivered now.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.previous,
                std::ptr::null_mut(),
            )
        };
    }
}

/// Gives PHP's own signal handlers their call.
pub fn dispatch() {
    zend::serve_interrupt();
    // Without pcntl_async_signals() a handler waits until somebody asks; nobody could while we wait for Kafka.
    if let Ok(function) = ZendCallable::try_from_name("pcntl_signal_dispatch") {
        // What a handler throws stays pending and is seen by the caller.
        drop(function.try_call(vec![]));
    }
}
