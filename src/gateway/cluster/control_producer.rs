//! The producer of control records, separate so that heartbeats never wait behind the application's messages.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_type_t;

use crate::config::BrokerConfig;
use crate::error::Result;
use crate::kafka::client::{metadata, Conf, TopicHandle};
use crate::kafka::embedded;
use crate::process;

/// The producer. Used by one thread.
pub(super) struct ControlProducer {
    raw: *mut sys::rd_kafka_t,
    handles: HashMap<String, TopicHandle>,
    generation: u32,
}

// SAFETY: librdkafka's clients and topic handles may be used from any thread.
unsafe impl Send for ControlProducer {}

impl ControlProducer {
    /// Makes the client, which connects by itself.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take.
    pub fn start(config: &Arc<BrokerConfig>) -> Result<Self> {
        let mut properties = config.producer_properties();
        for (name, value) in [
            // After a restart thousands of clients subscribe at the same time: their records share requests.
            ("linger.ms", "2"),
            // Older records are useless: the other nodes detect the gap and request a snapshot.
            ("message.timeout.ms", "8000"),
            ("socket.nagle.disable", "true"),
        ] {
            properties.retain(|(known, _)| known != name);
            properties.push((name.to_owned(), value.to_owned()));
        }
        properties.retain(|(name, _)| name != "transactional.id");
        embedded::resolve(config, &mut properties)?;
        let conf = Conf::new(&properties, "producer_config")?;
        let raw = conf.into_client(rd_kafka_type_t::RD_KAFKA_PRODUCER)?;
        Ok(Self {
            raw,
            handles: HashMap::new(),
            generation: process::generation(),
        })
    }

    /// Queues a record; false if librdkafka rejects it.
    pub fn send(&mut self, topic: &str, key: &str, value: &[u8]) -> bool {
        if !self.handles.contains_key(topic) {
            let Some(handle) = TopicHandle::new(self.raw, topic) else {
                return false;
            };
            self.handles.insert(topic.to_owned(), handle);
        }
        let Some(handle) = self.handles.get(topic) else {
            return false;
        };
        // SAFETY: live objects; key and value are copied.
        let status = unsafe {
            sys::bindings::rd_kafka_produce(
                handle.raw(),
                -1,
                sys::bindings::RD_KAFKA_MSG_F_COPY,
                value.as_ptr().cast_mut().cast(),
                value.len(),
                key.as_ptr().cast(),
                key.len(),
                std::ptr::null_mut(),
            )
        };
        status == 0
    }

    /// Requests a topic's metadata, so that a broker with automatic topic creation creates it.
    pub fn request_metadata(&self, topic: &str) {
        if let Some(handle) = TopicHandle::new(self.raw, topic) {
            // The result does not matter.
            let _ = metadata(self.raw, Some(&handle), Duration::from_secs(1));
        }
    }

    pub fn poll(&self) {
        // SAFETY: a live client.
        unsafe { sys::bindings::rd_kafka_poll(self.raw, 0) };
    }

    /// Waits until all records are written, at most `bound`.
    pub fn flush(&self, bound: Duration) {
        let bound = i32::try_from(bound.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: a live client.
        unsafe { sys::rd_kafka_flush(self.raw, bound) };
    }
}

impl Drop for ControlProducer {
    fn drop(&mut self) {
        let handles = std::mem::take(&mut self.handles);
        if self.generation != process::generation() {
            // The parent's, with threads that are not here.
            std::mem::forget(handles);
            return;
        }
        drop(handles);
        // SAFETY: the last owner; destroying the client discards queued records.
        unsafe { sys::rd_kafka_destroy(self.raw) };
    }
}
