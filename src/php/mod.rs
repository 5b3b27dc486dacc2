//! The binding: registers the classes and converts between PHP and the core. The only place that knows PHP.
//!
//! ```text
//! realtime broker message embedded admin gateway metrics    one file (or folder) for each class
//! exceptions signatures                 the exception family; interfaces, and the types that Reflection shows
//! publish                               sending, for Broker and Realtime
//! consume handler poll retry shutdown    the rest of Broker
//! configuration state fakes             settings, the state of one request, fake() and swap()
//! signals                               signal handlers while consuming
//! token                                 OAUTHBEARER tokens from PHP code
//! logging tracing                       where log lines are written; trace context into records and around callbacks
//! arguments callback json native zend   the values and the engine of PHP
//! ```
#![allow(unsafe_code, missing_docs)]
// PHP's argument names are the Rust ones.
#![allow(non_snake_case)]

mod admin;
mod arguments;
mod broker;
mod callback;
mod configuration;
mod consume;
mod embedded;
mod exceptions;
mod fakes;
mod gateway;
mod handler;
pub mod json;
mod logging;
mod message;
mod metrics;
mod native;
mod poll;
mod publish;
mod realtime;
mod retry;
mod shutdown;
mod signal_timer;
mod signals;
mod signatures;
mod state;
mod token;
mod tracing;
mod zend;

use std::cell::RefCell;
use std::ffi::CStr;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Once;
use std::time::Duration;

use ext_php_rs::boxed::ZBox;
use ext_php_rs::class::RegisteredClass;
use ext_php_rs::convert::IntoZval;
use ext_php_rs::flags::IniEntryPermission;
use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendCallable, ZendClassObject, ZendHashTable, ZendObject, ZendStr, Zval};
use ext_php_rs::zend::{try_catch, IniEntryDef, IniEntryDefs, ModuleEntry};
use ext_php_rs::{info_table_end, info_table_row, info_table_start};

use crate::kafka::producer::pool::PRODUCERS;
use crate::kafka::{self, client, transaction};
use crate::loop_guard;
use crate::monitoring::MONITORING;
use crate::runtime::{self, termination, BlockedSignals, Fibers};

/// INI defaults of an installation; the application's own configuration takes precedence.
static INI: IniEntryDefs<12> = IniEntryDefs::new([
    setting(c"toporia_realtime.brokers"),
    setting(c"toporia_realtime.topic_prefix"),
    setting(c"toporia_realtime.consumer_group"),
    setting(c"toporia_realtime.spool"),
    setting(c"toporia_realtime.spool_when"),
    setting(c"toporia_realtime.request_flush_ms"),
    setting(c"toporia_realtime.shutdown_flush_ms"),
    setting(c"toporia_realtime.queue_full_ms"),
    setting(c"toporia_realtime.metrics"),
    setting(c"toporia_realtime.metrics_textfile"),
    setting(c"toporia_realtime.heartbeat_file"),
    IniEntryDef::end(),
]);

const fn setting(name: &'static CStr) -> IniEntryDef {
    IniEntryDef::new(name, c"", IniEntryPermission::All)
}

/// A PHP string of any bytes.
#[inline]
fn binary(bytes: &[u8]) -> Zval {
    let mut value = Zval::new();
    value.set_zend_string(ZendStr::new(bytes, false));
    value
}

fn int(value: i64) -> Zval {
    let mut zval = Zval::new();
    zval.set_long(value);
    zval
}

fn boolean(value: bool) -> Zval {
    let mut zval = Zval::new();
    zval.set_bool(value);
    zval
}

fn array(table: ZBox<ZendHashTable>) -> Zval {
    let mut zval = Zval::new();
    zval.set_hashtable(table);
    zval
}

/// A new object of one of our classes.
fn object<T: RegisteredClass>(value: T) -> Zval {
    ZendClassObject::new(value)
        .into_zval(false)
        .unwrap_or_else(|_| Zval::null())
}

/// Wraps an object in a zval, which takes over its reference.
fn object_to_zval(object: ZBox<ZendObject>) -> Zval {
    object.into_zval(false).unwrap_or_else(|_| Zval::null())
}

/// Objects that are closed at the end of the request, also those that a fatal error left behind.
struct OpenObjects<T>(RefCell<Vec<*const T>>);

impl<T> OpenObjects<T> {
    const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    fn add(&self, object: &T) {
        let mut open = self.0.borrow_mut();
        let object = std::ptr::from_ref(object);
        if !open.contains(&object) {
            open.push(object);
        }
    }

    /// An object calls it at the latest when it is dropped.
    fn remove(&self, object: &T) {
        let object = std::ptr::from_ref(object);
        self.0.borrow_mut().retain(|known| *known != object);
    }

    fn close(&self, close: impl Fn(&T)) {
        for object in self.0.take() {
            // SAFETY: an object that is dropped removes itself.
            close(unsafe { &*object });
        }
    }
}

extern "C" fn startup(_kind: i32, number: i32) -> i32 {
    IniEntryDef::register(INI.as_slice(), number);
    crate::runtime::install_fork_handler();
    module_startup();
    match exceptions::register()
        .and_then(|()| {
            signatures::register_interfaces(broker::Broker::method_builders, broker::METHODS)
        })
        .and_then(|()| retry::register())
    {
        Ok(()) => 0,
        Err(error) => {
            zend::log(&format!("toporia_realtime cannot start: {error}"), 3);
            -1
        }
    }
}

extern "C" {
    fn display_ini_entries(module: *mut ModuleEntry);
}

unsafe extern "C" fn info(module: *mut ModuleEntry) {
    let config = state::broker_config(None, None);
    let row = |name: &str, value: &str| {
        info_table_row!(name.to_owned(), value.replace('\0', ""));
    };
    info_table_start!();
    row("toporia_realtime", env!("CARGO_PKG_VERSION"));
    row("librdkafka", &client::version());
    row("librdkafka features", &client::features());
    match config {
        Ok(config) => {
            row("brokers", &config.brokers);
            row("topic prefix", config.topics.prefix());
            row("topic strategy", config.topics.strategy().as_str());
            row("consumer group", &config.consumer_group);
            row("produce", if config.sync { "sync" } else { "async" });
            row("acks", &format!("{:?}", config.acks).to_lowercase());
            row("idempotent", if config.idempotent { "yes" } else { "no" });
            let spool = config.spool.as_ref();
            row(
                "spool",
                &spool.map_or("none".into(), |spool| spool.to_string_lossy()),
            );
            row(
                "spool when",
                if config.spool_always {
                    "always"
                } else {
                    "undelivered"
                },
            );
            row("request flush", &format!("{} ms", config.request_flush_ms));
            row(
                "shutdown flush",
                &format!("{} ms", config.shutdown_flush_ms),
            );
            row("queue full", &format!("{} ms", config.queue_full_ms));
        }
        Err(error) => row("configuration", error.message()),
    }
    info_table_end!();
    display_ini_entries(module);
}

#[php_module]
#[php(startup = "startup")]
pub fn get_module(module: ModuleBuilder) -> ModuleBuilder {
    module
        .class::<message::Message>()
        .class::<broker::Broker>()
        .class::<realtime::Realtime>()
        .class::<embedded::EmbeddedBroker>()
        .class::<admin::Admin>()
        .class::<gateway::Gateway>()
        .class::<metrics::Metrics>()
        .request_startup_function(request_startup)
        .request_shutdown_function(request_shutdown)
        .shutdown_function(module_shutdown)
        .info_function(info)
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

fn module_startup() {
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

extern "C" fn request_startup(_kind: i32, _number: i32) -> i32 {
    static FIRST: Once = Once::new();
    // A panic must not cross into the engine.
    let _ = catch_unwind(|| {
        FIRST.call_once(|| {
            signatures::apply();
            native::install();
            signals::watch_pcntl();
            runtime::install_fibers(Fibers {
                current: zend::active_fiber,
                is_suspended: zend::is_fiber_suspended,
            });
            crate::monitoring::install();
            let version = php_version().unwrap_or_default();
            crate::metrics::set_versions(&version, &client::version());
        });
        signals::renew();
        token::request_startup();
    });
    0
}

/// `RSHUTDOWN`. On the command line the end of the request is the end of the process, except in additional threads.
extern "C" fn request_shutdown(_kind: i32, _number: i32) -> i32 {
    let _ = catch_unwind(|| {
        // A client may wait for a token. A fatal error in its callable must not leave the rest undone.
        drop(try_catch(token::serve));
        logging::reset();
        loop_guard::clear();
        transaction::clear();
        broker::leave_all();
        // First the port: a scrape must not read clients that are closed below.
        write_final_metrics();
        gateway::close_all();
        admin::close_all();
        if is_whole_process() {
            termination::host_is_ending();
            PRODUCERS.current().close();
            MONITORING.current().finish();
            // Before the application's logger is dropped. A fatal error in it must not leave the rest undone.
            drop(try_catch(logging::deliver_last));
            state::reset();
            kafka::embedded::stop_all();
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
        Err(error) => runtime::warn(error.message()),
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

/// `MSHUTDOWN`: PHP-FPM recycles a worker, or the command line ends.
extern "C" fn module_shutdown(_kind: i32, _number: i32) -> i32 {
    let _ = catch_unwind(|| {
        termination::host_is_ending();
        PRODUCERS.current().close();
        MONITORING.current().finish();
        logging::deliver_rest(true);
        kafka::embedded::stop_all();
    });
    0
}
