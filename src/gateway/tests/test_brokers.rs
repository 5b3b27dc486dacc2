//! Helpers for the tests of the gateway's Kafka side: brokers, configurations, and a sender.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::gateway_settings::Settings;
use crate::config::{testing, BrokerConfig, Value};
use crate::envelope::{write_end, write_event};
use crate::gateway::bootstrap::KafkaBackend;
use crate::gateway::broadcast::Broadcast;
use crate::gateway::feed::positions::{PartitionState, Positions};
use crate::gateway::feed::{Feed, FeedSink, RawControlRecord, TopicRole};
use crate::gateway::hub::Hub;
use crate::gateway::protocol::incoming::Member;
use crate::kafka::embedded;
use crate::kafka::producer::Producer;
use crate::message::{Header, ProducerRecord};
use crate::metrics::catalog::Counters;

/// The embedded broker, and a real Kafka if there is one.
pub(crate) fn brokers() -> Vec<String> {
    let mut all = vec![embedded::shared().expect("an embedded broker")];
    if let Ok(real) = std::env::var("REALTIME_TEST_BROKERS") {
        if !real.is_empty() && real != embedded::NAME {
            all.push(real);
        }
    }
    all
}

/// A configuration with a prefix of its own for each of [`brokers`].
pub(crate) fn configs(name: &str) -> impl Iterator<Item = Arc<BrokerConfig>> + '_ {
    let all = brokers().into_iter();
    all.map(move |brokers| config(&brokers, &unique(name)))
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(2).enable_all();
    builder.build().expect("a runtime")
}

pub(crate) fn unique(name: &str) -> String {
    let id = crate::ids::new_id();
    format!("{name}-{}", &id[9..23])
}

pub(crate) fn config(brokers: &str, prefix: &str) -> Arc<BrokerConfig> {
    let settings = [
        ("brokers", Value::from(brokers)),
        ("topic_prefix", Value::from(prefix)),
    ];
    let mut config = BrokerConfig::clone(&testing::config(&settings));
    config.producer_overrides.set("linger.ms", "0");
    Arc::new(config)
}

/// Sends events like an application.
pub(crate) struct Sender {
    config: Arc<BrokerConfig>,
    producer: Arc<Producer>,
}

impl Sender {
    pub(crate) fn start(config: &Arc<BrokerConfig>) -> Self {
        let producer = Producer::start(Arc::clone(config)).expect("a producer");
        Self {
            config: Arc::clone(config),
            producer,
        }
    }

    /// Sends an event and returns its id.
    pub(crate) fn send(&self, channel: &str, event: &str, data: &str) -> String {
        self.send_with(channel, event, data, 0, &[])
    }

    pub(crate) fn send_at(&self, channel: &str, event: &str, data: &str, ms: i64) -> String {
        self.send_with(channel, event, data, ms, &[])
    }

    pub(crate) fn send_with(
        &self,
        channel: &str,
        event: &str,
        data: &str,
        timestamp_ms: i64,
        headers: &[Header],
    ) -> String {
        let id = crate::ids::new_id_with_time().0;
        let mut value = Vec::new();
        write_event(&mut value, &id, channel, event);
        value.extend_from_slice(b",\"data\":");
        value.extend_from_slice(data.as_bytes());
        write_end(&mut value, 1);
        let id = id.as_str().to_owned();
        let topic = self.config.topics.topic_for(channel).expect("a topic");
        let outgoing = ProducerRecord {
            id: &id,
            topic: &topic,
            partition: None,
            key: Some(channel.as_bytes()),
            value: Some(&value),
            headers,
            timestamp_ms,
        };
        self.producer.send(&outgoing).expect("accepted");
        id
    }

    pub(crate) fn raw(&self, topic: &str, value: &[u8]) {
        let outgoing = ProducerRecord {
            id: "raw",
            topic,
            partition: None,
            key: Some(b"user.1"),
            value: Some(value),
            headers: &[],
            timestamp_ms: 0,
        };
        self.producer.send(&outgoing).expect("accepted");
    }

    pub(crate) fn flush(&self) {
        assert!(self
            .producer
            .wait_for_delivery(Instant::now() + Duration::from_secs(20)));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.producer.close(Instant::now() + Duration::from_secs(5));
    }
}

/// A gateway without a port: a hub and its Kafka side.
pub(crate) struct Node {
    pub(crate) hub: Arc<Hub>,
    pub(crate) kafka: KafkaBackend,
}

impl Node {
    pub(crate) fn start(config: &Arc<BrokerConfig>) -> Self {
        Self::start_with(config, |_| {})
    }

    pub(crate) fn start_with(
        config: &Arc<BrokerConfig>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = Settings {
            app_id: "app".into(),
            key: "key".into(),
            secrets: vec!["4f9c1d7a20b86e35f1a7c9d2e4b60837".into()],
            ..Settings::default()
        };
        change(&mut settings);
        let hub = Hub::new(Arc::new(settings), Arc::default());
        let kafka = KafkaBackend::start(config, &hub).expect("the Kafka side");
        hub.attach(kafka.cluster(), kafka.history());
        assert!(kafka.wait(), "it did not fill");
        Self { hub, kafka }
    }

    /// Waits until presence is complete.
    pub(crate) fn wait_for_presence(&self) {
        let ready = self.kafka.cluster().presence_ready();
        until("presence is complete", || *ready.borrow());
    }

    pub(crate) fn join(&self, channel: &str, socket: &str, user: &str) {
        let member = Member {
            user_id: user.to_owned(),
            user_info: None,
        };
        let socket = socket.parse().expect("an id");
        self.kafka.cluster().occupied(channel, 1);
        self.kafka.cluster().joined(channel, socket, &member);
    }

    pub(crate) fn leave(&self, channel: &str, socket: &str) {
        let socket = socket.parse().expect("an id");
        self.kafka.cluster().left(channel, socket);
    }

    /// Users of other gateways on a channel.
    pub(crate) fn members(&self, channel: &str) -> Vec<String> {
        let members = self.hub.presence().members(channel);
        let mut users: Vec<String> = members.into_iter().map(|m| m.user_id).collect();
        users.sort_unstable();
        users
    }
}

/// Waits until the condition holds, at most 15 s.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A feed, and everything that it passed on.
pub(crate) struct Recording {
    /// Reads until it is dropped.
    _feed: Feed,
    pub(crate) counters: Arc<Counters>,
    pub(crate) positions: Arc<Positions>,
    sink: Arc<RecordingSink>,
}

#[derive(Default)]
struct RecordingSink {
    broadcasts: Mutex<Vec<(Arc<Broadcast>, bool)>>,
    control: Mutex<Vec<(TopicRole, String)>>,
}

impl FeedSink for RecordingSink {
    fn partition_started(&self, _: &PartitionState, _: i64, _: i64) {}
    fn partition_stopped(&self, _: &PartitionState) {}

    fn broadcast(&self, broadcast: &Arc<Broadcast>, _: i64, live: bool) {
        self.broadcasts.lock().push((Arc::clone(broadcast), live));
    }

    fn control(&self, control: &RawControlRecord<'_>) {
        let value = String::from_utf8_lossy(control.value).into_owned();
        self.control.lock().push((control.role, value));
    }
}

impl Recording {
    pub(crate) fn start(config: &Arc<BrokerConfig>, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        let sink = Arc::<RecordingSink>::default();
        let (counters, positions) = (Arc::<Counters>::default(), Arc::<Positions>::default());
        let feed = Feed::start(
            config,
            &Arc::new(settings),
            Arc::clone(&positions),
            Arc::clone(&counters),
            Arc::clone(&sink) as _,
        )
        .expect("a feed");
        assert!(feed.wait_filled(Duration::from_secs(20)), "it did not fill");
        Self {
            _feed: feed,
            counters,
            positions,
            sink,
        }
    }

    pub(crate) fn broadcasts(&self) -> Vec<Arc<Broadcast>> {
        let all = self.sink.broadcasts.lock();
        all.iter().map(|(one, _)| Arc::clone(one)).collect()
    }

    /// The ids of the broadcasts that were delivered, or that only filled the replay buffer.
    pub(crate) fn ids(&self, live: bool) -> Vec<String> {
        let all = self.sink.broadcasts.lock();
        let some = all.iter().filter(|(_, other)| *other == live);
        some.map(|(one, _)| one.id().to_owned()).collect()
    }

    /// The records of a control topic.
    pub(crate) fn control(&self, role: TopicRole) -> Vec<String> {
        let all = self.sink.control.lock();
        let some = all.iter().filter(|(other, _)| *other == role);
        some.map(|(_, text)| text.clone()).collect()
    }
}
