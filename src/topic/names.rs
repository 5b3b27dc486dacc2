//! Which channel and topic names can be used, and the sentence that says why one cannot.

use crate::error::{Error, Result};

/// Longest topic Kafka takes, in bytes.
pub const MAX_KAFKA_TOPIC: usize = 249;
/// Longest topic of ours: leaves room for `dlq.` before it.
pub const MAX_TOPIC: usize = 245;
/// Longest channel name, in bytes: one letter of prefix and an underscore still fit before it.
pub const MAX_CHANNEL: usize = MAX_TOPIC - 2;

/// What gateways speak among themselves; `<prefix>.<one of these>`.
const CONTROL: [&str; 3] = ["__presence", "__client", "__events"];

/// Checks a channel name as `broadcast()` takes it: not empty, printable, no `*`, short enough.
///
/// # Errors
/// [`crate::error::Kind::InvalidChannel`], naming the character and its position.
pub fn validate_channel(channel: &str) -> Result<()> {
    check_channel(channel, false)
}

/// As [`validate_channel`]; `pattern` also allows `*`.
pub(super) fn check_channel(channel: &str, pattern: bool) -> Result<()> {
    let what = if pattern {
        "channel pattern"
    } else {
        "channel name"
    };
    if channel.is_empty() {
        return Err(Error::channel(format!(
            "A {what} cannot be empty: give it a name such as 'user.1'."
        )));
    }
    if channel.len() > MAX_CHANNEL {
        return Err(Error::channel(format!(
            "The {what} '{}…' has {} bytes; at most {MAX_CHANNEL} fit into a Kafka topic name.",
            shorten(channel),
            channel.len()
        )));
    }
    // The common name is plain ASCII: one pass over the bytes, no decoding.
    if channel
        .bytes()
        .all(|b| matches!(b, b' '..=b'~') && b != b'*')
    {
        return Ok(());
    }
    for (position, c) in channel.chars().enumerate() {
        if c == '*' && !pattern {
            return Err(Error::channel(format!(
                "The channel name '{}' has a '*' at position {}: patterns are for subscribing; a message goes to one channel.",
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

/// Checks a topic name by Kafka's rule, at most [`MAX_TOPIC`] bytes.
///
/// # Errors
/// [`crate::error::Kind::InvalidChannel`], naming the character and its position.
pub fn validate_topic(topic: &str) -> Result<()> {
    check_topic(topic, MAX_TOPIC)
}

/// Checks a topic name by Kafka's own rule, [`MAX_KAFKA_TOPIC`] bytes: for dead-letter topics.
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

/// True for the topics that gateways keep for themselves, and for every name Kafka would take for
/// the same one (it does not tell `.` from `_` when it looks for collisions).
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

/// The error for a name that would reach a control topic.
pub(super) fn control_topic_error(named: &str, topic: &str) -> Error {
    Error::channel(format!(
        "{named} cannot be used: its topic '{topic}' is reserved for the gateways (…__presence, …__client, …__events). Choose another name."
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

/// Control characters, and those that show nothing or turn the direction of what follows.
const fn is_unprintable(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}' | '\u{e0000}'..='\u{e0fff}')
}

/// The first 40 characters: enough to recognise a name in an error.
pub(super) fn shorten(name: &str) -> &str {
    name.char_indices()
        .nth(40)
        .map_or(name, |(at, _)| &name[..at])
}
