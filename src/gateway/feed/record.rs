//! Converts a Kafka record to a broadcast, or to the reason for skipping it.

use crate::envelope::{scan_envelope, EnvelopeKind};
use crate::gateway::broadcast::{At, Broadcast};
use crate::gateway::protocol::{is_reserved_event, SocketId};
use crate::topic::{validate_channel, TopicMap};

/// Record header of HTTP API events: the channel is the exact name of a socket channel.
pub const EXACT: &str = "x-realtime-exact";

/// The record headers that gateways use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BroadcastHeaders {
    /// The socket to leave out.
    pub except: Option<SocketId>,
    /// The sender marked the channel as public.
    pub public: bool,
    /// The channel is the exact name of a socket channel.
    pub exact: bool,
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
        }
    }
}

/// The reason for skipping a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// Not an envelope with a valid channel and an event.
    NotAnEnvelope,
    /// An envelope whose type is not `event`.
    Type,
    /// The channel belongs to another topic.
    TopicMismatch {
        /// The channel of the envelope.
        channel: String,
    },
    /// The event name is reserved for the protocol.
    Reserved { channel: String, event: String },
    TooLarge {
        channel: String,
        event: String,
        /// Size of the data, or of the record if it cannot be read.
        bytes: usize,
    },
}

impl Broadcast {
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
        broadcast.at = at;
        Ok(broadcast)
    }
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
        let bare = r#"{"id":"1","channel":"user.1","event":"e"}"#;
        let bare = super::tests::read("realtime_user_1", bare).expect("a broadcast");
        assert_eq!(bare.data(), "null");
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
