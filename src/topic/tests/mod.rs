//! Tests of channel and topic names and of the mapping from channels to topics.

mod pattern;

use super::*;
use crate::error::Kind;

fn pattern(text: &str) -> ChannelPattern {
    ChannelPattern::parse(text).unwrap()
}

fn mapping(text: &str, topic: &str) -> Mapping {
    Mapping {
        pattern: pattern(text),
        topic: topic.to_owned(),
        spec: TopicSpec {
            partitions: Some(10),
            ..TopicSpec::default()
        },
    }
}

fn grouped() -> TopicMap {
    TopicMap::grouped(
        "realtime",
        vec![
            mapping("user.*", "realtime.user"),
            mapping("presence-*", "realtime.presence"),
            mapping("orders.**", "orders.events"),
            mapping("user.*.orders", "orders.events"),
        ],
        "realtime",
        None,
    )
}

#[test]
fn each_channel_has_its_own_topic() {
    let map = TopicMap::one_per_channel("realtime", false);
    let dots = TopicMap::one_per_channel("realtime", true);
    for (channel, topic, dotted) in [
        ("user.1", "realtime_user_1", "realtime_user.1"),
        ("user_1", "realtime_user_1", "realtime_user_1"),
        (
            "presence-chat.1",
            "realtime_presence-chat_1",
            "realtime_presence-chat.1",
        ),
        ("a:b c", "realtime_a_b_c", "realtime_a_b_c"),
        ("đơn", "realtime_____n", "realtime_____n"),
        (
            "#server-to-user-7",
            "realtime__server-to-user-7",
            "realtime__server-to-user-7",
        ),
    ] {
        assert_eq!(map.topic_for(channel).unwrap(), topic, "{channel}");
        assert_eq!(dots.topic_for(channel).unwrap(), dotted, "{channel}");
        assert!(map.maps_to(channel, topic), "{channel}");
        assert!(dots.maps_to(channel, dotted), "{channel}");
    }
    for (channel, topic) in [
        ("user.1", "realtime_user_2"),
        ("user.1", "realtime_user_11"),
        ("user.1", "realtime_staging_user_1"),
        ("user.1", "user_1"),
        ("", "realtime_"),
    ] {
        assert!(!map.maps_to(channel, topic), "{channel} {topic}");
    }
    // A prefix that is the beginning of another prefix reads the other's topics, but keeps none of their records.
    let staging = TopicMap::one_per_channel("realtime_staging", false);
    assert!(!map.maps_to("user.1", &staging.topic_for("user.1").unwrap()));
}

#[test]
fn the_first_matching_pattern_wins_and_its_topic_has_no_prefix() {
    let map = grouped();
    for (channel, topic) in [
        ("user.1", "realtime.user"),
        ("user.1.orders", "orders.events"),
        ("user.1.x", "realtime"),
        ("presence-chat", "realtime.presence"),
        ("presence-chat.1", "realtime"),
        ("orders.eu.7", "orders.events"),
        ("news", "realtime"),
    ] {
        assert_eq!(map.topic_for(channel).unwrap(), topic, "{channel}");
        assert!(map.maps_to(channel, topic));
        assert!(!map.maps_to(channel, "elsewhere"));
    }
    assert_eq!(
        map.spec_for_topic("realtime.user").unwrap().partitions,
        Some(10)
    );
    assert_eq!(map.spec_for_topic("realtime"), None);
}

#[test]
fn errors_name_the_character_and_its_position() {
    let map = TopicMap::one_per_channel("realtime", false);
    for (channel, says) in [
        ("", "cannot be empty"),
        ("a\nb", "U+000A at position 2"),
        ("đ\u{7f}", "U+007F at position 2"),
        ("a\u{200b}", "U+200B at position 2"),
        ("user.*", "'*' at position 6"),
        ("__presence", "reserved"),
        ("x.__client", "reserved"),
        ("x...events", "reserved"),
        (&"x".repeat(244), "244 bytes"),
        (&"x".repeat(240), "240 bytes; at most 236"),
    ] {
        let error = map.topic_for(channel).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidChannel);
        assert!(error.message().contains(says), "{channel:?}: {error}");
    }
    assert!(map.topic_for(&"x".repeat(245 - 9)).is_ok());
    let long = map.with_longest_topic(200);
    assert!(long.topic_for(&"x".repeat(245 - 9)).is_err());
    // With the grouped strategy, channels are not part of topic names: only their characters are checked.
    assert!(grouped().topic_for("__presence").is_ok());
}

#[test]
fn topic_names_follow_kafkas_rules() {
    for good in ["a", "a.b_c-D9", "dlq.x", &"x".repeat(245)] {
        assert!(validate_topic(good).is_ok(), "{good}");
    }
    for (bad, says) in [
        ("", "empty"),
        (".", "'.'"),
        ("..", "'..'"),
        ("a b", "a space at position 2"),
        ("a/b", "'/' at position 2"),
        ("a\0", "U+0000 at position 2"),
        ("đ", "'đ' at position 1"),
        (&"x".repeat(246), "246 bytes"),
    ] {
        let error = validate_topic(bad).unwrap_err();
        assert!(error.message().contains(says), "{bad:?}: {error}");
    }
    assert!(validate_kafka_topic(&"x".repeat(249)).is_ok());
    assert!(validate_kafka_topic(&"x".repeat(250)).is_err());
}

#[test]
fn control_topics_include_names_that_collide_in_kafka() {
    for topic in [
        "realtime.__presence",
        "realtime___client",
        "x._.events",
        "a.___events",
    ] {
        assert!(is_control_topic(topic), "{topic}");
    }
    for topic in [
        "__presence",
        "realtime.presence",
        "realtime._presence",
        "x__events2",
        "",
    ] {
        assert!(!is_control_topic(topic), "{topic}");
    }
    let dots = TopicMap::one_per_channel("realtime", true);
    assert!(!dots.maps_to("x.__events", "realtime_x.__events"));
}

#[test]
fn a_subscription_reads_every_topic_of_its_channels() {
    let exact = |t: &str| TopicFilter::Exact(t.to_owned());
    let regex = |t: &str| vec![TopicFilter::Regex(t.to_owned())];
    let map = TopicMap::one_per_channel("app.rt", false);
    assert_eq!(
        map.topics_for_subscription(&pattern("user.1")),
        [exact("app.rt_user_1")]
    );
    assert_eq!(
        map.topics_for_subscription(&pattern("user.*")),
        regex("^app\\.rt_user_[A-Za-z0-9_-]+$")
    );
    assert_eq!(map.all_topics(), regex("^app\\.rt_[A-Za-z0-9_-]*$"));
    let dots = TopicMap::one_per_channel("rt", true);
    assert_eq!(
        dots.topics_for_subscription(&pattern("user.**.x")),
        regex("^rt_user\\.[A-Za-z0-9._-]*\\.x$")
    );
    assert!(map
        .topics_for_subscription(&pattern(&"x".repeat(243)))
        .is_empty());

    let map = grouped();
    for (text, topics) in [
        ("user.1", &["realtime.user"][..]),
        ("user.*", &["realtime.user"]),
        ("user.**", &["realtime.user", "orders.events", "realtime"]),
        ("orders.*.x", &["orders.events"]),
        ("presence-*", &["realtime.presence"]),
        ("news.*", &["realtime"]),
        (
            "**",
            &[
                "realtime.user",
                "realtime.presence",
                "orders.events",
                "realtime",
            ],
        ),
    ] {
        let expected: Vec<_> = topics.iter().map(|t| exact(t)).collect();
        assert_eq!(
            map.topics_for_subscription(&pattern(text)),
            expected,
            "{text}"
        );
    }
}
