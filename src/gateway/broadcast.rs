//! A broadcast from Kafka, or from the process itself, to sockets. Its data is encoded once.

use bytes::Bytes;

use super::protocol::SocketId;

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

#[derive(Debug, Clone)]
pub struct Broadcast {
    /// Channel of the envelope.
    pub channel: Box<str>,
    /// Name of the event.
    pub event: Box<str>,
    /// Id of the envelope.
    pub id: Box<str>,
    /// A JSON string that contains the JSON of the data, as in a frame: `"{\"id\":7}"`; without data `"null"`.
    pub data: Bytes,
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
