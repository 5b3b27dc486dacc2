//! Requests made by the thread itself: to speed up the first acknowledgement of a new client, and to detect that Kafka
//! is back.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::error::IsError;
use rdkafka_sys as sys;
use sys::bindings::{rd_kafka_OffsetSpec_t as Spec, rd_kafka_admin_op_t as Operation};

use super::Poller;
use crate::kafka::client::{self, AdminOptions, TopicPartitionList};

/// Time limit for speeding up the first acknowledgement.
const WARM_UP_TIME: Duration = Duration::from_secs(2);
/// Time limit for a broker to respond to the request of an idle client.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

impl Poller<'_> {
    /// True while an idempotent client waits for its first acknowledgement. Not while requests do not wait for Kafka:
    /// they wait for this thread then, which secures their messages, and [`Poller::keep_alive`] finds out that Kafka is
    /// back.
    pub(super) fn needs_warm_up(&self) -> bool {
        self.producer.config.idempotent
            && !self.producer.is_suspended()
            && !self
                .producer
                .in_flight
                .broker_responded
                .load(Ordering::Acquire)
            && self.producer.waiting() > 0
            && self.started.elapsed() < WARM_UP_TIME
    }

    /// An idempotent client needs a producer id from a broker before it may send. librdkafka requests one when it
    /// learns of the brokers, before it is connected to any, and retries only after half a second. A request to the
    /// leader of the first topic makes it connect immediately, and a metadata response makes it request the id again.
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
            // SAFETY: a live client; the result is not used.
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

    /// Requests metadata of the topics in use; true if a broker responds.
    pub(super) fn ask_for_metadata(&self) -> bool {
        let mut metadata = std::ptr::null();
        // SAFETY: a live client; the response is destroyed here, only the request matters.
        unsafe {
            let code = sys::bindings::rd_kafka_metadata(
                self.producer.client,
                0,
                std::ptr::null_mut(),
                &raw mut metadata,
                50,
            );
            if !code.is_error() {
                sys::bindings::rd_kafka_metadata_destroy(metadata);
            }
            !code.is_error()
        }
    }

    /// Sends a request if no broker has responded for a while, or if requests of PHP do not wait for Kafka and leave
    /// the queue empty: only a response shows that Kafka can be reached.
    pub(super) fn keep_alive(&mut self) {
        while self.keep_alive_responses.poll(Duration::ZERO).is_some() {}
        let suspended = self.producer.is_suspended();
        let reachability = &self.producer.reachability;
        // SAFETY: a live client.
        if !unsafe { reachability.probe_due(self.producer.client, suspended) } {
            return;
        }
        if !suspended && self.producer.is_reachable() {
            let topics = self.producer.topics.lock();
            let topic = topics.any_ready().map(str::to_owned);
            drop(topics);
            if let Some(topic) = topic {
                return self.ask_for_offset(&topic);
            }
        }
        if self.ask_for_metadata() && suspended {
            self.producer
                .in_flight
                .broker_responded
                .store(true, Ordering::Release);
        }
    }

    /// Unlike a metadata request, this never creates a topic that was deleted.
    fn ask_for_offset(&self, topic: &str) {
        let client = self.producer.client;
        let mut requested = TopicPartitionList::new();
        requested.add(topic, 0, Spec::RD_KAFKA_OFFSET_SPEC_LATEST as i64);
        let kind = Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let options = AdminOptions::new(client, kind, KEEP_ALIVE_TIMEOUT);
        // SAFETY: live objects; the request copies what it needs.
        unsafe {
            sys::bindings::rd_kafka_ListOffsets(
                client,
                requested.raw(),
                options.raw(),
                self.keep_alive_responses.raw(),
            );
        }
    }
}
