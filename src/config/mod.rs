//! The configuration: typed and validated once, including the rules between settings.
//!
//! The value of a setting is taken from the first of these layers that sets it: the array given to `new Broker()`,
//! `brokers.<name>` of the array given to `configure()`, the top level of that array, INI settings, environment
//! variables, the default. An empty string counts as unset in every layer.

mod addresses;
mod application;
mod clients;
mod dotenv;
mod gateway;
mod gateway_keys;
pub mod gateway_settings;
mod keys;
mod logging;
mod monitor;
mod properties;
mod reader;
mod resolve;
mod security;
mod sources;
mod spool;
mod topics;
mod value;

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

pub use application::{application_config, ApplicationConfig};
pub use dotenv::{remove_comments, without_comment};
pub use gateway::GatewayConfig;
pub(crate) use keys::nearest;
pub use logging::{secrets_in, LogConfig};
pub use monitor::{MonitorConfig, DEFAULT_LIVENESS_TIMEOUT};
pub use properties::{is_secret, Properties};
pub use security::{TokenSource, CALLABLE, TOKEN_PROPERTY};
pub use value::Value;

use crate::topic::TopicMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The value of `brokers` that selects the embedded broker.
pub const EMBEDDED: &str = "embedded";

/// Access to environment variables and INI settings.
pub trait Environment {
    /// The unchanged text of an environment variable, as PHP sees it.
    fn raw_var(&self, name: &str) -> Option<String>;
    /// All environment variables, with their unchanged texts.
    fn variables(&self) -> Vec<(String, String)>;
    /// Tells that the comment of a variable is ignored.
    fn warn_of_comment(&self, name: &str);
    /// An environment variable without a trailing comment.
    fn var(&self, name: &str) -> Option<String> {
        let text = self.raw_var(name)?;
        let Some(clean) = without_comment(name, &text) else {
            return Some(text);
        };
        self.warn_of_comment(name);
        Some(clean)
    }
    /// An INI setting; `name` without `toporia_realtime.`.
    fn ini(&self, name: &str) -> Option<String>;
}

/// The layers of a configuration, most specific first.
#[derive(Clone, Copy)]
pub struct Layers<'a> {
    /// The array given to `new Broker()`.
    pub constructor: Option<&'a Value>,
    /// The array given to `configure()`.
    pub configured: Option<&'a Value>,
    pub env: &'a dyn Environment,
}

/// The acknowledgements a producer waits for (`acks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Acks {
    /// No acknowledgement (`acks=0`).
    None,
    /// The leader of the partition (`acks=1`).
    Leader,
    /// All in-sync replicas (`acks=all`).
    All,
}

/// The delivery guarantee of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// Offsets are committed after the callback: records may be delivered again, but are never lost.
    AtLeastOnce,
    /// Offsets are committed before the callback: records may be lost, but are never delivered again.
    AtMostOnce,
    /// The messages sent by the callback and the offset are committed in one transaction.
    ExactlyOnce,
}

impl Delivery {
    /// The value in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at-least-once",
            Self::AtMostOnce => "at-most-once",
            Self::ExactlyOnce => "exactly-once",
        }
    }
}

/// The settings of one broker, resolved and validated. Times in ms, sizes in bytes.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// The name in `realtime.brokers`.
    pub name: String,
    /// Comma-separated addresses, or [`EMBEDDED`].
    pub brokers: String,
    /// Maps channels to topics.
    pub topics: Arc<TopicMap>,
    /// Encrypts messages for encrypted channels; `None`: only messages that are already encrypted may be sent there.
    pub encryption: Option<crate::encryption::MasterKey>,
    /// `realtime.gateway.max_event`: the sender warns about larger data, which gateways skip.
    pub max_event: usize,
    pub consumer_group: String,
    /// `group.instance.id`, for static membership.
    pub group_instance_id: Option<String>,
    /// `produce: sync`: each `broadcast()` waits for its acknowledgement.
    pub sync: bool,
    pub acks: Acks,
    pub idempotent: bool,
    pub delivery: Delivery,
    /// `None`: derived from host, group and a slot number.
    pub transactional_id: Option<String>,
    /// How long a full producer queue blocks the caller.
    pub queue_full_ms: u64,
    /// Maximum flush time at the end of a request.
    pub request_flush_ms: u64,
    /// Maximum flush time at the end of the process.
    pub shutdown_flush_ms: u64,
    /// Absolute directory for undelivered messages; `None`: they are reported in PHP's error log.
    pub spool: Option<PathBuf>,
    /// `spool_when: always`: messages are written to the spool before they are sent, and removed when they are
    /// acknowledged.
    pub spool_always: bool,
    /// Maximum size of the spool.
    pub spool_max_bytes: u64,
    /// Separates the spools of applications that share a directory.
    pub application: String,
    /// Create mapped, dead-letter and control topics through the admin API.
    pub auto_create_topics: bool,
    /// Drop messages that a callback re-broadcasts unchanged.
    pub loop_guard: bool,
    /// How often a message may be re-published from its own consumer.
    pub max_hops: u32,
    /// Time between commits.
    pub commit_interval_ms: u64,
    /// While records are there, an exactly-once transaction goes on for this long.
    pub transaction_ms: u64,
    /// Send records to the dead-letter topic after the last attempt.
    pub dlq: bool,
    /// The prefix of dead-letter topics, without the dot: `dlq`.
    pub dlq_prefix: String,
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// Delay before the first retry.
    pub retry_backoff_ms: u64,
    /// Maximum delay between retries.
    pub retry_backoff_max_ms: u64,
    /// Maximum number of records waiting for a retry.
    pub retry_max_parked: usize,
    /// Maximum number of records that a partition may be ahead of its committed offset.
    pub retry_max_ahead: usize,
    /// How long a record may fail transiently; 0: without a limit.
    pub transient_max_seconds: u64,
    /// Consecutive failures that open the circuit of a subscription; 0: never.
    pub circuit_failures: u32,
    /// Classes of exceptions that are never retried.
    pub permanent_exceptions: Vec<String>,
    /// Classes of exceptions that are retried as long as it takes.
    pub transient_exceptions: Vec<String>,
    /// The user's properties for producers, including security.
    pub producer_overrides: Properties,
    /// The user's properties for consumers, including security.
    pub consumer_overrides: Properties,
    /// Where the OAUTHBEARER tokens of its clients come from.
    pub token_sources: Vec<TokenSource>,
    /// One debug line for each key that was ignored or translated.
    pub debug_notes: Vec<String>,
    /// For the doctor: one sentence for a setting that is missing or has no effect, and what to do.
    pub advice: Vec<String>,
    /// Warnings, logged once per process.
    pub warnings: Vec<String>,
}
