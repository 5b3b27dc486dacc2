//! Validation of channel and topic names.

use crate::error::{Error, Result};

/// Maximum length of a topic name in Kafka, in bytes.
pub const MAX_KAFKA_TOPIC: usize = 249;
/// Maximum length of a topic name, leaving space for the prefix `dlq.`.
pub const MAX_TOPIC: usize = 245;
/// Maximum length of a channel name in bytes, leaving space for a prefix of one letter and an underscore.
pub const MAX_CHANNEL: usize = MAX_TOPIC - 2;

/// Suffixes of the control topics between gateways: `<prefix>.<suffix>`.
const CONTROL: [&str; 3] = ["__presence", "__client", "__events"];

/// Validates a channel name for `broadcast()`: not empty, printable, no `*`, not too long.
///
/// # Errors
/// [`crate::error::Kind::InvalidChannel`], naming the character and its position.
pub fn validate_channel(channel: &str) -> Result<()> {
    check_channel(channel, false)
}

/// Like [`validate_channel`]; with `pattern`, `*` is allowed.
pub(super) fn check_channel(channel: &str, pattern: bool) -> Result<()> {
    let what = if pattern {
        "channel pattern"
    } else {
        "channel name"
    };
    if channel.is_empty() {
        return Err(Error::channel(format!(
            "A {what} cannot be empty: use a name such as 'user.1'."
        )));
    }
    if channel.len() > MAX_CHANNEL {
        return Err(Error::channel(format!(
            "The {what} '{}…' has {} bytes; at most {MAX_CHANNEL} fit into a Kafka topic name.",
            shorten(channel),
            channel.len()
        )));
    }
    // Fast path for printable ASCII: one pass over the bytes, without decoding.
    if channel
        .bytes()
        .all(|b| matches!(b, b' '..=b'~') && b != b'*')
    {
        return Ok(());
    }
    for (position, c) in channel.chars().enumerate() {
        if c == '*' && !pattern {
            return Err(Error::channel(format!(
                "The channel name '{}' has a '*' at position {}: patterns can only be used to subscribe; a message is \
                 sent to one channel.",
                channel.escape_debug(),
                position + 1
            )));
        }
        if is_unprintable(c) {
            return Err(Error::channel(format!(
                "The {what} '{}' has the unprintable character U+{:04X} at position {}. Remove it.",
                channel.escape_debug(),
                u32::from(c),
                position + 1
            )));
        }
    }
    Ok(())
}

/// Validates a topic name by Kafka's rules, at most [`MAX_TOPIC`] bytes.
///
/// # Errors
/// [`crate::error::Kind::InvalidChannel`], naming the character and its position.
pub fn validate_topic(topic: &str) -> Result<()> {
    check_topic(topic, MAX_TOPIC)
}

/// Validates a dead-letter topic name by Kafka's rules, at most [`MAX_KAFKA_TOPIC`] bytes.
///
/// # Errors
/// [`crate::error::Kind::InvalidChannel`], naming the character and its position.
pub fn validate_kafka_topic(topic: &str) -> Result<()> {
    check_topic(topic, MAX_KAFKA_TOPIC)
}

pub(super) fn check_topic(topic: &str, longest: usize) -> Result<()> {
    if topic.is_empty() {
        return Err(Error::channel("A Kafka topic name cannot be empty."));
    }
    if let Some((position, c)) = topic
        .chars()
        .enumerate()
        .find(|&(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
    {
        return Err(Error::channel(format!(
            "The topic name '{}' has {} at position {}; Kafka allows only letters, digits, '.', '_' and '-'.",
            shorten(topic).escape_debug(),
            describe(c),
            position + 1
        )));
    }
    if topic == "." || topic == ".." {
        return Err(Error::channel(format!(
            "Kafka does not allow '{topic}' as a topic name."
        )));
    }
    if topic.len() > longest {
        return Err(Error::channel(format!(
            "The topic name '{}…' has {} bytes; at most {longest} are allowed.",
            shorten(topic),
            topic.len()
        )));
    }
    Ok(())
}

/// True for control topics of the gateways, and for names that collide with one in Kafka, which treats `.` and `_` as
/// equal when it checks for collisions.
#[must_use]
pub fn is_control_topic(topic: &str) -> bool {
    CONTROL.iter().any(|suffix| {
        let mut rest = topic.bytes().rev();
        suffix
            .bytes()
            .rev()
            .all(|wanted| match (wanted, rest.next()) {
                (b'_', Some(b'_' | b'.')) => true,
                (wanted, got) => got == Some(wanted),
            })
            && matches!(rest.next(), Some(b'.' | b'_'))
    })
}

/// The error for a name that maps to a control topic.
pub(super) fn control_topic_error(named: &str, topic: &str) -> Error {
    Error::channel(format!(
        "{named} cannot be used: its topic '{topic}' is reserved for the gateways (…__presence, …__client, \
         …__events). Choose another name."
    ))
}

fn describe(c: char) -> String {
    if is_unprintable(c) {
        format!("the unprintable character U+{:04X}", u32::from(c))
    } else if c == ' ' {
        "a space".to_owned()
    } else {
        format!("'{c}'")
    }
}

/// Control characters, invisible characters, and characters that change the text direction.
const fn is_unprintable(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}' | '\u{e0000}'..='\u{e0fff}')
}

/// The first 40 characters, for errors.
pub(super) fn shorten(name: &str) -> &str {
    name.char_indices()
        .nth(40)
        .map_or(name, |(at, _)| &name[..at])
}
