//! The feed's Kafka consumer: no group, all partitions on one queue, an error for an offset out of range.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;

use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::kafka::client::{self, Client, EventQueue, KafkaMessage, TopicHandle, TopicInfo};
use crate::kafka::{embedded, standalone_consumer};

/// Records taken from librdkafka in one batch.
const BATCH: usize = 512;

/// A consumer without a group. All methods can be called from any thread.
pub(crate) struct FeedConsumer {
    client: Client,
    queue: EventQueue,
    errors: EventQueue,
    handles: Mutex<HashMap<String, TopicHandle>>,
    read_committed: bool,
    brokers: String,
}

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
            queue: EventQueue::new(&made.client),
            client: made.client,
            errors: made.error_queue,
            handles: Mutex::default(),
            read_committed: made.read_committed,
            brokers: config.brokers.clone(),
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// True if records of open transactions are not returned.
    pub fn reads_committed(&self) -> bool {
        self.read_committed
    }

    /// True for an embedded broker, of this process or another; `None` until a broker has answered.
    pub fn is_mock(&self, wait: Duration) -> Option<bool> {
        self.client.cluster_id(wait).map(|id| client::is_mock(&id))
    }

    /// Metadata of all topics of the cluster.
    ///
    /// # Errors
    /// The error code if Kafka does not answer in time.
    pub fn topics(&self, bound: Duration) -> std::result::Result<Vec<TopicInfo>, Code> {
        client::metadata(&self.client, None, bound).inspect_err(|_| self.client.add_brokers())
    }

    /// The topic handle that records refer to, as an address. The handle lives as long as the client.
    pub fn handle(&self, topic: &str) -> Option<usize> {
        let mut handles = self.handles.lock();
        if let Some(handle) = handles.get(topic) {
            return Some(handle.address());
        }
        let handle = TopicHandle::new(&self.client, topic)?;
        let name = handle.address();
        handles.insert(topic.to_owned(), handle);
        Some(name)
    }

    /// Starts fetching a partition. [`Self::handle`] must have been called for the topic.
    ///
    /// # Errors
    /// Connection: librdkafka refuses.
    pub fn open(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let handles = self.handles.lock();
        let Some(handle) = handles.get(topic) else {
            return Err(Error::connection("The gateway's Kafka client is closed."));
        };
        handle
            .start(partition, offset, &self.queue)
            .map_err(|code| {
                let doing = format!("Partition {partition} of topic \"{topic}\" cannot be read");
                client::to_error(code, &doing, "", &self.brokers)
            })
    }

    /// Stops fetching a partition.
    pub fn close(&self, topic: &str, partition: i32) {
        let handles = self.handles.lock();
        if let Some(handle) = handles.get(topic) {
            handle.stop(partition);
        }
    }

    /// Appends the fetched records to `into`, waiting at most `wait` for the first.
    pub fn poll(&self, wait: Duration, into: &mut Vec<KafkaMessage>) {
        if let Some(first) = self.queue.consume(wait) {
            into.push(first);
            self.queue.consume_available(BATCH, |next| into.push(next));
        }
    }

    /// The next error of the client: code and text.
    pub fn next_error(&self) -> Option<(Code, String)> {
        while let Some(response) = self.errors.poll(Duration::ZERO) {
            if let Some(next_error) = response.error() {
                return Some(next_error);
            }
        }
        None
    }
}
