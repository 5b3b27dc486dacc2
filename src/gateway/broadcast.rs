//! A broadcast from Kafka, or from the process itself, to sockets.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::OnceLock;

use once_cell::sync::Lazy;
use serde::de::IgnoredAny;

use super::protocol::{is_reserved_event, SocketId};
use crate::encryption;
use crate::topic::undeliverable::Reason;

/// Number of a topic, assigned by the feed.
pub type TopicNumber = u32;

/// Position of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At {
    pub topic: TopicNumber,
    pub partition: i32,
    pub offset: i64,
}

/// Next offsets by topic and partition: all records below were delivered.
pub type Position = Vec<(TopicNumber, i32, i64)>;

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
            at: None,
        }
    }

    fn part(&self, from: u32, to: u32) -> &str {
        &self.text[from as usize..to as usize]
    }

    /// Channel of the envelope.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.part(0, self.ends[0])
    }

    /// Name of the event.
    #[must_use]
    pub fn event(&self) -> &str {
        self.part(self.ends[0], self.ends[1])
    }

    /// Id of the envelope.
    #[must_use]
    pub fn id(&self) -> &str {
        self.part(self.ends[1], self.ends[2])
    }

    /// The JSON of the data; without data `null`. Of a record it may be invalid, see [`Self::has_json`].
    #[must_use]
    pub fn data(&self) -> &str {
        &self.text[self.ends[2] as usize..]
    }

    /// Bytes of the names and the data.
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

    /// [`hash_of`] the channel.
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

    /// The reason for delivering it to no client, if there is one; whether the data is JSON is not checked.
    #[must_use]
    pub fn rejection(&self, max_event: usize) -> Option<Reason> {
        if is_reserved_event(self.event()) {
            return Some(Reason::ReservedEvent);
        }
        let bytes = self.data().len();
        if bytes > max_event {
            let max = max_event;
            return Some(Reason::TooLarge { bytes, max });
        }
        let is_encrypted = self.channel().starts_with("private-encrypted-");
        (is_encrypted && !encryption::is_encrypted_data(self.data())).then_some(Reason::PlainData)
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

/// A table whose keys come from [`hash_of`].
pub type HashTable<V> = HashMap<u64, V, BuildHasherDefault<KeyIsHash>>;

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
