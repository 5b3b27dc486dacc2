//! Which topics of a cluster the gateway reads: those that its channels can be in, and what gateways say to each other.

use crate::topic::{is_control_topic, ChannelPattern, TopicFilter, TopicMap, TopicStrategy};

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Broadcasts.
    Channels,
    /// `<prefix>.__presence`.
    Presence,
    /// `<prefix>.__client`.
    Client,
    /// `<prefix>.__events`.
    Events,
}

/// The names of the topics that gateways keep for themselves.
#[derive(Debug, Clone)]
pub struct ControlTopics {
    /// Nodes, members, occupied channels, questions.
    pub presence: String,
    /// Client events.
    pub client: String,
    /// Webhooks.
    pub events: String,
}

impl ControlTopics {
    /// Those of a prefix.
    #[must_use]
    pub fn of(prefix: &str) -> Self {
        let name = |suffix: &str| format!("{prefix}.{suffix}");
        Self {
            presence: name("__presence"),
            client: name("__client"),
            events: name("__events"),
        }
    }
}

/// The rule.
#[derive(Debug)]
pub struct Choice {
    control: ControlTopics,
    /// Topics by name; `None` for everything that has the prefix.
    exact: Option<Vec<String>>,
    prefix: String,
    keeps_dots: bool,
}

impl Choice {
    /// For the channels of a configuration, narrowed to `only` where that names any.
    #[must_use]
    pub fn new(topics: &TopicMap, only: &[ChannelPattern]) -> Self {
        let filters: Vec<TopicFilter> = if only.is_empty() {
            topics.all_topics()
        } else {
            let each = only.iter();
            each.flat_map(|pattern| topics.topics_for_subscription(pattern))
                .collect()
        };
        let names = filters.into_iter().map(|filter| match filter {
            TopicFilter::Exact(name) => Some(name),
            // Coarser than the pattern: the channel of each record is looked at anyway.
            TopicFilter::Regex(_) => None,
        });
        Self {
            control: ControlTopics::of(topics.prefix()),
            exact: names.collect(),
            prefix: format!("{}_", topics.prefix()),
            keeps_dots: topics.strategy() == TopicStrategy::OnePerChannelDots,
        }
    }

    /// The topics of the gateways.
    #[must_use]
    pub fn control(&self) -> &ControlTopics {
        &self.control
    }

    /// What a topic is read for; `None` for one that is not.
    #[must_use]
    pub fn purpose(&self, topic: &str) -> Option<Purpose> {
        for (name, purpose) in [
            (&self.control.presence, Purpose::Presence),
            (&self.control.client, Purpose::Client),
            (&self.control.events, Purpose::Events),
        ] {
            if name == topic {
                return Some(purpose);
            }
        }
        let is_read = match &self.exact {
            Some(names) => names.iter().any(|name| name == topic),
            None => topic.strip_prefix(&self.prefix).is_some_and(|rest| {
                !rest.is_empty()
                    && rest.bytes().all(|byte| match byte {
                        b'.' => self.keeps_dots,
                        byte => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
                    })
            }),
        };
        (is_read && !is_control_topic(topic)).then_some(Purpose::Channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_of_the_prefix_and_no_other() {
        let choice = Choice::new(&TopicMap::one_per_channel("realtime", false), &[]);
        let table = [
            ("realtime_user_1", Some(Purpose::Channels)),
            ("realtime_staging_user_1", Some(Purpose::Channels)),
            ("realtime_user.1", None),
            ("realtime_", None),
            ("realtime", None),
            ("other_user_1", None),
            ("dlq.realtime_user_1", None),
            ("realtime___presence", None),
            ("realtime.__presence", Some(Purpose::Presence)),
            ("realtime.__client", Some(Purpose::Client)),
            ("realtime.__events", Some(Purpose::Events)),
            ("realtime_staging.__presence", None),
        ];
        for (topic, expected) in table {
            assert_eq!(choice.purpose(topic), expected, "{topic}");
        }
        let dots = Choice::new(&TopicMap::one_per_channel("realtime", true), &[]);
        assert_eq!(dots.purpose("realtime_user.1"), Some(Purpose::Channels));
        assert_eq!(dots.purpose("realtime_x.__presence"), None);
    }

    #[test]
    fn grouped_topics_by_name_and_narrowed_channels() {
        let pattern = |text: &str| ChannelPattern::parse(text).expect("a pattern");
        let mapping = vec![crate::topic::Mapping {
            pattern: pattern("user.*"),
            topic: "realtime.user".to_owned(),
            spec: crate::topic::TopicSpec::default(),
        }];
        let topics = TopicMap::grouped("realtime", mapping, "realtime.rest", None);
        let all = Choice::new(&topics, &[]);
        assert_eq!(all.purpose("realtime.user"), Some(Purpose::Channels));
        assert_eq!(all.purpose("realtime.rest"), Some(Purpose::Channels));
        assert_eq!(all.purpose("realtime_user_1"), None);
        let some = Choice::new(&topics, &[pattern("user.*")]);
        assert_eq!(some.purpose("realtime.user"), Some(Purpose::Channels));
        assert_eq!(some.purpose("realtime.rest"), None);
        let one = Choice::new(
            &TopicMap::one_per_channel("realtime", false),
            &[pattern("user.1")],
        );
        assert_eq!(one.purpose("realtime_user_1"), Some(Purpose::Channels));
        assert_eq!(one.purpose("realtime_user_2"), None);
        assert_eq!(one.purpose("realtime.__presence"), Some(Purpose::Presence));
    }
}
