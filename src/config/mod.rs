//! The configuration of one broker: typed, checked once, with every cross-field rule.
//!
//! A value comes from the first of: the array given to `new Broker()`, `brokers.<name>` of the
//! array given to `configure()`, the same key at the top of that array, the INI settings, the
//! environment, the default. An empty string counts as unset everywhere.

mod addresses;
mod application;
mod clients;
mod gateway;
mod gateway_keys;
mod keys;
mod logging;
mod monitor;
mod properties;
mod reader;
mod resolve;
mod security;
mod sources;
mod spool;
mod suggestion;
mod topics;
mod value;

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

pub use application::{application_config, ApplicationConfig};
pub use gateway::GatewayConfig;
pub use logging::{secrets_in, LogConfig};
pub use monitor::MonitorConfig;
pub use properties::{is_secret, Properties};
pub(crate) use suggestion::nearest;
pub use value::Value;

use crate::topic::TopicMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The value of `brokers` that asks for the broker in the process.
pub const EMBEDDED: &str = "embedded";

/// What the process knows besides PHP arrays.
pub trait Environment {
    /// PHP's view of an environment variable.
    fn var(&self, name: &str) -> Option<String>;
    /// An INI setting; `name` without `toporia_realtime.`.
    fn ini(&self, name: &str) -> Option<String>;
}

/// Where a configuration is read from, the most specific first.
#[derive(Clone, Copy)]
pub struct Layers<'a> {
    /// The array given to `new Broker()`.
    pub constructor: Option<&'a Value>,
    /// The array given to `configure()`.
    pub configured: Option<&'a Value>,
    /// INI and environment.
    pub env: &'a dyn Environment,
}

/// How many brokers must have a message before it counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Acks {
    /// None: fire and forget.
    None,
    /// The partition's leader.
    Leader,
    /// All in-sync copies.
    All,
}

/// What a consumer promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// Committed after the callback: a record may come twice, never not at all.
    AtLeastOnce,
    /// Committed before the callback: a record may be lost, never come twice.
    AtMostOnce,
    /// What the callback sends and the offset are one transaction.
    ExactlyOnce,
}

impl Delivery {
    /// Its word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at-least-once",
            Self::AtMostOnce => "at-most-once",
            Self::ExactlyOnce => "exactly-once",
        }
    }
}

/// The settings of one broker, resolved and checked. Times in ms, sizes in bytes.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Its name in `realtime.brokers`.
    pub name: String,
    /// Addresses with commas, or [`EMBEDDED`].
    pub brokers: String,
    /// From channels to topics.
    pub topics: Arc<TopicMap>,
    /// Encrypts what goes to encrypted channels; `None`: only what is encrypted already may go there.
    pub encryption: Option<crate::gateway::protocol::encryption::MasterKey>,
    /// `group.id`.
    pub consumer_group: String,
    /// `group.instance.id`, for static membership.
    pub group_instance_id: Option<String>,
    /// `produce: sync`: every `broadcast()` waits for its acknowledgement.
    pub sync: bool,
    /// `acks`.
    pub acks: Acks,
    /// `enable.idempotence`.
    pub idempotent: bool,
    /// What a consumer promises.
    pub delivery: Delivery,
    /// `None`: host, group and a slot.
    pub transactional_id: Option<String>,
    /// How long a full queue blocks the caller.
    pub queue_full_ms: u64,
    /// Longest flush at the end of a request.
    pub request_flush_ms: u64,
    /// Longest flush at the end of the process.
    pub shutdown_flush_ms: u64,
    /// Absolute directory for what Kafka did not take; `None`: reported through PHP's error log.
    pub spool: Option<PathBuf>,
    /// `spool_when: always`: messages are in the spool before they are sent, until they are acknowledged.
    pub spool_always: bool,
    /// Most that the spool may hold.
    pub spool_max_bytes: u64,
    /// Keeps the spools of applications apart that share a directory.
    pub application: String,
    /// Create mapped, dead-letter and control topics through the admin API.
    pub auto_create_topics: bool,
    /// Drop what is re-broadcast unchanged from its own callback.
    pub loop_guard: bool,
    /// Most times a message may be published again from its own consumer.
    pub max_hops: u32,
    /// Time between commits.
    pub commit_interval_ms: u64,
    /// Dead-letter what keeps failing.
    pub dlq: bool,
    /// Before the dot of a dead-letter topic: `dlq`.
    pub dlq_prefix: String,
    /// Further tries after the first.
    pub max_retries: u32,
    /// Wait before the first retry.
    pub retry_backoff_ms: u64,
    /// Longest wait between retries.
    pub retry_backoff_max_ms: u64,
    /// Most records waiting for a retry.
    pub retry_max_parked: usize,
    /// Most records a partition runs past its committed offset.
    pub retry_max_ahead: usize,
    /// Exceptions no other try helps against, by class.
    pub permanent_exceptions: Vec<String>,
    /// Exceptions another try may help against, whatever else they are.
    pub transient_exceptions: Vec<String>,
    /// The user's properties for producers; security included.
    pub producer_overrides: Properties,
    /// The user's properties for consumers; security included.
    pub consumer_overrides: Properties,
    /// One line for each known key that was ignored or renamed.
    pub debug_notes: Vec<String>,
    /// What everybody should be told, once.
    pub warnings: Vec<String>,
}
