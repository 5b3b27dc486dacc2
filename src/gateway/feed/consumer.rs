//! The feed's Kafka consumer: no group, all partitions on one queue, an error for an offset out of range.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::Offset;

use super::positions::TopicId;
use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::kafka::client::{
    self, partitions_of, AdminRequests, Client, EventQueue, KafkaMessage, TopicHandle, TopicInfo,
};
use crate::kafka::{embedded, StandaloneConsumer};

/// Records taken from librdkafka in one batch.
const BATCH: usize = 512;

/// Maximum topics in one request for ids.
const MAX_TOPICS_PER_REQUEST: usize = 500;

/// A partition, by the name of its topic.
pub(crate) type Key = (String, i32);

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
        let made = StandaloneConsumer::start(config, &ours)?;
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

    /// Requests the offsets of all these partitions in one batch. A partition whose leader does not answer is missing
    /// in the result.
    ///
    /// # Errors
    /// The error code if no broker answers in time.
    pub fn offsets(
        &self,
        partitions: &[Key],
        offset_spec: OffsetSpec,
        bound: Duration,
    ) -> Result<HashMap<Key, i64>, Code> {
        if partitions.is_empty() {
            return Ok(HashMap::new());
        }
        let spec = match offset_spec {
            OffsetSpec::Beginning => Offset::Beginning,
            OffsetSpec::End => Offset::End,
            OffsetSpec::Since(ms) => Offset::Offset(ms.max(0)),
        };
        let mut requested = partitions_of(partitions);
        if requested.set_all_offsets(spec).is_err() {
            return Err(Code::InvalidArgument);
        }
        let queue = EventQueue::new(self.client());
        AdminRequests::new(self.client(), &queue, bound)
            .list_offsets(&requested, self.reads_committed());
        let response = queue
            .poll(bound + Duration::from_secs(1))
            .ok_or(Code::OperationTimedOut)?;
        if let Some((code, _)) = response.error() {
            return Err(code);
        }
        let found = response.listed_offsets().into_iter();
        let found = found.filter(|entry| entry.error == Code::NoError);
        Ok(found
            .map(|entry| ((entry.topic, entry.partition), entry.offset))
            .collect())
    }

    /// The ids of these topics; brokers before 2.8 have none.
    pub fn topic_ids(&self, names: &[String], bound: Duration) -> HashMap<String, TopicId> {
        let mut found = HashMap::with_capacity(names.len());
        for some in names.chunks(MAX_TOPICS_PER_REQUEST) {
            self.topic_ids_chunk(some, bound, &mut found);
        }
        found
    }

    fn topic_ids_chunk(
        &self,
        names: &[String],
        bound: Duration,
        found: &mut HashMap<String, TopicId>,
    ) {
        let queue = EventQueue::new(self.client());
        AdminRequests::new(self.client(), &queue, bound).describe_topics(names, false);
        let Some(response) = queue.poll(bound + Duration::from_secs(1)) else {
            return;
        };
        if response.error().is_some() {
            return;
        }
        let described = response.described_topics().into_iter();
        let described = described.filter(|topic| topic.error == Code::NoError);
        found.extend(described.filter_map(|topic| Some((topic.name, topic.id?))));
    }
}

/// Selects an offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OffsetSpec {
    /// The first offset that exists.
    Beginning,
    /// The offset after the last record.
    End,
    /// The first offset with this timestamp or a later one, Unix ms; -1 if all records are older.
    Since(i64),
}
