//! The end of a process by a signal that nothing handles, or by `exit()` without the end of the PHP module: what is
//! queued is sent, spooled or logged first.
//!
//! The signal handler only posts a semaphore, which is async-signal-safe. A thread does the work, within the bounds of
//! [`EndOfProcess`], and then ends the process with the default action of the signal. Nothing is installed where the
//! host handles a signal itself.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU8, Ordering};
use std::sync::Once;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{current, generation, spawn};
use crate::log::Level;
use crate::runtime::clock;

// SAFETY: as the C library has them; async-signal-safe.
unsafe extern "C" {
    safe fn raise(signal: libc::c_int) -> libc::c_int;
    safe fn _exit(code: libc::c_int) -> !;
}

/// Signals whose default action ends a process, sent by hosts, init systems and terminals.
const SIGNALS: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

/// [`arm`] is due: at the first message, in a forked child, and while messages wait (the application may have restored
/// a default action).
const DUE: u8 = 0;
const ARMED: u8 = 1;
/// The thread is ending the process.
const ENDING: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(DUE);
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// Fork generation in which the thread runs; 0: none.
static THREAD_GENERATION: AtomicU32 = AtomicU32::new(0);
static HOST: Mutex<Option<EndOfProcess>> = Mutex::new(None);
/// The host ends the process itself: the signal only shortens its waits.
static HOST_IS_ENDING: AtomicBool = AtomicBool::new(false);
static SERVES_REQUESTS: AtomicBool = AtomicBool::new(false);

/// Posted by the signal handler. macOS cannot make one without a name: there the thread polls [`SIGNAL`].
#[cfg_attr(target_os = "macos", allow(dead_code))]
struct Semaphore(UnsafeCell<MaybeUninit<libc::sem_t>>);

// SAFETY: a semaphore is made for several threads; it is initialised before its thread starts.
unsafe impl Sync for Semaphore {}

static SEMAPHORE: Semaphore = Semaphore(UnsafeCell::new(MaybeUninit::uninit()));

#[cfg(not(target_os = "macos"))]
impl Semaphore {
    fn init(&self) {
        // SAFETY: no other thread of this process uses it yet.
        unsafe { libc::sem_init((*self.0.get()).as_mut_ptr(), 0, 0) };
    }

    fn post(&self) {
        // SAFETY: async-signal-safe; initialised before the handler was installed.
        unsafe { libc::sem_post((*self.0.get()).as_mut_ptr()) };
    }

    fn wait(&self) {
        // SAFETY: initialised before this thread was started.
        while unsafe { libc::sem_wait((*self.0.get()).as_mut_ptr()) } != 0 {}
    }
}

#[cfg(target_os = "macos")]
impl Semaphore {
    fn init(&self) {}

    fn post(&self) {}

    fn wait(&self) {
        while SIGNAL.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The clients that have messages to send.
#[derive(Clone, Copy)]
pub struct Clients {
    /// True if there are any.
    pub exist: fn() -> bool,
    /// Sends, spools or reports what is queued; since when, and for how long if no broker is reachable.
    pub drain: fn(Instant, Duration),
    pub close: fn(),
}

/// How this process ends.
#[derive(Clone, Copy)]
pub struct EndOfProcess {
    /// Longest wait for acknowledgements.
    pub bound: Duration,
    /// The same while no broker is known to be reachable.
    pub unreachable: Duration,
    pub clients: Clients,
    /// Writes the log lines that are pending. Called in a thread without PHP.
    pub write_log: fn(),
}

/// The process serves requests and may be killed between two of them, or left without the end of the PHP module.
pub fn set_serves_requests() {
    SERVES_REQUESTS.store(true, Ordering::Relaxed);
}

pub fn serves_requests() -> bool {
    SERVES_REQUESTS.load(Ordering::Relaxed)
}

/// True if [`arm`] is due or the process is ending; read before every message.
#[inline]
pub fn needs_attention() -> bool {
    STATE.load(Ordering::Relaxed) != ARMED
}

/// True if this process has sent messages.
pub fn was_armed() -> bool {
    THREAD_GENERATION.load(Ordering::Acquire) == generation()
}

/// Makes [`arm`] due, because messages are waiting.
pub fn check_again() {
    let _ = STATE.compare_exchange(ARMED, DUE, Ordering::Relaxed, Ordering::Relaxed);
}

pub(super) fn after_fork_in_child() {
    STATE.store(DUE, Ordering::Relaxed);
    // A signal may have arrived before this hook ran.
    let signal = SIGNAL.swap(0, Ordering::Relaxed);
    if signal != 0 {
        end_by(signal);
    }
}

/// The end of the host's request or module ends the process. A signal does not cut it short, except for its waits.
pub fn host_is_ending() {
    HOST_IS_ENDING.store(true, Ordering::Release);
}

/// Blocks the caller while a signal ends the process: a message sent now would not be seen any more.
pub fn wait_if_ending() {
    while STATE.load(Ordering::Relaxed) == ENDING {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Handles the signals for which `is_default` is true.
pub fn arm(host: EndOfProcess, is_default: impl Fn(libc::c_int) -> bool) {
    *HOST.lock() = Some(host);
    if !was_armed() {
        SEMAPHORE.init();
        if let Err(error) = spawn("rt-signals", wait_for_signal) {
            current().log.write_once(Level::Warning, error.message());
            return;
        }
        THREAD_GENERATION.store(generation(), Ordering::Release);
        at_exit();
    }
    for signal in SIGNALS {
        if is_default(signal) {
            // SAFETY: plain signal calls with local memory; the handler is async-signal-safe.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
                libc::sigfillset(&raw mut action.sa_mask);
                action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
                libc::sigaction(signal, &raw const action, std::ptr::null_mut());
            }
        }
    }
    let _ = STATE.compare_exchange(DUE, ARMED, Ordering::Relaxed, Ordering::Relaxed);
}

/// True for the action that [`arm`] installs.
pub fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == on_signal as extern "C" fn(libc::c_int) as usize
}

/// True if a signal to end is pending because this thread blocks it.
pub fn is_signal_pending() -> bool {
    // SAFETY: reads and writes local memory only.
    unsafe {
        let mut pending: libc::sigset_t = std::mem::zeroed();
        libc::sigpending(&raw mut pending) == 0
            && [libc::SIGTERM, libc::SIGQUIT]
                .iter()
                .any(|signal| libc::sigismember(&raw const pending, *signal) == 1)
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    if !was_armed() {
        end_by(signal);
        return;
    }
    SIGNAL.store(signal, Ordering::Relaxed);
    SEMAPHORE.post();
}

/// The default action of a signal, which takes effect when the handler returns. Ends a forked child that has sent
/// nothing. Async-signal-safe.
pub fn end_by(signal: libc::c_int) {
    restore_default(signal);
    raise(signal);
}

fn restore_default(signal: libc::c_int) {
    // SAFETY: local memory only; zeroed is SIG_DFL with an empty mask.
    unsafe {
        let action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

fn wait_for_signal() {
    SEMAPHORE.wait();
    let signal = SIGNAL.load(Ordering::Relaxed);
    STATE.store(ENDING, Ordering::Relaxed);
    finish();
    restore_default(signal);
    // SAFETY: plain signal calls with local memory. This thread blocks all signals but this one.
    unsafe {
        let mut one: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut one);
        libc::sigaddset(&raw mut one, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const one, std::ptr::null_mut());
    }
    raise(signal);
    // The kernel ignores default actions of process 1 of a container.
    _exit(128 + signal);
}

/// Sends, spools or logs what is queued.
fn finish() {
    let Some(host) = *HOST.lock() else {
        return;
    };
    let started = Instant::now();
    clock::begin_shutdown_within(host.bound);
    if !HOST_IS_ENDING.load(Ordering::Acquire) {
        (host.clients.drain)(started, host.unreachable);
        (host.write_log)();
    }
    if HOST_IS_ENDING.load(Ordering::Acquire) {
        // It has the same bound, and writes its log afterwards.
        let rest = (host.bound + host.bound / 4).saturating_sub(started.elapsed());
        std::thread::sleep(rest);
    }
}

/// Registers for `exit()`, for hosts that leave out the end of the PHP module. Otherwise no client is left then.
fn at_exit() {
    extern "C" fn end() {
        let host = *HOST.lock();
        let Some(host) = host.filter(|_| was_armed()) else {
            return;
        };
        host_is_ending();
        if (host.clients.exist)() {
            clock::begin_shutdown_within(host.bound);
            (host.clients.close)();
            (host.write_log)();
        }
    }
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the library is never unloaded.
        unsafe { libc::atexit(end) };
    });
}
