//! Trace context in record headers and around callbacks. The PHP layer creates it (`php/Tracing`); this module decides
//! when to call it, and costs nothing where tracing is off.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ext_php_rs::types::{ZendHashTable, Zval};
use ext_php_rs::zend::ClassEntry;

use super::arguments::CallError;
use super::callback::Callback;
use super::configuration::PhpEnvironment;
use super::{arguments, binary, exceptions, zend};
use crate::config::Environment as _;
use crate::envelope::headers;
use crate::error::{Error, Result};
use crate::message::Header;
use crate::message::ProducerRecord;
use crate::runtime;

/// The class of the PHP layer that creates spans.
const TRACING: &str = "Toporia\\Realtime\\Tracing\\Tracing";
/// A class that is loaded wherever OpenTelemetry is set up, in lower case as the engine stores class names.
const OPEN_TELEMETRY: &str = "opentelemetry\\api\\globals";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// On as soon as OpenTelemetry is loaded.
    Auto,
    Off,
    /// The application has configured a tracer, which is not created yet.
    Configured,
    On,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Auto) };
    /// Number of loaded classes when OpenTelemetry was last looked for.
    static CLASSES_SEEN: Cell<u32> = const { Cell::new(0) };
    /// The tracer is running: messages it sends itself are not traced.
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
    static HOOK: RefCell<Option<Rc<Hook>>> = const { RefCell::new(None) };
}

/// The methods of `Toporia\Realtime\Tracing\Hook`.
struct Hook {
    sending: Callback,
    sent: Callback,
    handling: Callback,
    handled: Callback,
}

impl Hook {
    fn of(object: &Zval) -> Option<Self> {
        let method = |name: &str| {
            let mut pair = ZendHashTable::new();
            pair.push(object.shallow_clone()).ok()?;
            pair.push(name).ok()?;
            let callable = super::array(pair);
            Callback::new(&callable)
        };
        Some(Self {
            sending: method("sending")?,
            sent: method("sent")?,
            handling: method("handling")?,
            handled: method("handled")?,
        })
    }
}

/// Calls the PHP layer. It does not throw by design; an exception that escapes anyway is logged and must not reach the
/// application.
fn call_hook(callback: &Callback, arguments: &mut [Zval]) -> Option<Zval> {
    let outer = IN_HOOK.replace(true);
    let result = callback.call_for_result(arguments);
    IN_HOOK.set(outer);
    if result.is_none() && !zend::is_exiting() {
        if let Some(why) = zend::pending_object() {
            zend::clear_exception();
            let text = format!(
                "Tracing failed; the message is processed without it: {}: {}",
                zend::class_of(&why),
                zend::message_of(&why)
            );
            runtime::warn(text);
        }
    }
    result
}

/// Applies the value of `tracing` from the application's configuration.
///
/// # Errors
/// Configuration: the PHP layer refuses the value, or is not installed.
pub fn configure(setting: Option<&Zval>) -> std::result::Result<(), CallError> {
    reset();
    let setting = setting.map(Zval::dereference);
    let word = setting
        .and_then(Zval::str)
        .map(|text| text.trim().to_ascii_lowercase());
    let unset = setting.is_none_or(Zval::is_null) || matches!(word.as_deref(), Some("" | "auto"));
    let off = setting.is_some_and(Zval::is_false) || word.as_deref().is_some_and(is_off);
    let simple = unset || off;
    let class = if simple {
        // Only passed on where it is in use: an application that does not trace loads no class for it.
        zend::loaded_class(&TRACING.to_ascii_lowercase())
            .then(|| ClassEntry::try_find(TRACING))
            .flatten()
    } else {
        Some(ClassEntry::try_find(TRACING).ok_or_else(|| {
            Error::configuration(
                "realtime.tracing needs the PHP layer: composer require toporia/realtime (or require \
                php/autoload.php of this package).",
            )
        })?)
    };
    if class.is_some() {
        let value = match setting {
            Some(setting) if !unset && !off => setting.shallow_clone(),
            _ if off => super::boolean(false),
            _ => Zval::null(),
        };
        if call_static("use", vec![&value]).is_none() {
            return Err(CallError::Pending);
        }
    }
    MODE.set(match (off, simple) {
        (true, _) => Mode::Off,
        (_, true) => Mode::Auto,
        _ => Mode::Configured,
    });
    Ok(())
}

fn call_static(
    method: &str,
    arguments: Vec<&dyn ext_php_rs::convert::IntoZvalDyn>,
) -> Option<Zval> {
    let callable =
        ext_php_rs::types::ZendCallable::try_from_name(&format!("{TRACING}::{method}")).ok()?;
    let result = callable.try_call(arguments);
    if zend::has_exception() {
        return None;
    }
    result.ok()
}

/// Clears all state at the end of the request or on another configuration.
pub fn reset() {
    MODE.set(Mode::Auto);
    CLASSES_SEEN.set(0);
    IN_HOOK.set(false);
    let old = HOOK.with(RefCell::take);
    drop(old);
}

/// True if messages are traced. Costs two comparisons if they are not.
#[inline]
pub fn is_on() -> bool {
    match MODE.get() {
        Mode::Off => false,
        Mode::On => !IN_HOOK.get(),
        Mode::Configured => start(),
        Mode::Auto => {
            let classes = zend::class_count();
            classes != CLASSES_SEEN.get() && detect(classes)
        }
    }
}

/// Looks for OpenTelemetry after more classes were loaded.
#[cold]
fn detect(classes: u32) -> bool {
    CLASSES_SEEN.set(classes);
    if !zend::loaded_class(OPEN_TELEMETRY) {
        return false;
    }
    if PhpEnvironment
        .var("REALTIME_TRACING")
        .is_some_and(|word| is_off(&word))
    {
        MODE.set(Mode::Off);
        return false;
    }
    start()
}

#[cold]
fn start() -> bool {
    if IN_HOOK.get() || zend::has_exception() {
        return false;
    }
    // Off while the PHP layer creates the tracer: messages sent by its autoloaders are not traced.
    MODE.set(Mode::Off);
    let found = ClassEntry::try_find(TRACING).is_some();
    let hook = if found {
        call_static("hook", vec![])
    } else {
        None
    };
    if !found || zend::has_exception() {
        let why = zend::pending_object().filter(|_| !zend::is_exiting());
        if why.is_some() {
            zend::clear_exception();
        }
        let why = why.map_or_else(
            || "the PHP layer is not installed (composer require toporia/realtime)".to_owned(),
            |why| zend::message_of(&why),
        );
        runtime::current().log.write_once(
            crate::log::Level::Warning,
            &format!("Messages are not traced: {why}."),
        );
        return false;
    }
    let hook = hook
        .as_ref()
        .filter(|hook| hook.is_object())
        .and_then(Hook::of);
    let is_on = hook.is_some();
    HOOK.with(|slot| *slot.borrow_mut() = hook.map(Rc::new));
    if is_on {
        MODE.set(Mode::On);
    }
    is_on
}

fn hook() -> Option<Rc<Hook>> {
    HOOK.with(|hook| hook.borrow().clone())
}

fn is_trace_header(name: &str) -> bool {
    matches!(
        name,
        headers::TRACE_PARENT | headers::TRACE_STATE | headers::BAGGAGE
    )
}

/// True if a list of headers contains trace context.
pub fn has_context(list: &[Header]) -> bool {
    list.iter().any(|(name, _)| is_trace_header(name))
}

fn text(value: Option<&[u8]>) -> Zval {
    value.map_or_else(Zval::null, binary)
}

/// Sends with the headers of the current trace. `is_forwarded`: the message came from Kafka with headers of its own,
/// which are kept only where there are no newer ones.
///
/// # Errors
/// The error of `send`; tracing adds none.
pub fn send_traced(
    message: &ProducerRecord<'_>,
    is_forwarded: bool,
    send: impl FnOnce(&ProducerRecord<'_>) -> Result<()>,
) -> Result<()> {
    let Some(hook) = hook() else {
        return send(message);
    };
    let mut own = ZendHashTable::new();
    for (name, value) in message
        .headers
        .iter()
        .filter(|(name, _)| is_trace_header(name) && !is_forwarded)
    {
        // The names are fixed text; Kafka refuses an invalid value itself.
        drop(own.insert(name.as_str(), text(value.as_deref())));
    }
    let own_headers = super::array(own);
    let number = |number: Option<i64>| number.map_or_else(Zval::null, super::int);
    let size = message
        .value
        .and_then(|value| i64::try_from(value.len()).ok());
    let result = call_hook(
        &hook.sending,
        &mut [
            binary(message.topic.as_bytes()),
            number(message.partition.map(i64::from)),
            binary(message.id.as_bytes()),
            text(message.key),
            number(size),
            own_headers,
        ],
    );
    let Some(result) = result else {
        return send(message);
    };
    let mut list = message.headers.to_vec();
    add(&mut list, &result, is_forwarded);
    let outcome = send(&ProducerRecord {
        id: message.id,
        topic: message.topic,
        partition: message.partition,
        key: message.key,
        value: message.value,
        headers: &list,
        timestamp_ms: message.timestamp_ms,
    });
    let (class, reason) = match &outcome {
        Ok(()) => (Zval::null(), Zval::null()),
        Err(error) => (
            binary(exceptions::class_of(error).as_bytes()),
            binary(error.message().as_bytes()),
        ),
    };
    if !zend::has_exception() {
        call_hook(&hook.sent, &mut [class, reason]);
    }
    outcome
}

/// Adds the tracer's headers; a header that is set already is kept.
fn add(list: &mut Vec<Header>, result: &Zval, is_forwarded: bool) {
    let Some(table) = result.array() else {
        return;
    };
    let starts_new_trace = is_forwarded && table.get(headers::TRACE_PARENT).is_some();
    if starts_new_trace {
        list.retain(|(name, _)| !is_trace_header(name));
    }
    let before = list.len();
    for (name, value) in arguments::entries(table) {
        let Some(name) = name.text() else {
            continue;
        };
        let taken = list[..before].iter().any(|(own, _)| *own == name);
        if let (false, false, Some(value)) = (taken, headers::is_ours(&name), value.zend_str()) {
            list.push((name, Some(value.as_bytes().to_vec())));
        }
    }
}

/// Calls a callback inside the trace of its records: `messages` is a Message, or a list of them.
pub fn in_trace(messages: &Zval, group: &str, call: impl FnOnce() -> bool) -> bool {
    let Some(hook) = hook() else {
        return call();
    };
    let started = call_hook(
        &hook.handling,
        &mut [messages.shallow_clone(), binary(group.as_bytes())],
    );
    if started.is_none() && zend::has_exception() {
        return false;
    }
    let handled = call();
    if started.is_none() || zend::is_exiting() {
        return handled;
    }
    let why = if handled {
        None
    } else {
        zend::pending_object()
    };
    if why.is_some() {
        zend::clear_exception();
    }
    let cause = why.as_ref().map_or_else(Zval::null, super::retry::cause);
    call_hook(&hook.handled, &mut [cause]);
    if let Some(why) = why.filter(|_| !zend::has_exception()) {
        zend::throw(why);
    }
    handled
}

/// The values of `REALTIME_TRACING` that turn it off.
pub fn is_off(word: &str) -> bool {
    matches!(
        word.trim().to_ascii_lowercase().as_str(),
        "off" | "false" | "no" | "0"
    )
}
