//! Event queues of librdkafka, and their events.
#![allow(unsafe_code)]

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka_sys as sys;

use super::handle::{ms, Client};
use super::message::{KafkaMessage, NativeMessage};
use super::partitions::{read_list, PartitionEntry};
use super::text;

/// Messages taken from a queue per call.
const BATCH: usize = 256;

/// A librdkafka event queue; owns its client too.
pub(crate) struct EventQueue {
    /// Null once it is closed.
    raw: AtomicPtr<sys::rd_kafka_queue_t>,
    client: Client,
}

impl EventQueue {
    pub fn new(client: &Client) -> Self {
        // SAFETY: a live client.
        Self::own(client, unsafe { sys::rd_kafka_queue_new(client.raw()) })
    }

    /// The client's main queue, which receives its errors.
    pub fn main(client: &Client) -> Self {
        // SAFETY: a live client; this adds a reference.
        Self::own(client, unsafe {
            sys::bindings::rd_kafka_queue_get_main(client.raw())
        })
    }

    /// The queue of a consumer's records. The main queue is forwarded to it, so that a poll serves both.
    pub fn consumer(client: &Client) -> Self {
        // SAFETY: a live consumer; this adds a reference.
        Self::own(client, unsafe {
            sys::rd_kafka_poll_set_consumer(client.raw());
            sys::rd_kafka_queue_get_consumer(client.raw())
        })
    }

    fn own(client: &Client, raw: *mut sys::rd_kafka_queue_t) -> Self {
        Self {
            raw: AtomicPtr::new(raw),
            client: client.clone(),
        }
    }

    /// Waits at most `wait` for the next event.
    pub fn poll(&self, wait: Duration) -> Option<ClientEvent> {
        // SAFETY: ours.
        let event = unsafe { sys::rd_kafka_queue_poll(self.raw(), ms(wait)) };
        (!event.is_null()).then(|| ClientEvent(event))
    }

    /// Waits at most `wait` for the next message; other events are served by their callbacks.
    pub fn consume(&self, wait: Duration) -> Option<KafkaMessage> {
        // SAFETY: a live queue; a message is ours until it is dropped.
        unsafe {
            KafkaMessage::from_raw(sys::bindings::rd_kafka_consume_queue(self.raw(), ms(wait)))
        }
    }

    /// Takes up to `most` messages that are there already, by librdkafka's batch call: a third of the cost of asking
    /// for each. It would wait until the batch is full, so it is not used for waiting.
    pub fn consume_available(&self, most: usize, mut take: impl FnMut(KafkaMessage)) {
        let mut batch = [null_mut(); BATCH];
        let mut left = most;
        while left > 0 {
            let room = left.min(BATCH);
            // SAFETY: a live queue and room for as many messages, each of which is ours from here on.
            let count = unsafe {
                sys::bindings::rd_kafka_consume_batch_queue(self.raw(), 0, batch.as_mut_ptr(), room)
            };
            let count = usize::try_from(count).unwrap_or(0).min(room);
            for raw in &batch[..count] {
                // SAFETY: as above.
                let message = unsafe { KafkaMessage::from_raw(*raw) };
                message.into_iter().for_each(&mut take);
            }
            if count < room {
                return;
            }
            left -= count;
        }
    }

    #[inline]
    pub(super) fn raw(&self) -> *mut sys::rd_kafka_queue_t {
        self.raw.load(Ordering::Relaxed)
    }

    /// Releases the queue, which must not be used any more; otherwise its `Drop` does.
    pub(in crate::kafka) fn close(&self) {
        let raw = self.raw.swap(null_mut(), Ordering::Relaxed);
        if !raw.is_null() && !self.client.is_inherited() {
            // SAFETY: ours.
            unsafe { sys::rd_kafka_queue_destroy(raw) };
        }
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        self.close();
    }
}

/// A response to a request, an error reported by the client, or delivery reports.
pub(crate) struct ClientEvent(*mut sys::rd_kafka_event_t);

impl ClientEvent {
    /// The error of the request as a whole, or of the client.
    pub fn error(&self) -> Option<(Code, String)> {
        // SAFETY: ours and alive.
        unsafe {
            let code = sys::rd_kafka_event_error(self.0);
            code.is_error()
                .then(|| (code.into(), text(sys::rd_kafka_event_error_string(self.0))))
        }
    }

    /// An error of the client: its code, `Fatal` for a fatal one, and text. `None` for other events.
    pub(in crate::kafka) fn client_error(&self) -> Option<(Code, String)> {
        // SAFETY: ours and alive.
        let (is_error, is_fatal) = unsafe {
            (
                sys::rd_kafka_event_type(self.0) == sys::bindings::RD_KAFKA_EVENT_ERROR,
                sys::bindings::rd_kafka_event_error_is_fatal(self.0) != 0,
            )
        };
        let (code, reason) = self.error().filter(|_| is_error)?;
        // A fatal error comes with the code of its cause.
        Some((if is_fatal { Code::Fatal } else { code }, reason))
    }

    /// Passes on the messages of a delivery report, which are those of one batch.
    pub(in crate::kafka) fn each_delivery(&self, mut with: impl FnMut(&NativeMessage)) {
        // SAFETY: ours and alive; the messages live as long as the event.
        unsafe {
            if sys::rd_kafka_event_type(self.0) != sys::bindings::RD_KAFKA_EVENT_DR {
                return;
            }
            while let Some(message) =
                NativeMessage::from_raw(sys::rd_kafka_event_message_next(self.0))
            {
                with(message);
            }
        }
    }

    /// The number that was given to the request.
    pub fn tag(&self) -> usize {
        // SAFETY: ours and alive.
        unsafe { sys::bindings::rd_kafka_event_opaque(self.0) }.addr()
    }

    /// The partitions of a response to a commit.
    pub(in crate::kafka) fn partitions(&self) -> Vec<PartitionEntry> {
        // SAFETY: ours and alive; the list lives as long as the event.
        unsafe { read_list(sys::bindings::rd_kafka_event_topic_partition_list(self.0)) }
    }

    /// The raw event, for reading the result.
    pub(super) const fn raw(&self) -> *mut sys::rd_kafka_event_t {
        self.0
    }
}

impl Drop for ClientEvent {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_event_destroy(self.0) };
    }
}
