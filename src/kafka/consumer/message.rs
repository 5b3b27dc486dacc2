//! A message of librdkafka's, owned: destroyed when it is dropped.
#![allow(unsafe_code)]

use rdkafka::error::IsError;
use rdkafka_sys as sys;

use super::records::Fetched;
use crate::kafka::client;

pub(super) type RawMessage = *mut sys::rd_kafka_message_t;

/// A message that librdkafka handed out: a record, an error or the end of a partition.
#[derive(Debug)]
pub(super) struct FetchedMessage(RawMessage);

impl FetchedMessage {
    /// Takes ownership of a message.
    ///
    /// # Safety
    /// `raw` must come from librdkafka, not be null, and not be destroyed elsewhere.
    pub unsafe fn from_raw(raw: RawMessage) -> Self {
        Self(raw)
    }

    pub const fn raw(&self) -> RawMessage {
        self.0
    }

    pub fn message(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: alive until it is dropped.
        unsafe { &*self.0 }
    }
}

impl Fetched for FetchedMessage {
    type Id = RawMessage;

    fn id(&self) -> RawMessage {
        self.0
    }

    fn is_record(&self) -> bool {
        !self.message().err.is_error()
    }

    fn topic_handle(&self) -> usize {
        self.message().rkt.addr()
    }

    fn topic(&self) -> String {
        let handle = self.message().rkt;
        if handle.is_null() {
            return String::new();
        }
        // SAFETY: the topic handle of a message lives as long as the message.
        unsafe { client::text(sys::rd_kafka_topic_name(handle)) }
    }

    fn partition(&self) -> i32 {
        self.message().partition
    }

    fn offset(&self) -> i64 {
        self.message().offset
    }

    fn key(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: pointer and length of the key, alive with the message.
        (!message.key.is_null())
            .then(|| unsafe { std::slice::from_raw_parts(message.key.cast(), message.key_len) })
    }

    fn size(&self) -> usize {
        let message = self.message();
        message.len + message.key_len
    }
}

impl Drop for FetchedMessage {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { sys::rd_kafka_message_destroy(self.0) };
    }
}
