//! The beginnings and ends of requests and of the process, and what is flushed, spooled or reported at each.

use std::cell::RefCell;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Once;
use std::time::Duration;

use ext_php_rs::types::ZendCallable;
use ext_php_rs::zend::try_catch;

use super::broker::Broker;
use super::{debug_info, gc, logging, signals, signatures, state};
use crate::kafka::embedded;
use crate::log::Level;
use crate::{loop_guard, process};

thread_local! {
    /// Brokers with a consumer, to be closed at the end of the request even where a fatal error left their objects behind.
    static BROKERS: RefCell<Vec<*const Broker>> = const { RefCell::new(Vec::new()) };
}

/// A broker has a consumer now.
pub fn register_broker(broker: &Broker) {
    BROKERS.with(|brokers| {
        let mut brokers = brokers.borrow_mut();
        let pointer = std::ptr::from_ref(broker);
        if !brokers.contains(&pointer) {
            brokers.push(pointer);
        }
    });
}

/// A broker is gone.
pub fn unregister_broker(broker: &Broker) {
    BROKERS.with(|brokers| {
        brokers
            .borrow_mut()
            .retain(|known| *known != std::ptr::from_ref(broker));
    });
}

/// Hands waiting lines to the log of the host. Only on PHP's own thread.
pub fn deliver_log() {
    logging::deliver();
}

/// True for commands, false for what serves requests.
pub fn is_command_line() -> bool {
    matches!(
        ext_php_rs::zend::php_sapi_name().as_deref(),
        Some("cli" | "phpdbg" | "micro")
    )
}

/// The thread that started the module.
static FIRST_THREAD: AtomicUsize = AtomicUsize::new(0);

/// `pthread_self()`: unlike the system's number of a thread it is the same in a forked child.
// As wide as a pointer with glibc.
#[allow(clippy::cast_possible_truncation)]
fn this_thread() -> usize {
    // SAFETY: asks for the caller's own handle, an integer with glibc.
    unsafe { libc::pthread_self() as usize }
}

/// `MINIT`.
pub fn module_startup() {
    FIRST_THREAD.store(this_thread(), Ordering::Relaxed);
}

/// True where the end of this request is the end of the process: on the command line, but not in the threads that a ZTS build
/// may have there.
fn is_whole_process() -> bool {
    is_command_line() && this_thread() == FIRST_THREAD.load(Ordering::Relaxed)
}

fn php_version() -> Option<String> {
    let function = ZendCallable::try_from_name("phpversion").ok()?;
    function.try_call(vec![]).ok()?.string()
}

/// `RINIT`.
pub extern "C" fn request_startup(_kind: i32, _number: i32) -> i32 {
    static FIRST: Once = Once::new();
    // A panic must not cross into the engine.
    let _ = catch_unwind(|| {
        FIRST.call_once(|| {
            signatures::apply();
            gc::install();
            debug_info::install();
            if let Some(version) = php_version() {
                crate::metrics::set_host_version(&version);
            }
        });
    });
    0
}

/// `RSHUTDOWN`. On the command line the end of the request is the end of the process, except in a thread beside the first.
pub extern "C" fn request_shutdown(_kind: i32, _number: i32) -> i32 {
    let _ = catch_unwind(|| {
        logging::reset();
        loop_guard::clear();
        let brokers = BROKERS.with(|brokers| std::mem::take(&mut *brokers.borrow_mut()));
        for broker in brokers {
            // SAFETY: a broker takes itself off the list when it is dropped.
            unsafe { (*broker).leave() };
        }
        // First the port: nobody may ask for what is closed below.
        write_final_metrics();
        super::gateway::close_all();
        super::admin::close_all();
        if is_whole_process() {
            close_clients();
            process::current().metrics.finish();
            // Before the application's logger is forgotten. A fatal error in it must not leave this half done.
            drop(try_catch(logging::deliver_last));
            state::reset();
            embedded::stop_all();
        } else {
            flush_request();
            process::current()
                .metrics
                .request_ended(crate::clock::coarse_ms());
            drop(try_catch(logging::deliver));
        }
        state::reset();
        logging::deliver_rest(false);
    });
    0
}

/// Whoever watches this process learns of the end of the request, which on the command line is that of the process.
fn write_final_metrics() {
    let metrics = &process::current().metrics;
    if is_whole_process() {
        metrics.stop();
    }
    if !metrics.has_activity() || !metrics.is_export_due(crate::clock::coarse_ms()) {
        return;
    }
    match state::monitor_config() {
        Ok(config) => metrics.enable_textfile(&config),
        Err(error) => process::current().log.say(Level::Warning, error.message()),
    }
}

/// The response is on its way before anybody waits for Kafka.
fn flush_request() {
    let clients = process::current().producers.all();
    if clients.iter().all(|client| client.waiting() == 0) {
        return;
    }
    // A reload sends SIGTERM to the workers, whose default action would kill this one inside the flush: it waits until after it.
    let _handling = signals::BlockedSignals::block();
    for name in ["fastcgi_finish_request", "litespeed_finish_request"] {
        if let Ok(function) = ZendCallable::try_from_name(name) {
            drop(function.try_call(vec![]));
        }
    }
    for client in clients {
        client.end_request(Duration::from_millis(client.config().request_flush_ms));
    }
}

fn close_clients() {
    process::current().producers.close();
}

/// `MSHUTDOWN`: PHP-FPM recycles a worker, or the command line ends.
pub extern "C" fn module_shutdown(_kind: i32, _number: i32) -> i32 {
    let _ = catch_unwind(|| {
        close_clients();
        process::current().metrics.finish();
        logging::deliver_rest(true);
        embedded::stop_all();
    });
    0
}
