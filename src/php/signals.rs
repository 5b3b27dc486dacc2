//! Signals while consuming: the current record is finished first.
//!
//! Where the host has no handler, a stop signal ends `consume()`. The host's own handlers run between records: a signal
//! that arrives while a record is handled is passed on afterwards, or after [`MAX_DEFERRAL`] if the record takes
//! longer. A handler that exits, such as that of a Symfony Console application, therefore never interrupts a callback.
//!
//! Zend keeps its own table of handlers, so ours are installed through `zend_sigaction` where PHP is built with it.

use std::cell::{Cell, UnsafeCell};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use ext_php_rs::ffi;
use ext_php_rs::types::{ZendCallable, Zval};
use once_cell::sync::Lazy;

use super::signal_timer::SignalTimer;
use super::{logging, shutdown, zend};
use crate::kafka::producer::pool::PRODUCERS;
use crate::runtime;
use crate::runtime::clock;
use crate::runtime::termination::{self, Clients, EndOfProcess};
use crate::worker::{defer_signal, deferred_signals, holds_signals, take_deferred_signal};

/// `zend_sigaction` returns nothing, and `sigaction` succeeds for a valid signal.
type Sigaction = unsafe extern "C" fn(libc::c_int, *const libc::sigaction, *mut libc::sigaction);
type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
type PlainHandler = extern "C" fn(libc::c_int);

/// The longest time that a host's handler waits for the current record.
const MAX_DEFERRAL: Duration = Duration::from_secs(30);

/// What is done with a signal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Ends `consume()` where the host has no handler; the host's handler is deferred.
    Stop,
    /// The host's handler is deferred.
    Deferred,
    /// The host's handler runs immediately, as a callback may wait for the signal.
    Immediate,
}

/// A signal that is watched while consuming.
struct Watched {
    signal: libc::c_int,
    kind: Kind,
    /// The host's handler and its flags.
    handler: AtomicUsize,
    flags: AtomicI32,
    /// For [`MAX_DEFERRAL`].
    timer: SignalTimer,
}

impl Watched {
    const fn new(signal: libc::c_int, kind: Kind) -> Self {
        Self {
            signal,
            kind,
            handler: AtomicUsize::new(libc::SIG_DFL),
            flags: AtomicI32::new(0),
            timer: SignalTimer::new(signal),
        }
    }
}

static WATCHED: [Watched; 7] = [
    Watched::new(libc::SIGTERM, Kind::Stop),
    Watched::new(libc::SIGINT, Kind::Stop),
    Watched::new(libc::SIGQUIT, Kind::Stop),
    // The stop signal of PHP's Apache images.
    Watched::new(libc::SIGWINCH, Kind::Stop),
    Watched::new(libc::SIGHUP, Kind::Deferred),
    Watched::new(libc::SIGUSR1, Kind::Immediate),
    Watched::new(libc::SIGUSR2, Kind::Immediate),
];

/// Number of live [`SignalHandlers`]. While it is above 0, a signal received earlier still has to be acted on.
static INSTALLED: AtomicUsize = AtomicUsize::new(0);
/// The process that installed them: a child inherits handlers, but no timers.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// The native `pcntl_signal()`.
static PCNTL_SIGNAL: AtomicUsize = AtomicUsize::new(0);
/// The native `pcntl_exec()`.
static PCNTL_EXEC: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Of each deferred signal the first one.
    static INFO: UnsafeCell<[libc::siginfo_t; WATCHED.len()]> =
        // SAFETY: plain data.
        const { UnsafeCell::new(unsafe { std::mem::zeroed() }) };
    static DELIVERED: Cell<Delivered> = const { Cell::new(Delivered { any: 0, stop: 0 }) };
}

/// How many signals the host's handlers have received while a callback was running.
#[derive(Clone, Copy)]
pub struct Delivered {
    any: u32,
    stop: u32,
}

impl Delivered {
    pub fn now() -> Self {
        DELIVERED.get()
    }

    /// True if one was received since then: an `exit` is that of the handler.
    pub fn any_since(self) -> bool {
        DELIVERED.get().any != self.any
    }

    /// True if a stop signal was received since then: an exception is about the end of the process.
    pub fn stop_since(self) -> bool {
        DELIVERED.get().stop != self.stop
    }
}

unsafe extern "C" fn plain_sigaction(
    signal: libc::c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) {
    libc::sigaction(signal, new, old);
}

fn sigaction() -> Sigaction {
    static FOUND: Lazy<Sigaction> = Lazy::new(|| match zend::symbol(c"zend_sigaction") {
        // SAFETY: `zend_sigaction` has libc's signature.
        Some(found) => unsafe { std::mem::transmute::<*mut libc::c_void, Sigaction>(found) },
        None => plain_sigaction,
    });
    *FOUND
}

fn our_handler() -> usize {
    on_signal as Handler as usize
}

#[cfg(not(target_os = "macos"))]
use libc::__errno_location as errno_location;
#[cfg(target_os = "macos")]
use libc::__error as errno_location;

/// Async-signal-safe.
extern "C" fn on_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the thread's own errno, which the interrupted code may be about to read.
    unsafe {
        let errno = errno_location();
        let before = *errno;
        receive(signal, info, context);
        *errno = before;
    }
}

fn receive(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(place) = WATCHED.iter().position(|watched| watched.signal == signal) else {
        return;
    };
    let (watched, bit) = (&WATCHED[place], 1 << place);
    let is_ours = GENERATION.load(Ordering::Relaxed) == runtime::generation();
    if watched.handler.load(Ordering::Relaxed) == libc::SIG_DFL {
        if !is_ours {
            // A child that was forked in a callback.
            termination::end_by(signal);
        } else if signal != libc::SIGWINCH || is_sent(info) {
            crate::runtime::clock::signal_stop();
        }
        return;
    }
    if watched.timer.is_sender(info) {
        if take_deferred_signal(bit) {
            INFO.with(|all| pass_on(watched, saved(all, place), context));
        }
        return;
    }
    if is_ours && watched.kind != Kind::Immediate && holds_signals() {
        if defer_signal(bit) && !info.is_null() {
            // SAFETY: the kernel's information, copied into memory that only this thread reads while the signal is
            // blocked.
            INFO.with(|all| unsafe { saved(all, place).write(info.read()) });
            watched.timer.set(MAX_DEFERRAL);
        }
        return;
    }
    pass_on(watched, info, context);
}

fn saved(all: &UnsafeCell<[libc::siginfo_t; WATCHED.len()]>, place: usize) -> *mut libc::siginfo_t {
    // SAFETY: `place` is within the array.
    unsafe { all.get().cast::<libc::siginfo_t>().add(place) }
}

/// Calls the host's handler. PHP's own only notes the signal, for the handler in PHP.
fn pass_on(watched: &Watched, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if holds_signals() {
        let before = DELIVERED.get();
        DELIVERED.set(Delivered {
            any: before.any.wrapping_add(1),
            stop: before
                .stop
                .wrapping_add(u32::from(watched.kind == Kind::Stop)),
        });
    }
    let handler = watched.handler.load(Ordering::Relaxed);
    // SAFETY: a handler that was installed for this signal, with the arguments that its flags ask for.
    unsafe {
        if watched.flags.load(Ordering::Relaxed) & libc::SA_SIGINFO == 0 {
            std::mem::transmute::<usize, PlainHandler>(handler)(watched.signal);
        } else {
            std::mem::transmute::<usize, Handler>(handler)(watched.signal, info, context);
        }
    }
}

/// True if a process has sent the signal: SIGWINCH is usually sent by the kernel, when a terminal is resized.
fn is_sent(info: *const libc::siginfo_t) -> bool {
    // SAFETY: null or the kernel's information.
    unsafe { info.as_ref() }.is_some_and(|info| info.si_code <= 0)
}

/// True for the process that a container stops: PID 1, or the child of an init process.
fn is_stopped_by_container() -> bool {
    std::process::id() == 1 || std::os::unix::process::parent_id() == 1
}

/// Puts our handler before every handler that the host has set since the last call.
fn take_over() {
    let sigaction = sigaction();
    for watched in &WATCHED {
        // SAFETY: plain signal calls with local memory.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            sigaction(watched.signal, std::ptr::null(), &raw mut old);
            if termination::is_ours(&old) {
                old.sa_sigaction = libc::SIG_DFL;
            }
            if old.sa_sigaction == our_handler() || old.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            let mut new = old;
            if old.sa_sigaction == libc::SIG_DFL {
                if watched.kind != Kind::Stop
                    || watched.signal == libc::SIGWINCH && !is_stopped_by_container()
                {
                    continue;
                }
                libc::sigemptyset(&raw mut new.sa_mask);
                new.sa_flags = libc::SA_RESTART;
            } else if watched.kind != Kind::Immediate {
                watched.timer.create();
            }
            watched.handler.store(old.sa_sigaction, Ordering::Relaxed);
            watched.flags.store(old.sa_flags, Ordering::Relaxed);
            new.sa_sigaction = our_handler();
            new.sa_flags |= libc::SA_SIGINFO;
            sigaction(watched.signal, &raw const new, null_mut());
        }
    }
}

/// Restores the host's handlers.
fn give_back() {
    let sigaction = sigaction();
    for watched in &WATCHED {
        // SAFETY: plain signal calls with local memory.
        unsafe {
            let mut current: libc::sigaction = std::mem::zeroed();
            sigaction(watched.signal, std::ptr::null(), &raw mut current);
            if current.sa_sigaction == our_handler() {
                current.sa_sigaction = watched.handler.load(Ordering::Relaxed);
                current.sa_flags = watched.flags.load(Ordering::Relaxed);
                sigaction(watched.signal, &raw const current, null_mut());
            }
        }
        watched.timer.delete();
    }
}

/// Calls the host's handlers of deferred signals; PHP's run at the next [`dispatch`]. False without one.
#[inline]
pub fn deliver_deferred() -> bool {
    deferred_signals() != 0 && deliver_all_deferred()
}

#[cold]
fn deliver_all_deferred() -> bool {
    runtime::without_signals(|| {
        for (place, watched) in WATCHED.iter().enumerate() {
            if take_deferred_signal(1 << place) {
                watched.timer.set(Duration::ZERO);
                INFO.with(|all| pass_on(watched, saved(all, place), null_mut()));
            }
        }
    });
    true
}

/// Handlers that the host sets while consuming, as a console application that a callback runs does, are deferred too.
pub fn watch_pcntl() {
    replace("pcntl_signal", pcntl_signal, &PCNTL_SIGNAL);
}

unsafe extern "C" fn pcntl_signal(call: *mut ffi::zend_execute_data, result: *mut Zval) {
    call_native(&PCNTL_SIGNAL, call, result);
    if SignalHandlers::any_installed() {
        take_over();
    }
}

/// Another program takes the place of this process, whose threads and memory end without a shutdown.
unsafe extern "C" fn pcntl_exec(call: *mut ffi::zend_execute_data, result: *mut Zval) {
    shutdown::flush_before_exec();
    call_native(&PCNTL_EXEC, call, result);
}

fn replace(name: &str, ours: zend::NativeFunction, native: &AtomicUsize) {
    if let Some(previous) = zend::replace_function(name, ours) {
        if previous as usize != ours as usize {
            native.store(previous as usize, Ordering::Relaxed);
        }
    }
}

/// Calls the native function that one of ours has replaced.
fn call_native(native: &AtomicUsize, call: *mut ffi::zend_execute_data, result: *mut Zval) {
    let native = native.load(Ordering::Relaxed);
    // SAFETY: stored before ours could be called; the engine's own arguments.
    unsafe { std::mem::transmute::<usize, zend::NativeFunction>(native)(call, result) };
}

/// Installed handlers; dropping the last ones restores the host's.
pub struct SignalHandlers(());

impl SignalHandlers {
    /// True while handlers are installed: a signal received since then must not be discarded.
    pub fn any_installed() -> bool {
        INSTALLED.load(Ordering::Relaxed) > 0
    }

    pub fn install() -> Self {
        if GENERATION.swap(runtime::generation(), Ordering::Relaxed) != runtime::generation() {
            for (place, watched) in WATCHED.iter().enumerate() {
                watched.timer.forget();
                take_deferred_signal(1 << place);
            }
        }
        watch_pcntl();
        take_over();
        INSTALLED.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for SignalHandlers {
    fn drop(&mut self) {
        if !holds_signals() {
            deliver_deferred();
        }
        if INSTALLED.fetch_sub(1, Ordering::Relaxed) == 1 {
            give_back();
        }
        renew();
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

/// At the start of a request: Zend has restored the actions that the process had before its first request.
pub fn renew() {
    if termination::was_armed() {
        arm();
    }
}

/// Prepares the process for a signal that nothing handles, see [`termination`], and for `pcntl_exec()`.
#[cold]
pub fn prepare_end() {
    termination::wait_if_ending();
    replace("pcntl_exec", pcntl_exec, &PCNTL_EXEC);
    arm();
}

fn arm() {
    // PHP-FPM sends SIGKILL one second after the SIGTERM of a reload, and the disk must be written by then.
    let (bound, unreachable) = if zend::is_command_line() {
        (clock::SHUTDOWN_GRACE, Duration::from_secs(2))
    } else {
        (Duration::from_millis(300), Duration::from_millis(200))
    };
    logging::remember_target();
    let host = EndOfProcess {
        bound,
        unreachable,
        clients: Clients {
            exist: || PRODUCERS.current().count() > 0,
            drain: |since, unreachable| PRODUCERS.current().drain(since, unreachable),
            close: || PRODUCERS.current().close(),
        },
        write_log: logging::write_without_php,
    };
    termination::arm(host, has_default_action);
}

/// True if neither the host nor PHP code handles the signal. Zend installs a handler of its own for most signals, which
/// applies the action in Zend's table.
fn has_default_action(signal: libc::c_int) -> bool {
    // SAFETY: plain signal calls and look-ups with local memory.
    unsafe {
        let mut kernel: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut kernel);
        if kernel.sa_sigaction == libc::SIG_DFL {
            return true;
        }
        if !is_handler_of_zend(kernel.sa_sigaction) {
            return false;
        }
        let mut old: libc::sigaction = std::mem::zeroed();
        sigaction()(signal, std::ptr::null(), &raw mut old);
        old.sa_sigaction == libc::SIG_DFL
    }
}

/// Zend's handler is not exported: it is in the same program or library as `zend_sigaction`.
fn is_handler_of_zend(handler: usize) -> bool {
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    if KNOWN.load(Ordering::Relaxed) == handler {
        return true;
    }
    let Some(zend) = zend::symbol(c"zend_sigaction") else {
        return false;
    };
    // SAFETY: plain look-ups of addresses.
    let found = unsafe { object_of(handler as *const libc::c_void) == object_of(zend) };
    if found {
        KNOWN.store(handler, Ordering::Relaxed);
    }
    found
}

/// The program or library that contains the address.
unsafe fn object_of(address: *const libc::c_void) -> *mut libc::c_void {
    let mut info: libc::Dl_info = std::mem::zeroed();
    libc::dladdr(address, &raw mut info);
    info.dli_fbase
}
