//! A second client with a group id, which it never joins, for reading the offsets of groups.
//!
//! When the coordinator moves, librdkafka 2.12 continues a `ListConsumerGroupOffsets` request with the client's own
//! group, and dereferences a null pointer if the client has none (`rd_kafka_handle_OffsetFetch`).
#![allow(unsafe_code)]

use std::sync::Arc;

use rdkafka_sys as sys;

use crate::config::BrokerConfig;
use crate::error::Result;
use crate::kafka::client::EventQueue;
use crate::kafka::consumer::NO_CONSUMER_CLOSE;
use crate::kafka::standalone_consumer::{self, StandaloneConsumer};
use crate::process;

pub(super) struct GroupClient {
    client: *mut sys::rd_kafka_t,
    error_queue: Option<EventQueue>,
    generation: u32,
}

impl GroupClient {
    /// Creates the client, which connects in the background. It uses the application's group, for which it has
    /// permissions.
    ///
    /// # Errors
    /// Configuration: properties librdkafka rejects.
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

    pub const fn raw(&self) -> *mut sys::rd_kafka_t {
        self.client
    }
}

impl Drop for GroupClient {
    fn drop(&mut self) {
        let error_queue = self.error_queue.take();
        if self.generation != process::generation() {
            // The parent's client: its threads do not exist here, so it is leaked.
            std::mem::forget(error_queue);
            return;
        }
        drop(error_queue);
        // SAFETY: ours, and its queues are gone; there is no group to leave.
        unsafe { sys::rd_kafka_destroy_flags(self.client, NO_CONSUMER_CLOSE) };
    }
}
