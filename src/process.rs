//! What belongs to one operating-system process: its producer clients, counters and log, thrown away as a whole by `fork`.
//!
//! A forked child inherits memory but not threads, so nothing made before the fork may be used or destroyed after it: locks may
//! be held by threads that no longer exist, and librdkafka's own threads are gone. A counter raised by `pthread_atfork` tells
//! the generations apart (asking `getpid()` on every message cost 30 %); the inherited state is leaked on purpose.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::Once;
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::kafka::producer::pool::ProducerPool;
use crate::log::Log;
use crate::metrics::Registry;

static GENERATION: AtomicU32 = AtomicU32::new(1);
static CURRENT: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut());
static AT_FORK: Once = Once::new();

/// Counters that outlive any one client. All are totals since the process (or fork) began.
#[derive(Default)]
pub struct ProcessCounters {
    /// Messages handed to producers that are closed; a live one counts its own.
    pub produced: AtomicU64,
    /// Their keys and values, in bytes.
    pub produced_bytes: AtomicU64,
    /// Messages Kafka acknowledged.
    pub delivered: AtomicU64,
    /// Messages that failed for good (kept in the spool where there is one).
    pub failed: AtomicU64,
    /// Messages written to the spool.
    pub spooled: AtomicU64,
    /// Re-broadcasts of the record in hand that the loop guard dropped.
    pub loop_dropped: AtomicU64,
}

/// Everything of one process and fork generation.
pub struct Process {
    generation: u32,
    /// Producer clients by configuration.
    pub producers: ProducerPool,
    /// Lines waiting to be handed to the host's log.
    pub log: Log,
    /// Totals.
    pub counters: ProcessCounters,
    /// What can be asked about it.
    pub metrics: Registry,
}

extern "C" fn after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    crate::ids::reseed_after_fork();
    crate::metrics::after_fork_in_child();
}

/// The generation of this process: grows by one in each forked child.
#[inline]
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Installs the fork handler; idempotent. Called once, before any client exists.
pub fn install_fork_handler() {
    AT_FORK.call_once(|| {
        // SAFETY: the handler only touches an atomic, which is async-signal-safe.
        let status = unsafe { libc::pthread_atfork(None, None, Some(after_fork_in_child)) };
        // It fails only for want of memory, while the module starts; then forked children share a client that never answers.
        debug_assert_eq!(status, 0, "pthread_atfork failed");
    });
}

/// The state of this process, made on first use after start or fork.
#[inline]
pub fn current() -> &'static Process {
    let pointer = CURRENT.load(Ordering::Acquire);
    // SAFETY: a published Process is never freed.
    if let Some(process) = unsafe { pointer.as_ref() } {
        if process.generation == generation() {
            return process;
        }
    }
    create(pointer)
}

#[cold]
fn create(stale: *mut Process) -> &'static Process {
    install_fork_handler();
    let fresh = Box::into_raw(Box::new(Process {
        generation: generation(),
        producers: ProducerPool::default(),
        log: Log::default(),
        counters: ProcessCounters::default(),
        metrics: Registry::default(),
    }));
    let published = CURRENT.compare_exchange(stale, fresh, Ordering::AcqRel, Ordering::Acquire);
    if published.is_ok() {
        // SAFETY: just made by Box::into_raw and published for good.
        return unsafe { &*fresh };
    }
    // SAFETY: another thread was faster; nobody else has seen `fresh`.
    drop(unsafe { Box::from_raw(fresh) });
    current()
}

/// Starts a thread that takes no signals: they belong to the host's own thread, whose PHP handlers expect them.
///
/// # Errors
/// Connection: the system has no more threads.
pub fn spawn<F>(name: &str, run: F) -> Result<JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    let handle = without_signals(|| std::thread::Builder::new().name(name.to_owned()).spawn(run));
    handle.map_err(|error| {
        Error::connection(format!("No thread could be started for {name}: {error}."))
    })
}

/// Runs something that starts threads: they inherit a mask that holds every signal.
pub fn without_signals<R>(run: impl FnOnce() -> R) -> R {
    /// Gives the thread its mask back, also after a panic.
    struct Mask(libc::sigset_t);
    impl Drop for Mask {
        fn drop(&mut self) {
            // SAFETY: a plain signal-mask call on local memory.
            unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
            };
        }
    }
    // SAFETY: plain signal-mask calls on local memory.
    let _before = unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        Mask(before)
    };
    run()
}
