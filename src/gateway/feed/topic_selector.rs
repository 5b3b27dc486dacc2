//! Which topics of a cluster the gateway reads: those that its channels can be in, and what gateways say to each other.

use crate::topic::{is_control_topic, ChannelPattern, TopicFilter, TopicMap, TopicStrategy};

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicRole {
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
pub struct TopicSelector {
    control: ControlTopics,
    /// Topics by name; `None` for everything that has the prefix.
    exact: Option<Vec<String>>,
    prefix: String,
    keeps_dots: bool,
}

impl TopicSelector {
    /// For the channels of a configuration, narrowed to `channels` where that names any.
    #[must_use]
    pub fn new(topics: &TopicMap, channels: &[ChannelPattern]) -> Self {
        let filters: Vec<TopicFilter> = if channels.is_empty() {
            topics.all_topics()
        } else {
            let each = channels.iter();
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
    pub fn role(&self, topic: &str) -> Option<TopicRole> {
        for (name, role) in [
            (&self.control.presence, TopicRole::Presence),
            (&self.control.client, TopicRole::Client),
            (&self.control.events, TopicRole::Events),
        ] {
            if name == topic {
                return Some(role);
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
        (is_read && !is_control_topic(topic)).then_some(TopicRole::Channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_of_the_prefix_is_selected() {
        let selector = TopicSelector::new(&TopicMap::one_per_channel("realtime", false), &[]);
        let table = [
            ("realtime_user_1", Some(TopicRole::Channels)),
            ("realtime_staging_user_1", Some(TopicRole::Channels)),
            ("realtime_user.1", None),
            ("realtime_", None),
            ("realtime", None),
            ("other_user_1", None),
            ("dlq.realtime_user_1", None),
            ("realtime___presence", None),
            ("realtime.__presence", Some(TopicRole::Presence)),
            ("realtime.__client", Some(TopicRole::Client)),
            ("realtime.__events", Some(TopicRole::Events)),
            ("realtime_staging.__presence", None),
        ];
        for (topic, expected) in table {
            assert_eq!(selector.role(topic), expected, "{topic}");
        }
        let dots = TopicSelector::new(&TopicMap::one_per_channel("realtime", true), &[]);
        assert_eq!(dots.role("realtime_user.1"), Some(TopicRole::Channels));
        assert_eq!(dots.role("realtime_x.__presence"), None);
    }

    #[test]
    fn grouped_topics_are_selected_by_name_and_narrowed_by_channels() {
        let pattern = |text: &str| ChannelPattern::parse(text).expect("a pattern");
        let mapping = vec![crate::topic::Mapping {
            pattern: pattern("user.*"),
            topic: "realtime.user".to_owned(),
            spec: crate::topic::TopicSpec::default(),
        }];
        let topics = TopicMap::grouped("realtime", mapping, "realtime.rest", None);
        let all = TopicSelector::new(&topics, &[]);
        assert_eq!(all.role("realtime.user"), Some(TopicRole::Channels));
        assert_eq!(all.role("realtime.rest"), Some(TopicRole::Channels));
        assert_eq!(all.role("realtime_user_1"), None);
        let some = TopicSelector::new(&topics, &[pattern("user.*")]);
        assert_eq!(some.role("realtime.user"), Some(TopicRole::Channels));
        assert_eq!(some.role("realtime.rest"), None);
        let one = TopicSelector::new(
            &TopicMap::one_per_channel("realtime", false),
            &[pattern("user.1")],
        );
        assert_eq!(one.role("realtime_user_1"), Some(TopicRole::Channels));
        assert_eq!(one.role("realtime_user_2"), None);
        assert_eq!(one.role("realtime.__presence"), Some(TopicRole::Presence));
    }
}
