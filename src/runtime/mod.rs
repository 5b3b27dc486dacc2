//! The state of one operating-system process: [`PerProcess`] for any module; log and counters, which all modules use. A
//! forked child starts with a new state. And Fibers of PHP, as far as the core has to know them.
//!
//! A forked child inherits memory but not threads, so nothing created before the fork may be used or destroyed after
//! it: locks may be held by threads that no longer exist, and librdkafka's threads do not run. A counter incremented by
//! `pthread_atfork` identifies the generation (calling `getpid()` for every message cost 30 %); the inherited state is
//! leaked on purpose.
#![allow(unsafe_code)]

pub mod clock;
pub mod termination;

use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Once, OnceLock};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::log::{Level, Log};
use crate::topic::socket_channel::UndeliverableLog;

static GENERATION: AtomicU32 = AtomicU32::new(1);
static CURRENT: PerProcess<Process> = PerProcess::new();
static AT_FORK: Once = Once::new();

/// Counters that outlive a producer client. All are totals since the process (or fork) started.
#[derive(Default)]
pub struct ProcessCounters {
    /// Messages accepted by closed producers; open producers count their own.
    pub produced: AtomicU64,
    /// Bytes of the keys and values of those messages.
    pub produced_bytes: AtomicU64,
    /// Messages acknowledged by Kafka.
    pub delivered: AtomicU64,
    /// Messages that failed permanently (kept in the spool if one is configured).
    pub failed: AtomicU64,
    /// Messages written to the spool.
    pub spooled: AtomicU64,
    /// Re-broadcasts of the current record dropped by the loop guard.
    pub loop_dropped: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl ProcessCounters {
    /// The last error that Kafka or librdkafka reported to a producer client of this process.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    pub fn set_last_error(&self, reason: &str) {
        *self.last_error.lock() = Some(reason.to_owned());
    }
}

/// Log and counters of one process and fork generation.
#[derive(Default)]
pub struct Process {
    /// Log lines waiting to be written by the PHP thread.
    pub log: Log,
    pub counters: ProcessCounters,
    /// Warnings about sent events that no browser receives.
    pub undeliverable: UndeliverableLog,
}

extern "C" fn after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    crate::ids::reseed_after_fork();
    termination::after_fork_in_child();
}

/// The fork generation of this process: incremented in each forked child.
#[inline]
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Installs the fork handler; idempotent. Called once, before any client exists.
pub fn install_fork_handler() {
    AT_FORK.call_once(|| {
        // SAFETY: the handler only touches an atomic, which is async-signal-safe.
        let status = unsafe { libc::pthread_atfork(None, None, Some(after_fork_in_child)) };
        // Fails only out of memory while the module starts; forked children would then share a client whose threads do
        // not run.
        debug_assert_eq!(status, 0, "pthread_atfork failed");
    });
}

/// Logs a warning.
pub fn warn(text: impl Into<String>) {
    current().log.write(Level::Warning, text);
}

/// Logs an error.
pub fn error(text: impl Into<String>) {
    current().log.write(Level::Error, text);
}

/// The state of this process, created on first use after start or fork.
#[inline]
pub fn current() -> &'static Process {
    CURRENT.current()
}

/// A value for each process and fork generation, created on first use after start or fork and never freed.
pub struct PerProcess<T: 'static> {
    slot: AtomicPtr<Slot<T>>,
}

struct Slot<T> {
    generation: u32,
    value: T,
}

impl<T: Default + Send + Sync> PerProcess<T> {
    #[must_use]
    #[allow(clippy::new_without_default)] // for a static
    pub const fn new() -> Self {
        Self {
            slot: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// The value of this process.
    #[inline]
    pub fn current(&'static self) -> &'static T {
        let pointer = self.slot.load(Ordering::Acquire);
        // SAFETY: a published slot is never freed.
        if let Some(slot) = unsafe { pointer.as_ref() } {
            if slot.generation == generation() {
                return &slot.value;
            }
        }
        self.create(pointer)
    }

    #[cold]
    fn create(&'static self, stale: *mut Slot<T>) -> &'static T {
        install_fork_handler();
        let fresh = Box::into_raw(Box::new(Slot {
            generation: generation(),
            value: T::default(),
        }));
        let published =
            self.slot
                .compare_exchange(stale, fresh, Ordering::AcqRel, Ordering::Acquire);
        if published.is_ok() {
            // SAFETY: created by Box::into_raw above; a published slot is never freed.
            return unsafe { &(*fresh).value };
        }
        // SAFETY: another thread published its value first; no other thread has seen `fresh`.
        drop(unsafe { Box::from_raw(fresh) });
        self.current()
    }
}

/// Starts a thread that blocks all signals: they are delivered to the PHP thread, where PHP's handlers run.
///
/// # Errors
/// Connection: the system could not create a thread.
pub fn spawn<F>(name: &str, run: F) -> Result<JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    let handle = without_signals(|| std::thread::Builder::new().name(name.to_owned()).spawn(run));
    handle.map_err(|error| {
        Error::connection(format!(
            "Cannot start the thread {name}: {error}. Check the limits on threads (ulimit -u) \
            and memory."
        ))
    })
}

/// Runs `run` with all signals blocked; threads started by it inherit the mask.
pub fn without_signals<R>(run: impl FnOnce() -> R) -> R {
    let _blocked = BlockedSignals::block(&[]);
    run()
}

/// Blocks signals on this thread until it is dropped, also after a panic; those that arrived are delivered then.
pub struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    /// Blocks these signals, without any given all signals.
    #[must_use]
    pub fn block(signals: &[libc::c_int]) -> Self {
        // SAFETY: changes local memory and the mask of this thread.
        unsafe {
            let mut set = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            if signals.is_empty() {
                libc::sigfillset(&raw mut set);
            } else {
                libc::sigemptyset(&raw mut set);
            }
            for signal in signals {
                libc::sigaddset(&raw mut set, *signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before);
            Self(before)
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: reads local memory only.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
    }
}

/// The host's Fibers.
pub struct Fibers {
    /// The Fiber that is running; 0 outside of Fibers.
    pub current: fn() -> usize,
    /// True while a Fiber that was [`Fibers::current`] and has not ended is suspended.
    pub is_suspended: fn(usize) -> bool,
}

static FIBERS: OnceLock<Fibers> = OnceLock::new();

/// Called once; without it there are no Fibers.
pub fn install_fibers(fibers: Fibers) {
    let _ = FIBERS.set(fibers);
}

/// The Fiber that is running; 0 outside of Fibers.
#[inline]
pub fn current_fiber() -> usize {
    FIBERS.get().map_or(0, |host| (host.current)())
}

/// True while this Fiber is suspended. May run code of the host.
#[inline]
pub fn is_fiber_suspended(fiber: usize) -> bool {
    fiber != 0 && FIBERS.get().is_some_and(|host| (host.is_suspended)(fiber))
}
