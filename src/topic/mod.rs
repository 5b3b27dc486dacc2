//! Which Kafka topic a channel lives in, and which topics a subscription has to read.

mod names;
mod pattern;
#[cfg(test)]
mod pattern_tests;
#[cfg(test)]
mod tests;

pub use names::{
    is_control_topic, validate_channel, validate_kafka_topic, validate_topic, MAX_CHANNEL,
    MAX_KAFKA_TOPIC, MAX_TOPIC,
};
pub use pattern::ChannelPattern;

use crate::error::{Error, Result};
use pattern::Token;

/// How a channel becomes a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicStrategy {
    /// Prefix, `_`, channel; every byte outside `[A-Za-z0-9-]` as `_`: `realtime_user_1`.
    OnePerChannel,
    /// As before, but `.` and `_` stay: `realtime_user.1`, as Toporia's own broker names it.
    OnePerChannelDots,
    /// The first matching pattern of `topic_mapping`, else the default topic.
    Grouped,
}

impl TopicStrategy {
    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnePerChannel => "one-per-channel",
            Self::OnePerChannelDots => "one-per-channel-dots",
            Self::Grouped => "grouped",
        }
    }
}

/// How a topic is to be created; `None` leaves it to the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TopicSpec {
    /// Number of partitions.
    pub partitions: Option<i32>,
    /// Copies of each partition.
    pub replication: Option<i32>,
    /// How long records are kept, in ms; -1 for ever.
    pub retention_ms: Option<i64>,
}

/// One line of `topic_mapping`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The channels.
    pub pattern: ChannelPattern,
    /// Where they go; taken as it is, without the prefix.
    pub topic: String,
    /// How the topic is created.
    pub spec: TopicSpec,
}

/// The topics that a subscription reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicFilter {
    /// One topic by name.
    Exact(String),
    /// A regular expression as librdkafka takes it, from `^` to `$`.
    Regex(String),
}

/// The rule from channels to topics of one broker configuration.
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
    /// One topic for each channel, below `prefix`.
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

    /// Channels by pattern into topics, the first match in order; the others into `default_topic`.
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

    /// Lowers the longest topic, in bytes, where the dead-letter prefix needs more room.
    #[must_use]
    pub fn with_longest_topic(mut self, longest: usize) -> Self {
        self.longest = longest.min(MAX_TOPIC);
        self
    }

    /// `topic_prefix`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `topic_strategy`.
    #[must_use]
    pub const fn strategy(&self) -> TopicStrategy {
        self.strategy
    }

    /// `topic_mapping`, in order; empty unless the strategy is `grouped`.
    #[must_use]
    pub fn mapping(&self) -> &[Mapping] {
        &self.mapping
    }

    /// Where channels without a mapping go when the strategy is `grouped`.
    #[must_use]
    pub fn default_topic(&self) -> &str {
        &self.default_topic
    }

    /// The topic a message on `channel` is written to.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidChannel`]: the name cannot be used, is too long with its
    /// prefix, or would reach a topic of the gateways.
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
        names::check_topic(&topic, self.longest)?;
        if is_control_topic(&topic) {
            return Err(names::control_topic_error(
                &format!("The channel '{channel}'"),
                &topic,
            ));
        }
        Ok(topic)
    }

    /// Whether `topic` is the topic of `channel`. Asked for every record; does not allocate.
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

    /// How `topic` is to be created: known for the topics of the mapping, and for the default
    /// topic where `default_partitions` is set.
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

    /// The topics in which channels of `pattern` can be, none twice. Empty where no channel of it
    /// can have a topic; [`Self::topic_for`] says why.
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

    /// Every topic that channels of this configuration can be in: what a gateway reads.
    #[must_use]
    pub fn all_topics(&self) -> Vec<TopicFilter> {
        ChannelPattern::parse("**")
            .map(|all| self.topics_for_subscription(&all))
            .unwrap_or_default()
    }

    /// A channel that is too long for its topic hears how much room the prefix leaves it.
    fn check_length(&self, channel: &str) -> Result<()> {
        let room = self.longest.saturating_sub(self.prefix.len() + 1);
        if self.strategy == TopicStrategy::Grouped || channel.len() <= room {
            return Ok(());
        }
        Err(Error::channel(format!(
            "The channel name '{}…' has {} bytes; at most {room} fit into a Kafka topic name after the prefix '{}'.",
            names::shorten(channel),
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

    /// What a byte of a channel is in its topic.
    const fn topic_byte(&self, byte: u8) -> u8 {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => byte,
            b'.' if matches!(self.strategy, TopicStrategy::OnePerChannelDots) => byte,
            _ => b'_',
        }
    }

    /// Topics are coarser than channels (`user.1` and `user_1` share one), so this reads at least
    /// the right ones; the dispatcher then looks at the channel of each record.
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
