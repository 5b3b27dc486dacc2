//! Sending, for `Realtime` and `Broker`: PHP's data and arguments, tracing, and signals during a wait.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use ext_php_rs::types::Zval;

use super::arguments::CallError;
use super::{arguments, json, message, signals, tracing, zend};
use crate::error::Result;
use crate::kafka::producer::Producer;
use crate::message::{Header, Message, ProducerRecord};
use crate::process::termination;
use crate::publish::{self, BroadcastId, EventOptions, LastBroadcast, Route, Sender};

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
fn send(sender: &Sender, record: &ProducerRecord<'_>, is_forwarded: bool) -> Result<()> {
    if tracing::is_on() {
        return tracing::send_traced(record, is_forwarded, |record| send_untraced(sender, record));
    }
    send_untraced(sender, record)
}

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
