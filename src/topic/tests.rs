//! Tests of channel and topic names and of the mapping from channels to topics. Patterns are
//! compared with a simple reference implementation.

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

#[test]
fn patterns_match_their_channels() {
    for (text, yes, no) in [
        ("user.1", &["user.1"][..], &["user.12", "user", ""][..]),
        (
            "user.*",
            &["user.1", "user.a_b"],
            &["user.", "user", "user.1.2", "xuser.1"],
        ),
        (
            "user.**",
            &["user.", "user.1", "user.1.2"],
            &["user", "xuser.1"],
        ),
        ("**", &["a", "a.b", ""], &[]),
        ("*", &["a"], &["a.b", ""]),
        (
            "presence-*",
            &["presence-chat"],
            &["presence-", "presence-chat.1"],
        ),
        (
            "user.*.orders",
            &["user.1.orders"],
            &["user..orders", "user.1.2.orders", "user.1.order"],
        ),
        (
            "**.end",
            &["a.end", ".end", "a.end.end"],
            &["end", "a.end.x"],
        ),
        ("*x.*y", &["ax.by", "xx.yy"], &["x.y", "axb.cy", "a.x.y"]),
        ("**x.*y", &["1x.2x.3y", "x.ay"], &["1x.2.3y", "x.y"]),
        ("a**b*c", &["abxc", "a.b.bbc", "axbxbxc"], &["abc", "ab.c"]),
        ("***", &["a", "a.b"], &["", "a."]),
    ] {
        let pattern = pattern(text);
        for channel in yes {
            assert!(pattern.matches(channel), "{text} {channel}");
        }
        for channel in no {
            assert!(!pattern.matches(channel), "{text} {channel}");
        }
    }
    assert!(pattern("user.1").is_exact() && !pattern("user.*").is_exact());
    assert!(ChannelPattern::parse("").is_err());
    assert!(ChannelPattern::parse("a.*\u{1}").is_err());
}

fn slow(pattern: &str, text: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("**") {
        return (0..=text.len()).any(|n| slow(rest, &text[n..]));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        let reach = text.find('.').unwrap_or(text.len());
        return (1..=reach).any(|n| slow(rest, &text[n..]));
    }
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some(p), Some(t)) => p == t && slow(&pattern[1..], &text[1..]),
        _ => false,
    }
}

/// All strings over `letters` up to the length `longest`.
fn words(letters: &[&str], longest: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut from = 0;
    for _ in 0..longest {
        let until = all.len();
        for at in from..until {
            for letter in letters {
                let word = format!("{}{letter}", all[at]);
                all.push(word);
            }
        }
        from = until;
    }
    all
}

#[test]
fn matching_agrees_with_the_reference() {
    let texts = words(&["a", "b", "."], 6);
    for text in words(&["a", "b", ".", "*", "**"], 5)
        .iter()
        .filter(|t| !t.is_empty())
    {
        let pattern = pattern(text);
        for channel in &texts {
            assert_eq!(
                pattern.matches(channel),
                slow(text, channel),
                "{text} {channel}"
            );
        }
    }
}

#[test]
fn patterns_that_overlap_and_cover() {
    let texts = words(&["a", "b", "."], 5);
    let patterns: Vec<_> = words(&["a", ".", "*", "**"], 3)
        .iter()
        .filter(|t| !t.is_empty())
        .map(|t| pattern(t))
        .collect();
    for a in &patterns {
        for b in &patterns {
            let both = texts.iter().any(|t| a.matches(t) && b.matches(t));
            assert!(!both || a.overlaps(b), "{a} meets {b}");
            if a.covers(b) {
                assert!(
                    texts.iter().all(|t| !b.matches(t) || a.matches(t)),
                    "{a} covers {b}"
                );
            }
        }
    }
    assert!(!pattern("user.*").overlaps(&pattern("order.*")));
    assert!(!pattern("user.*").overlaps(&pattern("user.*.x")));
    assert!(pattern("user.*").overlaps(&pattern("**.1")));
    for (outer, inner) in [
        ("user.*", "user.*"),
        ("**", "a.*"),
        ("user.**", "user.*.x"),
        ("*", "a*"),
    ] {
        assert!(pattern(outer).covers(&pattern(inner)), "{outer} {inner}");
    }
    for (outer, inner) in [("user.*", "user.**"), ("a*", "*"), ("user.*", "**")] {
        assert!(!pattern(outer).covers(&pattern(inner)), "{outer} {inner}");
    }
}
