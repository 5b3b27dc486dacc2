//! Requests made by the thread itself: to speed up the first acknowledgement of a new client, and to detect that Kafka
//! is back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::Offset;

use super::Poller;
use crate::kafka::client::{self, offsets_of, AdminRequests};

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
        let topic = self.producer.topics.lock().any_ready().map(str::to_owned);
        if let Some(topic) = topic {
            let bound = Duration::from_millis(10);
            // The result is not used.
            client::query_watermarks(&self.producer.client, &topic, 0, bound);
        }
        self.ask_for_metadata();
    }

    /// Requests metadata of the topics in use; true if a broker responds.
    pub(super) fn ask_for_metadata(&self) -> bool {
        client::request_metadata(&self.producer.client, None, Duration::from_millis(50))
    }

    /// Sends a request if no broker has responded for a while, or if requests of PHP do not wait for Kafka and leave
    /// the queue empty: only a response shows that Kafka can be reached.
    pub(super) fn keep_alive(&mut self) {
        while self.keep_alive_responses.poll(Duration::ZERO).is_some() {}
        let suspended = self.producer.is_suspended();
        let reachability = &self.producer.reachability;
        if !reachability.probe_due(&self.producer.client, suspended) {
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
        let requested = offsets_of([(topic, 0, Offset::End.to_raw().unwrap_or(-1))]);
        let (client, queue) = (&self.producer.client, &self.keep_alive_responses);
        AdminRequests::new(client, queue, KEEP_ALIVE_TIMEOUT).list_offsets(&requested, false);
    }
}
