//! The replacement for Kafka after `Realtime::fake()` or `swap()`: a broker's calls are forwarded to it with the same
//! arguments.

use std::cell::Cell;

use ext_php_rs::convert::IntoZvalDyn;
use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendHashTable, Zval};

use super::arguments::{finish, CallError};
use super::broker::Broker;
use super::{signatures, state, zend};

/// The class of `Realtime::fake()`.
pub const FAKE: &str = "Toporia\\Realtime\\Testing\\RealtimeFake";

thread_local! {
    static IN_PUBLISHER: Cell<bool> = const { Cell::new(false) };
}

/// At the end of a request: a fatal error may have jumped out of the replacement.
pub fn reset() {
    IN_PUBLISHER.set(false);
}

/// The replacement publisher. `None` while it is running itself, as it may publish through a broker.
pub fn publisher() -> Option<Zval> {
    if IN_PUBLISHER.get() {
        return None;
    }
    state::publisher()
}

/// The replacement, if it is a consumer too, as the fake is. With a real broker given to `swap()`, messages are
/// published through it, and brokers still consume for themselves.
pub fn consumer() -> Option<Zval> {
    publisher().filter(|object| {
        object.object().is_some_and(|object| {
            object.instance_of(signatures::consumer()) && !object.is_instance::<Broker>()
        })
    })
}

/// The replacement, if it is the fake of the PHP layer, which knows the messages of its running callbacks.
pub fn fake() -> Option<Zval> {
    publisher().filter(is_fake)
}

pub fn is_fake(object: &Zval) -> bool {
    object
        .object()
        .is_some_and(|object| object.get_class_name().is_ok_and(|name| name == FAKE))
}

/// Calls a method of the publisher.
///
/// # Errors
/// An exception is pending.
pub fn call_directly(
    publisher: &Zval,
    method: &str,
    arguments: Vec<&dyn IntoZvalDyn>,
) -> Result<Zval, CallError> {
    let outer = IN_PUBLISHER.replace(true);
    let result = publisher.try_call_method(method, arguments);
    IN_PUBLISHER.set(outer);
    if zend::has_exception() {
        return Err(CallError::Pending);
    }
    Ok(result.unwrap_or_else(|_| Zval::null()))
}

/// Calls `method` of the replacement. Missing arguments are null; the fourth is always an array of headers, so it
/// becomes an empty array.
pub fn call(object: &Zval, method: &str, args: &[Option<&Zval>]) -> PhpResult<Zval> {
    with_arguments(args, |arguments| call_directly(object, method, arguments))
}

/// The same for a method that runs the application's callbacks: messages they publish go to the replacement too.
pub fn run(object: &Zval, method: &str, args: &[Option<&Zval>]) -> PhpResult<Zval> {
    with_arguments(args, |arguments| {
        let result = object.try_call_method(method, arguments);
        if zend::has_exception() {
            return Err(CallError::Pending);
        }
        Ok(result.unwrap_or_else(|_| Zval::null()))
    })
}

fn with_arguments(
    args: &[Option<&Zval>],
    call: impl FnOnce(Vec<&dyn IntoZvalDyn>) -> Result<Zval, CallError>,
) -> PhpResult<Zval> {
    let none = super::array(ZendHashTable::new());
    let null = Zval::null();
    let arguments = args
        .iter()
        .enumerate()
        .map(|(place, value)| match value {
            Some(value) => *value as &dyn IntoZvalDyn,
            None if place == 3 => &none,
            None => &null,
        })
        .collect();
    finish(call(arguments))
}

/// Calls a fluent method: returns `$this` of the broker, not of the replacement.
pub fn chain(object: &Zval, method: &str, args: &[Option<&Zval>]) -> PhpResult<Zval> {
    call(object, method, args)?;
    Ok(zend::this())
}
