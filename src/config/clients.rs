//! The librdkafka properties of producers and consumers: defaults merged with the user's properties.

use super::{Acks, BrokerConfig, Properties, EMBEDDED};
use std::fmt::Write;

/// For producers and consumers. Reconnects are frequent, so that a restarted broker is found within two seconds;
/// telemetry and logging of closed idle connections are off.
const COMMON: &[(&str, &str)] = &[
    ("client.id", "toporia_realtime"),
    ("socket.keepalive.enable", "true"),
    ("socket.connection.setup.timeout.ms", "10000"),
    ("reconnect.backoff.ms", "20"),
    ("reconnect.backoff.max.ms", "2000"),
    ("statistics.interval.ms", "0"),
    ("enable.metrics.push", "false"),
    ("log.connection.close", "false"),
    ("log_level", "4"),
];

/// The queue absorbs bursts of up to a million messages or 512 MB.
const PRODUCER: &[(&str, &str)] = &[
    ("partitioner", "murmur2_random"),
    ("linger.ms", "5"),
    ("queue.buffering.max.messages", "1000000"),
    ("queue.buffering.max.kbytes", "524288"),
    ("message.timeout.ms", "300000"),
];

/// Prefetching is limited by bytes, not by count: librdkafka's default of 100,000 messages throttles small records, and
/// its one-second backoff when the queue is full would be noticeable.
const CONSUMER: &[(&str, &str)] = &[
    ("auto.offset.reset", "earliest"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("queued.min.messages", "1000000"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.error.backoff.ms", "100"),
    ("topic.metadata.refresh.interval.ms", "5000"),
];

/// Properties of the classic group protocol; with `group.protocol=consumer` the broker controls them.
const CLASSIC_ONLY: &[&str] = &[
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "group.protocol.type",
];

impl BrokerConfig {
    /// True for the embedded broker.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.brokers == EMBEDDED
    }

    /// True if every bootstrap address is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.is_embedded()
            || self.brokers.split(',').all(|address| {
                let address = address.rsplit_once("://").map_or(address, |(_, rest)| rest);
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                host == "localhost" || host == "[::1]" || host.starts_with("127.")
            })
    }

    /// All properties of a producer, sorted by name. `bootstrap.servers` is [`EMBEDDED`] for the embedded broker.
    /// Contains secrets: never log it.
    #[must_use]
    pub fn producer_properties(&self) -> Vec<(String, String)> {
        let mut all = self.common();
        defaults(&mut all, PRODUCER);
        // A topic that the broker creates by itself may take long to appear under load; less than the wait of
        // `produce: sync`, which names the reason then. Without automatic creation an unknown topic was deleted.
        let propagation = if self.auto_create_topics {
            "15000"
        } else {
            "5000"
        };
        all.set("topic.metadata.propagation.max.ms", propagation);
        all.extend(&self.producer_overrides);
        let acks = match self.acks {
            Acks::All => "all",
            Acks::Leader => "1",
            Acks::None => "0",
        };
        all.set("acks", acks);
        all.set("enable.idempotence", self.idempotent.to_string());
        if !self.idempotent && all.get("max.in.flight.requests.per.connection").is_none() {
            // With librdkafka's default of a million, every retry could reorder messages of a channel.
            all.set("max.in.flight.requests.per.connection", "5");
        }
        all.into_sorted()
    }

    /// All properties of a consumer; see [`Self::producer_properties`].
    #[must_use]
    pub fn consumer_properties(&self) -> Vec<(String, String)> {
        let mut all = self.common();
        defaults(&mut all, CONSUMER);
        if self.is_local() {
            // On a developer's machine a killed worker is detected within seconds, and the embedded broker responds
            // quickly: it keeps a lost member for its whole session and does not wake a waiting fetch. 6000 is the
            // minimum that Kafka accepts with its default settings.
            all.set("fetch.wait.max.ms", "20");
            all.set("session.timeout.ms", "6000");
            all.set("heartbeat.interval.ms", "1000");
        }
        all.extend(&self.consumer_overrides);
        all.set("group.id", self.consumer_group.as_str());
        if let Some(id) = &self.group_instance_id {
            all.set("group.instance.id", id.as_str());
        }
        if all.get("group.protocol") == Some("consumer") {
            for name in CLASSIC_ONLY {
                all.remove(name);
            }
        }
        all.into_sorted()
    }

    /// Equal for configurations that can share a producer client. Contains secrets: never log it.
    #[must_use]
    pub fn producer_key(&self) -> String {
        let mut key = String::with_capacity(1024);
        // Length-prefixed, so that different lists of values never produce the same key.
        let mut add = |text: &str| {
            let _ = write!(key, "{}:{text}", text.len());
        };
        for (name, value) in self.producer_properties() {
            add(&name);
            add(&value);
        }
        add(&format!("{:?}", self.topics));
        add(&format!("{:?} {}", self.spool, self.spool_always));
        add(&self.application);
        add(&format!(
            "{} {} {} {} {} {}",
            self.sync,
            self.queue_full_ms,
            self.request_flush_ms,
            self.shutdown_flush_ms,
            self.spool_max_bytes,
            self.auto_create_topics
        ));
        key
    }

    fn common(&self) -> Properties {
        let mut all = Properties::default();
        all.set("bootstrap.servers", self.brokers.as_str());
        defaults(&mut all, COMMON);
        all
    }
}

fn defaults(all: &mut Properties, table: &[(&str, &str)]) {
    for (name, value) in table {
        all.set(name, *value);
    }
}
