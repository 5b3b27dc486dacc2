//! Sending, for `Realtime` and `Broker`: PHP's data and arguments, tracing, and signals during a wait.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ext_php_rs::types::{ZendClassObject, ZendHashTable, Zval};

use super::arguments::CallError;
use super::broker::Broker;
use super::{arguments, exceptions, json, message, signals, tracing, zend};
use crate::error::{Error, Kind, Result};
use crate::kafka::producer::Producer;
use crate::message::{Header, Message, ProducerRecord};
use crate::publish::{self, BroadcastId, EventOptions, LastBroadcast, Route, Sender};
use crate::runtime::{self, termination};

/// The longest that a signal handler is delayed.
const SLICE: Duration = Duration::from_millis(50);

/// Adds the header of `$except`.
pub fn except_header(
    except: Option<&Zval>,
    place: &str,
    list: &mut Vec<Header>,
) -> Result<(), CallError> {
    let except = arguments::optional(except, |except| arguments::text(except, place))?;
    if let Some(socket) = except {
        list.push(publish::except_header(&socket)?);
    }
    Ok(())
}

/// Waits until all queued messages are acknowledged or have failed; true if none is left. PHP's signal handlers run
/// between slices: an exception of a handler ends the wait and is pending then.
pub fn wait_for_acks(producer: &Producer, until: Instant) -> bool {
    loop {
        let slice = Instant::now() + SLICE;
        if producer.wait_for_delivery(slice.min(until)) {
            return true;
        }
        zend::serve_interrupt();
        if zend::has_exception() || Instant::now() >= until {
            return false;
        }
    }
}

/// `is_forwarded`: a received message is passed on.
#[inline]
fn send(sender: &Sender, record: &ProducerRecord<'_>, is_forwarded: bool) -> Result<()> {
    if tracing::is_on() {
        return tracing::send_traced(record, is_forwarded, |record| send_untraced(sender, record));
    }
    send_untraced(sender, record)
}

#[inline]
fn send_untraced(sender: &Sender, record: &ProducerRecord<'_>) -> Result<()> {
    if termination::needs_attention() {
        signals::prepare_end();
    }
    sender.send(record, |producer, until| {
        wait_for_acks(producer, until);
        !zend::has_exception()
    })
}

/// `Realtime::broadcast()` to one channel.
pub fn broadcast(
    last: &mut LastBroadcast,
    channel: &str,
    data: Option<&Zval>,
    options: EventOptions<'_>,
) -> Result<BroadcastId, CallError> {
    let known = last.route_to(channel, options.event)?;
    broadcast_again(known, data, options.key, options.headers)
}

/// Broadcasts on a known route; the data is encoded in place, inside the envelope.
#[inline]
pub fn broadcast_again(
    (sender, route, envelope): (&Sender, &mut Route, &mut Vec<u8>),
    data: Option<&Zval>,
    key: Option<&[u8]>,
    headers: Vec<Header>,
) -> Result<BroadcastId, CallError> {
    json::empty(envelope);
    route.broadcast(
        &sender.config,
        envelope,
        key,
        headers,
        |envelope| message::encode_data(data, envelope),
        |record| send(sender, record, false),
    )
}

/// `Realtime::broadcast()` to several channels.
pub fn broadcast_to_all(
    sender: &Sender,
    channels: &[Cow<'_, str>],
    data: Option<&Zval>,
    options: EventOptions<'_>,
) -> Result<BroadcastId, CallError> {
    json::with_buffer(|data_json| {
        let has_data = message::encode_data(data, data_json)?;
        let data_json = has_data.then_some(data_json.as_slice());
        let id = json::with_buffer(|envelope| {
            let send = |record: &ProducerRecord<'_>| send(sender, record, false);
            publish::broadcast_to_all(&sender.config, channels, data_json, options, envelope, send)
        });
        Ok(id?)
    })
}

/// `Broker::publish()`: sends the message's own bytes if its channel is `channel`.
pub fn publish(
    sender: &Sender,
    channel: &str,
    message: &Message,
    key: Option<&[u8]>,
    headers: Vec<Header>,
) -> Result<String, CallError> {
    let is_forwarded = message.origin.is_some() && !tracing::has_context(&headers);
    let id = publish::publish(&sender.config, channel, message, key, headers, |record| {
        send(sender, record, is_forwarded)
    });
    Ok(id?)
}

/// `Broker::send()`: a record of a raw topic.
pub fn send_raw(
    sender: &Sender,
    topic: &str,
    value: Option<&[u8]>,
    key: Option<&[u8]>,
    headers: Vec<Header>,
    partition: Option<i32>,
) -> Result<String, CallError> {
    let record = ProducerRecord {
        id: "",
        topic,
        partition,
        key,
        value,
        headers: &[],
        timestamp_ms: 0,
    };
    let send = |record: &ProducerRecord<'_>| send(sender, record, false);
    Ok(publish::send_raw(&sender.config, &record, headers, send)?)
}

/// Sends all messages, then waits for their acknowledgement. If an entry cannot be sent, a BatchException with its
/// index and reason is thrown; the entries before it are queued.
pub fn publish_batch(broker: &Broker, messages: &Zval, flush: Duration) -> Result<Zval, CallError> {
    let list = arguments::array(messages, "Broker::publishBatch(): Argument #1 ($messages)")?;
    let sender = broker.sender()?;
    let started = Instant::now();
    let (mut queued, mut failed) = (0_u64, 0_u64);
    let counters = &runtime::current().counters;
    let before = counters.failed.load(Ordering::Acquire);
    for (place, (_, entry)) in arguments::entries(list).iter().enumerate() {
        let sent = prepare(place, entry).and_then(|(channel, message, key, headers)| {
            publish(&sender, &channel, &message, key.as_deref(), headers)
        });
        sent.map_err(|why| exceptions::in_batch(place, why))?;
        queued += 1;
        if zend::has_exception() {
            return Err(CallError::Pending);
        }
    }
    if !wait_for_acks(&sender.producer, Instant::now() + flush) {
        failed += sender.producer.waiting();
    }
    if zend::has_exception() {
        return Err(CallError::Pending);
    }
    let after = counters.failed.load(Ordering::Acquire);
    failed += after - before;
    let elapsed = started.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)] // a rate
    let delivered = queued.saturating_sub(failed) as f64;
    totals(
        queued,
        failed,
        elapsed * 1000.0,
        if elapsed > 0.0 {
            delivered / elapsed
        } else {
            0.0
        },
    )
    .map_err(|error| Error::new(Kind::Encoding, error.to_string()).into())
}

type Prepared = (String, Message, Option<Vec<u8>>, Vec<Header>);

fn prepare(place: usize, entry: &Zval) -> Result<Prepared, CallError> {
    let here = format!("Broker::publishBatch(): entry {place} of $messages");
    if let Some(object) = entry.object() {
        let message = ZendClassObject::<message::Message>::from_zend_obj(object);
        if let Some(inner) = message.map(|message| Message::clone(&message.inner)) {
            let channel = inner.channel().map(str::to_owned).ok_or_else(|| {
                Error::channel(format!(
                    "{here} has no channel. Pass one to Message::event()."
                ))
            })?;
            return Ok((channel, inner, None, Vec::new()));
        }
    }
    let wrong = || {
        arguments::type_error(
            &here,
            "Toporia\\Realtime\\Message|array{channel, event, data, key?, headers?}",
            entry,
        )
    };
    let row = entry.array().ok_or_else(wrong)?;
    let columns = [
        (0, "channel"),
        (1, "event"),
        (2, "data"),
        (3, "key"),
        (4, "headers"),
    ];
    let columns = columns.map(|(number, name)| {
        row.get_index(number)
            .or_else(|| row.get(name))
            .map(Zval::dereference)
    });
    let refused = |what: &str| {
        Error::configuration(format!(
            "{here} {what}. An entry is [channel, event, data, key, headers], or has these names as its keys."
        ))
    };
    if columns.iter().flatten().count() != row.len() {
        return Err(refused("has a value that has no meaning").into());
    }
    let [channel, event, data, key, headers] = columns;
    let channel = channel.ok_or_else(|| refused("has no channel"))?;
    let event = event.ok_or_else(|| refused("has no event"))?;
    let channel = arguments::channel(channel, &format!("{here}: the channel"))?;
    let event = arguments::event(event, &format!("{here}: the event"))?;
    let key = arguments::optional(key, |key| {
        arguments::bytes(key, &format!("{here}: the key"))
    })?;
    let headers = arguments::record_headers(headers, &here)?;
    crate::topic::validate_channel(&channel)?;
    let inner = json::with_buffer(|bytes| {
        let has_data = message::encode_data(data, bytes)?;
        Ok::<_, CallError>(Message::new(
            Some(&channel),
            &event,
            has_data.then_some(bytes.as_slice()),
        ))
    })?;
    Ok((channel.into_owned(), inner, key, headers))
}

fn totals(queued: u64, failed: u64, time: f64, throughput: f64) -> ext_php_rs::error::Result<Zval> {
    let mut all = ZendHashTable::new();
    all.insert("queued", i64::try_from(queued).unwrap_or(i64::MAX))?;
    all.insert("failed", i64::try_from(failed).unwrap_or(i64::MAX))?;
    all.insert("total_time_ms", time)?;
    all.insert("throughput", throughput)?;
    Ok(super::array(all))
}
