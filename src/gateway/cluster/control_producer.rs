//! Writes the control records of this node, with a client of their own so that heartbeats never wait behind the
//! application's messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaType;

use super::wire::{Body, ControlRecord};
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::gateway::feed::ControlTopics;
use crate::gateway::replay::token::Keys;
use crate::ids::unix_ms;
use crate::kafka::admin::{Admin, AdminError, NewTopic};
use crate::kafka::client::{produce, request_metadata, Client, Conf, Outgoing, TopicHandle};
use crate::kafka::embedded;
use crate::log::Level;
use crate::runtime;

/// Timeout for creating the control topics, before the next attempt.
const CREATE_TIMEOUT: Duration = Duration::from_secs(3);

/// Used by one thread.
pub(super) struct ControlProducer {
    config: Arc<BrokerConfig>,
    client: Client,
    handles: HashMap<String, TopicHandle>,
    pub topics: ControlTopics,
    pub keys: Keys,
    own: String,
    /// Last sequence numbers of this node: presence topic, client topic.
    sequences: [u64; 2],
}

impl ControlProducer {
    /// Makes the client, which connects by itself. `own`: the id of this node.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take.
    pub fn start(config: &Arc<BrokerConfig>, own: String, keys: Keys) -> Result<Self> {
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
            topics: ControlTopics::of(config.topics.prefix()),
            config: Arc::clone(config),
            keys,
            own,
            sequences: [0, 0],
        })
    }

    /// Creates the control topics with their settings, before a metadata request creates them automatically. False to
    /// retry.
    pub fn create_topics(&self) -> bool {
        let admin = match Admin::start(&self.config) {
            Ok(admin) => admin,
            Err(error) => {
                runtime::current().log.write(Level::Error, error.message());
                return true;
            }
        };
        let until = Instant::now() + CREATE_TIMEOUT;
        let in_time = || Instant::now() < until;
        for (name, config) in topic_settings(&self.topics) {
            let topic = NewTopic {
                name: name.clone(),
                partitions: 1,
                replication: -1,
                config,
                validate_only: false,
            };
            match admin.create_topic(&topic, &in_time) {
                Ok(_) => {}
                Err(AdminError::Interrupted) => return false,
                Err(AdminError::Error(error)) if error.is_retriable() && !in_time() => {
                    return false
                }
                Err(AdminError::Error(error)) => {
                    // The topic may exist, or the broker creates it automatically, as the embedded broker of another
                    // process does.
                    self.request_metadata(&topic.name);
                    runtime::current().log.write(Level::Debug, error.message());
                }
            }
        }
        true
    }

    /// Queues a record for the presence topic.
    pub fn send(&mut self, body: Body) {
        self.sequences[0] += 1;
        let topic = self.topics.presence.clone();
        self.seal(&topic, self.sequences[0], body);
    }

    /// Queues a record for the client topic.
    pub fn send_client(&mut self, body: Body) {
        self.sequences[1] += 1;
        let topic = self.topics.client.clone();
        self.seal(&topic, self.sequences[1], body);
    }

    /// Queues a webhook of a channel.
    pub fn send_webhook(&mut self, channel: &str, value: &[u8]) {
        let topic = self.topics.events.clone();
        self.write(&topic, channel, value);
    }

    /// The number of the last record that was sent to the presence topic.
    pub fn last_sequence(&self) -> u64 {
        self.sequences[0]
    }

    fn seal(&mut self, topic: &str, sequence: u64, body: Body) {
        let record = ControlRecord {
            node: self.own.clone(),
            sequence,
            issued_ms: unix_ms(),
            body,
        };
        if let Some(value) = record.seal(topic, &self.keys) {
            // A record that librdkafka rejects leaves a gap in the numbers, and the others request a snapshot.
            self.write(topic, &record.node, &value);
        }
    }

    /// Queues a record, unless librdkafka rejects it.
    fn write(&mut self, topic: &str, key: &str, value: &[u8]) {
        if !self.handles.contains_key(topic) {
            let Some(handle) = TopicHandle::new(&self.client, topic) else {
                return;
            };
            self.handles.insert(topic.to_owned(), handle);
        }
        let Some(handle) = self.handles.get(topic) else {
            return;
        };
        let record = Outgoing {
            partition: None,
            key: Some(key.as_bytes()),
            value: Some(value),
            headers: &[],
            timestamp_ms: 0,
            opaque: 0,
        };
        let _ = produce(handle, &record);
    }

    /// Requests a topic's metadata, so that a broker with automatic topic creation creates it.
    fn request_metadata(&self, topic: &str) {
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

/// Every topic that gateways create has a retention. Control records are useless after minutes; webhooks stay for a
/// week, so that a consumer can be down over a weekend.
///
/// Kafka stamps the control records: a writer cannot choose the time that a receiver compares with the time of issue.
fn topic_settings(topics: &ControlTopics) -> [(String, Vec<(String, String)>); 3] {
    let settings = |all: &[(&str, &str)]| {
        let all = all.iter();
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    let control = settings(&[
        ("retention.ms", "600000"),
        ("segment.ms", "300000"),
        ("message.timestamp.type", "LogAppendTime"),
    ]);
    let webhooks = settings(&[("retention.ms", "604800000")]);
    [
        (topics.presence.clone(), control.clone()),
        (topics.client.clone(), control),
        (topics.events.clone(), webhooks),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_created_topic_has_a_retention() {
        for (name, settings) in topic_settings(&ControlTopics::of("realtime")) {
            let retention = settings.iter().find(|(key, _)| key == "retention.ms");
            let retention = retention.and_then(|(_, value)| value.parse::<u64>().ok());
            assert!(retention.is_some_and(|ms| ms <= 604_800_000), "{name}");
        }
    }
}
