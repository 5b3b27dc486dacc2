//! librdkafka properties: a set of properties, Java's names for them, properties managed by the extension, and the
//! properties of producers and consumers: defaults merged with the user's.

use std::fmt;
use std::fmt::Write;

use super::keys::{canonical, Setting, CONSUMER_CONFIG, PRODUCER_CONFIG, SETTINGS};
use super::sources::Sources;
use super::{Acks, BrokerConfig, EMBEDDED};
use crate::error::{Error, Result};

/// A map of properties. `Debug` hides secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    /// Sets a property, replacing an earlier value.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value.into(),
            None => self.0.push((name.to_owned(), value.into())),
        }
    }

    /// The value of a property.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1)
    }

    /// Sets all properties of `other`.
    pub fn extend(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            self.set(name, value.as_str());
        }
    }

    /// Name and value, in the order of the names.
    #[must_use]
    fn into_sorted(mut self) -> Vec<(String, String)> {
        self.0.sort_unstable();
        self.0
    }

    /// Name and value, in the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(name, value)| {
            let hide = is_secret(name) && !value.is_empty();
            (name, if hide { "***" } else { value })
        });
        f.debug_map().entries(shown).finish()
    }
}

/// True if the value of a property must not be shown.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    [
        "password",
        "secret",
        ".pem",
        "jaas",
        "passphrase",
        "oauthbearer.config",
    ]
    .iter()
    .any(|part| name.contains(part))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientKind {
    Producer,
    Consumer,
}

/// Properties managed by the extension, and why they cannot be set.
const MANAGED: &[(&str, &str)] = &[
    (
        "enable.auto.commit",
        "the extension commits itself, after the callback",
    ),
    (
        "enable.auto.offset.store",
        "the extension commits itself, after the callback",
    ),
    (
        "enable.partition.eof",
        "the extension needs the ends of partitions",
    ),
    (
        "delivery.report.only.error",
        "delivery reports are read by the extension",
    ),
    ("log.queue", "the log is read by the extension"),
    ("opaque", "it belongs to the extension"),
    ("internal.termination.signal", "signals belong to PHP"),
];

/// Java properties without a counterpart, and why they are ignored.
const JAVA_ONLY: &[(&str, &str)] = &[
    ("key.serializer", "keys are bytes"),
    ("value.serializer", "values are bytes"),
    ("key.deserializer", "keys are bytes"),
    ("value.deserializer", "values are bytes"),
    ("max.poll.records", "it is the batchSize of consume()"),
    ("default.api.timeout.ms", "calls have timeouts of their own"),
    ("partitioner.class", "see the property 'partitioner'"),
    ("interceptor.classes", "Java classes cannot be loaded"),
    ("metric.reporters", "Java classes cannot be loaded"),
    ("metadata.request.timeout.ms", "see socket.timeout.ms"),
    (
        "exclude.internal.topics",
        "internal topics are never matched",
    ),
];

/// The user's properties for one kind of client, translated to librdkafka's names and values. Properties that belong to
/// a [`Setting`] are left out, because they are read as that setting.
pub(super) fn collect(
    sources: &Sources<'_>,
    client: ClientKind,
    notes: &mut Vec<String>,
) -> Result<Properties> {
    let (setting, taken): (_, fn(&Setting) -> &'static [&'static str]) = match client {
        ClientKind::Producer => (&PRODUCER_CONFIG, |s| s.producer),
        ClientKind::Consumer => (&CONSUMER_CONFIG, |s| s.consumer),
    };
    let mut properties = Properties::default();
    for (given, found) in sources.merged(setting)? {
        let name = canonical(given);
        let place = &found.place;
        let reason = |table: &[(&str, &'static str)]| {
            table.iter().find(|(n, _)| *n == name).map(|(_, why)| *why)
        };
        if let Some(why) = reason(MANAGED).or_else(|| reason(JAVA_ONLY)) {
            notes.push(format!("{place} is ignored: {why}."));
            continue;
        }
        if SETTINGS.iter().any(|s| taken(s).contains(&name)) || properties.get(name).is_some() {
            continue;
        }
        if matches!(name, "sasl.jaas.config" | "ssl.truststore.location") {
            return Err(Error::configuration(format!(
                "{place} is for Java clients. Use security.username and security.password, and security.ca with a PEM \
                 file."
            )));
        }
        let value = found.value.property(place)?;
        let (name, value) = translate(client, given.trim(), name, value, place, notes)?;
        properties.set(name, value);
    }
    Ok(properties)
}

/// Translates values that differ between Java and librdkafka.
fn translate<'a>(
    client: ClientKind,
    given: &str,
    name: &'a str,
    value: String,
    place: &str,
    notes: &mut Vec<String>,
) -> Result<(&'a str, String)> {
    let lower = value.to_ascii_lowercase();
    let result = match (name, lower.as_str()) {
        ("queue.buffering.max.kbytes", _) if given == "buffer.memory" => {
            let bytes: u64 = value.parse().map_err(|_| {
                Error::configuration(format!("{place} must be a whole number of bytes."))
            })?;
            (name, (bytes / 1024).max(1).to_string())
        }
        ("request.timeout.ms", _) if client == ClientKind::Consumer => ("socket.timeout.ms", value),
        ("socket.send.buffer.bytes" | "socket.receive.buffer.bytes", "-1") => {
            (name, "0".to_owned())
        }
        ("compression.type", "off" | "uncompressed" | "producer") => (name, "none".to_owned()),
        ("auto.offset.reset", "none") => (name, "error".to_owned()),
        ("partition.assignment.strategy", _) => (name, assignors(&value)),
        ("security.protocol" | "compression.type" | "isolation.level" | "group.protocol", _) => {
            (name, lower)
        }
        _ => (name, value),
    };
    if result.0 != given {
        notes.push(format!(
            "{place} is taken as '{}' = '{}'.",
            result.0, result.1
        ));
    }
    Ok(result)
}

/// Translates Java's assignor classes.
fn assignors(value: &str) -> String {
    let short = |one: &str| match one.trim().rsplit('.').next().unwrap_or_default() {
        "CooperativeStickyAssignor" | "StickyAssignor" => "cooperative-sticky".to_owned(),
        "RangeAssignor" => "range".to_owned(),
        "RoundRobinAssignor" => "roundrobin".to_owned(),
        _ => one.trim().to_owned(),
    };
    value.split(',').map(short).collect::<Vec<_>>().join(",")
}

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
