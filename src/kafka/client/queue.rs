//! Event queues of librdkafka, and their events.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use std::time::Duration;

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use super::handle::{ms, Client, NativeClient, Part};
use super::message::{KafkaMessage, NativeMessage};
use super::owned::{copied, NativeList, Owned, PartitionEntry};

/// Messages taken from a queue per call.
const BATCH: usize = 256;

// SAFETY: as librdkafka has them. What belongs to an event lives as long as the event; a message or an event keeps
// what it needs of its client.
unsafe extern "C" {
    safe fn rd_kafka_queue_new(client: &NativeClient) -> Owned<'_, sys::rd_kafka_queue_t>;
    safe fn rd_kafka_queue_get_main(client: &NativeClient) -> Owned<'_, sys::rd_kafka_queue_t>;
    safe fn rd_kafka_queue_get_consumer(
        client: &NativeClient,
    ) -> Option<Owned<'_, sys::rd_kafka_queue_t>>;
    safe fn rd_kafka_poll_set_consumer(client: &NativeClient) -> RDKafkaRespErr;
    safe fn rd_kafka_queue_poll(
        queue: &sys::rd_kafka_queue_t,
        wait: c_int,
    ) -> Option<Owned<'static, sys::rd_kafka_event_t>>;
    safe fn rd_kafka_consume_queue(
        queue: &sys::rd_kafka_queue_t,
        wait: c_int,
    ) -> Option<KafkaMessage>;
    safe fn rd_kafka_event_type(event: &sys::rd_kafka_event_t) -> c_int;
    safe fn rd_kafka_event_error(event: &sys::rd_kafka_event_t) -> RDKafkaRespErr;
    safe fn rd_kafka_event_error_string(event: &sys::rd_kafka_event_t) -> *const c_char;
    safe fn rd_kafka_event_error_is_fatal(event: &sys::rd_kafka_event_t) -> c_int;
    safe fn rd_kafka_event_message_next(event: &sys::rd_kafka_event_t) -> Option<&NativeMessage>;
    safe fn rd_kafka_event_opaque(event: &sys::rd_kafka_event_t) -> *mut c_void;
    safe fn rd_kafka_event_topic_partition_list(
        event: &sys::rd_kafka_event_t,
    ) -> Option<&NativeList>;
}

/// A librdkafka event queue; owns its client too.
pub(crate) struct EventQueue(Part<sys::rd_kafka_queue_t>);

impl EventQueue {
    pub fn new(client: &Client) -> Self {
        Self::own(client, |client| Some(rd_kafka_queue_new(client)))
    }

    /// The client's main queue, which receives its errors.
    pub fn main(client: &Client) -> Self {
        Self::own(client, |client| Some(rd_kafka_queue_get_main(client)))
    }

    /// The queue of a consumer's records. The main queue is forwarded to it, so that a poll serves both.
    pub fn consumer(client: &Client) -> Self {
        rd_kafka_poll_set_consumer(client);
        Self::own(client, |client| rd_kafka_queue_get_consumer(client))
    }

    fn own(
        client: &Client,
        make: impl FnOnce(&NativeClient) -> Option<Owned<'_, sys::rd_kafka_queue_t>>,
    ) -> Self {
        Self(Part::new(client, make).expect("only a client without a group has no consumer queue"))
    }

    /// Waits at most `wait` for the next event.
    pub fn poll(&self, wait: Duration) -> Option<ClientEvent> {
        rd_kafka_queue_poll(&self.0, ms(wait)).map(ClientEvent)
    }

    /// Waits at most `wait` for the next message; other events are served by their callbacks.
    pub fn consume(&self, wait: Duration) -> Option<KafkaMessage> {
        rd_kafka_consume_queue(&self.0, ms(wait))
    }

    /// Takes up to `most` messages that are there already, by librdkafka's batch call: a third of the cost of asking
    /// for each. It would wait until the batch is full, so it is not used for waiting.
    pub fn consume_available(&self, most: usize, mut take: impl FnMut(KafkaMessage)) {
        let mut batch = [null_mut(); BATCH];
        let mut left = most;
        while left > 0 {
            let room = left.min(BATCH);
            // SAFETY: a live queue and room for as many messages, each of which is ours from here on.
            let (count, messages) = unsafe {
                let (queue, first) = (self.0.raw(), batch.as_mut_ptr());
                let count = sys::rd_kafka_consume_batch_queue(queue, 0, first, room);
                let count = usize::try_from(count).unwrap_or(0).min(room);
                let taken = batch[..count].iter();
                (count, taken.filter_map(|raw| KafkaMessage::from_raw(*raw)))
            };
            messages.for_each(&mut take);
            if count < room {
                return;
            }
            left -= count;
        }
    }

    pub(super) fn native(&self) -> &sys::rd_kafka_queue_t {
        &self.0
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_queue_t {
        self.0.raw()
    }

    /// Releases the queue before its `Drop` does.
    ///
    /// # Safety
    /// It must not be used any more.
    pub(in crate::kafka) unsafe fn close(&self) {
        self.0.release();
    }
}

/// A response to a request, an error reported by the client, or delivery reports.
pub(crate) struct ClientEvent(Owned<'static, sys::rd_kafka_event_t>);

impl ClientEvent {
    /// The error of the request as a whole, or of the client.
    pub fn error(&self) -> Option<(Code, String)> {
        let code = rd_kafka_event_error(&self.0);
        // SAFETY: the text of a live event.
        let reason = || unsafe { copied(rd_kafka_event_error_string(&self.0)) };
        code.is_error().then(|| (code.into(), reason()))
    }

    /// An error of the client: its code, `Fatal` for a fatal one, and text. `None` for other events.
    pub(in crate::kafka) fn client_error(&self) -> Option<(Code, String)> {
        let is_error = rd_kafka_event_type(&self.0) == sys::RD_KAFKA_EVENT_ERROR;
        let (code, reason) = self.error().filter(|_| is_error)?;
        // A fatal error comes with the code of its cause.
        let is_fatal = rd_kafka_event_error_is_fatal(&self.0) != 0;
        Some((if is_fatal { Code::Fatal } else { code }, reason))
    }

    /// Passes on the messages of a delivery report, which are those of one batch.
    pub(in crate::kafka) fn each_delivery(&self, mut with: impl FnMut(&NativeMessage)) {
        if rd_kafka_event_type(&self.0) != sys::RD_KAFKA_EVENT_DR {
            return;
        }
        while let Some(message) = rd_kafka_event_message_next(&self.0) {
            with(message);
        }
    }

    /// The number that was given to the request.
    pub fn tag(&self) -> usize {
        rd_kafka_event_opaque(&self.0).addr()
    }

    /// The partitions of a response to a commit.
    pub(in crate::kafka) fn partitions(&self) -> Vec<PartitionEntry> {
        rd_kafka_event_topic_partition_list(&self.0).map_or_else(Vec::new, NativeList::read)
    }

    /// For reading the result.
    pub(super) fn native(&self) -> &sys::rd_kafka_event_t {
        &self.0
    }
}
