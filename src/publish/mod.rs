//! The rules of sending: envelope, encryption, loop guard, hop count, the transaction of a callback, and the wait of
//! `produce: sync`. The host encodes the data (`encode`) and passes on what is sent (`send`), where it may be traced.

mod route;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use route::{broadcast_to_all, BroadcastId, Event, EventOptions, LastBroadcast, Route};

use crate::config::{Acks, BrokerConfig};
use crate::envelope::headers;
use crate::error::{Error, Kind, Result};
use crate::kafka::producer::pool::PRODUCERS;
use crate::kafka::producer::Producer;
use crate::kafka::transaction;
use crate::message::{Header, Message, ProducerRecord};
use crate::topic::socket_channel::Undeliverable;
use crate::{encryption, ids, loop_guard, runtime, topic};

/// How long `produce: sync` waits for an acknowledgement.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// A producer client with the configuration it was created for.
#[derive(Clone)]
pub struct Sender {
    pub config: Arc<BrokerConfig>,
    pub producer: Arc<Producer>,
}

impl Sender {
    /// With the shared client of this configuration.
    ///
    /// # Errors
    /// The client cannot be created.
    pub fn shared(config: Arc<BrokerConfig>) -> Result<Self> {
        let producer = PRODUCERS.current().get(&config)?;
        Ok(Self { config, producer })
    }

    /// Queues a record: in the transaction of the running callback, or outside of a transaction by this producer. With
    /// `produce: sync` it waits for the acknowledgement. `wait` waits until all is acknowledged or the given time, and
    /// returns false if the host has thrown: its exception takes precedence, and the message is still in flight.
    ///
    /// # Errors
    /// The errors of a producer.
    pub fn send(
        &self,
        record: &ProducerRecord<'_>,
        wait: impl FnOnce(&Producer, Instant) -> bool,
    ) -> Result<()> {
        if loop_guard::is_handling() {
            if let Some(producer) = transaction::current_for(&self.config)? {
                return producer.send(record);
            }
            self.producer.track_callback_sends();
        }
        if let Err(error) = self.producer.send(record) {
            let producers = PRODUCERS.current();
            producers.send_by_successor(&self.producer, record, error)?;
        }
        if self.config.sync && self.config.acks != Acks::None {
            let until = Instant::now() + SYNC_TIMEOUT;
            if wait(&self.producer, until) {
                return self.acknowledged(record, until);
            }
        }
        Ok(())
    }

    /// The result of the message just sent.
    fn acknowledged(&self, record: &ProducerRecord<'_>, until: Instant) -> Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        let Err(error) = self.producer.flush_within(left, SYNC_TIMEOUT) else {
            return Ok(());
        };
        let Some(failed) = error.failed().iter().find(|failed| failed.id == record.id) else {
            return Err(error);
        };
        let text = format!(
            "Message {} was not delivered to topic \"{}\" of {}: {}.",
            record.id, record.topic, self.config.brokers, failed.reason
        );
        self.producer.forget_failure(record.id);
        Err(match failed.kind {
            Kind::Delivery => Error::delivery(text, error.failed().to_vec()),
            kind => Error::new(kind, text),
        })
    }
}

/// The header that leaves out a socket. `\A\d+\.\d+\z`, as in Pusher's protocol.
///
/// # Errors
/// Configuration: not a socket id.
pub fn except_header(socket: &str) -> Result<Header> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let halves = socket.split_once('.');
    if !halves.is_some_and(|(left, right)| digits(left) && digits(right)) {
        return Err(Error::configuration(format!(
            "\"{}\" is not a socket id: it must be two numbers separated by a dot, as Echo.socketId() returns it.",
            socket.escape_debug()
        )));
    }
    Ok((headers::SOCKET.to_owned(), Some(socket.as_bytes().to_vec())))
}

/// Adds the hop count inside a callback.
fn add_hops(config: &BrokerConfig, list: &mut Vec<Header>) -> Result<()> {
    if !config.loop_guard {
        return Ok(());
    }
    let hops = loop_guard::hops(config.max_hops)?;
    if hops > 0 {
        let hops = hops.to_string().into_bytes();
        list.push((headers::HOPS.to_owned(), Some(hops)));
    }
    Ok(())
}

/// Warns about an event that no browser receives. It is sent, because consumers may receive it.
fn warn_if_undeliverable(config: &BrokerConfig, channel: &str, event: &str, data_bytes: usize) {
    let found = Undeliverable::check(channel, event, data_bytes, config.max_event);
    if let Some(event) = found {
        let process = runtime::current();
        process.undeliverable.warn(&process.log, &event);
    }
}

/// The id of the current record, if it has exactly this content.
fn repeated(
    config: &BrokerConfig,
    channel: &str,
    event: &str,
    data_json: Option<&[u8]>,
) -> Option<String> {
    if !config.loop_guard {
        return None;
    }
    loop_guard::repeats(channel, event, data_json)
}

/// True if the current record has the content of this message on that channel; for callers that publish it themselves.
#[must_use]
pub fn repeats_message(config: &BrokerConfig, channel: &str, message: &Message) -> bool {
    let event = message.event();
    event.is_some_and(|event| repeated(config, channel, event, message.data_json()).is_some())
}

/// Sends a message to a channel, its own bytes if that is its channel. Returns its id.
///
/// # Errors
/// InvalidChannel; Encoding: a record of a raw topic that is not an envelope; Configuration of encrypted channels;
/// HopLimit; those of `send`.
pub fn publish(
    config: &BrokerConfig,
    channel: &str,
    message: &Message,
    key: Option<&[u8]>,
    more_headers: Vec<Header>,
    send: impl FnOnce(&ProducerRecord<'_>) -> Result<()>,
) -> Result<String> {
    let topic = config.topics.topic_for(channel)?;
    let own = message.headers.iter().filter(|(name, _)| {
        !headers::is_set_by_us(name) && !more_headers.iter().any(|(newer, _)| newer == name)
    });
    let mut list: Vec<Header> = own.cloned().collect();
    list.extend(more_headers);
    let envelope = if message.is_raw() {
        Some(envelope_of_raw(message)?)
    } else {
        None
    };
    let content = envelope.as_ref().unwrap_or(message);
    add_hops(config, &mut list)?;
    let id = content.id().into_owned();
    let data_json = content.data_json();
    let is_event = content.kind() == "event";
    let value = if encryption::is_encrypted_channel(channel) && is_event {
        let data = encryption::encrypt(config.encryption.as_ref(), channel, data_json)?;
        content.bytes_with(channel, &data)
    } else {
        content.bytes_for(channel)
    };
    if let Some(event) = content.event().filter(|_| is_event) {
        warn_if_undeliverable(config, channel, event, data_json.map_or(0, <[u8]>::len));
    }
    // The key of a received record belongs to the topic it came from.
    let own_key = message.key().filter(|_| message.origin.is_none());
    send(&ProducerRecord {
        id: &id,
        topic: &topic,
        partition: None,
        key: Some(key.or(own_key).unwrap_or(channel.as_bytes())),
        value: Some(&value),
        headers: &list,
        timestamp_ms: 0,
    })?;
    Ok(id)
}

/// The envelope in a record of a raw topic, such as a dead letter: subscribers of a channel understand nothing else.
fn envelope_of_raw(message: &Message) -> Result<Message> {
    let value = message.value().unwrap_or_default();
    Message::from_envelope(value).map_err(|reason| {
        Error::encoding(format!(
            "Broker::publish(): the record {} of a raw topic is not an envelope ({reason}). Pass it on with send(), or \
             publish a Message::event() with its data.",
            message.id()
        ))
    })
}

/// Sends a record to a raw topic and returns its id. `record` has no id and no headers yet.
///
/// # Errors
/// InvalidChannel: the name of the topic. HopLimit; those of `send`.
pub fn send_raw(
    config: &BrokerConfig,
    record: &ProducerRecord<'_>,
    mut list: Vec<Header>,
    send: impl FnOnce(&ProducerRecord<'_>) -> Result<()>,
) -> Result<String> {
    topic::validate_kafka_topic(record.topic)?;
    add_hops(config, &mut list)?;
    let id = ids::new_id();
    send(&ProducerRecord {
        id: &id,
        headers: &list,
        ..*record
    })?;
    Ok(id)
}
