//! State of one request: the array given to `configure()`, the configurations resolved from it, and a fake publisher.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use ext_php_rs::types::Zval;

use super::configuration::PhpEnvironment;
use super::{logging, token, tracing};
use crate::config::{self, BrokerConfig, Layers, Value};
use crate::error::Result;
use crate::log::Level;
use crate::publish::{LastBroadcast, Sender};
use crate::runtime;

#[derive(Default)]
struct Request {
    configured: Option<Value>,
    /// Number of `configure()` calls in this request.
    epoch: u64,
    brokers: Vec<(Option<String>, Arc<BrokerConfig>)>,
    last: Option<Box<LastBroadcast>>,
    publisher: Option<Zval>,
    /// The results of `Realtime::broker()`, by the name in the configuration.
    objects: Vec<(String, Zval)>,
}

thread_local! {
    /// Never dropped, which would cost a check with every broadcast: it is empty between requests.
    static REQUEST: ManuallyDrop<RefCell<Request>> = const {
        ManuallyDrop::new(RefCell::new(Request {
            configured: None,
            epoch: 0,
            brokers: Vec::new(),
            last: None,
            publisher: None,
            objects: Vec::new(),
        }))
    };
}

/// Sets the configuration of this request, after checking all that does not depend on the broker that will be used.
///
/// # Errors
/// Configuration.
pub fn configure(value: Value, logger: Option<&Zval>) -> Result<()> {
    config::application_config(Some(&value), &PhpEnvironment)?;
    logging::configure(&value, logger)?;
    let old = REQUEST.with(|request| {
        let mut request = request.borrow_mut();
        request.configured = Some(value);
        request.epoch += 1;
        request.brokers.clear();
        let last = request.last.take();
        (last, std::mem::take(&mut request.objects))
    });
    // Dropped outside the borrow: destroying a Broker runs PHP code.
    drop(old);
    Ok(())
}

fn layers<'a>(constructor: Option<&'a Value>, configured: Option<&'a Value>) -> Layers<'a> {
    Layers {
        constructor,
        configured,
        env: &PhpEnvironment,
    }
}

/// The configuration of a broker: `name` of `configure()`'s array, or the default one.
///
/// # Errors
/// Configuration.
pub fn broker_config(name: Option<&str>, constructor: Option<&Value>) -> Result<Arc<BrokerConfig>> {
    if constructor.is_none() {
        let known = REQUEST.with(|request| {
            let request = request.borrow();
            let mut brokers = request.brokers.iter();
            brokers
                .find(|(known, _)| known.as_deref() == name)
                .map(|(_, config)| Arc::clone(config))
        });
        if let Some(config) = known {
            return Ok(config);
        }
    }
    let configured = REQUEST.with(|request| request.borrow().configured.clone());
    let layers = layers(constructor, configured.as_ref());
    let config = Arc::new(BrokerConfig::resolve(name, &layers)?);
    token::remember(&config);
    let log = &runtime::current().log;
    for array in [constructor, configured.as_ref()].into_iter().flatten() {
        for secret in config::secrets_in(array) {
            log.add_secret(&secret);
        }
    }
    for warning in &config.warnings {
        log.write_once(Level::Warning, warning);
    }
    for note in &config.debug_notes {
        log.write_once(Level::Debug, note);
    }
    if constructor.is_none() {
        REQUEST.with(|request| {
            request
                .borrow_mut()
                .brokers
                .push((name.map(str::to_owned), Arc::clone(&config)));
        });
    }
    Ok(config)
}

/// The gateway's settings: `constructor` over `configure()`'s array over the environment.
///
/// # Errors
/// Configuration.
pub fn gateway_config(constructor: Option<&Value>) -> Result<config::GatewayConfig> {
    let configured = REQUEST.with(|request| request.borrow().configured.clone());
    config::GatewayConfig::resolve(&layers(constructor, configured.as_ref()))
}

/// The monitoring settings of this process.
///
/// # Errors
/// Configuration.
pub fn monitor_config() -> Result<config::MonitorConfig> {
    let configured = REQUEST.with(|request| request.borrow().configured.clone());
    config::MonitorConfig::resolve(&layers(None, configured.as_ref()))
}

/// What a broadcast begins with.
pub struct Begun {
    /// Taken out of the state of the request: counting references per message would cost as much as a third of the
    /// encoding. Application code that runs during the call (`jsonSerialize()`) finds none and makes its own.
    pub last: Option<Box<LastBroadcast>>,
    /// A publisher of `fake()` or `swap()` replaces Kafka.
    pub is_swapped: bool,
    epoch: u64,
}

/// The last broadcast with the client that messages are to be sent with now.
///
/// # Errors
/// Configuration.
pub fn current_broadcast(last: Option<Box<LastBroadcast>>) -> Result<Box<LastBroadcast>> {
    match last {
        Some(last) if !last.sender.producer.needs_replacement() => Ok(last),
        _ => {
            let sender = Sender::shared(broker_config(None, None)?)?;
            Ok(Box::new(LastBroadcast::new(sender)))
        }
    }
}

#[inline]
pub fn begin_broadcast() -> Begun {
    REQUEST.with(|request| {
        let mut request = request.borrow_mut();
        Begun {
            last: request.last.take(),
            is_swapped: request.publisher.is_some(),
            epoch: request.epoch,
        }
    })
}

/// What the broadcast used is kept for the next one, unless `configure()` was called in the meantime.
#[inline]
pub fn end_broadcast(mut begun: Begun) {
    REQUEST.with(|request| {
        let mut request = request.borrow_mut();
        if request.epoch == begun.epoch && begun.last.is_some() {
            std::mem::swap(&mut request.last, &mut begun.last);
        }
    });
    if begun.last.is_some() {
        drop(begun);
    }
}

/// The publisher of `fake()` or `swap()`.
pub fn publisher() -> Option<Zval> {
    REQUEST.with(|request| request.borrow().publisher.as_ref().map(Zval::shallow_clone))
}

/// True if [`publisher`] would return one; cheap.
#[inline]
pub fn is_swapped() -> bool {
    REQUEST.with(|request| request.borrow().publisher.is_some())
}

/// Replaces the publisher; `None` restores Kafka.
pub fn swap(publisher: Option<Zval>) {
    let old =
        REQUEST.with(|request| std::mem::replace(&mut request.borrow_mut().publisher, publisher));
    drop(old);
}

/// The object of `Realtime::broker()`, the same on each call.
pub fn broker_object(name: &str) -> Option<Zval> {
    REQUEST.with(|request| {
        let request = request.borrow();
        let found = request.objects.iter().find(|(known, _)| known == name);
        found.map(|(_, object)| object.shallow_clone())
    })
}

/// Keeps the object of `Realtime::broker()`.
pub fn keep_broker_object(name: &str, object: &Zval) {
    REQUEST.with(|request| {
        let entry = (name.to_owned(), object.shallow_clone());
        request.borrow_mut().objects.push(entry);
    });
}

/// Clears all state at the end of the request.
pub fn reset() {
    tracing::reset();
    logging::forget();
    let old = REQUEST.with(|request| std::mem::take(&mut *request.borrow_mut()));
    drop(old);
}
