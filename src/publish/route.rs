//! Broadcasting an event to one channel or several. The channel and event of the last broadcast are kept, with
//! everything that depends on them alone: most requests and workers broadcast the same event again and again.

use std::borrow::Cow;

use super::{add_hops, repeated, warn_if_undeliverable, Sender};
use crate::config::BrokerConfig;
use crate::envelope::{write_end, write_event, write_php_string};
use crate::error::{Error, Result};
use crate::ids::{self, Id};
use crate::message::{Header, ProducerRecord};
use crate::topic::socket_channel::Undeliverable;
use crate::{encryption, loop_guard};

/// Follows the names in an envelope with data.
const DATA: &[u8] = br#","data":"#;

/// `,"timestamp":`, the digits of any 64-bit number, and `}`.
const MAX_END: usize = 36;

pub struct Route {
    channel: Box<str>,
    event: Box<str>,
    topic: String,
    is_encrypted: bool,
    /// No browser receives events with these names.
    has_undeliverable_names: bool,
    /// The envelope between its id and its data.
    middle: Vec<u8>,
    /// The end of the envelope for a time in Unix seconds, and its length. A copy of a known length is a few
    /// instructions.
    end: [u8; MAX_END],
    end_length: usize,
    seconds: u64,
}

impl Route {
    pub(super) fn new(config: &BrokerConfig, channel: &str, event: &str) -> Result<Self> {
        let mut middle = br#"","type":"event","channel":"#.to_vec();
        write_php_string(&mut middle, channel);
        middle.extend_from_slice(br#","event":"#);
        write_php_string(&mut middle, event);
        middle.extend_from_slice(DATA);
        Ok(Self {
            channel: channel.into(),
            event: event.into(),
            topic: config.topics.topic_for(channel)?,
            is_encrypted: encryption::is_encrypted_channel(channel),
            has_undeliverable_names: Undeliverable::check(channel, event, 0, 0).is_some(),
            middle,
            end: [0; MAX_END],
            end_length: 0,
            seconds: u64::MAX,
        })
    }

    #[inline]
    fn is_of(&self, channel: &[u8], event: &[u8]) -> bool {
        self.channel.as_bytes() == channel && self.event.as_bytes() == event
    }

    /// Begins an envelope whose data follows; its length if it has none.
    #[inline]
    fn begin(&self, id: &Id, out: &mut Vec<u8>) -> usize {
        out.reserve(64 + self.middle.len());
        out.extend_from_slice(br#"{"id":""#);
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&self.middle);
        out.len() - DATA.len()
    }

    /// Ends an envelope that was created at this time.
    #[inline]
    fn end(&mut self, seconds: u64, out: &mut Vec<u8>) {
        if self.seconds != seconds {
            self.seconds = seconds;
            let mut end = Vec::with_capacity(MAX_END);
            write_end(&mut end, i64::try_from(seconds).unwrap_or(0));
            self.end_length = end.len();
            self.end[..end.len()].copy_from_slice(&end);
        }
        out.extend_from_slice(&self.end);
        out.truncate(out.len() - (MAX_END - self.end_length));
    }

    /// Sends an event on this route. `envelope` is empty memory; `encode` appends the JSON of the data to it, in place,
    /// and returns false if there is none.
    ///
    /// # Errors
    /// Those of `encode` and `send`; HopLimit; Configuration and InvalidChannel of encrypted channels.
    #[inline]
    pub fn broadcast<E: From<Error>>(
        &mut self,
        config: &BrokerConfig,
        envelope: &mut Vec<u8>,
        key: Option<&[u8]>,
        mut headers: Vec<Header>,
        encode: impl FnOnce(&mut Vec<u8>) -> std::result::Result<bool, E>,
        send: impl FnOnce(&ProducerRecord<'_>) -> Result<()>,
    ) -> std::result::Result<BroadcastId, E> {
        let (id, millis) = ids::new_id_with_time();
        let end_without_data = self.begin(&id, envelope);
        let start = envelope.len();
        let mut has_data = encode(envelope)?;
        if self.is_encrypted {
            let plain = has_data.then(|| &envelope[start..]);
            let keys = config.encryption.as_ref();
            let encrypted = encryption::encrypt(keys, &self.channel, plain)?.into_owned();
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
            if let Some(repeated) = repeated(config, &self.channel, &self.event, data_json) {
                return Ok(BroadcastId::Repeated(repeated));
            }
        }
        let data_bytes = data_json.map_or(0, <[u8]>::len);
        if self.has_undeliverable_names || data_bytes > config.max_event {
            warn_if_undeliverable(config, &self.channel, &self.event, data_bytes);
        }
        self.end(millis / 1000, envelope);
        if is_handling {
            add_hops(config, &mut headers)?;
        }
        send(&ProducerRecord {
            id: id.as_str(),
            topic: &self.topic,
            partition: None,
            key: Some(key.unwrap_or(self.channel.as_bytes())),
            value: Some(envelope),
            headers: &headers,
            timestamp_ms: 0,
        })?;
        Ok(BroadcastId::New(id))
    }
}

/// Client, route and envelope memory of a broadcast.
type Known<'a> = (&'a Sender, &'a mut Route, &'a mut Vec<u8>);

/// Client, route and envelope memory of the last broadcast: the next one most often needs the same.
pub struct LastBroadcast {
    pub sender: Sender,
    route: Option<Route>,
    /// Memory of the envelope.
    envelope: Vec<u8>,
}

impl LastBroadcast {
    #[must_use]
    pub fn new(sender: Sender) -> Self {
        Self {
            sender,
            route: None,
            envelope: Vec::new(),
        }
    }

    /// The same as the last time, if channel and event are the same and the client can be used again.
    #[inline]
    pub fn again(&mut self, channel: &[u8], event: &[u8]) -> Option<Known<'_>> {
        let route = self.route.as_mut()?;
        let is_same = route.is_of(channel, event) && !self.sender.producer.needs_replacement();
        is_same.then_some((&self.sender, route, &mut self.envelope))
    }

    /// The route of a channel and an event.
    ///
    /// # Errors
    /// InvalidChannel.
    pub fn route_to(&mut self, channel: &str, event: &str) -> Result<Known<'_>> {
        drop(
            self.route
                .take_if(|route| !route.is_of(channel.as_bytes(), event.as_bytes())),
        );
        let route = match &mut self.route {
            Some(route) => route,
            none => none.insert(Route::new(&self.sender.config, channel, event)?),
        };
        Ok((&self.sender, route, &mut self.envelope))
    }
}

/// The id that a broadcast returns.
pub enum BroadcastId {
    /// The id of the message that was sent.
    New(Id),
    /// The id of the current record, which has the same content, so nothing was sent.
    Repeated(String),
}

impl BroadcastId {
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::New(id) => id.as_bytes(),
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

/// An event for one channel, with its data as JSON.
pub struct Event<'a> {
    pub channel: &'a str,
    pub event: &'a str,
    pub data_json: Option<&'a [u8]>,
    /// The record key; the channel if there is none.
    pub key: Option<&'a [u8]>,
    pub headers: &'a [Header],
}

impl Event<'_> {
    /// Writes the envelope into an empty buffer and passes on the record.
    ///
    /// # Errors
    /// Those of `send`.
    pub fn send(
        &self,
        topic: &str,
        (id, millis): &(Id, u64),
        envelope: &mut Vec<u8>,
        send: impl FnOnce(&ProducerRecord<'_>) -> Result<()>,
    ) -> Result<()> {
        write_event(envelope, id, self.channel, self.event);
        if let Some(data_json) = self.data_json {
            envelope.extend_from_slice(br#","data":"#);
            envelope.extend_from_slice(data_json);
        }
        write_end(envelope, i64::try_from(millis / 1000).unwrap_or(0));
        send(&ProducerRecord {
            id: id.as_str(),
            topic,
            partition: None,
            key: Some(self.key.unwrap_or(self.channel.as_bytes())),
            value: Some(envelope),
            headers: self.headers,
            timestamp_ms: 0,
        })
    }
}

/// Sends an event to several channels: one message with one id, an envelope for each channel.
///
/// # Errors
/// InvalidChannel and Configuration of encrypted channels: nothing was sent. HopLimit; those of `send`.
pub fn broadcast_to_all(
    config: &BrokerConfig,
    channels: &[Cow<'_, str>],
    plain: Option<&[u8]>,
    mut options: EventOptions<'_>,
    envelope: &mut Vec<u8>,
    mut send: impl FnMut(&ProducerRecord<'_>) -> Result<()>,
) -> Result<BroadcastId> {
    // All channels of a list receive the broadcast, or none.
    let prepared = channels
        .iter()
        .map(|channel| {
            let topic = config.topics.topic_for(channel)?;
            if !encryption::is_encrypted_channel(channel) {
                return Ok((topic, plain.map(Cow::Borrowed)));
            }
            let data = encryption::encrypt(config.encryption.as_ref(), channel, plain)?;
            Ok((topic, Some(data)))
        })
        .collect::<Result<Vec<_>>>()?;
    let made = ids::new_id_with_time();
    let mut result = None;
    let mut hops_added = false;
    for (channel, (topic, data_json)) in channels.iter().zip(&prepared) {
        let data_json = data_json.as_deref();
        if let Some(repeated) = repeated(config, channel, options.event, data_json) {
            result.get_or_insert(BroadcastId::Repeated(repeated));
            continue;
        }
        if !hops_added {
            add_hops(config, &mut options.headers)?;
            hops_added = true;
        }
        let data_bytes = data_json.map_or(0, <[u8]>::len);
        warn_if_undeliverable(config, channel, options.event, data_bytes);
        envelope.clear();
        let event = Event {
            channel,
            event: options.event,
            data_json,
            key: options.key,
            headers: &options.headers,
        };
        event.send(topic, &made, envelope, &mut send)?;
        result = Some(BroadcastId::New(made.0));
    }
    Ok(result.unwrap_or(BroadcastId::New(made.0)))
}
