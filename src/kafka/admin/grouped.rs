//! A second client, of a group that it never joins, for the offsets of groups.
//!
//! librdkafka (2.12) answers a `ListConsumerGroupOffsets` that met a moving coordinator by asking for its own group's, and a
//! client without a group has none: it follows a null pointer (`rd_kafka_handle_OffsetFetch`).
#![allow(unsafe_code)]

use std::sync::Arc;

use rdkafka_sys as sys;

use crate::config::BrokerConfig;
use crate::error::Result;
use crate::kafka::consumer::NO_CONSUMER_CLOSE;
use crate::kafka::groupless::{self, Groupless};
use crate::kafka::native::Queue;
use crate::process;

/// The client.
pub(super) struct Grouped {
    client: *mut sys::rd_kafka_t,
    complaints: Option<Queue>,
    generation: u32,
}

impl Grouped {
    /// Makes the client, which connects by itself. Its group is the application's: for that one it has the rights.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take.
    pub fn start(config: &Arc<BrokerConfig>) -> Result<Self> {
        let group = Some(config.consumer_group.as_str()).filter(|name| !name.is_empty());
        let ours = [("group.id", group.unwrap_or("toporia-realtime"))];
        let Groupless {
            raw, complaints, ..
        } = groupless::start(config, &ours)?;
        Ok(Self {
            client: raw,
            complaints: Some(complaints),
            generation: process::generation(),
        })
    }

    /// The raw client.
    pub const fn raw(&self) -> *mut sys::rd_kafka_t {
        self.client
    }
}

impl Drop for Grouped {
    fn drop(&mut self) {
        let complaints = self.complaints.take();
        if self.generation != process::generation() {
            // The parent's: its threads are not here, so it is left alone.
            std::mem::forget(complaints);
            return;
        }
        drop(complaints);
        // SAFETY: ours, and its queues are gone; there is no group to leave.
        unsafe { sys::rd_kafka_destroy_flags(self.client, NO_CONSUMER_CLOSE) };
    }
}
