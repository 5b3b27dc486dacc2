//! Messages of a consumer, and the records that they are. A message without a result is librdkafka's, owned and
//! destroyed when it is dropped, or one that the caller of `poll()` rejected.
#![allow(unsafe_code)]

use std::rc::Rc;
use std::time::Instant;

use crate::kafka::client::{KafkaMessage, NativeMessage, NativeMessageId};
use crate::message::{Header, Message};

/// A message as librdkafka delivers it: a record, an error, or the end of a partition.
pub trait Fetched {
    /// Identifies a message while it is alive.
    type Id: Copy + Eq;
    fn id(&self) -> Self::Id;
    /// False for errors and ends of partitions.
    fn is_record(&self) -> bool;
    /// Equal for messages of one topic; 0 where there is no topic.
    fn topic_handle(&self) -> usize;
    /// The topic's name.
    fn topic(&self) -> String;
    /// The partition's number.
    fn partition(&self) -> i32;
    fn offset(&self) -> i64;
    /// The key; `None` for no key.
    fn key(&self) -> Option<&[u8]>;
    /// Key and value in bytes.
    fn size(&self) -> usize;
}

#[derive(Debug)]
pub enum FetchedMessage {
    Kafka(KafkaMessage),
    /// Rejected by the caller of `poll()`. Librdkafka's message was destroyed when the caller got its content: each
    /// one keeps the whole response of a broker in memory, and callers may take many before they acknowledge any.
    Rejected(Rc<Message>),
}

/// Identifies a message while it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageId {
    Kafka(NativeMessageId),
    Rejected(*const Message),
}

/// A message while it is alive.
enum Content<'a> {
    Kafka(&'a NativeMessage),
    Rejected(&'a Message),
}

impl Fetched for FetchedMessage {
    type Id = MessageId;

    #[inline]
    fn id(&self) -> MessageId {
        match self {
            Self::Kafka(own) => MessageId::Kafka(own.id()),
            Self::Rejected(message) => MessageId::Rejected(Rc::as_ptr(message)),
        }
    }

    fn is_record(&self) -> bool {
        match self {
            Self::Kafka(own) => own.is_record(),
            Self::Rejected(_) => true,
        }
    }

    fn topic_handle(&self) -> usize {
        match self {
            Self::Kafka(own) => own.topic_address(),
            Self::Rejected(_) => 0,
        }
    }

    fn topic(&self) -> String {
        match self {
            Self::Kafka(own) => own.topic(),
            Self::Rejected(message) => message
                .origin
                .as_ref()
                .map_or_else(String::new, |origin| origin.topic.to_string()),
        }
    }

    fn partition(&self) -> i32 {
        match self {
            Self::Kafka(own) => own.partition(),
            Self::Rejected(message) => message
                .origin
                .as_ref()
                .map_or(-1, |origin| origin.partition),
        }
    }

    fn offset(&self) -> i64 {
        match self {
            Self::Kafka(own) => own.offset(),
            Self::Rejected(message) => message.origin.as_ref().map_or(-1, |origin| origin.offset),
        }
    }

    fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Kafka(own) => own.key(),
            Self::Rejected(message) => message.key(),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Kafka(own) => own.size(),
            Self::Rejected(_) => 0,
        }
    }
}

/// A record that was handed out, by the id of its message.
#[derive(Debug, Clone)]
pub struct Handle<I> {
    /// Id of the message.
    pub id: I,
    /// The partition's place in the assignment; `usize::MAX` where it was revoked.
    pub slot: usize,
    pub topic: Rc<str>,
    pub partition: i32,
    pub offset: i64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Earlier attempts that do not count, as they failed transiently.
    pub transient: u32,
    /// Since when it has failed transiently.
    pub transient_since: Option<Instant>,
    /// Attempts until its callback last ended the process, by `exit` or a fatal error; 0 where it never did.
    pub crashes: u32,
    /// Handed out alone, see [`Partition::is_isolated`](super::partition::Partition::is_isolated).
    pub isolated: bool,
    /// See [`Partition::was_handled`](super::partition::Partition::was_handled).
    pub was_handled: bool,
}

impl<I> Handle<I> {
    /// The number of this attempt without those that do not count.
    #[must_use]
    pub const fn counted_attempt(&self) -> u32 {
        self.attempt - self.transient
    }

    /// Topic, partition and offset.
    #[must_use]
    pub fn place(&self) -> (String, i32, i64) {
        (self.topic.to_string(), self.partition, self.offset)
    }
}

/// A record in flight. Valid until it is completed, requeued or scheduled for a retry.
pub type Record = Handle<MessageId>;

impl Record {
    #[inline]
    fn content(&self) -> Content<'_> {
        // SAFETY: the message is alive while the record is in flight.
        unsafe {
            match self.id {
                MessageId::Kafka(id) => Content::Kafka(id.message()),
                MessageId::Rejected(message) => Content::Rejected(&*message),
            }
        }
    }

    /// Value; `None` for a tombstone.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        match self.content() {
            Content::Kafka(message) => message.value(),
            Content::Rejected(message) => message.value(),
        }
    }

    /// Key; `None` for no key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        match self.content() {
            Content::Kafka(message) => message.key(),
            Content::Rejected(message) => message.key(),
        }
    }

    /// True for a record of Kafka that has none, as far as that is known without asking librdkafka.
    pub(in crate::kafka) fn is_without_headers(&self) -> bool {
        // SAFETY: a consumer fetched the message.
        matches!(self.content(), Content::Kafka(message) if unsafe { message.is_without_headers() })
    }

    #[inline]
    #[must_use]
    pub fn headers(&self) -> Vec<Header> {
        match self.content() {
            _ if self.is_without_headers() => Vec::new(),
            Content::Kafka(message) => message.headers(),
            Content::Rejected(message) => message.headers.clone(),
        }
    }

    /// Timestamp in ms; -1 where there is none.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        match self.content() {
            Content::Kafka(message) => message.timestamp_ms(),
            Content::Rejected(message) => {
                let origin = message.origin.as_ref();
                origin.map_or(-1, |origin| origin.timestamp_ms)
            }
        }
    }
}
