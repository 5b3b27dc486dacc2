//! The librdkafka properties of a producer and a consumer, defaults and the user's own.

use super::{Acks, BrokerConfig, Properties, EMBEDDED};
use std::fmt::Write;

/// Both clients. Reconnecting is quick so that a restarted broker is found within two seconds;
/// telemetry and the log of idle connections would only be noise in a web application.
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

/// A queue that takes bursts: a million small messages, or 512 MB.
const PRODUCER: &[(&str, &str)] = &[
    ("partitioner", "murmur2_random"),
    ("linger.ms", "5"),
    ("queue.buffering.max.messages", "1000000"),
    ("queue.buffering.max.kbytes", "524288"),
    ("message.timeout.ms", "300000"),
    ("topic.metadata.propagation.max.ms", "5000"),
];

/// The bytes bound what is fetched ahead, not the count: librdkafka's default of 100,000 messages
/// holds small ones back, and its one-second pause when a queue is full would be felt.
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

/// What the classic protocol's clients decide and the new protocol's brokers do.
const CLASSIC_ONLY: &[&str] = &[
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "group.protocol.type",
];

impl BrokerConfig {
    /// True where the broker is the one in the process.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.brokers == EMBEDDED
    }

    /// True where every broker is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.is_embedded()
            || self.brokers.split(',').all(|address| {
                let address = address.rsplit_once("://").map_or(address, |(_, rest)| rest);
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                host == "localhost" || host == "[::1]" || host.starts_with("127.")
            })
    }

    /// Every property of a producer, by name. `bootstrap.servers` is [`EMBEDDED`] where the address
    /// of the broker in the process belongs. Contains secrets: never log it.
    #[must_use]
    pub fn producer_properties(&self) -> Vec<(String, String)> {
        let mut all = self.common();
        defaults(&mut all, PRODUCER);
        all.extend(&self.producer_overrides);
        let acks = match self.acks {
            Acks::All => "all",
            Acks::Leader => "1",
            Acks::None => "0",
        };
        all.set("acks", acks);
        all.set("enable.idempotence", self.idempotent.to_string());
        if !self.idempotent && all.get("max.in.flight.requests.per.connection").is_none() {
            // librdkafka's default of a million would reorder a channel at every retry.
            all.set("max.in.flight.requests.per.connection", "5");
        }
        all.into_sorted()
    }

    /// Every property of a consumer, by name; see [`Self::producer_properties`].
    #[must_use]
    pub fn consumer_properties(&self) -> Vec<(String, String)> {
        let mut all = self.common();
        defaults(&mut all, CONSUMER);
        if self.is_local() {
            // A developer's machine: a worker that was killed is missed after seconds, and the embedded broker, which keeps a
            // vanished member for its whole session and does not wake a waiting fetch, answers quickly. 6000 is the least a
            // Kafka takes with its own defaults.
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

    /// Equal for configurations that can share one producer. Contains secrets: never log it.
    #[must_use]
    pub fn producer_key(&self) -> String {
        let mut key = String::with_capacity(1024);
        // Lengths before texts: no value can pass for two.
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
