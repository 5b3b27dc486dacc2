//! The producer of control records, separate so that heartbeats never wait behind the application's messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaType;

use crate::config::BrokerConfig;
use crate::error::Result;
use crate::kafka::client::{produce, request_metadata, Client, Conf, Outgoing, TopicHandle};
use crate::kafka::embedded;

/// The producer. Used by one thread.
pub(super) struct ControlProducer {
    client: Client,
    handles: HashMap<String, TopicHandle>,
}

impl ControlProducer {
    /// Makes the client, which connects by itself.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take.
    pub fn start(config: &Arc<BrokerConfig>) -> Result<Self> {
        let mut properties = config.producer_properties();
        for (name, value) in [
            // After a restart thousands of clients subscribe at the same time: their records share requests.
            ("linger.ms", "2"),
            // Older records are useless: the other nodes detect the gap and request a snapshot.
            ("message.timeout.ms", "8000"),
            ("socket.nagle.disable", "true"),
        ] {
            properties.retain(|(known, _)| known != name);
            properties.push((name.to_owned(), value.to_owned()));
        }
        properties.retain(|(name, _)| name != "transactional.id");
        embedded::resolve(config, &mut properties)?;
        let conf = Conf::new(&properties, "producer_config")?;
        Ok(Self {
            client: conf.into_client(RDKafkaType::RD_KAFKA_PRODUCER)?,
            handles: HashMap::new(),
        })
    }

    /// Queues a record; false if librdkafka rejects it.
    pub fn send(&mut self, topic: &str, key: &str, value: &[u8]) -> bool {
        if !self.handles.contains_key(topic) {
            let Some(handle) = TopicHandle::new(&self.client, topic) else {
                return false;
            };
            self.handles.insert(topic.to_owned(), handle);
        }
        let Some(handle) = self.handles.get(topic) else {
            return false;
        };
        let record = Outgoing {
            partition: None,
            key: Some(key.as_bytes()),
            value: Some(value),
            headers: &[],
            timestamp_ms: 0,
            opaque: 0,
        };
        produce(handle, &record) == RDKafkaErrorCode::NoError
    }

    /// Requests a topic's metadata, so that a broker with automatic topic creation creates it.
    pub fn request_metadata(&self, topic: &str) {
        if let Some(handle) = TopicHandle::new(&self.client, topic) {
            // The result does not matter.
            let _ = request_metadata(&self.client, Some(&handle), Duration::from_secs(1));
        }
    }

    pub fn poll(&self) {
        self.client.poll();
    }

    /// Waits until all records are written, at most `bound`.
    pub fn flush(&self, bound: Duration) {
        self.client.flush(bound);
    }
}
