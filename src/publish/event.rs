//! An event on its way to one channel or several.

use std::borrow::Cow;

use super::{add_hops, repeated, warn_if_undeliverable};
use crate::config::BrokerConfig;
use crate::encryption;
use crate::envelope::{write_end, write_event};
use crate::error::Result;
use crate::ids::{self, Id};
use crate::message::{Header, ProducerRecord};

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
