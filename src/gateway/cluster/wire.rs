//! What gateways write to each other: records keyed by node, numbered, and signed, so that write access to the topic alone makes
//! nobody a gateway.
//!
//! A value is 64 hexadecimal digits of HMAC-SHA256, a space, and JSON: `{"n":node,"s":sequence,"b":body}`. The signature covers the
//! topic and the JSON, in which node and sequence stand.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::gateway::admin_api::{AdminRequest, AdminResponse};
use crate::gateway::presence::Membership;
use crate::gateway::protocol::frame::Member;
use crate::gateway::protocol::SocketId;
use crate::gateway::recovery::token::Keys;

/// A member of a presence channel, as a snapshot lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceMember {
    /// The channel.
    pub c: String,
    /// The socket.
    pub s: SocketId,
    /// Who.
    pub m: Member,
}

impl From<PresenceMember> for Membership {
    fn from(member: PresenceMember) -> Self {
        Self {
            channel: member.c,
            socket: member.s,
            member: member.m,
        }
    }
}

/// What a record says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A node starts, with nothing, and wants to hear from all others.
    Hello,
    /// It is alive, and this is how many seats and occupied channels it has told of.
    Beat {
        /// Seats.
        m: usize,
        /// Occupied channels.
        c: usize,
    },
    /// A socket joined a presence channel.
    Join(PresenceMember),
    /// A socket left a presence channel.
    Leave {
        /// The channel.
        c: String,
        /// The socket.
        s: SocketId,
    },
    /// So many sockets are on a channel now.
    Occupied {
        /// The channel.
        c: String,
        /// 0 for none any more.
        n: usize,
    },
    /// Everything a node has, in parts that follow each other.
    Snapshot {
        /// Counts from 0.
        part: u32,
        /// How many.
        of: u32,
        /// Seats.
        m: Vec<PresenceMember>,
        /// Occupied channels.
        o: Vec<(String, usize)>,
    },
    /// Something of this node was missed: it is to send a snapshot.
    Gap {
        /// Which node.
        of: String,
    },
    /// A node ends in order: its members stay for a moment, to come back elsewhere.
    Bye,
    /// A question, or an order, for everybody.
    Ask {
        /// The asker's number for it.
        id: u64,
        /// What.
        q: AdminRequest,
    },
    /// An answer, in parts.
    Answer {
        /// The question's number.
        id: u64,
        /// Who asked.
        to: String,
        /// True for the last part.
        last: bool,
        /// What.
        a: AdminResponse,
    },
    /// A client event, on the topic for these.
    Client {
        /// The channel.
        c: String,
        /// The event.
        e: String,
        /// Its data, as it was received.
        d: Box<RawValue>,
        /// The sender, on presence channels.
        u: Option<String>,
    },
}

/// A record.
#[derive(Debug, Serialize, Deserialize)]
pub struct ControlRecord {
    /// The node that wrote it.
    #[serde(rename = "n")]
    pub node: String,
    /// Its number among the node's records of this topic, from 1.
    #[serde(rename = "s")]
    pub sequence: u64,
    /// What it says.
    #[serde(rename = "b")]
    pub body: Body,
}

/// Hexadecimal digits of a signature.
const SIGNATURE: usize = 64;

impl ControlRecord {
    /// The value of the Kafka record; `None` for what JSON cannot carry, which nothing here is.
    #[must_use]
    pub fn seal(&self, topic: &str, keys: &Keys) -> Option<Vec<u8>> {
        let json = serde_json::to_vec(self).ok()?;
        let signature = keys.sign(&[topic.as_bytes(), &json]);
        let mut value = hex::encode(signature).into_bytes();
        value.push(b' ');
        value.extend_from_slice(&json);
        Some(value)
    }

    /// Reads a value; `None` where it was not signed by a gateway of this application for this topic and key.
    #[must_use]
    pub fn open(topic: &str, key: &[u8], value: &[u8], keys: &Keys) -> Option<Self> {
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

    fn keys() -> Keys {
        Keys::new(&["4f9c1d7a20b86e35f1a7c9d2e4b60837"], "tests")
    }

    fn record(body: Body) -> ControlRecord {
        ControlRecord {
            node: "node-1".to_owned(),
            sequence: 7,
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
            ControlRecord::open(topic, key.as_bytes(), value, &keys())
        };
        let read = open("t.__client", "node-1", &value).expect("ours");
        assert_eq!((read.node.as_str(), read.sequence), ("node-1", 7));
        let Body::Client { d, .. } = read.body else {
            panic!("another body");
        };
        assert_eq!(d.get(), r#"{"x": 1.0}"#);
        assert!(open("t.__presence", "node-1", &value).is_none());
        assert!(open("t.__client", "node-2", &value).is_none());
        for place in 0..value.len() {
            let mut changed = value.clone();
            changed[place] ^= 1;
            assert!(open("t.__client", "node-1", &changed).is_none(), "{place}");
            assert!(open("t.__client", "node-1", &value[..place]).is_none());
        }
        let other_nodes = Keys::new(&["another secret of an application"], "tests");
        assert!(ControlRecord::open("t.__client", b"node-1", &value, &other_nodes).is_none());
    }

    #[test]
    fn every_body_survives_a_round_trip() {
        let socket: SocketId = "1.2".parse().expect("an id");
        let member = PresenceMember {
            c: "presence-a".to_owned(),
            s: socket,
            m: Member {
                user_id: "7".to_owned(),
                user_info: Some("{}".to_owned()),
            },
        };
        let bodies = [
            Body::Hello,
            Body::Beat { m: 1, c: 2 },
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
            Body::Ask {
                id: 1,
                q: AdminRequest::Terminate {
                    user: "7".to_owned(),
                },
            },
            Body::Answer {
                id: 1,
                to: "x".to_owned(),
                last: true,
                a: AdminResponse::default(),
            },
        ];
        for body in bodies {
            let said = format!("{body:?}");
            let value = record(body).seal("t", &keys()).expect("JSON");
            let read = ControlRecord::open("t", b"node-1", &value, &keys()).expect("ours");
            assert_eq!(format!("{:?}", read.body), said);
        }
    }
}
