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

use std::borrow::Cow;

use crate::error::{Error, Result};

pub use application::{
    application_config, secrets_in, ApplicationConfig, LogConfig, MonitorConfig,
    DEFAULT_LIVENESS_TIMEOUT,
};
pub use broker::BrokerConfig;
pub use gateway::GatewayConfig;
pub(crate) use keys::nearest;
pub use properties::{is_secret, Properties};
pub use security::{TokenSource, CALLABLE, TOKEN_PROPERTY};

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

/// A configuration value. Maps keep their order, which `topic_mapping` depends on.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Counts as unset, like an empty string.
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Text; environment variables always have this type.
    Str(String),
    /// A PHP list, or an empty PHP array.
    List(Vec<Value>),
    /// A PHP array with keys, in order.
    Map(Vec<(String, Value)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl Value {
    /// True for null and blank text.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Str(text) => text.trim().is_empty(),
            _ => false,
        }
    }

    /// The member of that name, if this is a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v)
    }

    /// The members of a map; an empty PHP array counts as an empty map.
    #[must_use]
    pub fn as_map(&self) -> Option<&[(String, Value)]> {
        match self {
            Self::Map(members) => Some(members),
            Self::List(items) if items.is_empty() => Some(&[]),
            _ => None,
        }
    }

    /// Converts text and numbers to text.
    fn text(&self, place: &str) -> Result<String> {
        match self {
            Self::Str(text) => Ok(text.trim().to_owned()),
            Self::Int(number) => Ok(number.to_string()),
            Self::Float(number) => Ok(number.to_string()),
            other => Err(wrong(place, "text", other)),
        }
    }

    /// Converts text, numbers and booleans to the text of a librdkafka property.
    fn property(&self, place: &str) -> Result<String> {
        match self {
            Self::Bool(flag) => Ok(flag.to_string()),
            other => other.text(place),
        }
    }

    /// Accepts true, false, 1, 0, on, off, yes and no.
    fn flag(&self, place: &str) -> Result<bool> {
        match self {
            Self::Bool(flag) => Ok(*flag),
            Self::Int(0) => Ok(false),
            Self::Int(1) => Ok(true),
            Self::Str(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" | "1" => Ok(true),
                "false" | "off" | "no" | "0" => Ok(false),
                _ => Err(wrong(place, "true or false", self)),
            },
            _ => Err(wrong(place, "true or false", self)),
        }
    }

    /// An integer in `range`. `unit` is used in the error ("ms", "bytes", or empty); bytes accept the suffixes K, M and
    /// G as in php.ini.
    fn int(&self, place: &str, range: (i64, i64), unit: &str) -> Result<i64> {
        let expected = || {
            let of = if unit.is_empty() { "" } else { " of " };
            format!("a whole number{of}{unit} from {} to {}", range.0, range.1)
        };
        #[allow(clippy::cast_possible_truncation)]
        let number = match self {
            Self::Int(number) => Some(*number),
            Self::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                Some(*number as i64)
            }
            Self::Str(text) => parse_int(text.trim(), unit == "bytes"),
            _ => None,
        };
        number
            .filter(|n| (range.0..=range.1).contains(n))
            .ok_or_else(|| wrong(place, &expected(), self))
    }

    /// The value as shown in errors, short and on one line.
    fn show(&self) -> Cow<'static, str> {
        match self {
            Self::Null => "null".into(),
            Self::Bool(flag) => flag.to_string().into(),
            Self::Int(number) => number.to_string().into(),
            Self::Float(number) => number.to_string().into(),
            Self::Str(text) => {
                let short: String = text.chars().take(60).collect();
                format!(
                    "'{}'",
                    short.escape_debug().to_string().replace("\\\"", "\"")
                )
                .into()
            }
            Self::List(_) => "a list".into(),
            Self::Map(_) => "an array with keys".into(),
        }
    }
}

/// The error for a value of the wrong type or out of range. Never shows what may be a secret.
fn wrong(place: &str, expected: &str, value: &Value) -> Error {
    let lower = place.to_ascii_lowercase();
    let got = if ["password", "secret", "pem", "jaas"]
        .iter()
        .any(|s| lower.contains(s))
    {
        "something else".into()
    } else {
        value.show()
    };
    // Docker's --env-file and others keep the quotes that a shell removes.
    let is_quoted = |text: &str| {
        text.len() > 1
            && ['"', '\'']
                .iter()
                .any(|&quote| text.starts_with(quote) && text.ends_with(quote))
    };
    let hint = match value {
        Value::Str(text) if is_quoted(text.trim()) => {
            " Remove the quotes: they are part of the value."
        }
        _ => "",
    };
    Error::configuration(format!("{place} must be {expected}; it is {got}.{hint}"))
}

fn parse_int(text: &str, bytes: bool) -> Option<i64> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') if bytes => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') if bytes => (&text[..text.len() - 1], 1 << 20),
        Some(b'g' | b'G') if bytes => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.trim_end().parse::<i64>().ok()?.checked_mul(factor)
}

/// The members of `brokers` if it defines named brokers; `None` if it contains addresses.
fn named_brokers(value: &Value) -> Option<&[(String, Value)]> {
    match value {
        // array_filter() returns a list with gaps: integer keys, addresses as values.
        Value::Map(members) if members.iter().any(|(_, v)| v.as_map().is_some()) => Some(members),
        Value::Map(members) if members.iter().any(|(k, _)| k.parse::<u64>().is_err()) => {
            Some(members)
        }
        _ => None,
    }
}
