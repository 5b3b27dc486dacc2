//! A broadcast from Kafka, or from the process itself, to sockets.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::OnceLock;

use once_cell::sync::Lazy;
use serde::de::IgnoredAny;

use super::protocol::{is_reserved_event, SocketId};
use crate::config::gateway_settings::Settings;
use crate::encryption;
use crate::envelope::{scan_envelope, EnvelopeKind};
use crate::topic::socket_channel::target_channels;
use crate::topic::socket_channel::Reason;
use crate::topic::{validate_channel, TopicMap};

/// Number of a topic, assigned by the feed.
pub type TopicNumber = u32;

/// Next offsets by topic and partition: all records below were delivered.
pub type Position = Vec<(TopicNumber, i32, i64)>;

/// A table whose keys come from [`hash_of`].
pub type HashTable<V> = HashMap<u64, V, BuildHasherDefault<KeyIsHash>>;

/// Record header of HTTP API events: the channel is the exact name of a socket channel.
pub const EXACT: &str = "x-realtime-exact";
/// Record header of HTTP API events whose data is no JSON: clients receive the text in the JSON string.
pub const TEXT: &str = "x-realtime-text";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At {
    pub topic: TopicNumber,
    pub partition: i32,
    pub offset: i64,
}

/// A gateway reads every record of its topics, and most have no subscriber: a broadcast is one allocation, its channel
/// is hashed once for all tables, and its data is neither validated nor encoded for frames before it is needed.
#[derive(Debug, Clone)]
pub struct Broadcast {
    /// Channel, event, id and data, one after the other.
    text: Box<str>,
    ends: [u32; 3],
    hash: u64,
    is_json: OnceLock<bool>,
    /// The socket to leave out.
    pub except: Option<SocketId>,
    /// Marked public by its sender.
    pub public: bool,
    /// The channel is the exact name of a socket channel (HTTP API) and reaches only itself.
    pub exact: bool,
    /// The data is a JSON string that clients receive as it is, instead of in a JSON string.
    pub is_text: bool,
    /// Position in Kafka; `None` for a broadcast of the process itself.
    pub at: Option<At>,
}

impl Broadcast {
    /// A broadcast of the process itself to all sockets. `data` is JSON, at most 4 GB with the names.
    #[must_use]
    pub fn new(channel: &str, event: &str, id: &str, data: &str) -> Self {
        let mut text = String::with_capacity(channel.len() + event.len() + id.len() + data.len());
        let mut ends = [0; 3];
        for (part, end) in [channel, event, id].into_iter().zip(&mut ends) {
            text.push_str(part);
            *end = u32::try_from(text.len()).unwrap_or(u32::MAX);
        }
        text.push_str(data);
        Self {
            text: text.into_boxed_str(),
            ends,
            hash: hash_of(channel),
            is_json: OnceLock::new(),
            except: None,
            public: false,
            exact: false,
            is_text: false,
            at: None,
        }
    }

    fn part(&self, from: u32, to: u32) -> &str {
        &self.text[from as usize..to as usize]
    }

    #[must_use]
    pub fn channel(&self) -> &str {
        self.part(0, self.ends[0])
    }

    #[must_use]
    pub fn event(&self) -> &str {
        self.part(self.ends[0], self.ends[1])
    }

    #[must_use]
    pub fn id(&self) -> &str {
        self.part(self.ends[1], self.ends[2])
    }

    /// The JSON of the data; without data `null`. Of a record it may be invalid, see [`Self::has_json`].
    #[must_use]
    pub fn data(&self) -> &str {
        &self.text[self.ends[2] as usize..]
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// About the bytes of its frame without the channel: quotes of the data are escaped.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        let escaped = self.data().bytes().filter(|b| matches!(b, b'"' | b'\\'));
        self.bytes() + escaped.count()
    }

    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// True if the data is JSON: clients could not parse anything else. Validated at the first call.
    #[must_use]
    pub fn has_json(&self) -> bool {
        let is_json = || serde_json::from_str::<IgnoredAny>(self.data()).is_ok();
        *self.is_json.get_or_init(is_json)
    }

    /// The result of [`Self::has_json`], if it was called before.
    #[must_use]
    pub fn known_json(&self) -> Option<bool> {
        self.is_json.get().copied()
    }

    /// The reason for delivering it to no client, if there is one; whether the data is JSON is not checked.
    #[must_use]
    pub fn rejection(&self, max_event: usize) -> Option<Reason> {
        let is_plain = || !encryption::is_acceptable(self.channel(), self.data());
        Reason::of(self.event(), self.data().len(), max_event)
            .or_else(|| is_plain().then_some(Reason::PlainData))
    }

    /// True if it is delivered on the socket channel `name`.
    #[must_use]
    pub fn reaches(&self, name: &str, settings: &Settings) -> bool {
        let is_public = settings.is_public_broadcast(self.channel(), self.public);
        let mut reaches = false;
        target_channels(self.channel(), self.exact, is_public, |target| {
            reaches |= target == name;
        });
        reaches
    }

    /// True if the record lies below `position`: a client at that position has received it.
    #[must_use]
    pub fn is_below(&self, position: &Position) -> bool {
        self.at.is_some_and(|at| {
            position.iter().any(|&(topic, partition, next)| {
                (topic, partition) == (at.topic, at.partition) && at.offset < next
            })
        })
    }

    /// Converts a record. `max_event_bytes` limits the data.
    ///
    /// # Errors
    /// The reason for skipping the record.
    pub fn from_record(
        topic: &str,
        value: &[u8],
        headers: BroadcastHeaders,
        topics: &TopicMap,
        max_event_bytes: usize,
        at: Option<At>,
    ) -> Result<Self, Skip> {
        if headers.replayed {
            return Err(Skip::Replayed);
        }
        // The rest of an envelope is small, so a larger record need not be validated.
        if value.len() > max_event_bytes + 4096 {
            return Err(too_large(value));
        }
        let scanned = scan_envelope(value).map_err(|_| Skip::NotAnEnvelope)?;
        if scanned.kind != EnvelopeKind::Event {
            return Err(Skip::Type);
        }
        let (Some(channel), Some(event)) = (scanned.channel, scanned.event) else {
            return Err(Skip::NotAnEnvelope);
        };
        // A name that no sender may use must not reach the tables of the hub, whose keys contain control characters.
        if validate_channel(&channel).is_err() {
            return Err(Skip::NotAnEnvelope);
        }
        if !topics.maps_to(&channel, topic) {
            return Err(Skip::TopicMismatch {
                channel: channel.into_owned(),
            });
        }
        if is_reserved_event(&event) {
            return Err(Skip::Reserved {
                channel: channel.into_owned(),
                event: event.into_owned(),
            });
        }
        let data = match scanned.data {
            None => "null",
            Some(data) if data.len() > max_event_bytes => return Err(too_large(value)),
            // The scan only finds its end: Self::has_json() validates it.
            Some(data) => std::str::from_utf8(data).map_err(|_| Skip::NotAnEnvelope)?,
        };
        let mut broadcast = Self::new(&channel, &event, &scanned.id, data);
        broadcast.except = headers.except;
        broadcast.public = headers.public;
        broadcast.exact = headers.exact;
        broadcast.is_text = headers.text && data.starts_with('"');
        broadcast.at = at;
        Ok(broadcast)
    }
}

/// Advances `position` past `at`.
pub fn advance(position: &mut Position, at: At) {
    match position
        .iter_mut()
        .find(|entry| (entry.0, entry.1) == (at.topic, at.partition))
    {
        Some(entry) => entry.2 = entry.2.max(at.offset + 1),
        None => position.push((at.topic, at.partition, at.offset + 1)),
    }
}

/// Hash of a channel name, with a random seed of the process, because names come from the network.
#[must_use]
pub fn hash_of(channel: &str) -> u64 {
    static SEED: Lazy<RandomState> = Lazy::new(RandomState::new);
    SEED.hash_one(channel)
}

/// Uses a key that is a hash as it is.
#[derive(Default)]
pub struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "only for u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The record headers that gateways use.
// Independent flags.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BroadcastHeaders {
    pub except: Option<SocketId>,
    pub public: bool,
    pub exact: bool,
    pub text: bool,
    /// A dead letter that is replayed for one consumer group.
    pub replayed: bool,
}

impl BroadcastHeaders {
    /// Reads one header; unknown headers are ignored.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        if name == crate::envelope::headers::SOCKET.as_bytes() {
            // An invalid id excludes no socket.
            let text = std::str::from_utf8(value).ok();
            self.except = text.and_then(|text| text.parse().ok());
        } else if name == crate::envelope::headers::PUBLIC.as_bytes() {
            self.public = value == b"1";
        } else if name == EXACT.as_bytes() {
            self.exact = value == b"1";
        } else if name == TEXT.as_bytes() {
            self.text = value == b"1";
        } else if name == crate::envelope::headers::REPLAY_GROUP.as_bytes() {
            self.replayed = true;
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// Not an envelope with a valid channel and an event.
    NotAnEnvelope,
    /// An envelope whose type is not `event`.
    Type,
    /// Clients received it when it was sent first.
    Replayed,
    /// The channel belongs to another topic.
    TopicMismatch { channel: String },
    /// The event name is reserved for the protocol.
    Reserved { channel: String, event: String },
    TooLarge {
        channel: String,
        event: String,
        /// Size of the data, or of the record if it cannot be read.
        bytes: usize,
    },
}

/// The reason for skipping a record that is too large, with the names that its warning needs.
#[cold]
fn too_large(value: &[u8]) -> Skip {
    let (mut channel, mut event, mut bytes) = (String::new(), String::new(), value.len());
    if let Ok(scanned) = scan_envelope(value) {
        channel = scanned.channel.unwrap_or_default().into_owned();
        event = scanned.event.unwrap_or_default().into_owned();
        bytes = scanned.data.map_or(bytes, <[u8]>::len);
    }
    Skip::TooLarge {
        channel,
        event,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(topic: &str, value: &str) -> Result<Broadcast, Skip> {
        let topics = TopicMap::one_per_channel("realtime", false);
        let headers = BroadcastHeaders::default();
        Broadcast::from_record(topic, value.as_bytes(), headers, &topics, 1000, None)
    }

    #[test]
    fn an_envelope_becomes_a_broadcast() {
        let value = concat!(
            r#"{"id":"1","type":"event","channel":"user.1","event":"e\u00e9","#,
            r#""data":{"a":"\"\\ \u0001"},"timestamp":1}"#,
        );
        let read = read("realtime_user_1", value).expect("a broadcast");
        assert_eq!(
            (read.channel(), read.event(), read.id()),
            ("user.1", "eé", "1")
        );
        assert_eq!(read.data(), r#"{"a":"\"\\ \u0001"}"#);
        assert!(read.has_json());
        let bare = super::tests::read("realtime_user_1", r#"{"channel":"user.1","event":"e"}"#);
        assert_eq!(bare.expect("a broadcast").data(), "null");
    }

    #[test]
    fn data_is_validated_when_it_is_needed() {
        let value = r#"{"channel":"user.1","event":"e","data":{"a":nonsense}}"#;
        let broken = read("realtime_user_1", value).expect("a broadcast");
        assert!(!broken.has_json());
    }

    #[test]
    fn skipped_records_have_a_reason() {
        let mismatch = |channel: &str| Skip::TopicMismatch {
            channel: channel.to_owned(),
        };
        let reserved = |event: &str| Skip::Reserved {
            channel: "user.1".to_owned(),
            event: event.to_owned(),
        };
        let too_large = |channel: &str, event: &str, bytes| Skip::TooLarge {
            channel: channel.to_owned(),
            event: event.to_owned(),
            bytes,
        };
        let event =
            |name: &str| format!(r#"{{"id":"1","channel":"user.1","event":"{name}","data":1}}"#);
        let large = format!(
            r#"{{"channel":"user.1","event":"e","data":"{}"}}"#,
            "x".repeat(1000)
        );
        let table: Vec<(&str, String, Skip)> = vec![
            ("realtime_user_1", String::new(), Skip::NotAnEnvelope),
            ("realtime_user_1", "[1]".into(), Skip::NotAnEnvelope),
            (
                "realtime_user_1",
                r#"{"event":"e"}"#.into(),
                Skip::NotAnEnvelope,
            ),
            (
                "realtime_user_1",
                r#"{"channel":"user.1"}"#.into(),
                Skip::NotAnEnvelope,
            ),
            (
                "realtime_user_1",
                r#"{"type":"subscribe","channel":"user.1","event":"e"}"#.into(),
                Skip::Type,
            ),
            ("realtime_user_2", event("e"), mismatch("user.1")),
            ("realtime_staging_user_1", event("e"), mismatch("user.1")),
            (
                "realtime_user_1",
                event("pusher:error"),
                reserved("pusher:error"),
            ),
            (
                "realtime_user_1",
                event("pusher_internal:member_added"),
                reserved("pusher_internal:member_added"),
            ),
            (
                "realtime_user_1",
                event("realtime:recovered"),
                reserved("realtime:recovered"),
            ),
            (
                "realtime_user_1",
                large.replace('x', "yyyyyy"),
                too_large("user.1", "e", 6002),
            ),
            ("realtime_user_1", large, too_large("user.1", "e", 1002)),
            (
                "realtime_user_1",
                " ".repeat(10_000),
                too_large("", "", 10_000),
            ),
        ];
        for (topic, value, expected) in table {
            assert_eq!(read(topic, &value).err(), Some(expected), "{topic} {value}");
        }
        assert!(read("realtime_user_1", &event("pusher")).is_ok());
        assert!(read("realtime_user_1", &event("client-typing")).is_ok());
    }

    #[test]
    fn channel_names_are_validated_as_strictly_as_a_senders() {
        let names = ["\\u0001private-cache-x", "a\\nb", "a\\u007fb", "a*b"];
        for name in names {
            let value = format!(r#"{{"id":"1","channel":"{name}","event":"e","data":1}}"#);
            let parsed: serde_json::Value = serde_json::from_str(&value).expect("JSON");
            let name = parsed["channel"].as_str().expect("a name");
            // The topic of the name, with the replacements of the topic strategy.
            let replace = |c: char| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            };
            let topic = format!("realtime_{}", name.chars().map(replace).collect::<String>());
            let broadcast = read(&topic, &value);
            assert_eq!(broadcast.err(), Some(Skip::NotAnEnvelope), "{name:?}");
        }
    }

    #[test]
    fn known_headers_are_read_and_invalid_socket_ids_ignored() {
        let mut headers = BroadcastHeaders::default();
        for (name, value) in [
            ("x-realtime-public", "1"),
            ("x-realtime-exact", "0"),
            ("x-realtime-socket", "12.34"),
            ("other", "1"),
        ] {
            headers.add(name.as_bytes(), value.as_bytes());
        }
        assert!(headers.public && !headers.exact);
        assert_eq!(headers.except, "12.34".parse().ok());
        for bad in ["12.34\n", "x", "", "1.2:presence-room"] {
            headers.add(b"x-realtime-socket", bad.as_bytes());
            assert_eq!(headers.except, None, "{bad:?}");
        }
    }

    #[test]
    fn corrupted_records_never_panic() {
        let seed = br#"{"id":"1","type":"event","channel":"user.1","event":"e","data":{"a":[1,"x"]},"timestamp":1}"#;
        let topics = TopicMap::one_per_channel("realtime", false);
        let mut state = 88_172_645_463_325_252_u64;
        for _ in 0..20_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..3 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let place = usize::try_from(state).unwrap_or(0) % bytes.len();
                bytes[place] = state.to_le_bytes()[7];
            }
            let headers = BroadcastHeaders::default();
            let read =
                Broadcast::from_record("realtime_user_1", &bytes, headers, &topics, 1000, None);
            if let Ok(read) = read {
                let parsed = serde_json::from_str::<serde_json::Value>(read.data());
                assert_eq!(read.has_json(), parsed.is_ok());
            }
        }
    }
}
