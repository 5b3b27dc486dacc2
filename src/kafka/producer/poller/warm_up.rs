//! What the thread asks Kafka for by itself: the first acknowledgement of a new client, and whether a Kafka that was away is back.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::Poller;
use crate::kafka::client;

/// For this long a new client is helped to its first acknowledgement.
const WARM_UP_TIME: Duration = Duration::from_secs(2);
/// How often a Kafka that is away is asked for.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

impl Poller<'_> {
    /// True while the first acknowledgement of an idempotent client is waited for.
    pub(super) fn needs_warm_up(&self) -> bool {
        self.producer.config.idempotent
            && !self
                .producer
                .in_flight
                .broker_responded
                .load(Ordering::Acquire)
            && self.producer.waiting() > 0
            && self.started.elapsed() < WARM_UP_TIME
    }

    /// An idempotent client needs an id from a broker before it may send. librdkafka asks for one when it learns of the brokers,
    /// which is before it is connected to any, and then only half a second later. A question to the leader of the first topic
    /// makes it connect there at once, and an answer about metadata makes it ask for the id again.
    pub(super) fn warm_up(&self) {
        if !self.needs_warm_up() {
            return;
        }
        let topic = self
            .producer
            .topics
            .lock()
            .any_ready()
            .map(client::c_string);
        if let Some(topic) = topic {
            let (mut low, mut high) = (0, 0);
            // SAFETY: a live client; the answer does not matter.
            unsafe {
                sys::bindings::rd_kafka_query_watermark_offsets(
                    self.producer.client,
                    topic.as_ptr(),
                    0,
                    &raw mut low,
                    &raw mut high,
                    10,
                );
            }
        }
        self.ask_for_metadata();
    }

    /// Asks a broker about the topics in use; true where one answers.
    pub(super) fn ask_for_metadata(&self) -> bool {
        let mut metadata = std::ptr::null();
        // SAFETY: a live client; the answer is destroyed at once, it is the asking that counts.
        unsafe {
            let code = sys::bindings::rd_kafka_metadata(
                self.producer.client,
                0,
                std::ptr::null_mut(),
                &raw mut metadata,
                50,
            );
            if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                sys::bindings::rd_kafka_metadata_destroy(metadata);
            }
            code == Code::RD_KAFKA_RESP_ERR_NO_ERROR
        }
    }

    /// While requests do not wait for Kafka and leave nothing in the queue, somebody has to find out when it is back.
    pub(super) fn probe(&mut self) {
        let due = self
            .probed
            .is_none_or(|probed| probed.elapsed() >= PROBE_INTERVAL);
        if !due || !self.producer.is_suspended() {
            return;
        }
        self.probed = Some(Instant::now());
        if self.ask_for_metadata() {
            self.producer
                .all_brokers_down
                .store(false, Ordering::Release);
            self.producer
                .in_flight
                .broker_responded
                .store(true, Ordering::Release);
        }
    }
}
