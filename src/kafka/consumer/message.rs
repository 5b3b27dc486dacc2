//! Messages without a result: of librdkafka, owned and destroyed when they are dropped, or returned by the caller of
//! `poll()`.
#![allow(unsafe_code)]

use std::rc::Rc;

use super::records::{Fetched, Handle};
use crate::kafka::client::{KafkaMessage, NativeMessage, NativeMessageId};
use crate::message::{Header, Message};

#[derive(Debug)]
pub(super) enum FetchedMessage {
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
