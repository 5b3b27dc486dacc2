//! A second client, of a group that it never joins, for the offsets of groups.
//!
//! librdkafka (2.12) answers a `ListConsumerGroupOffsets` that met a moving coordinator by asking for its own group's, and a
//! client without a group has none: it follows a null pointer (`rd_kafka_handle_OffsetFetch`).
#![allow(unsafe_code)]

use std::sync::Arc;

use rdkafka_sys as sys;

use crate::config::BrokerConfig;
use crate::error::Result;
use crate::kafka::client::EventQueue;
use crate::kafka::consumer::NO_CONSUMER_CLOSE;
use crate::kafka::standalone_consumer::{self, StandaloneConsumer};
use crate::process;

/// The client.
pub(super) struct GroupClient {
    client: *mut sys::rd_kafka_t,
    error_queue: Option<EventQueue>,
    generation: u32,
}

impl GroupClient {
    /// Makes the client, which connects by itself. Its group is the application's: for that one it has the rights.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take.
    pub fn start(config: &Arc<BrokerConfig>) -> Result<Self> {
        let group = Some(config.consumer_group.as_str()).filter(|name| !name.is_empty());
        let ours = [("group.id", group.unwrap_or("toporia-realtime"))];
        let StandaloneConsumer {
            raw, error_queue, ..
        } = standalone_consumer::start(config, &ours)?;
        Ok(Self {
            client: raw,
            error_queue: Some(error_queue),
            generation: process::generation(),
        })
    }

    /// The raw client.
    pub const fn raw(&self) -> *mut sys::rd_kafka_t {
        self.client
    }
}

impl Drop for GroupClient {
    fn drop(&mut self) {
        let error_queue = self.error_queue.take();
        if self.generation != process::generation() {
            // The parent's: its threads are not here, so it is left alone.
            std::mem::forget(error_queue);
            return;
        }
        drop(error_queue);
        // SAFETY: ours, and its queues are gone; there is no group to leave.
        unsafe { sys::rd_kafka_destroy_flags(self.client, NO_CONSUMER_CLOSE) };
    }
}
