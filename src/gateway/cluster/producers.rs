//! The producers of a gateway, separate from the application's, so that none waits for another or reports its failures:
//! one for control records, whose heartbeats never wait, and one for events of the HTTP API. A request with events is
//! answered after Kafka's acknowledgement; one thread sends all queued requests and flushes once, so that concurrent
//! requests share the wait.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::types::RDKafkaType;
use tokio::sync::oneshot;

use super::wire::{Body, ControlRecord};
use crate::config::{Acks, BrokerConfig};
use crate::envelope::headers::SOCKET;
use crate::error::{Error, FailedMessage, Result};
use crate::gateway::backend::ApiEvent;
use crate::gateway::broadcast::{EXACT, TEXT};
use crate::gateway::feed::ControlTopics;
use crate::gateway::replay::token::Keys;
use crate::ids::unix_ms;
use crate::kafka::admin::{topics, Admin, AdminError, NewTopic};
use crate::kafka::client::{produce, request_metadata, Client, Conf, Outgoing, TopicHandle};
use crate::kafka::embedded;
use crate::kafka::producer::Producer;
use crate::log::Level;
use crate::message::Header;
use crate::publish::Event;
use crate::{ids, runtime};

/// Timeout for creating the control topics, before the next attempt.
const CREATE_TIMEOUT: Duration = Duration::from_secs(3);

/// Writes the control records of this node. Used by one thread.
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
                runtime::error(error.message());
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
            match topics::create(&admin, &topic, &in_time) {
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

/// Timeout for the first connection to a broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for Kafka's acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum events in one flush, less than a flush can report as failed.
const MAX_BATCH: usize = 500;
/// With this many reported failures the list may be incomplete, so all requests of the batch fail.
const MAX_REPORTED_FAILURES: usize = 1000;

/// The result for the events of one request.
pub(super) type PublishResult = Result<(), Error>;

struct PublishRequest {
    events: Vec<ApiEvent>,
    reply: oneshot::Sender<PublishResult>,
}

/// Publishes events. The thread and the client are started with the first event.
pub(super) struct EventPublisher {
    config: Arc<BrokerConfig>,
    running: Mutex<Option<(Sender<PublishRequest>, JoinHandle<()>)>>,
}

impl EventPublisher {
    pub fn new(config: &Arc<BrokerConfig>) -> Self {
        Self {
            config: Arc::clone(config),
            running: Mutex::default(),
        }
    }

    /// Sends each event to the topic of its channel, in order. If one channel is invalid, none is sent.
    pub fn send(&self, events: Vec<ApiEvent>) -> oneshot::Receiver<PublishResult> {
        let (reply, sent) = oneshot::channel();
        let mut running = self.running.lock();
        if running.is_none() {
            let (requests, waiting) = std::sync::mpsc::channel();
            let config = Arc::clone(&self.config);
            match runtime::spawn("rt-gw-api", move || run(&config, &waiting)) {
                Ok(thread) => *running = Some((requests, thread)),
                Err(error) => {
                    // Fails only if the request was cancelled.
                    let _ = reply.send(Err(error));
                    return sent;
                }
            }
        }
        if let Some((requests, _)) = &*running {
            // If the thread has ended, the reply is dropped, which the receiver sees as an error.
            let _ = requests.send(PublishRequest { events, reply });
        }
        sent
    }

    /// Sends the queued requests and stops the thread.
    pub fn stop(&self) {
        let Some((requests, thread)) = self.running.lock().take() else {
            return;
        };
        drop(requests);
        if thread.join().is_err() {
            runtime::error("The thread that publishes events of the HTTP API panicked.");
        }
    }
}

fn run(config: &Arc<BrokerConfig>, requests: &Receiver<PublishRequest>) {
    let mut client: Option<Arc<Producer>> = None;
    while let Ok(first) = requests.recv() {
        let mut count = first.events.len();
        let mut all = vec![first];
        while count < MAX_BATCH {
            let Ok(next) = requests.try_recv() else { break };
            count += next.events.len();
            all.push(next);
        }
        let producer = client
            .take()
            .filter(|producer| !producer.needs_replacement());
        match producer.map_or_else(|| start(config), Ok) {
            Ok(producer) => {
                publish_batch(&producer, config, all);
                client = Some(producer);
            }
            Err(error) => {
                for request in all {
                    let _ = request.reply.send(Err(error.clone()));
                }
            }
        }
    }
    if let Some(producer) = client {
        producer.close(Instant::now() + ACK_TIMEOUT);
    }
}

/// The application's settings without the spool: a caller that receives an error sends again.
fn start(config: &Arc<BrokerConfig>) -> Result<Arc<Producer>, Error> {
    let mut own = BrokerConfig::clone(config);
    own.spool = None;
    if own.acks == Acks::None {
        own.acks = Acks::Leader;
    }
    own.producer_overrides.set("linger.ms", "0");
    // Less than the flush timeout, so that failures are known when the flush ends.
    let bound = ACK_TIMEOUT.as_millis() - 500;
    own.producer_overrides
        .set("message.timeout.ms", bound.to_string());
    Producer::start(Arc::new(own))
}

/// Sends all requests, flushes once, and replies to each request.
fn publish_batch(producer: &Producer, config: &BrokerConfig, requests: Vec<PublishRequest>) {
    let until = Instant::now() + CONNECT_TIMEOUT;
    while !producer.is_reachable() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    if !producer.is_reachable() {
        for request in requests {
            let why = format!("Kafka at {} cannot be reached", config.brokers);
            let _ = request.reply.send(Err(Error::connection(why)));
        }
        return;
    }
    let mut waiting = Vec::with_capacity(requests.len());
    for request in requests {
        match send_all(producer, config, &request.events) {
            Ok(ids) => waiting.push((ids, request.reply)),
            Err(why) => {
                let _ = request.reply.send(Err(why));
            }
        }
    }
    let flushed = producer.flush(ACK_TIMEOUT);
    let failed = flushed.as_ref().err().map_or(&[][..], Error::failed);
    let all_failed =
        flushed.is_err() && (failed.is_empty() || failed.len() >= MAX_REPORTED_FAILURES);
    let failed: HashMap<&str, &FailedMessage> =
        failed.iter().map(|one| (one.id.as_str(), one)).collect();
    for (ids, reply) in waiting {
        let lost = ids.iter().find_map(|id| failed.get(id.as_str()));
        let sent = match lost {
            Some(lost) => Err(Error::connection(format!(
                "Kafka at {} did not acknowledge it for topic \"{}\" ({})",
                config.brokers, lost.topic, lost.reason
            ))),
            None if all_failed => Err(Error::connection(format!(
                "Kafka at {} did not acknowledge it",
                config.brokers
            ))),
            None => Ok(()),
        };
        let _ = reply.send(sent);
    }
}

/// Sends the events of one request; returns their ids.
fn send_all(
    producer: &Producer,
    config: &BrokerConfig,
    events: &[ApiEvent],
) -> Result<Vec<String>, Error> {
    // All topics first, so that an invalid channel prevents every event of the request.
    let topics = events
        .iter()
        .map(|event| config.topics.topic_for(&event.channel))
        .collect::<Result<Vec<_>, _>>()?;
    let mut ids = Vec::with_capacity(events.len());
    for (event, topic) in events.iter().zip(&topics) {
        let made = ids::new_id_with_time();
        let mut headers: Vec<Header> = vec![(EXACT.to_owned(), Some(b"1".to_vec()))];
        if event.is_text {
            headers.push((TEXT.to_owned(), Some(b"1".to_vec())));
        }
        if let Some(socket) = &event.except {
            headers.push((SOCKET.to_owned(), Some(socket.to_string().into_bytes())));
        }
        let data = event.data.get();
        let sent = Event {
            channel: &event.channel,
            event: &event.event,
            data_json: (data != "null").then_some(data.as_bytes()),
            key: None,
            headers: &headers,
        };
        let mut envelope = Vec::with_capacity(160 + data.len());
        sent.send(topic, &made, &mut envelope, |record| producer.send(record))?;
        ids.push(made.0.as_str().to_owned());
    }
    Ok(ids)
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
