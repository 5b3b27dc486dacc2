//! One broadcast on its way from Kafka, or from the process itself, to sockets: encoded once.

use bytes::Bytes;

use super::protocol::SocketId;

/// Number of a topic, given by whoever reads Kafka.
pub type TopicNumber = u32;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At {
    /// The topic.
    pub topic: TopicNumber,
    /// The partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
}

/// Next offsets by topic and partition: everything below has been handed over.
pub type Position = Vec<(TopicNumber, i32, i64)>;

/// One broadcast.
#[derive(Debug, Clone)]
pub struct Broadcast {
    /// Channel of the envelope.
    pub channel: Box<str>,
    /// Name of the event.
    pub event: Box<str>,
    /// Id of the envelope.
    pub id: Box<str>,
    /// A JSON string that holds the JSON of the data, as it stands in a frame: `"{\"id\":7}"`; without data `"null"`.
    pub data: Bytes,
    /// The socket to leave out.
    pub except: Option<SocketId>,
    /// Marked public by its sender.
    pub public: bool,
    /// The channel is a socket channel already (HTTP API): it reaches itself only.
    pub exact: bool,
    /// Where it stands in Kafka; `None` for one of the process itself.
    pub at: Option<At>,
}

impl Broadcast {
    /// Whether the record lies below `position`, so that whoever stands there has seen it.
    #[must_use]
    pub fn is_below(&self, position: &Position) -> bool {
        self.at.is_some_and(|at| {
            position.iter().any(|&(topic, partition, next)| {
                (topic, partition) == (at.topic, at.partition) && at.offset < next
            })
        })
    }
}

/// Moves `position` past `at`.
pub fn advance(position: &mut Position, at: At) {
    match position
        .iter_mut()
        .find(|entry| (entry.0, entry.1) == (at.topic, at.partition))
    {
        Some(entry) => entry.2 = entry.2.max(at.offset + 1),
        None => position.push((at.topic, at.partition, at.offset + 1)),
    }
}
