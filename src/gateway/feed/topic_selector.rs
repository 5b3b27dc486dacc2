//! Selects the topics of a cluster that the gateway reads: topics of its channels, and the gateways' control topics.

use crate::topic::{is_control_topic, ChannelPattern, TopicFilter, TopicMap, TopicStrategy};

/// The purpose of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicRole {
    Channels,
    Presence,
    Client,
    Events,
}

/// Names of the gateways' control topics.
#[derive(Debug, Clone)]
pub struct ControlTopics {
    /// Nodes, members, occupied channels and admin requests.
    pub presence: String,
    pub client: String,
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

#[derive(Debug)]
pub struct TopicSelector {
    control: ControlTopics,
    /// Topics by name; `None` for every topic with the prefix.
    exact: Option<Vec<String>>,
    prefix: String,
    keeps_dots: bool,
}

impl TopicSelector {
    /// Selects the topics of a configuration, narrowed to `channels` unless that is empty.
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
            // Coarser than the pattern: the reader checks the channel of each record.
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

    /// The role of a topic; `None` if it is not read.
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
