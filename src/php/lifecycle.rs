//! Startup and shutdown of requests and of the process, and the messages that are flushed, spooled or reported there.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Once;
use std::time::Duration;

use ext_php_rs::types::ZendCallable;
use ext_php_rs::zend::try_catch;

use super::{
    broker, fakes, logging, native, object_handlers, signals, signatures, state, token, zend,
};
use crate::kafka::producer::pool::PRODUCERS;
use crate::kafka::{embedded, transaction};
use crate::log::Level;
use crate::monitoring::MONITORING;
use crate::runtime::fiber::Fibers;
use crate::runtime::{self, termination, BlockedSignals};
use crate::{loop_guard, runtime::fiber};

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
    if !zend::is_command_line() {
        termination::set_serves_requests();
    }
    FIRST_THREAD.store(this_thread(), Ordering::Relaxed);
    token::install();
}

/// True if the end of this request is the end of the process: on the command line, but not in the additional threads of
/// a ZTS build.
fn is_whole_process() -> bool {
    zend::is_command_line() && this_thread() == FIRST_THREAD.load(Ordering::Relaxed)
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
            object_handlers::install();
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
        broker::leave_all();
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
                .request_ended(crate::runtime::clock::coarse_ms());
            drop(try_catch(logging::deliver));
        }
        state::reset();
        fakes::reset();
        token::request_shutdown();
        logging::deliver_rest(false);
        logging::set_response_finished(false);
    });
    0
}

/// Writes metrics and heartbeat once more at the end of the request, which on the command line ends the process.
fn write_final_metrics() {
    let monitoring = MONITORING.current();
    if is_whole_process() {
        monitoring.stop();
    }
    if !crate::metrics::has_activity()
        || !monitoring.is_export_due(crate::runtime::clock::coarse_ms())
    {
        return;
    }
    match state::monitor_config() {
        Ok(config) => monitoring.enable_textfile(&config),
        Err(error) => runtime::current()
            .log
            .write(Level::Warning, error.message()),
    }
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
    let _handling = BlockedSignals::block(&[libc::SIGTERM, libc::SIGQUIT]);
    for client in &clients {
        if client.is_known_unreachable() && client.waiting() > 0 {
            client.secure_queue();
        }
    }
    drop(try_catch(logging::deliver));
    for name in ["fastcgi_finish_request", "litespeed_finish_request"] {
        if let Ok(function) = ZendCallable::try_from_name(name) {
            logging::set_response_finished(function.try_call(vec![]).is_ok());
        }
    }
    for client in clients {
        client.end_request(Duration::from_millis(client.config().request_flush_ms));
    }
}

fn close_clients() {
    PRODUCERS.current().close();
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
