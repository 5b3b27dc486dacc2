//! The feed's Kafka consumer: no group, all partitions on one queue, an error for an offset out of range.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;

use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::kafka::client::reachability::Reachability;
use crate::kafka::client::{self, EventQueue, TopicHandle, TopicInfo};
use crate::kafka::{embedded, standalone_consumer};
use crate::process;

/// A librdkafka message, to be destroyed after it was handled.
pub(super) type Raw = *mut sys::rd_kafka_message_t;

/// Records taken from librdkafka in one batch.
const BATCH: usize = 512;

/// A consumer without a group. All methods can be called from any thread.
pub(crate) struct FeedConsumer {
    raw: *mut sys::rd_kafka_t,
    queue: Option<EventQueue>,
    errors: Option<EventQueue>,
    handles: Mutex<HashMap<String, TopicHandle>>,
    read_committed: bool,
    generation: u32,
    brokers: String,
}

// SAFETY: librdkafka's clients, queues and topic handles may be used from any thread; the table is behind a lock.
unsafe impl Send for FeedConsumer {}
unsafe impl Sync for FeedConsumer {}

impl FeedConsumer {
    /// Creates the client; it connects in the background.
    ///
    /// # Errors
    /// Configuration: properties that librdkafka rejects.
    pub fn start(config: &Arc<BrokerConfig>) -> Result<Self> {
        let mut ours = vec![
            // An offset out of range must be an error, not a silent reset.
            ("auto.offset.reset", "error"),
            // Records are returned without a delay, also after a full queue or an error.
            ("fetch.min.bytes", "1"),
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.error.backoff.ms", "100"),
            ("topic.metadata.refresh.interval.ms", "10000"),
        ];
        let said = config.consumer_properties();
        if !said.iter().any(|(name, _)| name == "socket.nagle.disable") {
            ours.push(("socket.nagle.disable", "true"));
        }
        if embedded::local(&config.brokers).is_some() || config.brokers == embedded::NAME {
            // The embedded broker does not wake a waiting fetch when a record arrives.
            ours.push(("fetch.wait.max.ms", "5"));
        }
        let made = standalone_consumer::start(config, &ours)?;
        Ok(Self {
            raw: made.raw,
            queue: Some(EventQueue::new(made.raw)),
            errors: Some(made.error_queue),
            handles: Mutex::default(),
            read_committed: made.read_committed,
            generation: process::generation(),
            brokers: config.brokers.clone(),
        })
    }

    pub fn raw(&self) -> *mut sys::rd_kafka_t {
        self.raw
    }

    /// True if records of open transactions are not returned.
    pub fn reads_committed(&self) -> bool {
        self.read_committed
    }

    /// True for an embedded broker, of this process or another; `None` until a broker has answered.
    pub fn is_mock(&self, wait: Duration) -> Option<bool> {
        client::cluster_id(self.raw, wait).map(|id| client::is_mock(&id))
    }

    /// Metadata of all topics of the cluster.
    ///
    /// # Errors
    /// The error code if Kafka does not answer in time.
    pub fn topics(&self, bound: Duration) -> std::result::Result<Vec<TopicInfo>, Code> {
        client::metadata(self.raw, None, bound).inspect_err(|_| {
            // SAFETY: a live client.
            unsafe { Reachability::add_brokers(self.raw) };
        })
    }

    /// The topic handle that records refer to, as an address. The handle lives as long as the client.
    pub fn handle(&self, topic: &str) -> Option<usize> {
        let mut handles = self.handles.lock();
        if let Some(handle) = handles.get(topic) {
            return Some(handle.raw() as usize);
        }
        let handle = TopicHandle::new(self.raw, topic)?;
        let name = handle.raw() as usize;
        handles.insert(topic.to_owned(), handle);
        Some(name)
    }

    /// Starts fetching a partition. [`Self::handle`] must have been called for the topic.
    ///
    /// # Errors
    /// Connection: librdkafka refuses.
    pub fn open(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let handles = self.handles.lock();
        let (Some(handle), Some(queue)) = (handles.get(topic), &self.queue) else {
            return Err(Error::connection("The gateway's Kafka client is closed."));
        };
        // SAFETY: live objects; handles live as long as the client.
        let status = unsafe {
            sys::bindings::rd_kafka_consume_start_queue(
                handle.raw(),
                partition,
                offset,
                queue.raw(),
            )
        };
        if status != 0 {
            // SAFETY: reads this thread's last error.
            let code = unsafe { sys::bindings::rd_kafka_last_error() }.into();
            let doing = format!("Partition {partition} of topic \"{topic}\" cannot be read");
            return Err(client::to_error(code, &doing, "", &self.brokers));
        }
        Ok(())
    }

    /// Stops fetching a partition.
    pub fn close(&self, topic: &str, partition: i32) {
        let handles = self.handles.lock();
        if let Some(handle) = handles.get(topic) {
            // SAFETY: a live handle; for a partition that was not started this is an error without an effect.
            unsafe { sys::bindings::rd_kafka_consume_stop(handle.raw(), partition) };
        }
    }

    /// Appends the fetched records to `into`, waiting at most `wait` for the first.
    pub fn poll(&self, wait: Duration, into: &mut Vec<Raw>) {
        let Some(queue) = &self.queue else {
            return;
        };
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let mut batch: [Raw; BATCH] = [std::ptr::null_mut(); BATCH];
        // SAFETY: a live queue; the caller owns the messages until it destroys them.
        unsafe {
            // The batch call waits until the batch is full, so wait for one record, then take the available ones.
            let first = sys::bindings::rd_kafka_consume_queue(queue.raw(), wait);
            if first.is_null() {
                return;
            }
            into.push(first);
            let count = sys::bindings::rd_kafka_consume_batch_queue(
                queue.raw(),
                0,
                batch.as_mut_ptr(),
                BATCH,
            );
            let count = usize::try_from(count).unwrap_or(0).min(BATCH);
            into.extend_from_slice(&batch[..count]);
        }
    }

    /// The next error of the client: code and text.
    pub fn next_error(&self) -> Option<(Code, String)> {
        let errors = self.errors.as_ref()?;
        while let Some(response) = errors.poll(Duration::ZERO) {
            if let Some(next_error) = response.error() {
                return Some(next_error);
            }
        }
        None
    }
}

impl Drop for FeedConsumer {
    fn drop(&mut self) {
        let (queue, errors) = (self.queue.take(), self.errors.take());
        let handles = std::mem::take(&mut *self.handles.lock());
        if self.generation != process::generation() {
            // After a fork: the client's threads exist in the parent only, so nothing may be destroyed here.
            std::mem::forget((queue, errors, handles));
            return;
        }
        drop((queue, errors, handles));
        // SAFETY: the last owner; all messages were destroyed.
        unsafe { sys::rd_kafka_destroy(self.raw) };
    }
}
