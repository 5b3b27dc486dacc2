//! Maps channels to Kafka topics, and subscriptions to the topics they read.

mod pattern;
pub mod socket_channel;
#[cfg(test)]
mod tests;

use pattern::Token;

use crate::error::{Error, Result};

pub use pattern::ChannelPattern;

/// `topic_strategy`: how a channel maps to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicStrategy {
    /// Prefix, `_`, channel, with each byte outside `[A-Za-z0-9-]` replaced by `_`: `realtime_user_1`.
    OnePerChannel,
    /// As [`Self::OnePerChannel`], but keeps `.` and `_`: `realtime_user.1`, as Toporia's own broker names topics.
    OnePerChannelDots,
    /// The topic of the first matching pattern in `topic_mapping`, otherwise the default topic.
    Grouped,
}

impl TopicStrategy {
    /// The value in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnePerChannel => "one-per-channel",
            Self::OnePerChannelDots => "one-per-channel-dots",
            Self::Grouped => "grouped",
        }
    }
}

/// Settings for creating a topic; `None` uses the broker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TopicSpec {
    pub partitions: Option<i32>,
    /// Replication factor.
    pub replication: Option<i32>,
    /// `retention.ms`; -1 for unlimited.
    pub retention_ms: Option<i64>,
}

/// One entry of `topic_mapping`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mapping {
    pub pattern: ChannelPattern,
    /// Used as it is, without the prefix.
    pub topic: String,
    pub spec: TopicSpec,
}

/// The topics that a subscription reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicFilter {
    Exact(String),
    /// A regular expression for librdkafka, anchored with `^` and `$`.
    Regex(String),
}

impl TopicFilter {
    /// As librdkafka subscribes to it.
    #[must_use]
    pub fn into_name(self) -> String {
        let (Self::Exact(name) | Self::Regex(name)) = self;
        name
    }
}

/// Maps channels to topics for one broker configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicMap {
    prefix: String,
    strategy: TopicStrategy,
    mapping: Vec<Mapping>,
    default_topic: String,
    default_spec: Option<TopicSpec>,
    longest: usize,
}

impl TopicMap {
    /// One topic for each channel, starting with `prefix`.
    #[must_use]
    pub fn one_per_channel(prefix: impl Into<String>, keep_dots: bool) -> Self {
        let prefix = prefix.into();
        Self {
            default_topic: prefix.clone(),
            prefix,
            strategy: if keep_dots {
                TopicStrategy::OnePerChannelDots
            } else {
                TopicStrategy::OnePerChannel
            },
            mapping: Vec::new(),
            default_spec: None,
            longest: MAX_TOPIC,
        }
    }

    /// Maps channels by the first matching pattern, and all others to `default_topic`.
    /// The names must have passed [`validate_topic`].
    #[must_use]
    pub fn grouped(
        prefix: impl Into<String>,
        mapping: Vec<Mapping>,
        default_topic: impl Into<String>,
        default_spec: Option<TopicSpec>,
    ) -> Self {
        Self {
            prefix: prefix.into(),
            strategy: TopicStrategy::Grouped,
            mapping,
            default_topic: default_topic.into(),
            default_spec,
            longest: MAX_TOPIC,
        }
    }

    /// Lowers the maximum topic length, in bytes, to leave space for the dead-letter prefix.
    #[must_use]
    pub fn with_longest_topic(mut self, longest: usize) -> Self {
        self.longest = longest.min(MAX_TOPIC);
        self
    }

    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    #[must_use]
    pub const fn strategy(&self) -> TopicStrategy {
        self.strategy
    }

    /// `topic_mapping`, in order; empty unless the strategy is `grouped`.
    #[must_use]
    pub fn mapping(&self) -> &[Mapping] {
        &self.mapping
    }

    /// The topic of channels without a mapping when the strategy is `grouped`.
    #[must_use]
    pub fn default_topic(&self) -> &str {
        &self.default_topic
    }

    /// The topic a message on `channel` is written to.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidChannel`]: the name is invalid, too long with its prefix, or maps to a control
    /// topic of the gateways.
    pub fn topic_for(&self, channel: &str) -> Result<String> {
        self.check_length(channel)?;
        validate_channel(channel)?;
        if self.strategy == TopicStrategy::Grouped {
            return Ok(self.grouped_topic(channel).to_owned());
        }
        let mut topic = String::with_capacity(self.prefix.len() + 1 + channel.len());
        topic.push_str(&self.prefix);
        topic.push('_');
        topic.extend(channel.bytes().map(|b| char::from(self.topic_byte(b))));
        check_topic(&topic, self.longest)?;
        if is_control_topic(&topic) {
            return Err(control_topic_error(
                &format!("The channel '{channel}'"),
                &topic,
            ));
        }
        Ok(topic)
    }

    /// True if `topic` is the topic of `channel`. Called for every record; does not allocate.
    #[must_use]
    pub fn maps_to(&self, channel: &str, topic: &str) -> bool {
        if self.strategy == TopicStrategy::Grouped {
            return self.grouped_topic(channel) == topic;
        }
        let Some(rest) = topic
            .strip_prefix(self.prefix.as_str())
            .and_then(|rest| rest.strip_prefix('_'))
        else {
            return false;
        };
        rest.len() == channel.len()
            && !channel.is_empty()
            && rest
                .bytes()
                .zip(channel.bytes())
                .all(|(t, c)| t == self.topic_byte(c))
            && !is_control_topic(topic)
    }

    /// Settings for creating `topic`: for topics of the mapping, and for the default topic if `default_partitions` is
    /// set.
    #[must_use]
    pub fn spec_for_topic(&self, topic: &str) -> Option<&TopicSpec> {
        self.mapping
            .iter()
            .find(|m| m.topic == topic)
            .map(|m| &m.spec)
            .or_else(|| {
                self.default_spec
                    .as_ref()
                    .filter(|_| self.default_topic == topic)
            })
    }

    /// The distinct topics of all channels that match `pattern`. Empty if no such channel can have a topic;
    /// [`Self::topic_for`] returns the reason.
    #[must_use]
    pub fn topics_for_subscription(&self, pattern: &ChannelPattern) -> Vec<TopicFilter> {
        if pattern.is_exact() {
            let topic = self.topic_for(pattern.as_str());
            return topic.map(TopicFilter::Exact).into_iter().collect();
        }
        if self.strategy != TopicStrategy::Grouped {
            return vec![TopicFilter::Regex(self.regex(pattern))];
        }
        let mut topics: Vec<TopicFilter> = Vec::new();
        let mut add = |topic: &str| {
            let filter = TopicFilter::Exact(topic.to_owned());
            if !topics.contains(&filter) {
                topics.push(filter);
            }
        };
        for mapping in &self.mapping {
            if mapping.pattern.overlaps(pattern) {
                add(&mapping.topic);
            }
            if mapping.pattern.covers(pattern) {
                return topics;
            }
        }
        add(&self.default_topic);
        topics
    }

    /// Every topic of this configuration; a gateway reads all of them.
    #[must_use]
    pub fn all_topics(&self) -> Vec<TopicFilter> {
        ChannelPattern::parse("**")
            .map(|all| self.topics_for_subscription(&all))
            .unwrap_or_default()
    }

    /// Refuses a channel that is too long, naming the length that the prefix leaves.
    fn check_length(&self, channel: &str) -> Result<()> {
        let space = self.longest.saturating_sub(self.prefix.len() + 1);
        if self.strategy == TopicStrategy::Grouped || channel.len() <= space {
            return Ok(());
        }
        Err(Error::channel(format!(
            "The channel name '{}…' has {} bytes; at most {space} fit into a Kafka topic name after the prefix '{}'.",
            shorten(channel),
            channel.len(),
            self.prefix
        )))
    }

    fn grouped_topic(&self, channel: &str) -> &str {
        self.mapping
            .iter()
            .find(|m| m.pattern.matches(channel))
            .map_or(&self.default_topic, |m| &m.topic)
    }

    /// The byte of the topic for a byte of the channel.
    const fn topic_byte(&self, byte: u8) -> u8 {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => byte,
            b'.' if matches!(self.strategy, TopicStrategy::OnePerChannelDots) => byte,
            _ => b'_',
        }
    }

    /// Several channels may share a topic (`user.1` and `user_1`), so the expression may match more topics than needed;
    /// the dispatcher checks the channel of each record.
    fn regex(&self, pattern: &ChannelPattern) -> String {
        let any = if self.strategy == TopicStrategy::OnePerChannelDots {
            "[A-Za-z0-9._-]*"
        } else {
            "[A-Za-z0-9_-]*"
        };
        let mut regex = String::from("^");
        let literal = |regex: &mut String, byte: u8| {
            if byte == b'.' {
                regex.push('\\');
            }
            regex.push(char::from(byte));
        };
        for byte in self.prefix.bytes().chain([b'_']) {
            literal(&mut regex, byte);
        }
        for token in pattern.tokens() {
            match token {
                Token::Byte(byte) => literal(&mut regex, self.topic_byte(byte)),
                Token::Segment => regex.push_str("[A-Za-z0-9_-]+"),
                Token::Any => regex.push_str(any),
            }
        }
        regex.push('$');
        regex
    }
}

/// Maximum length of a topic name in Kafka, in bytes.
pub const MAX_KAFKA_TOPIC: usize = 249;
/// Maximum length of a topic name, leaving space for the prefix `dlq.`.
pub const MAX_TOPIC: usize = 245;
/// Maximum length of a channel name in bytes, leaving space for a prefix of one letter and an underscore.
const MAX_CHANNEL: usize = MAX_TOPIC - 2;

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
fn check_channel(channel: &str, pattern: bool) -> Result<()> {
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

fn check_topic(topic: &str, longest: usize) -> Result<()> {
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
fn control_topic_error(named: &str, topic: &str) -> Error {
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
fn shorten(name: &str) -> &str {
    name.char_indices()
        .nth(40)
        .map_or(name, |(at, _)| &name[..at])
}
