//! The configuration: typed and validated once, including the rules between settings.
//!
//! The value of a setting is taken from the first of these layers that sets it: the array given to `new Broker()`,
//! `brokers.<name>` of the array given to `configure()`, the top level of that array, INI settings, environment
//! variables, the default. An empty string counts as unset in every layer.

mod application;
mod broker;
mod dotenv;
mod gateway;
pub mod gateway_settings;
mod keys;
mod process;
mod properties;
mod security;
mod sources;
mod topics;
mod value;

#[cfg(test)]
pub mod tests;
#[cfg(test)]
pub use tests as testing;

pub use application::{application_config, ApplicationConfig};
pub use broker::BrokerConfig;
pub use dotenv::{remove_comments, without_comment};
pub use gateway::GatewayConfig;
pub(crate) use keys::nearest;
pub use process::{secrets_in, LogConfig, MonitorConfig, DEFAULT_LIVENESS_TIMEOUT};
pub use properties::{is_secret, Properties};
pub use security::{TokenSource, CALLABLE, TOKEN_PROPERTY};
pub use value::Value;

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
