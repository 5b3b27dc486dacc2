//! Control records between gateways, keyed by node, numbered and signed: write access to the topic does not suffice to
//! act as a gateway.
//!
//! A value is 64 hexadecimal digits of HMAC-SHA256, a space, and JSON: `{"n":node,"s":sequence,"t":issued,"b":body}`.
//! The signature covers the topic and the JSON. A record captured from the topic is worthless after [`MAX_DELAY_MS`],
//! and before that to every receiver that has read it or a later one of its node.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::gateway::backend::{AdminRequest, AdminResponse};
use crate::gateway::hub::presence::Membership;
use crate::gateway::protocol::SocketId;
use crate::gateway::replay::token::Keys;

/// The message of a control record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A node starts without members and requests the snapshots of the other nodes.
    Hello,
    /// Heartbeat with the numbers of announced members and occupied channels.
    #[serde(rename = "beat")]
    Heartbeat { m: usize, c: usize },
    /// A socket joined a presence channel.
    Join(Membership),
    /// A socket left a presence channel.
    Leave { c: String, s: SocketId },
    /// A channel became occupied or vacated.
    Occupied {
        c: String,
        /// Number of sockets; 0 for vacated.
        n: usize,
    },
    /// All members and channels of a node, in consecutive parts.
    Snapshot {
        /// Number of the part, from 0.
        part: u32,
        of: u32,
        m: Vec<Membership>,
        o: Vec<(String, usize)>,
    },
    /// Records of a node are missing: it must send a snapshot.
    Gap { of: String },
    /// A node drains: its members stay for a moment, because their clients reconnect to other nodes.
    Bye,
    /// An admin request to all nodes.
    #[serde(rename = "ask")]
    Request {
        /// The requesting node's number for it.
        id: u64,
        q: AdminRequest,
    },
    /// A part of the response to an admin request.
    #[serde(rename = "answer")]
    Response {
        /// The number of the request.
        id: u64,
        to: String,
        /// True for the last part.
        last: bool,
        a: AdminResponse,
    },
    /// A client event; on the client topic only.
    Client {
        c: String,
        e: String,
        /// The data as received.
        d: Box<RawValue>,
        /// The sending user, on presence channels.
        u: Option<String>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ControlRecord {
    /// The node that wrote it.
    #[serde(rename = "n")]
    pub node: String,
    /// Number among the node's records of this topic, from 1.
    #[serde(rename = "s")]
    pub sequence: u64,
    /// Time of issue, Unix ms.
    #[serde(rename = "t")]
    pub issued_ms: u64,
    #[serde(rename = "b")]
    pub body: Body,
}

/// Hexadecimal digits of a signature.
const SIGNATURE: usize = 64;
/// Maximum difference between the time of issue and the time of arrival in Kafka, ms: the producer gives up after 8 s,
/// the rest is for clocks that differ.
pub const MAX_DELAY_MS: u64 = 30_000;

/// The reason for ignoring a control record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordError {
    /// Not signed by a gateway of this application for this topic and key.
    Forged,
    /// Signed, but issued too long before it was written: a captured record that was written again, or clocks that
    /// differ.
    Stale,
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Forged => {
                "it is not signed by a gateway of this application. Do all gateways have the same \
                REALTIME_APP_SECRET?"
            }
            Self::Stale => {
                "it was issued more than 30 s before or after it was written. Are the clocks of all servers \
                synchronized (NTP)?"
            }
        })
    }
}

impl ControlRecord {
    /// The value of the Kafka record; `None` if it cannot be encoded as JSON, which does not happen.
    #[must_use]
    pub fn seal(&self, topic: &str, keys: &Keys) -> Option<Vec<u8>> {
        let json = serde_json::to_vec(self).ok()?;
        let signature = keys.sign(&[topic.as_bytes(), &json]);
        let mut value = hex::encode(signature).into_bytes();
        value.push(b' ');
        value.extend_from_slice(&json);
        Some(value)
    }

    /// Reads a value that was written at `written_ms`: the broker's timestamp, or the current time if the producer sets
    /// the timestamps.
    ///
    /// # Errors
    /// The reason for ignoring the record.
    pub fn open(
        topic: &str,
        key: &[u8],
        value: &[u8],
        keys: &Keys,
        written_ms: u64,
    ) -> Result<Self, RecordError> {
        let record = Self::verify(topic, key, value, keys).ok_or(RecordError::Forged)?;
        if record.issued_ms.abs_diff(written_ms) > MAX_DELAY_MS {
            return Err(RecordError::Stale);
        }
        Ok(record)
    }

    fn verify(topic: &str, key: &[u8], value: &[u8], keys: &Keys) -> Option<Self> {
        let (signature, rest) = value.split_at_checked(SIGNATURE)?;
        let json = rest.strip_prefix(b" ")?;
        let signature = hex::decode(signature).ok()?;
        if !keys.verify(&[topic.as_bytes(), json], &signature) {
            return None;
        }
        let record: Self = serde_json::from_slice(json).ok()?;
        (record.node.as_bytes() == key).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::protocol::incoming::Member;

    const NOW: u64 = 1_800_000_000_000;

    fn keys() -> Keys {
        Keys::new(&["4f9c1d7a20b86e35f1a7c9d2e4b60837"], "tests")
    }

    fn record(body: Body) -> ControlRecord {
        ControlRecord {
            node: "node-1".to_owned(),
            sequence: 7,
            issued_ms: NOW,
            body,
        }
    }

    #[test]
    fn a_signature_is_valid_for_its_node_and_topic_only() {
        let data = RawValue::from_string(r#"{"x": 1.0}"#.to_owned()).expect("JSON");
        let client = Body::Client {
            c: "private-a".to_owned(),
            e: "client-x".to_owned(),
            d: data,
            u: None,
        };
        let value = record(client).seal("t.__client", &keys()).expect("JSON");
        let open = |topic, key: &str, value: &[u8]| {
            ControlRecord::open(topic, key.as_bytes(), value, &keys(), NOW)
        };
        let read = open("t.__client", "node-1", &value).expect("ours");
        assert_eq!((read.node.as_str(), read.sequence), ("node-1", 7));
        let Body::Client { d, .. } = read.body else {
            panic!("another body");
        };
        assert_eq!(d.get(), r#"{"x": 1.0}"#);
        assert!(open("t.__presence", "node-1", &value).is_err());
        assert!(open("t.__client", "node-2", &value).is_err());
        for place in 0..value.len() {
            let mut changed = value.clone();
            changed[place] ^= 1;
            assert!(open("t.__client", "node-1", &changed).is_err(), "{place}");
            assert!(open("t.__client", "node-1", &value[..place]).is_err());
        }
        let other_keys = Keys::new(&["another secret of an application"], "tests");
        assert!(ControlRecord::open("t.__client", b"node-1", &value, &other_keys, NOW).is_err());
    }

    #[test]
    fn a_captured_record_is_stale_after_thirty_seconds() {
        let value = record(Body::Hello).seal("t", &keys()).expect("JSON");
        let open = |written_ms| ControlRecord::open("t", b"node-1", &value, &keys(), written_ms);
        for written_ms in [NOW - MAX_DELAY_MS, NOW, NOW + MAX_DELAY_MS] {
            assert!(open(written_ms).is_ok());
        }
        for written_ms in [0, NOW - MAX_DELAY_MS - 1, NOW + MAX_DELAY_MS + 1] {
            assert_eq!(open(written_ms).err(), Some(RecordError::Stale));
        }
    }

    #[test]
    fn every_body_survives_a_round_trip() {
        let socket: SocketId = "1.2".parse().expect("an id");
        let member = Membership {
            channel: "presence-a".to_owned(),
            socket,
            member: Member {
                user_id: "7".to_owned(),
                user_info: Some("{}".to_owned()),
            },
        };
        let bodies = [
            Body::Hello,
            Body::Heartbeat { m: 1, c: 2 },
            Body::Join(member.clone()),
            Body::Leave {
                c: "presence-a".to_owned(),
                s: socket,
            },
            Body::Occupied {
                c: "a".to_owned(),
                n: 3,
            },
            Body::Snapshot {
                part: 0,
                of: 1,
                m: vec![member],
                o: vec![("a".to_owned(), 3)],
            },
            Body::Gap { of: "x".to_owned() },
            Body::Bye,
            Body::Request {
                id: 1,
                q: AdminRequest::Terminate {
                    user: "7".to_owned(),
                },
            },
            Body::Response {
                id: 1,
                to: "x".to_owned(),
                last: true,
                a: AdminResponse::default(),
            },
        ];
        for body in bodies {
            let sent = format!("{body:?}");
            let value = record(body).seal("t", &keys()).expect("JSON");
            let read = ControlRecord::open("t", b"node-1", &value, &keys(), NOW).expect("ours");
            assert_eq!(format!("{:?}", read.body), sent);
        }
    }

    /// Gateways of other releases read these names.
    #[test]
    fn wire_names_of_bodies_do_not_change() {
        let heartbeat = Body::Heartbeat { m: 1, c: 2 };
        let request = Body::Request {
            id: 1,
            q: AdminRequest::Terminate {
                user: "7".to_owned(),
            },
        };
        let response = Body::Response {
            id: 1,
            to: "x".to_owned(),
            last: true,
            a: AdminResponse::default(),
        };
        for (body, name) in [(heartbeat, "beat"), (request, "ask"), (response, "answer")] {
            let json = serde_json::to_string(&body).expect("JSON");
            assert!(json.starts_with(&format!("{{\"{name}\":")), "{json}");
        }
    }
}
