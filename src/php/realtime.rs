//! `Toporia\Realtime\Realtime`: the static API for controllers, configuration and fakes.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ext_php_rs::convert::IntoZval;
use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendHashTable, Zval};
use ext_php_rs::zend::{ce, ClassEntry};

use super::arguments::{self, finish, CallError};
use super::broker::Broker;
use super::message::{encode_data, Message};
use super::state::Begun;
use super::{
    binary, configuration, fakes, json, logging, publish, signatures, state, tracing, zend,
};
use crate::envelope::headers;
use crate::error::Error;
use crate::kafka::producer::pool::kind_name;
use crate::kafka::producer::pool::PRODUCERS;
use crate::message::Header;
use crate::message::Message as Inner;
use crate::publish::{EventOptions, Route, Sender};
use crate::runtime;

/// The API for controllers: broadcasts events to browsers and other services.
#[php_class]
#[php(name = "Toporia\\Realtime\\Realtime")]
#[php(flags = ext_php_rs::flags::ClassFlags::Final)]
pub struct Realtime;

const CHANNEL: &str = "Realtime::broadcast(): Argument #1 ($channel)";

fn channels(channel: &Zval) -> Result<Vec<Cow<'_, str>>, CallError> {
    let channel = channel.dereference();
    let Some(list) = channel.array() else {
        if channel.is_null() {
            return Err(arguments::type_error(CHANNEL, "string|array", channel).into());
        }
        return Ok(vec![arguments::channel(channel, CHANNEL)?]);
    };
    if list.is_empty() {
        return Err(
            Error::channel("Realtime::broadcast() was given an empty list of channels.").into(),
        );
    }
    arguments::entries(list)
        .iter()
        .map(|(key, one)| {
            let place = format!("Realtime::broadcast(): entry {key} of $channel");
            Ok(Cow::Owned(arguments::channel(one, &place)?.into_owned()))
        })
        .collect()
}

fn headers(headers: Option<&Zval>, except: Option<&Zval>) -> Result<Vec<Header>, CallError> {
    let mut list =
        arguments::record_headers(headers, "Realtime::broadcast(): Argument #5 ($headers)")?;
    list.retain(|(name, _)| name != headers::SOCKET);
    publish::except_header(
        except,
        "Realtime::broadcast(): Argument #6 ($except)",
        &mut list,
    )?;
    Ok(list)
}

/// The last broadcast, where channel and event are the same and its client can be used again.
#[inline]
fn same_route<'a>(
    begun: &'a mut Begun,
    channel: &Zval,
    event: &Zval,
) -> Option<(&'a Sender, &'a mut Route, &'a mut Vec<u8>)> {
    let (channel, event) = (channel.dereference(), event.dereference());
    let last = begun.last.as_deref_mut().filter(|_| !begun.is_swapped)?;
    last.again(channel.zend_str()?.as_bytes(), event.zend_str()?.as_bytes())
}

pub(super) fn broadcast(
    channel: &Zval,
    event: &Zval,
    data: Option<&Zval>,
    key: Option<&Zval>,
    record_headers: Option<&Zval>,
    except: Option<&Zval>,
) -> Result<Zval, CallError> {
    let mut begun = state::begin_broadcast();
    let has_more = key.is_some() || record_headers.is_some() || except.is_some();
    let result = match same_route(&mut begun, channel, event) {
        Some(known) if !has_more => {
            publish::broadcast_again(known, data, None, Vec::new()).map(|id| binary(id.as_bytes()))
        }
        _ => broadcast_checked(
            &mut begun,
            channel,
            event,
            data,
            key,
            record_headers,
            except,
        ),
    };
    state::end_broadcast(begun);
    let id = result?;
    logging::deliver_if_waiting();
    Ok(id)
}

#[cold]
fn broadcast_checked(
    begun: &mut Begun,
    channel: &Zval,
    event: &Zval,
    data: Option<&Zval>,
    key: Option<&Zval>,
    record_headers: Option<&Zval>,
    except: Option<&Zval>,
) -> Result<Zval, CallError> {
    let event = arguments::event(event, "Realtime::broadcast(): Argument #2 ($event)")?;
    if event.is_empty() {
        return Err(Error::configuration(
            "Realtime::broadcast(): the event name must not be empty.",
        )
        .into());
    }
    let key = arguments::optional(key, |key| {
        arguments::bytes(key, "Realtime::broadcast(): Argument #4 ($key)")
    })?;
    let more_headers = if record_headers.is_some() || except.is_some() {
        headers(record_headers, except)?
    } else {
        Vec::new()
    };
    if begun.is_swapped {
        return broadcast_to_publisher(
            &channels(channel)?,
            &event,
            data,
            key.as_deref(),
            &more_headers,
        );
    }
    let options = EventOptions {
        event: &event,
        key: key.as_deref(),
        headers: more_headers,
    };
    let current = state::current_broadcast(begun.last.take())?;
    let last = begun.last.insert(current);
    let id = if channel.dereference().is_string() {
        publish::broadcast(last, &arguments::channel(channel, CHANNEL)?, data, options)?
    } else {
        match &*channels(channel)? {
            [one] => publish::broadcast(last, one, data, options)?,
            many => publish::broadcast_to_all(&last.sender, many, data, options)?,
        }
    };
    Ok(binary(id.as_bytes()))
}

/// Through the publisher of `fake()` or `swap()`: the same checks, and the same id for every channel of a list.
fn broadcast_to_publisher(
    channels: &[Cow<'_, str>],
    event: &str,
    data: Option<&Zval>,
    key: Option<&[u8]>,
    list: &[Header],
) -> Result<Zval, CallError> {
    let Some(publisher) = state::publisher() else {
        return Ok(Zval::null());
    };
    for channel in channels {
        crate::topic::validate_channel(channel)?;
    }
    let first = json::with_buffer(|bytes| {
        let has_data = encode_data(data, bytes)?;
        Ok::<_, CallError>(Inner::new(
            Some(&channels[0]),
            event,
            has_data.then_some(bytes.as_slice()),
        ))
    })?;
    let is_fake = fakes::is_fake(&publisher);
    let headers = header_table(list)?;
    let key = key.map_or_else(Zval::null, binary);
    let mut repeated = None;
    let mut is_sent = false;
    for channel in channels {
        let inner = Inner::from_envelope(&first.bytes_for(channel))?;
        let message = super::object(Message::new(inner));
        let channel = binary(channel.as_bytes());
        if is_fake {
            let id = fakes::call_directly(&publisher, "repeatedId", vec![&channel, &message])?;
            if id.is_string() {
                repeated.get_or_insert(id);
                continue;
            }
        }
        is_sent = true;
        fakes::call_directly(
            &publisher,
            "publish",
            vec![&channel, &message, &key, &headers],
        )?;
    }
    // Of a message that only repeats the current one, its id.
    Ok(repeated
        .filter(|_| !is_sent)
        .unwrap_or_else(|| binary(first.id().as_bytes())))
}

/// Record headers as an array: a list of the values of a repeated name.
fn header_table(list: &[Header]) -> Result<Zval, CallError> {
    let refused = |error: ext_php_rs::error::Error| Error::encoding(error.to_string());
    let mut table = ZendHashTable::new();
    for (name, _) in list {
        let mut values: Vec<Zval> = list
            .iter()
            .filter(|(other, _)| other == name)
            .map(|(_, value)| value.as_deref().map_or_else(Zval::null, binary))
            .collect();
        let value = match values.len() {
            1 => values.pop().unwrap_or_default(),
            _ => values.into_zval(false).map_err(refused)?,
        };
        table.insert(name.as_str(), value).map_err(refused)?;
    }
    let mut result = Zval::new();
    result.set_hashtable(table);
    Ok(result)
}

/// A new instance of a class of the PHP layer.
fn instantiate(class: &str, argument: Option<&Zval>) -> Result<Zval, CallError> {
    let Some(entry) = ClassEntry::try_find(class) else {
        return Err(CallError::Throw(PhpException::new(
            format!(
                "The class {class} is part of the PHP layer, which is not installed. Run `composer require \
                toporia/realtime` \
                 (or require php/autoload.php of this package)."
            ),
            0,
            ce::error(),
        )));
    };
    let object = entry.new();
    let arguments: Vec<&dyn ext_php_rs::convert::IntoZvalDyn> = argument
        .map_or_else(Vec::new, |argument| {
            vec![argument as &dyn ext_php_rs::convert::IntoZvalDyn]
        });
    drop(object.try_call_method("__construct", arguments));
    if super::zend::has_exception() {
        return Err(CallError::Pending);
    }
    Ok(super::object_to_zval(object))
}

fn fake(fake: Option<&Zval>) -> Result<Zval, CallError> {
    let publisher = fake.map(Zval::dereference).filter(|fake| !fake.is_null());
    if let Some(publisher) = publisher {
        signatures::check_publisher(publisher, "Realtime::fake(): Argument #1 ($fake)")?;
    }
    let object = match publisher.filter(|publisher| fakes::is_fake(publisher)) {
        Some(publisher) => publisher.shallow_clone(),
        None => instantiate(fakes::FAKE, publisher)?,
    };
    state::swap(Some(object.shallow_clone()));
    Ok(object)
}

fn stats() -> ext_php_rs::error::Result<Zval> {
    let counters = &runtime::current().counters;
    let pool = PRODUCERS.current();
    let clients = pool.all();
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let read = |counter: &std::sync::atomic::AtomicU64| number(counter.load(Ordering::Relaxed));
    let queued: u64 = clients.iter().map(|client| client.waiting()).sum();
    let spool_bytes: u64 = clients
        .iter()
        .filter_map(|client| client.spool())
        .map(crate::spool::Spool::bytes)
        .sum();
    let last_error = counters.last_error();
    let mut all = ZendHashTable::new();
    let (sent, bytes) = clients
        .iter()
        .map(|client| client.sent())
        .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    all.insert("messages_produced", read(&counters.produced) + number(sent))?;
    all.insert(
        "bytes_produced",
        read(&counters.produced_bytes) + number(bytes),
    )?;
    all.insert("messages_delivered", read(&counters.delivered))?;
    all.insert("delivery_failures", read(&counters.failed))?;
    let mut kinds = ZendHashTable::new();
    for (kind, count) in pool.counters.failures() {
        if count > 0 {
            kinds.insert(kind_name(kind), number(count))?;
        }
    }
    all.insert("failures_by_kind", kinds)?;
    all.insert("queue_full", read(&pool.counters.queue_full))?;
    all.insert("queued", number(queued))?;
    all.insert("spooled", read(&counters.spooled))?;
    all.insert("spool_messages", number(pool.spooled().0))?;
    all.insert("spool_bytes", number(spool_bytes))?;
    all.insert("loop_dropped", read(&counters.loop_dropped))?;
    all.insert("clients", i64::try_from(pool.count()).unwrap_or(0))?;
    all.insert(
        "broker_reachable",
        clients.iter().any(|client| client.is_reachable()),
    )?;
    all.insert("fake", state::is_swapped())?;
    all.insert(
        "last_error",
        last_error.map_or_else(Zval::null, |text| binary(text.as_bytes())),
    )?;
    Ok(super::array(all))
}

/// Rounded up, so that error texts show the timeout as the caller gave it.
fn rounded_up(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
}

/// Flushes every client of the process within one timeout; PHP's signal handlers run in between.
fn flush_all(timeout: Duration) -> Result<(), CallError> {
    let until = Instant::now() + timeout;
    let mut failed = Vec::new();
    let mut first: Option<Error> = None;
    for client in PRODUCERS.current().all() {
        // In slices first: a handler cannot run once there is an exception to throw.
        publish::wait_for_acks(&client, until);
        if zend::has_exception() {
            return Err(CallError::Pending);
        }
        let left = until.saturating_duration_since(Instant::now());
        if let Err(error) = client.flush_within(rounded_up(left), rounded_up(timeout)) {
            failed.extend_from_slice(error.failed());
            first.get_or_insert(error);
        }
    }
    match first {
        None => Ok(()),
        Some(first) => Err(Error::delivery(first.message(), failed).into()),
    }
}

#[php_impl]
impl Realtime {
    #[php(vis = "private")]
    fn __construct() -> PhpResult<Self> {
        Err("Realtime cannot be instantiated; call its static methods.".into())
    }

    /// Sets the configuration for this request, usually the array of config/realtime.php. Connects nothing.
    pub fn configure(config: &Zval) -> PhpResult<()> {
        finish(
            arguments::array(config, "Realtime::configure(): Argument #1 ($config)").and_then(
                |settings| {
                    state::configure(configuration::read(config)?, settings.get("logger"))?;
                    tracing::configure(settings.get("tracing"))
                },
            ),
        )
    }

    /// Sends an event to a channel: encodes, enqueues and returns in microseconds.
    #[php(optional = data)]
    pub fn broadcast(
        channel: &Zval,
        event: &Zval,
        data: Option<&Zval>,
        key: Option<&Zval>,
        headers: Option<&Zval>,
        except: Option<&Zval>,
    ) -> PhpResult<Zval> {
        finish(broadcast(channel, event, data, key, headers, except))
    }

    /// The broker of that name, the same object on each call within a request.
    #[php(optional = name)]
    pub fn broker(name: Option<&Zval>) -> PhpResult<Zval> {
        let result = arguments::optional(name, |name| {
            arguments::text(name, "Realtime::broker(): Argument #1 ($name)")
        })
        .and_then(|name| {
            let config = state::broker_config(name.as_deref(), None)?;
            if let Some(object) = state::broker_object(&config.name) {
                return Ok(object);
            }
            let object = super::object(Broker::with(Arc::clone(&config)));
            state::keep_broker_object(&config.name, &object);
            Ok(object)
        });
        finish(result)
    }

    /// Waits until all messages sent so far are acknowledged.
    #[php(optional = timeoutMs)]
    pub fn flush(timeoutMs: Option<&Zval>) -> PhpResult<()> {
        let place = "Realtime::flush(): Argument #1 ($timeoutMs)";
        let timeout = arguments::int_or(timeoutMs, 10_000, place)?;
        let timeout = arguments::milliseconds(timeout, place)?;
        logging::deliver();
        finish(flush_all(timeout))
    }

    /// Totals of this process.
    pub fn stats() -> PhpResult<Zval> {
        stats().map_err(|error| error.to_string().into())
    }

    /// Writes a line to the log of the extension.
    pub fn log(level: &Zval, message: &Zval) -> PhpResult<()> {
        let log = || {
            let level = arguments::text(level, "Realtime::log(): Argument #1 ($level)")?;
            let message = arguments::bytes(message, "Realtime::log(): Argument #2 ($message)")?;
            logging::log(&level, &String::from_utf8_lossy(&message))
        };
        finish(log())
    }

    /// Stops sending; the fake records messages for assertions.
    #[php(optional = fake)]
    pub fn fake(fake: Option<&Zval>) -> PhpResult<Zval> {
        finish(self::fake(fake))
    }

    /// Broadcasts are sent to another publisher.
    pub fn swap(publisher: &Zval) -> PhpResult<()> {
        finish(
            signatures::check_publisher(publisher, "Realtime::swap(): Argument #1 ($publisher)")
                .map(|()| {
                    state::swap(Some(publisher.dereference().shallow_clone()));
                }),
        )
    }

    /// Broadcasts are sent to Kafka again.
    pub fn restore() {
        state::swap(None);
    }
}
