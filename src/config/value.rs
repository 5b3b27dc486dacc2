//! What a host hands over as configuration: a PHP array, or the text of an environment variable.

use crate::error::{Error, Result};
use std::borrow::Cow;

/// A configuration value. Maps keep their order: `topic_mapping` goes by it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Counts as unset, as an empty string does.
    Null,
    /// true or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text; environment variables are always this.
    Str(String),
    /// A PHP list; also an empty PHP array.
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
    /// True for null and for blank text.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Str(text) => text.trim().is_empty(),
            _ => false,
        }
    }

    /// The member of that name, where this is a map that has one.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v)
    }

    /// The members; an empty PHP array counts as a map without any.
    #[must_use]
    pub fn as_map(&self) -> Option<&[(String, Value)]> {
        match self {
            Self::Map(members) => Some(members),
            Self::List(items) if items.is_empty() => Some(&[]),
            _ => None,
        }
    }

    /// Text and numbers as text.
    pub(super) fn text(&self, place: &str) -> Result<String> {
        match self {
            Self::Str(text) => Ok(text.trim().to_owned()),
            Self::Int(number) => Ok(number.to_string()),
            Self::Float(number) => Ok(number.to_string()),
            other => Err(wrong(place, "text", other)),
        }
    }

    /// As librdkafka takes it: text, numbers, true and false.
    pub(super) fn property(&self, place: &str) -> Result<String> {
        match self {
            Self::Bool(flag) => Ok(flag.to_string()),
            other => other.text(place),
        }
    }

    /// true, false, 1, 0, and the words PHP configurations use for them.
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

    /// A whole number from `range`. `unit` goes into the error ("ms", "bytes", or empty); bytes may
    /// carry K, M or G as in php.ini.
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

    /// The value as an error shows it, short and on one line.
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
