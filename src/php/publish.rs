//! Sending, shared by `Realtime` and `Broker`: topic, envelope, headers, hop count, and the wait of `produce: sync`.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use ext_php_rs::types::Zval;

use super::arguments::CallError;
use super::route::Route;
use super::state::{LastBroadcast, Sender};
use super::{arguments, json, message, signals, tracing, zend};
use crate::config::{Acks, BrokerConfig};
use crate::envelope::headers;
use crate::error::{Error, Kind};
use crate::kafka::producer::pool::PRODUCERS;
use crate::kafka::producer::Producer;
use crate::kafka::transaction;
use crate::message::{Header, Message, ProducerRecord};
use crate::process::termination;
use crate::topic::undeliverable::Undeliverable;
use crate::{encryption, ids, loop_guard, process};

/// How long `produce: sync` waits for an acknowledgement.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// Checks the socket id of `$except` and adds its header. `\A\d+\.\d+\z`, as in Pusher's protocol.
pub fn except_header(
    except: Option<&Zval>,
    place: &str,
    list: &mut Vec<Header>,
) -> Result<(), CallError> {
    let Some(socket) = arguments::optional(except, |except| arguments::text(except, place))? else {
        return Ok(());
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !socket
        .split_once('.')
        .is_some_and(|(left, right)| digits(left) && digits(right))
    {
        return Err(Error::configuration(format!(
            "\"{}\" is not a socket id: it must be two numbers separated by a dot, as Echo.socketId() returns it.",
            socket.escape_debug()
        ))
        .into());
    }
    list.push((
        headers::SOCKET.to_owned(),
        Some(socket.into_owned().into_bytes()),
    ));
    Ok(())
}

/// Adds the hop count inside a callback.
fn add_hops(sender: &Sender, list: &mut Vec<Header>) -> Result<(), Error> {
    if !sender.config.loop_guard {
        return Ok(());
    }
    let hops = loop_guard::hops(sender.config.max_hops)?;
    if hops > 0 {
        list.push((
            headers::HOPS.to_owned(),
            Some(hops.to_string().into_bytes()),
        ));
    }
    Ok(())
}

/// Warns about an event that no browser receives. It is sent, because consumers may receive it.
fn warn_if_undeliverable(sender: &Sender, channel: &str, event: &str, data_bytes: usize) {
    let found = Undeliverable::check(channel, event, data_bytes, sender.config.max_event);
    if let Some(event) = found {
        process::current()
            .undeliverable
            .warn(&crate::process::current().log, &event);
    }
}

fn send(sender: &Sender, message: &ProducerRecord<'_>) -> Result<(), Error> {
    if tracing::is_on() {
        return tracing::send_traced(message, false, |message| send_untraced(sender, message));
    }
    send_untraced(sender, message)
}

fn send_untraced(sender: &Sender, message: &ProducerRecord<'_>) -> Result<(), Error> {
    if termination::needs_attention() {
        signals::prepare_end();
    }
    if loop_guard::is_handling() {
        if let Some(producer) = transaction::current_for(&sender.config)? {
            return producer.send(message);
        }
        sender.producer.track_callback_sends();
    }
    if let Err(error) = sender.producer.send(message) {
        let producers = PRODUCERS.current();
        producers.send_by_successor(&sender.producer, message, error)?;
    }
    if sender.config.sync && sender.config.acks != Acks::None {
        return wait_for_ack(sender, message);
    }
    Ok(())
}

/// Waits for the acknowledgement of the message just sent.
fn wait_for_ack(sender: &Sender, message: &ProducerRecord<'_>) -> Result<(), Error> {
    let until = Instant::now() + SYNC_TIMEOUT;
    wait_for_acks(&sender.producer, until);
    if zend::has_exception() {
        // Thrown by a signal handler: it takes precedence, and the message is still in flight.
        return Ok(());
    }
    let left = until.saturating_duration_since(Instant::now());
    let Err(error) = sender.producer.flush_within(left, SYNC_TIMEOUT) else {
        return Ok(());
    };
    let Some(failed) = error.failed().iter().find(|failed| failed.id == message.id) else {
        return Err(error);
    };
    let text = format!(
        "Message {} was not delivered to topic \"{}\" of {}: {}.",
        message.id, message.topic, sender.config.brokers, failed.reason
    );
    sender.producer.forget_failure(message.id);
    Err(match failed.kind {
        Kind::Delivery => Error::delivery(text, error.failed().to_vec()),
        kind => Error::new(kind, text),
    })
}

/// The id that `Realtime::broadcast()` returns.
pub enum BroadcastId {
    /// The id of the message that was sent.
    New([u8; ids::ID_LEN]),
    /// The id of the current record, which has the same content, so nothing was sent.
    Repeated(String),
}

impl BroadcastId {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::New(id) => id,
            Self::Repeated(id) => id.as_bytes(),
        }
    }
}

/// The options of an event besides its channel and data.
pub struct EventOptions<'a> {
    pub event: &'a str,
    /// The record key; the channel if there is none.
    pub key: Option<&'a [u8]>,
    pub headers: Vec<Header>,
}

/// `Realtime::broadcast()` to one channel.
pub fn broadcast(
    last: &mut LastBroadcast,
    channel: &str,
    data: Option<&Zval>,
    options: EventOptions<'_>,
) -> Result<BroadcastId, CallError> {
    let (channel_bytes, event) = (channel.as_bytes(), options.event);
    let route = last.route.as_ref();
    if !route.is_some_and(|route| route.is_of(channel_bytes, event.as_bytes())) {
        last.route = Some(Route::new(&last.sender.config, channel, event)?);
    }
    broadcast_again(last, data, options.key, options.headers)
}

/// Broadcasts to the channel of the last broadcast; the data is encoded in place, inside the envelope.
pub fn broadcast_again(
    last: &mut LastBroadcast,
    data: Option<&Zval>,
    key: Option<&[u8]>,
    mut headers: Vec<Header>,
) -> Result<BroadcastId, CallError> {
    let (sender, envelope) = (&last.sender, &mut last.envelope);
    let Some(route) = &mut last.route else {
        return Err(Error::channel("There was no broadcast.").into());
    };
    json::empty(envelope);
    let (id, millis) = ids::new_id_with_time();
    let end_without_data = route.begin(&id, envelope);
    let start = envelope.len();
    let mut has_data = message::encode_data(data, envelope)?;
    if route.is_encrypted {
        let plain = has_data.then(|| &envelope[start..]);
        let keys = sender.config.encryption.as_ref();
        let encrypted = encryption::encrypt(keys, &route.channel, plain)?.into_owned();
        envelope.truncate(start);
        envelope.extend_from_slice(&encrypted);
        has_data = true;
    }
    if !has_data {
        envelope.truncate(end_without_data);
    }
    let data_json = has_data.then(|| &envelope[start..]);
    let is_handling = loop_guard::is_handling();
    if is_handling {
        if let Some(repeated) = repeats(sender, &route.channel, &route.event, data_json) {
            return Ok(BroadcastId::Repeated(repeated));
        }
    }
    let data_bytes = data_json.map_or(0, <[u8]>::len);
    if route.has_undeliverable_names || data_bytes > sender.config.max_event {
        warn_if_undeliverable(sender, &route.channel, &route.event, data_bytes);
    }
    route.end(millis / 1000, envelope);
    if is_handling {
        add_hops(sender, &mut headers)?;
    }
    let key = key.unwrap_or(route.channel.as_bytes());
    send_envelope(sender, &route.topic, key, &id, envelope, &headers)?;
    Ok(BroadcastId::New(id))
}

/// `Realtime::broadcast()` to several channels: one message with one id, an envelope for each channel.
pub fn broadcast_to_all(
    sender: &Sender,
    channels: &[Cow<'_, str>],
    data: Option<&Zval>,
    mut options: EventOptions<'_>,
) -> Result<BroadcastId, CallError> {
    for channel in channels {
        // Refused before anything is sent: all channels of a list receive the broadcast, or none.
        sender.config.topics.topic_for(channel)?;
    }
    json::with_buffer(|data_json| {
        let has_data = message::encode_data(data, data_json)?;
        let plain = has_data.then_some(data_json.as_slice());
        let data_of = channels
            .iter()
            .map(|channel| {
                if !encryption::is_encrypted_channel(channel) {
                    return Ok(plain.map(Cow::Borrowed));
                }
                encryption::encrypt(sender.config.encryption.as_ref(), channel, plain).map(Some)
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let (id, millis) = ids::new_id_with_time();
        let mut result = None;
        let mut hops_added = false;
        json::with_buffer(|envelope| {
            for (channel, data_json) in channels.iter().zip(&data_of) {
                let data_json = data_json.as_deref();
                if let Some(repeated) = repeats(sender, channel, options.event, data_json) {
                    result.get_or_insert(BroadcastId::Repeated(repeated));
                    continue;
                }
                if !hops_added {
                    add_hops(sender, &mut options.headers)?;
                    hops_added = true;
                }
                let data_bytes = data_json.map_or(0, <[u8]>::len);
                warn_if_undeliverable(sender, channel, options.event, data_bytes);
                envelope.clear();
                crate::envelope::write_event(envelope, &id, channel, options.event);
                if let Some(data_json) = data_json {
                    envelope.extend_from_slice(br#","data":"#);
                    envelope.extend_from_slice(data_json);
                }
                crate::envelope::write_end(envelope, i64::try_from(millis / 1000).unwrap_or(0));
                let topic = sender.config.topics.topic_for(channel)?;
                let key = options.key.unwrap_or(channel.as_bytes());
                send_envelope(sender, &topic, key, &id, envelope, &options.headers)?;
                result = Some(BroadcastId::New(id));
            }
            Ok(result.unwrap_or(BroadcastId::New(id)))
        })
    })
}

/// The id of the current record, if it has exactly this content.
fn repeats(
    sender: &Sender,
    channel: &str,
    event: &str,
    data_json: Option<&[u8]>,
) -> Option<String> {
    if !sender.config.loop_guard {
        return None;
    }
    loop_guard::repeats(channel, event, data_json)
}

/// True if the current record has the content of this message on that channel; for callers that publish it themselves.
pub fn repeats_message(config: &BrokerConfig, channel: &str, message: &Message) -> bool {
    config.loop_guard
        && message
            .event()
            .is_some_and(|event| loop_guard::repeats(channel, event, message.data_json()).is_some())
}

fn send_envelope(
    sender: &Sender,
    topic: &str,
    key: &[u8],
    id: &[u8; ids::ID_LEN],
    envelope: &[u8],
    headers: &[Header],
) -> Result<(), Error> {
    let record = ProducerRecord {
        // SAFETY: an id is ASCII.
        id: unsafe { std::str::from_utf8_unchecked(id) },
        topic,
        partition: None,
        key: Some(key),
        value: Some(envelope),
        headers,
        timestamp_ms: 0,
    };
    send(sender, &record)
}

/// `Broker::publish()`: sends the message's own bytes if its channel is `channel`.
pub fn publish(
    sender: &Sender,
    channel: &str,
    message: &Message,
    key: Option<&[u8]>,
    more_headers: Vec<Header>,
) -> Result<String, CallError> {
    let topic = sender.config.topics.topic_for(channel)?;
    let mut list: Vec<Header> = message
        .headers
        .iter()
        .filter(|(name, _)| !arguments::is_set_by_us(name))
        .cloned()
        .collect();
    let is_forwarded = message.origin.is_some() && !tracing::has_context(&more_headers);
    list.retain(|(name, _)| !more_headers.iter().any(|(newer, _)| newer == name));
    list.extend(more_headers);
    let envelope = if message.is_raw() {
        Some(envelope_of_raw(message)?)
    } else {
        None
    };
    let content = envelope.as_ref().unwrap_or(message);
    add_hops(sender, &mut list)?;
    let id = content.id().into_owned();
    let value = if encryption::is_encrypted_channel(channel) && content.kind() == "event" {
        let data = encryption::encrypt(
            sender.config.encryption.as_ref(),
            channel,
            content.data_json(),
        )?;
        content.bytes_with(channel, &data)
    } else {
        content.bytes_for(channel)
    };
    if let Some(event) = content.event().filter(|_| content.kind() == "event") {
        let data_bytes = content.data_json().map_or(0, <[u8]>::len);
        warn_if_undeliverable(sender, channel, event, data_bytes);
    }
    let own_key = if message.origin.is_some() {
        None
    } else {
        message.key()
    };
    let outgoing = ProducerRecord {
        id: &id,
        topic: &topic,
        partition: None,
        key: Some(key.or(own_key).unwrap_or(channel.as_bytes())),
        value: Some(&value),
        headers: &list,
        timestamp_ms: 0,
    };
    if is_forwarded && tracing::is_on() {
        tracing::send_traced(&outgoing, true, |outgoing| send_untraced(sender, outgoing))?;
    } else {
        send(sender, &outgoing)?;
    }
    Ok(id)
}

/// The envelope in a record of a raw topic, such as a dead letter: subscribers of a channel understand nothing else.
fn envelope_of_raw(message: &Message) -> Result<Message, Error> {
    let value = message.value().unwrap_or_default();
    Message::from_envelope(value).map_err(|reason| {
        Error::encoding(format!(
            "Broker::publish(): the record {} of a raw topic is not an envelope ({reason}). Pass it on with send(), or \
             publish a Message::event() with its data.",
            message.id()
        ))
    })
}

/// `Broker::send()`: a record of a raw topic.
pub fn send_raw(
    sender: &Sender,
    topic: &str,
    value: Option<&[u8]>,
    key: Option<&[u8]>,
    mut list: Vec<Header>,
    partition: Option<i32>,
) -> Result<String, CallError> {
    crate::topic::validate_kafka_topic(topic)?;
    add_hops(sender, &mut list)?;
    let id = ids::new_id();
    let message = ProducerRecord {
        id: &id,
        topic,
        partition,
        key,
        value,
        headers: &list,
        timestamp_ms: 0,
    };
    send(sender, &message)?;
    Ok(id)
}

// Waits for acknowledgements in slices, between which PHP's signal handlers run.

/// The longest that a signal handler is delayed.
const SLICE: Duration = Duration::from_millis(50);

/// Waits until all queued messages are acknowledged or have failed; true if none is left. An exception of a signal
/// handler ends the wait and is pending then.
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
