//! The configuration: typed and validated once, including the rules between settings.
//!
//! The value of a setting is taken from the first of these layers that sets it: the array given to `new Broker()`,
//! `brokers.<name>` of the array given to `configure()`, the top level of that array, INI settings, environment
//! variables, the default. An empty string counts as unset in every layer.

mod application;
mod broker;
mod gateway;
pub mod gateway_settings;
mod keys;
mod properties;
mod security;
mod sources;
mod topics;

#[cfg(test)]
pub mod tests;

#[cfg(test)]
pub use tests as testing;

pub use application::{
    application_config, secrets_in, ApplicationConfig, LogConfig, MonitorConfig,
    DEFAULT_LIVENESS_TIMEOUT,
};
pub use broker::BrokerConfig;
pub use gateway::GatewayConfig;
pub(crate) use keys::nearest;
pub use properties::{is_secret, Properties};
pub use security::{TokenSource, CALLABLE, TOKEN_PROPERTY};
pub use sources::Value;

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

/// The value without a trailing comment and its quotes; `None` if it has no comment.
#[must_use]
pub fn without_comment(name: &str, value: &str) -> Option<String> {
    let text = value.trim();
    for quote in ['"', '\''] {
        // A quoted value ends at its closing quote, and may itself contain a `#`.
        if let Some((quoted, rest)) = text.strip_prefix(quote).and_then(|t| t.split_once(quote)) {
            let is_comment = rest.starts_with([' ', '\t']) && rest.trim_start().starts_with('#');
            return is_comment.then(|| quoted.to_owned());
        }
    }
    let name = name.to_ascii_lowercase();
    let secret = is_secret(&name) || name.contains("master_key");
    let is_comment = |at: usize| {
        let after = &text[at + 1..];
        let starts = at == 0 || text[..at].ends_with([' ', '\t']);
        // A secret may contain " #", but a comment usually has a space after the `#`.
        starts && (!secret || after.is_empty() || after.starts_with([' ', '\t']))
    };
    let at = text
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|at| is_comment(*at))?;
    Some(text[..at].trim_end().to_owned())
}

/// Removes the comments of variables that an array reads with `env()`. A text with `#` that is not that of a variable
/// stays as it is.
pub fn remove_comments(value: &mut Value, key: &str, env: &dyn Environment) {
    match value {
        Value::Str(text) if text.contains('#') => {
            if let Some(clean) = text_of_variable(key, text, env) {
                *text = clean;
            }
        }
        Value::Map(members) => {
            for (name, member) in members {
                remove_comments(member, name, env);
            }
        }
        Value::List(items) => {
            // explode(',', env('KAFKA_BROKERS'))
            let texts = items.iter().map(|item| match item {
                Value::Str(text) => Some(text.as_str()),
                _ => None,
            });
            let text = texts.collect::<Option<Vec<_>>>().unwrap_or_default();
            let text = text.join(",");
            let clean = text
                .contains('#')
                .then(|| text_of_variable(key, &text, env));
            if let Some(clean) = clean.flatten() {
                *items = clean.split(',').map(Value::from).collect();
                return;
            }
            for item in items {
                remove_comments(item, key, env);
            }
        }
        _ => {}
    }
}

fn text_of_variable(key: &str, text: &str, env: &dyn Environment) -> Option<String> {
    let is_same = |raw: &str| {
        let parts = raw.split(',').map(str::trim);
        parts.eq(text.split(',').map(str::trim))
    };
    let variables = env.variables().into_iter();
    let (name, clean) = variables
        .filter(|(_, raw)| is_same(raw))
        .find_map(|(name, raw)| {
            let clean = without_comment(&format!("{name} {key}"), &raw)?;
            Some((name, clean))
        })?;
    env.warn_of_comment(&name);
    Some(clean)
}
