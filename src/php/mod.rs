//! The binding: registers the classes and converts between PHP and the core. The only place that knows PHP.
//!
//! ```text
//! realtime broker message embedded admin gateway metrics    one file (or folder) for each class
//! exceptions signatures                 the exception family; interfaces, and the types that Reflection shows
//! publish                               sending, for Broker and Realtime
//! consume handler received poll acknowledge retry shutdown stats    the rest of Broker
//! configuration state lifecycle fakes   settings, the state of one request, startup and shutdown, fake() and swap()
//! signals                               signal handlers while consuming
//! token                                 OAUTHBEARER tokens from PHP code
//! logging tracing                       where log lines are written; trace context into records and around callbacks
//! arguments callback json native object_handlers zend   the values and the engine of PHP
//! ```
#![allow(unsafe_code, missing_docs)]
// PHP's argument names are the Rust ones.
#![allow(non_snake_case)]

mod acknowledge;
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
mod lifecycle;
mod logging;
mod message;
mod metrics;
mod native;
mod object_handlers;
mod poll;
mod publish;
mod realtime;
mod received;
mod retry;
mod shutdown;
mod signal_timer;
mod signals;
mod signatures;
mod state;
mod stats;
mod token;
mod tracing;
mod zend;

use std::cell::RefCell;

use ext_php_rs::boxed::ZBox;
use ext_php_rs::class::RegisteredClass;
use ext_php_rs::convert::IntoZval;
use ext_php_rs::flags::IniEntryPermission;
use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendClassObject, ZendObject, ZendStr, Zval};
use ext_php_rs::zend::{IniEntryDef, IniEntryDefs, ModuleEntry};
use ext_php_rs::{info_table_end, info_table_row, info_table_start};

use crate::kafka::client;

/// INI defaults of an installation; the application's own configuration takes precedence.
static INI: IniEntryDefs<12> = IniEntryDefs::new([
    IniEntryDef::new(c"toporia_realtime.brokers", c"", IniEntryPermission::All),
    IniEntryDef::new(
        c"toporia_realtime.topic_prefix",
        c"",
        IniEntryPermission::All,
    ),
    IniEntryDef::new(
        c"toporia_realtime.consumer_group",
        c"",
        IniEntryPermission::All,
    ),
    IniEntryDef::new(c"toporia_realtime.spool", c"", IniEntryPermission::All),
    IniEntryDef::new(c"toporia_realtime.spool_when", c"", IniEntryPermission::All),
    IniEntryDef::new(
        c"toporia_realtime.request_flush_ms",
        c"",
        IniEntryPermission::All,
    ),
    IniEntryDef::new(
        c"toporia_realtime.shutdown_flush_ms",
        c"",
        IniEntryPermission::All,
    ),
    IniEntryDef::new(
        c"toporia_realtime.queue_full_ms",
        c"",
        IniEntryPermission::All,
    ),
    IniEntryDef::new(c"toporia_realtime.metrics", c"", IniEntryPermission::All),
    IniEntryDef::new(
        c"toporia_realtime.metrics_textfile",
        c"",
        IniEntryPermission::All,
    ),
    IniEntryDef::new(
        c"toporia_realtime.heartbeat_file",
        c"",
        IniEntryPermission::All,
    ),
    IniEntryDef::end(),
]);

/// A PHP string of any bytes.
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
    lifecycle::module_startup();
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
            let spool = config
                .spool
                .as_ref()
                .map_or_else(|| "none".to_owned(), |spool| spool.display().to_string());
            row("spool", &spool);
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
        .request_startup_function(lifecycle::request_startup)
        .request_shutdown_function(lifecycle::request_shutdown)
        .shutdown_function(lifecycle::module_shutdown)
        .info_function(info)
}
