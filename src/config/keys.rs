//! The keys that a configuration may use, and the error for an unknown key.

use super::Value;
use crate::error::{Error, Result};

/// A setting and its other names: aliases, properties, INI setting, environment variable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub key: &'static str,
    /// Toporia's names of the setting.
    pub aliases: &'static [&'static str],
    /// Equivalent properties in `producer_config`.
    pub producer: &'static [&'static str],
    /// Equivalent properties in `consumer_config`.
    pub consumer: &'static [&'static str],
    pub ini: bool,
    pub env: Option<&'static str>,
}

pub(super) const fn plain(key: &'static str) -> Setting {
    Setting {
        key,
        aliases: &[],
        producer: &[],
        consumer: &[],
        ini: false,
        env: None,
    }
}

pub(super) const fn with_env(key: &'static str, env: &'static str) -> Setting {
    Setting {
        env: Some(env),
        ..plain(key)
    }
}

const fn with_ini(key: &'static str) -> Setting {
    Setting {
        ini: true,
        ..plain(key)
    }
}

pub(super) const fn renamed(key: &'static str, aliases: &'static [&'static str]) -> Setting {
    Setting {
        aliases,
        ..plain(key)
    }
}

macro_rules! settings {
    ($($name:ident = $setting:expr;)*) => {
        $(pub(in crate::config) const $name: Setting = $setting;)*
        pub(in crate::config) const SETTINGS: &[Setting] = &[$($name),*];
    };
}
settings! {
    BROKERS = Setting {
        producer: &["bootstrap.servers"],
        consumer: &["bootstrap.servers"],
        ini: true,
        ..with_env("brokers", "KAFKA_BROKERS")
    };
    TOPIC_PREFIX = Setting { ini: true, ..with_env("topic_prefix", "KAFKA_TOPIC_PREFIX") };
    CONSUMER_GROUP = Setting {
        consumer: &["group.id"],
        ini: true,
        ..with_env("consumer_group", "KAFKA_CONSUMER_GROUP")
    };
    GROUP_INSTANCE_ID = Setting {
        consumer: &["group.instance.id"],
        ..plain("group_instance_id")
    };
    TOPIC_STRATEGY = with_env("topic_strategy", "KAFKA_TOPIC_STRATEGY");
    TOPIC_MAPPING = plain("topic_mapping");
    DEFAULT_TOPIC = with_env("default_topic", "KAFKA_DEFAULT_TOPIC");
    DEFAULT_PARTITIONS = with_env("default_partitions", "KAFKA_DEFAULT_PARTITIONS");
    PRODUCE = plain("produce");
    ACKS = Setting { producer: &["acks"], ..plain("acks") };
    IDEMPOTENCE = Setting { producer: &["enable.idempotence"], ..plain("idempotence") };
    DELIVERY = plain("delivery");
    TRANSACTIONAL_ID = Setting {
        producer: &["transactional.id"],
        ..plain("transactional_id")
    };
    QUEUE_FULL_MS = Setting { producer: &["max.block.ms"], ..with_ini("queue_full_ms") };
    REQUEST_FLUSH_MS = with_ini("request_flush_ms");
    SHUTDOWN_FLUSH_MS = with_ini("shutdown_flush_ms");
    SPOOL = Setting { ini: true, ..with_env("spool", "REALTIME_SPOOL") };
    SPOOL_WHEN = Setting { ini: true, ..with_env("spool_when", "REALTIME_SPOOL_WHEN") };
    SPOOL_MAX_BYTES = plain("spool_max_bytes");
    APPLICATION = Setting { aliases: &["app_name"], ..with_env("application", "APP_NAME") };
    AUTO_CREATE_TOPICS = plain("auto_create_topics");
    LOOP_GUARD = plain("loop_guard");
    MAX_HOPS = plain("max_hops");
    COMMIT_INTERVAL_MS = Setting {
        consumer: &["auto.commit.interval.ms"],
        ..plain("commit_interval_ms")
    };
    TRANSACTION_MS = plain("transaction_ms");
    DLQ = renamed("dlq", &["dlq_enabled"]);
    DLQ_PREFIX = renamed("dlq_prefix", &["dlq_topic_prefix"]);
    MAX_RETRIES = renamed("max_retries", &["dlq_max_retries"]);
    RETRY_BACKOFF_MS = plain("retry_backoff_ms");
    RETRY_BACKOFF_MAX_MS = plain("retry_backoff_max_ms");
    RETRY_MAX_PARKED = plain("retry_max_parked");
    RETRY_MAX_AHEAD = plain("retry_max_ahead");
    TRANSIENT_MAX_SECONDS = plain("transient_max_seconds");
    CIRCUIT_FAILURES = plain("circuit_failures");
    PERMANENT_EXCEPTIONS = plain("permanent_exceptions");
    TRANSIENT_EXCEPTIONS = plain("transient_exceptions");
    SECURITY = plain("security");
    PRODUCER_CONFIG = plain("producer_config");
    CONSUMER_CONFIG = plain("consumer_config");
    ENCRYPTION_MASTER_KEY = with_env("encryption_master_key", "REALTIME_ENCRYPTION_MASTER_KEY");
    METRICS = Setting { ini: true, ..with_env("metrics", "REALTIME_METRICS") };
    METRICS_TEXTFILE = Setting { ini: true, ..with_env("metrics_textfile", "REALTIME_METRICS_TEXTFILE") };
    HEARTBEAT_FILE = Setting { ini: true, ..with_env("heartbeat_file", "REALTIME_HEARTBEAT_FILE") };
    LIVENESS_TIMEOUT_MS = with_env("liveness_timeout_ms", "REALTIME_LIVENESS_TIMEOUT_MS");
    DRIVER = plain("driver");
}

/// Keys of Toporia's own brokers that are ignored, and why.
const IGNORED: &[(&[&str], &str)] = &[
    (&["client"], "the extension is the Kafka client"),
    (
        &["manual_commit"],
        "offsets are always committed after the callback has returned",
    ),
    (
        &["buffer_size", "batch_size"],
        "librdkafka batches by itself; see producer_config batch.num.messages",
    ),
    (
        &["flush_interval_ms"],
        "librdkafka sends by itself; see producer_config linger.ms",
    ),
    (
        &["queue_max_size"],
        "see producer_config queue.buffering.max.messages",
    ),
    (
        &["async_queue"],
        "broadcast() never waits for Kafka unless produce is 'sync'",
    ),
    (
        &["producer_pool", "pool_size"],
        "one native client serves the process",
    ),
    (
        &[
            "shared_memory",
            "shared_queue_name",
            "shared_queue_max_size",
            "shared_queue_ttl",
        ],
        "the spool takes what Kafka does not",
    ),
    (
        &["poll_timeout_ms", "poll_interval_ms", "consumer_batch_size"],
        "a parameter of consume()",
    ),
    (
        &[
            "circuit_breaker",
            "circuit_breaker_threshold",
            "circuit_breaker_timeout",
        ],
        "an unreachable Kafka does not block callers",
    ),
    (&["singleton"], "clients are shared by their configuration"),
];

/// Keys of config/realtime.php that are not broker settings: ours, then the framework's.
pub(super) const TOP_LEVEL: &str = "default_broker handlers middleware commands bindings restart_file outbox \
    idempotency retry_strategy gateway log logger log_level log_format tracing \
    default default_transport transports server authorizers auth_guard internal_secret presence rate_limit \
    rate_limiting ddos_protection validate_input channel_middleware use_enhanced_pipeline consumers";

/// Keys of one entry of `topic_mapping`.
pub(super) const MAPPING_KEYS: &[&str] = &[
    "topic",
    "partitions",
    "replication",
    "replication_factor",
    "retention",
    "retention_ms",
];

/// The reason if `key` is ignored.
pub(super) fn ignored(key: &str) -> Option<&'static str> {
    let (_, why) = IGNORED.iter().find(|(keys, _)| keys.contains(&key))?;
    Some(why)
}

fn broker_keys() -> impl Iterator<Item = &'static str> {
    SETTINGS
        .iter()
        .flat_map(|s| std::iter::once(s.key).chain(s.aliases.iter().copied()))
        .chain(IGNORED.iter().flat_map(|(keys, _)| keys.iter().copied()))
}

/// Refuses unknown keys in a broker's array; `also` are further ones, separated by spaces.
pub(super) fn check_broker(map: &[(String, Value)], place: &str, also: &'static str) -> Result<()> {
    let known: Vec<&str> = broker_keys().chain(also.split_whitespace()).collect();
    check(map, place, &known)
}

/// Refuses keys of `map` that are not in `known`.
pub(super) fn check(map: &[(String, Value)], place: &str, known: &[&str]) -> Result<()> {
    match map.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some((key, _)) => Err(unknown(key, place, known)),
    }
}

fn unknown(key: &str, place: &str, known: &[&str]) -> Error {
    let shown: String = key.chars().take(60).collect();
    let hint = match nearest(key, known) {
        Some(near) => format!(" Did you mean '{near}'?"),
        None => format!(" Known settings: {}.", sorted(known).join(", ")),
    };
    Error::configuration(format!(
        "Unknown setting '{}' in {place}.{hint}",
        shown.escape_debug()
    ))
}

fn sorted<'a>(known: &[&'a str]) -> Vec<&'a str> {
    let mut names: Vec<&str> = known
        .iter()
        .copied()
        .filter(|k| ignored(k).is_none())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The canonical name of a property that has several names in librdkafka and Java.
pub(super) fn canonical(name: &str) -> &str {
    match name.trim() {
        "metadata.broker.list" => "bootstrap.servers",
        "max.in.flight" => "max.in.flight.requests.per.connection",
        "queue.buffering.max.ms" => "linger.ms",
        "message.send.max.retries" => "retries",
        "compression.codec" => "compression.type",
        "request.required.acks" => "acks",
        "delivery.timeout.ms" => "message.timeout.ms",
        "sasl.mechanisms" => "sasl.mechanism",
        "fetch.message.max.bytes" => "max.partition.fetch.bytes",
        "auto.commit.enable" => "enable.auto.commit",
        "fetch.max.wait.ms" => "fetch.wait.max.ms",
        "max.request.size" => "message.max.bytes",
        "send.buffer.bytes" => "socket.send.buffer.bytes",
        "receive.buffer.bytes" => "socket.receive.buffer.bytes",
        "buffer.memory" => "queue.buffering.max.kbytes",
        other => other,
    }
}

/// The known name with the smallest edit distance (deletions, insertions, substitutions, transpositions of adjacent
/// characters), if it is close enough to be a misspelling.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word: String = word.chars().take(64).collect();
    let word = word.to_ascii_lowercase().replace('-', "_");
    let allowed = (word.chars().count() / 3).max(2);
    known
        .iter()
        .map(|name| (strsim::osa_distance(&word, name), *name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= allowed)
        .map(|(_, name)| name)
}
