//! Messages without a result: of librdkafka, owned and destroyed when they are dropped, or returned by the caller of
//! `poll()`.
#![allow(unsafe_code)]

use std::rc::Rc;

use rdkafka::error::IsError;
use rdkafka_sys as sys;

use super::records::{Fetched, Handle};
use crate::kafka::client;
use crate::kafka::producer::delivery;
use crate::message::{Header, Message};

pub(super) type RawMessage = *mut sys::rd_kafka_message_t;

/// A message of librdkafka's: a record, an error or the end of a partition.
#[derive(Debug)]
pub(super) struct KafkaMessage(RawMessage);

impl KafkaMessage {
    pub const fn raw(&self) -> RawMessage {
        self.0
    }

    pub fn message(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: alive until it is dropped.
        unsafe { &*self.0 }
    }

    /// The topic's name; empty for an error without one.
    pub fn topic(&self) -> String {
        let handle = self.message().rkt;
        if handle.is_null() {
            return String::new();
        }
        // SAFETY: the topic handle of a message lives as long as the message.
        unsafe { client::text(sys::rd_kafka_topic_name(handle)) }
    }
}

impl Drop for KafkaMessage {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { sys::rd_kafka_message_destroy(self.0) };
    }
}

#[derive(Debug)]
pub(super) enum FetchedMessage {
    Kafka(KafkaMessage),
    /// Rejected by the caller of `poll()`. Librdkafka's message was destroyed when the caller got its content: each
    /// one keeps the whole response of a broker in memory, and callers may take many before they acknowledge any.
    Rejected(Rc<Message>),
}

impl FetchedMessage {
    /// Takes ownership of a message.
    ///
    /// # Safety
    /// `raw` must come from librdkafka, not be null, and not be destroyed elsewhere.
    pub unsafe fn from_raw(raw: RawMessage) -> Self {
        Self::Kafka(KafkaMessage(raw))
    }
}

/// Identifies a message while it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageId {
    Kafka(RawMessage),
    Rejected(*const Message),
}

impl Fetched for FetchedMessage {
    type Id = MessageId;

    #[inline]
    fn id(&self) -> MessageId {
        match self {
            Self::Kafka(own) => MessageId::Kafka(own.raw()),
            Self::Rejected(message) => MessageId::Rejected(Rc::as_ptr(message)),
        }
    }

    fn is_record(&self) -> bool {
        match self {
            Self::Kafka(own) => !own.message().err.is_error(),
            Self::Rejected(_) => true,
        }
    }

    fn topic_handle(&self) -> usize {
        match self {
            Self::Kafka(own) => own.message().rkt.addr(),
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
            Self::Kafka(own) => own.message().partition,
            Self::Rejected(message) => message
                .origin
                .as_ref()
                .map_or(-1, |origin| origin.partition),
        }
    }

    fn offset(&self) -> i64 {
        match self {
            Self::Kafka(own) => own.message().offset,
            Self::Rejected(message) => message.origin.as_ref().map_or(-1, |origin| origin.offset),
        }
    }

    fn key(&self) -> Option<&[u8]> {
        // SAFETY: alive as long as the result is borrowed.
        unsafe { key(self.id()) }
    }

    fn size(&self) -> usize {
        match self {
            Self::Kafka(own) => own.message().len + own.message().key_len,
            Self::Rejected(_) => 0,
        }
    }
}

/// A record in flight. Valid until it is completed, requeued or scheduled for a retry.
pub type Record = Handle<MessageId>;

impl Record {
    /// Value; `None` for a tombstone.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        // SAFETY: the message is alive while the record is in flight.
        unsafe {
            match self.id {
                MessageId::Kafka(raw) => slice((*raw).payload.cast(), (*raw).len),
                MessageId::Rejected(message) => (*message).value(),
            }
        }
    }

    /// Key; `None` for no key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: as above.
        unsafe { key(self.id) }
    }

    #[must_use]
    pub fn headers(&self) -> Vec<Header> {
        // SAFETY: as above.
        unsafe {
            match self.id {
                MessageId::Kafka(raw) => delivery::fetched_headers(raw),
                MessageId::Rejected(message) => (*message).headers.clone(),
            }
        }
    }

    /// Timestamp in ms; -1 where there is none.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        // SAFETY: as above.
        unsafe {
            match self.id {
                MessageId::Kafka(raw) => sys::rd_kafka_message_timestamp(raw, std::ptr::null_mut()),
                MessageId::Rejected(message) => {
                    let origin = (*message).origin.as_ref();
                    origin.map_or(-1, |origin| origin.timestamp_ms)
                }
            }
        }
    }
}

/// The key of a message that is alive for `'a`.
unsafe fn key<'a>(id: MessageId) -> Option<&'a [u8]> {
    match id {
        MessageId::Kafka(raw) => slice((*raw).key.cast(), (*raw).key_len),
        MessageId::Rejected(message) => (*message).key(),
    }
}

unsafe fn slice<'a>(pointer: *const u8, length: usize) -> Option<&'a [u8]> {
    (!pointer.is_null()).then(|| std::slice::from_raw_parts(pointer, length))
}
