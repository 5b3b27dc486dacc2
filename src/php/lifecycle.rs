//! The beginnings and ends of requests and of the process, and what is flushed, spooled or reported at each.

use std::cell::RefCell;
use std::panic::catch_unwind;
use std::sync::Once;
use std::time::Duration;

use ext_php_rs::types::ZendCallable;

use super::broker::Broker;
use super::{debug, gc, signals, signatures, state, zend};
use crate::kafka::embedded;
use crate::log::Level;
use crate::{loop_guard, process};

thread_local! {
    /// Brokers with a consumer, to be closed at the end of the request even where a fatal error left their objects behind.
    static BROKERS: RefCell<Vec<*const Broker>> = const { RefCell::new(Vec::new()) };
}

/// A broker has a consumer now.
pub fn remember_broker(broker: &Broker) {
    BROKERS.with(|brokers| {
        let mut brokers = brokers.borrow_mut();
        let pointer = std::ptr::from_ref(broker);
        if !brokers.contains(&pointer) {
            brokers.push(pointer);
        }
    });
}

/// A broker is gone.
pub fn forget_broker(broker: &Broker) {
    BROKERS.with(|brokers| {
        brokers
            .borrow_mut()
            .retain(|known| *known != std::ptr::from_ref(broker));
    });
}

/// Hands waiting lines to PHP's error log. Only on PHP's own thread.
pub fn deliver_log() {
    let log = &process::current().log;
    if log.is_empty() {
        return;
    }
    for line in log.take() {
        // syslog's severities, as PHP's log expects them.
        let severity = match line.level {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Notice => 5,
            Level::Debug => continue,
        };
        zend::log(
            &format!("toporia_realtime.{}: {}", line.level.as_str(), line.text),
            severity,
        );
    }
}

fn is_command_line() -> bool {
    matches!(
        ext_php_rs::zend::php_sapi_name().as_deref(),
        Some("cli" | "phpdbg" | "micro")
    )
}

fn php_version() -> Option<String> {
    let function = ZendCallable::try_from_name("phpversion").ok()?;
    function.try_call(vec![]).ok()?.string()
}

/// `RINIT`.
pub extern "C" fn request_begins(_kind: i32, _number: i32) -> i32 {
    static FIRST: Once = Once::new();
    // A panic must not cross into the engine.
    let _ = catch_unwind(|| {
        FIRST.call_once(|| {
            signatures::apply();
            gc::install();
            debug::install();
            if let Some(version) = php_version() {
                crate::metrics::set_host(&version);
            }
        });
    });
    0
}

/// `RSHUTDOWN`. On the command line the end of the request is the end of the process.
pub extern "C" fn request_ends(_kind: i32, _number: i32) -> i32 {
    let _ = catch_unwind(|| {
        loop_guard::forget();
        let brokers = BROKERS.with(|brokers| std::mem::take(&mut *brokers.borrow_mut()));
        for broker in brokers {
            // SAFETY: a broker takes itself off the list when it is dropped.
            unsafe { (*broker).leave() };
        }
        // First the port: nobody may ask for what is closed below.
        watch_the_end();
        super::gateway::close_all();
        super::admin::close_all();
        if is_command_line() {
            close_clients();
            process::current().metrics.finish();
            state::forget();
            embedded::stop_all();
        } else {
            flush_request();
            process::current()
                .metrics
                .request_ended(crate::clock::coarse_ms());
        }
        state::forget();
        deliver_log();
    });
    0
}

/// Whoever watches this process learns of the end of the request, which on the command line is that of the process.
fn watch_the_end() {
    let metrics = &process::current().metrics;
    if is_command_line() {
        metrics.stop();
    }
    if !metrics.has_worked() {
        return;
    }
    match state::monitor_config() {
        Ok(config) => metrics.write_to(&config),
        Err(error) => process::current().log.say(Level::Warning, error.message()),
    }
}

/// The response is on its way before anybody waits for Kafka.
fn flush_request() {
    let clients = process::current().clients.all();
    if clients.iter().all(|client| client.waiting() == 0) {
        return;
    }
    // A reload sends SIGTERM to the workers, whose default action would kill this one inside the flush: it waits until after it.
    let _held = signals::Held::hold();
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
    process::current().clients.close();
}

/// `MSHUTDOWN`: PHP-FPM recycles a worker, or the command line ends.
pub extern "C" fn process_ends(_kind: i32, _number: i32) -> i32 {
    let _ = catch_unwind(|| {
        close_clients();
        process::current().metrics.finish();
        deliver_log();
        embedded::stop_all();
    });
    0
}
