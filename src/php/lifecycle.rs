//! Startup and shutdown of requests and of the process, and the messages that are flushed, spooled or reported there.

use std::cell::{Cell, RefCell};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Once;
use std::time::{Duration, Instant};

use ext_php_rs::types::ZendCallable;
use ext_php_rs::zend::try_catch;

use super::broker::Broker;
use super::{debug_info, gc, logging, native, signals, signatures, state, token, zend};
use crate::fiber::Fibers;
use crate::kafka::producer::pool::PRODUCERS;
use crate::kafka::{embedded, transaction};
use crate::log::Level;
use crate::monitoring::MONITORING;
use crate::process::termination;
use crate::{clock, fiber, loop_guard, process};

thread_local! {
    /// Brokers with a consumer. They are closed at the end of the request even if a fatal error left their objects
    /// behind.
    static BROKERS: RefCell<Vec<*const Broker>> = const { RefCell::new(Vec::new()) };
}

pub fn register_broker(broker: &Broker) {
    BROKERS.with(|brokers| {
        let mut brokers = brokers.borrow_mut();
        let pointer = std::ptr::from_ref(broker);
        if !brokers.contains(&pointer) {
            brokers.push(pointer);
        }
    });
}

pub fn unregister_broker(broker: &Broker) {
    BROKERS.with(|brokers| {
        brokers
            .borrow_mut()
            .retain(|known| *known != std::ptr::from_ref(broker));
    });
}

/// Writes pending log lines to the host's log. Only on PHP's own thread.
pub fn deliver_log() {
    logging::deliver();
}

/// True for the command line, false for SAPIs that serve requests.
pub fn is_command_line() -> bool {
    matches!(
        ext_php_rs::zend::php_sapi_name().as_deref(),
        Some("cli" | "phpdbg" | "micro")
    )
}

/// The thread that started the module.
static FIRST_THREAD: AtomicUsize = AtomicUsize::new(0);

/// `pthread_self()`: unlike the kernel's thread id it is the same in a forked child.
// An integer as wide as a pointer with glibc, a pointer with musl.
#[allow(clippy::cast_possible_truncation)]
fn this_thread() -> usize {
    // SAFETY: returns the calling thread's own handle.
    unsafe { libc::pthread_self() as usize }
}

pub fn module_startup() {
    if !is_command_line() {
        termination::set_serves_requests();
    }
    FIRST_THREAD.store(this_thread(), Ordering::Relaxed);
    token::install();
}

/// True if the end of this request is the end of the process: on the command line, but not in the additional threads of
/// a ZTS build.
fn is_whole_process() -> bool {
    is_command_line() && this_thread() == FIRST_THREAD.load(Ordering::Relaxed)
}

fn php_version() -> Option<String> {
    let function = ZendCallable::try_from_name("phpversion").ok()?;
    function.try_call(vec![]).ok()?.string()
}

pub extern "C" fn request_startup(_kind: i32, _number: i32) -> i32 {
    static FIRST: Once = Once::new();
    // A panic must not cross into the engine.
    let _ = catch_unwind(|| {
        FIRST.call_once(|| {
            signatures::apply();
            gc::install();
            debug_info::install();
            native::install();
            signals::watch_pcntl();
            fiber::install(Fibers {
                current: zend::active_fiber,
                is_suspended: zend::is_fiber_suspended,
            });
            crate::monitoring::install();
            let version = php_version().unwrap_or_default();
            crate::metrics::set_versions(&version, &crate::kafka::client::version());
        });
        signals::renew();
        token::request_startup();
    });
    0
}

/// `RSHUTDOWN`. On the command line the end of the request is the end of the process, except in additional threads.
pub extern "C" fn request_shutdown(_kind: i32, _number: i32) -> i32 {
    let _ = catch_unwind(|| {
        // A client may wait for a token. A fatal error in its callable must not leave the rest undone.
        drop(try_catch(token::serve));
        logging::reset();
        loop_guard::clear();
        transaction::clear();
        let brokers = BROKERS.with(|brokers| std::mem::take(&mut *brokers.borrow_mut()));
        for broker in brokers {
            // SAFETY: a broker unregisters itself when it is dropped.
            unsafe { (*broker).leave() };
        }
        // First the port: a scrape must not read clients that are closed below.
        write_final_metrics();
        super::gateway::close_all();
        super::admin::close_all();
        if is_whole_process() {
            termination::host_is_ending();
            close_clients();
            MONITORING.current().finish();
            // Before the application's logger is dropped. A fatal error in it must not leave the rest undone.
            drop(try_catch(logging::deliver_last));
            state::reset();
            embedded::stop_all();
        } else {
            flush_request();
            MONITORING
                .current()
                .request_ended(crate::clock::coarse_ms());
            drop(try_catch(logging::deliver));
        }
        state::reset();
        token::request_shutdown();
        logging::deliver_rest(false);
        RESPONSE_FINISHED.set(false);
    });
    0
}

/// Writes metrics and heartbeat once more at the end of the request, which on the command line ends the process.
fn write_final_metrics() {
    let monitoring = MONITORING.current();
    if is_whole_process() {
        monitoring.stop();
    }
    if !crate::metrics::has_activity() || !monitoring.is_export_due(crate::clock::coarse_ms()) {
        return;
    }
    match state::monitor_config() {
        Ok(config) => monitoring.enable_textfile(&config),
        Err(error) => process::current()
            .log
            .write(Level::Warning, error.message()),
    }
}

thread_local! {
    static RESPONSE_FINISHED: Cell<bool> = const { Cell::new(false) };
}

/// True at the end of a request whose response has been sent.
pub fn is_response_finished() -> bool {
    RESPONSE_FINISHED.get()
}

/// Sends the response to the client before waiting for Kafka. While Kafka is known to be unreachable, the messages are
/// secured before that: PHP-FPM may kill the process immediately afterwards.
fn flush_request() {
    let clients = PRODUCERS.current().all();
    if clients.iter().all(|client| client.waiting() == 0) {
        return;
    }
    // A reload sends SIGTERM to the workers, whose default action would kill this one during the flush: it is blocked
    // until then, and ends the flush.
    let _handling = BlockedSignals::block();
    for client in &clients {
        if client.is_known_unreachable() && client.waiting() > 0 {
            client.secure_queue();
        }
    }
    drop(try_catch(logging::deliver));
    for name in ["fastcgi_finish_request", "litespeed_finish_request"] {
        if let Ok(function) = ZendCallable::try_from_name(name) {
            RESPONSE_FINISHED.set(function.try_call(vec![]).is_ok());
        }
    }
    for client in clients {
        client.end_request(Duration::from_millis(client.config().request_flush_ms));
    }
}

fn close_clients() {
    PRODUCERS.current().close();
}

/// Sends, spools or logs what is queued, as at the end of the process. The clients stay open: `pcntl_exec()` may fail.
pub fn flush_before_exec() {
    let clients = PRODUCERS.current().all();
    let waiting = clients.iter().filter(|client| client.waiting() > 0);
    let Some(bound) = waiting
        .map(|client| client.config().shutdown_flush_ms)
        .max()
    else {
        return;
    };
    clock::begin_shutdown_within(Duration::from_millis(bound));
    PRODUCERS
        .current()
        .drain(Instant::now(), Duration::from_secs(2));
    clock::cancel_shutdown();
    deliver_log();
}

/// `MSHUTDOWN`: PHP-FPM recycles a worker, or the command line ends.
pub extern "C" fn module_shutdown(_kind: i32, _number: i32) -> i32 {
    let _ = catch_unwind(|| {
        termination::host_is_ending();
        close_clients();
        MONITORING.current().finish();
        logging::deliver_rest(true);
        embedded::stop_all();
    });
    0
}

// Blocks SIGTERM and SIGQUIT while a request is flushed.

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
