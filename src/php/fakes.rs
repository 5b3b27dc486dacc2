//! What stands in for Kafka after `Realtime::fake()` or `swap()`: calls of a broker go to it with the same arguments.

use ext_php_rs::convert::IntoZvalDyn;
use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendHashTable, Zval};

use super::arguments::{finish, CallError};
use super::broker::Broker;
use super::{interfaces, state, zend};

/// What `Realtime::fake()` makes.
pub const FAKE: &str = "Toporia\\Realtime\\Testing\\RealtimeFake";

/// The publisher, where there is one and it is not at work itself.
pub fn publisher() -> Option<Zval> {
    state::is_swapped().then(state::fake_publisher).flatten()
}

/// The same, where it also plays the consumer, as the fake does. A real broker args to `swap()` takes what is published, and
/// brokers go on consuming for themselves.
pub fn consumer() -> Option<Zval> {
    publisher().filter(|object| {
        object.object().is_some_and(|object| {
            object.instance_of(interfaces::consumer()) && !object.is_instance::<Broker>()
        })
    })
}

/// The same, where it is the fake of the PHP layer, which knows what its callbacks have in hand.
pub fn fake() -> Option<Zval> {
    publisher().filter(is_fake)
}

/// Whether an object is that fake.
pub fn is_fake(object: &Zval) -> bool {
    object
        .object()
        .is_some_and(|object| object.get_class_name().is_ok_and(|name| name == FAKE))
}

/// An int for an argument.
pub fn int(value: i64) -> Zval {
    let mut zval = Zval::new();
    zval.set_long(value);
    zval
}

/// Calls `method` of the stand-in. What is missing is null, or no headers: they are the fourth argument wherever there are any.
pub fn call(object: &Zval, method: &str, args: &[Option<&Zval>]) -> PhpResult<Zval> {
    with_arguments(args, |arguments| {
        state::call_publisher(object, method, arguments)
    })
}

/// The same for a method that runs callbacks of the application: what they publish goes to the stand-in, too.
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
    let mut none = Zval::new();
    none.set_hashtable(ZendHashTable::new());
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
    finish(call(arguments).map(Some)).map(|result| result.unwrap_or_else(Zval::null))
}

/// Calls a method that is chained: the answer is `$this` of the broker, not of the stand-in.
pub fn chain(object: &Zval, method: &str, args: &[Option<&Zval>]) -> PhpResult<Zval> {
    call(object, method, args)?;
    Ok(zend::this())
}
