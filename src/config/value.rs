//! A configuration value from a PHP array or an environment variable.

use crate::error::{Error, Result};
use std::borrow::Cow;

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
    pub(super) fn text(&self, place: &str) -> Result<String> {
        match self {
            Self::Str(text) => Ok(text.trim().to_owned()),
            Self::Int(number) => Ok(number.to_string()),
            Self::Float(number) => Ok(number.to_string()),
            other => Err(wrong(place, "text", other)),
        }
    }

    /// Converts text, numbers and booleans to the text of a librdkafka property.
    pub(super) fn property(&self, place: &str) -> Result<String> {
        match self {
            Self::Bool(flag) => Ok(flag.to_string()),
            other => other.text(place),
        }
    }

    /// Accepts true, false, 1, 0, on, off, yes and no.
    pub(super) fn flag(&self, place: &str) -> Result<bool> {
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
    pub(super) fn int(&self, place: &str, range: (i64, i64), unit: &str) -> Result<i64> {
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
    pub(super) fn show(&self) -> Cow<'static, str> {
        match self {
            Self::Null => "null".into(),
            Self::Bool(flag) => flag.to_string().into(),
            Self::Int(number) => number.to_string().into(),
            Self::Float(number) => number.to_string().into(),
            Self::Str(text) => {
                let short: String = text.chars().take(60).collect();
                format!("'{}'", short.escape_debug()).into()
            }
            Self::List(_) => "a list".into(),
            Self::Map(_) => "an array with keys".into(),
        }
    }
}

/// The error for a value of the wrong type or out of range. Never shows what may be a secret.
pub(super) fn wrong(place: &str, expected: &str, value: &Value) -> Error {
    let lower = place.to_ascii_lowercase();
    let got = if ["password", "secret", "pem", "jaas"]
        .iter()
        .any(|s| lower.contains(s))
    {
        "something else".into()
    } else {
        value.show()
    };
    Error::configuration(format!("{place} must be {expected}; it is {got}."))
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
pub(super) fn named_brokers(value: &Value) -> Option<&[(String, Value)]> {
    match value {
        // array_filter() returns a list with gaps: integer keys, addresses as values.
        Value::Map(members) if members.iter().any(|(_, v)| v.as_map().is_some()) => Some(members),
        Value::Map(members) if members.iter().any(|(k, _)| k.parse::<u64>().is_err()) => {
            Some(members)
        }
        _ => None,
    }
}
