//! The feed's Kafka client: no group, every partition on one queue, an error where an offset is out of range.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::kafka::client::{self, EventQueue, TopicHandle, TopicInfo};
use crate::kafka::{embedded, standalone_consumer};
use crate::process;

/// A message of librdkafka's, given back once it has been looked at.
pub(super) type Raw = *mut sys::rd_kafka_message_t;

/// Records taken over from librdkafka at once.
const BATCH: usize = 512;

/// The client. Its functions may be called from any thread.
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
    /// Makes the client, which connects by itself.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take.
    pub fn start(config: &Arc<BrokerConfig>) -> Result<Self> {
        let mut ours = vec![
            // What cannot be read is said, not passed over.
            ("auto.offset.reset", "error"),
            // A record is handed over when it comes, and after a full queue or an error the next ones soon.
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
            // It does not wake a fetch that waits.
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

    /// The raw client.
    pub fn raw(&self) -> *mut sys::rd_kafka_t {
        self.raw
    }

    /// Whether records of transactions that are still open are kept back.
    pub fn reads_committed(&self) -> bool {
        self.read_committed
    }

    /// True where the broker is an embedded one, of this process or another; `None` until a broker has answered.
    pub fn is_mock(&self, wait: Duration) -> Option<bool> {
        client::cluster_id(self.raw, wait).map(|id| client::is_mock(&id))
    }

    /// Every topic of the cluster.
    ///
    /// # Errors
    /// The code, where Kafka does not answer in time.
    pub fn topics(&self, bound: Duration) -> std::result::Result<Vec<TopicInfo>, Code> {
        client::metadata(self.raw, None, bound)
    }

    /// What records of a topic name it by. Its handle is kept until the client ends.
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

    /// Begins to fetch a partition of a topic that has its handle.
    ///
    /// # Errors
    /// Connection: librdkafka refuses.
    pub fn open(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let handles = self.handles.lock();
        let (Some(handle), Some(queue)) = (handles.get(topic), &self.queue) else {
            return Err(Error::connection("The gateway's Kafka client is closed."));
        };
        // SAFETY: live objects; handles are kept until the client ends.
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
            let code = unsafe { sys::bindings::rd_kafka_last_error() };
            let doing = format!("Partition {partition} of topic \"{topic}\" cannot be read");
            return Err(client::to_error(code, &doing, "", &self.brokers));
        }
        Ok(())
    }

    /// Stops fetching a partition.
    pub fn close(&self, topic: &str, partition: i32) {
        let handles = self.handles.lock();
        if let Some(handle) = handles.get(topic) {
            // SAFETY: a live handle; a partition that was not started is an error that changes nothing.
            unsafe { sys::bindings::rd_kafka_consume_stop(handle.raw(), partition) };
        }
    }

    /// Takes over what has come, waiting for at most `wait`.
    pub fn poll(&self, wait: Duration, into: &mut Vec<Raw>) {
        let Some(queue) = &self.queue else {
            return;
        };
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let mut batch: [Raw; BATCH] = [std::ptr::null_mut(); BATCH];
        // SAFETY: a live queue; messages are the caller's until given back.
        unsafe {
            // The batch call would wait until it is full: wait for one, then take what is there.
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

    /// What the client complains about, one at a time: the code and the words.
    pub fn next_error(&self) -> Option<(Code, String)> {
        let errors = self.errors.as_ref()?;
        while let Some(answer) = errors.poll(Duration::ZERO) {
            if let Some(next_error) = answer.error() {
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
            // The parent's, with threads that are not here.
            std::mem::forget((queue, errors, handles));
            return;
        }
        drop((queue, errors, handles));
        // SAFETY: the last owner; every message was given back.
        unsafe { sys::rd_kafka_destroy(self.raw) };
    }
}
