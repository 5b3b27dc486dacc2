//! The feed on the embedded broker, and on a real Kafka if REALTIME_TEST_BROKERS names one.

use std::time::Duration;

use super::*;
use crate::gateway::tests::test_brokers::{brokers, config, unique, until, Recording, Sender};

#[test]
fn reading_starts_at_the_end_and_recent_records_fill_the_buffer() {
    for brokers in brokers() {
        let config = config(&brokers, &unique("feed"));
        let sender = Sender::start(&config);
        let before: Vec<String> = (0..5).map(|_| sender.send("user.1", "e", "1")).collect();
        sender.flush();
        let run = Recording::start(&config, |_| {});
        assert_eq!(run.ids(false), before);
        let after: Vec<String> = (0..5).map(|_| sender.send("user.1", "e", "1")).collect();
        until("five broadcasts", || run.ids(true).len() == 5);
        assert_eq!(run.ids(true), after);
        let topic = config.topics.topic_for("user.1").expect("a topic");
        let topic = run.positions.find(&topic).expect("it is read");
        let mut sum = 0;
        until("positions", || {
            sum = 0;
            topic.for_each_next_offset(|_, next| sum += next);
            sum == 10
        });
        // The embedded broker has no topic ids.
        let is_real = std::env::var("REALTIME_TEST_BROKERS").is_ok_and(|real| real == brokers);
        assert_eq!(topic.id() != 0, is_real, "{brokers}");
        run.feed.stop();
    }
}

#[test]
fn a_new_topic_is_read_completely_and_old_records_are_not_delivered() {
    for brokers in brokers() {
        let config = config(&brokers, &unique("late"));
        let sender = Sender::start(&config);
        let run = Recording::start(&config, |_| {});
        std::thread::sleep(Duration::from_millis(1500));
        let sent: Vec<String> = (0..3).map(|_| sender.send("new.1", "e", "1")).collect();
        until("the late topic", || run.ids(true).len() >= 3);
        assert_eq!(run.ids(true), sent);
        // Records from a day ago, in a topic that the feed has not seen yet.
        let old = i64::try_from(crate::ids::unix_ms()).unwrap_or(0) - 86_400_000;
        for _ in 0..3 {
            sender.send_at("old.1", "e", "1", old);
        }
        let fresh = sender.send("old.1", "e", "1");
        until("the fresh one", || run.ids(true).contains(&fresh));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(run.ids(true).len(), 4);
        run.feed.stop();
    }
}

#[test]
fn invalid_records_are_counted_and_skipped() {
    for brokers in brokers() {
        let config = config(&brokers, &unique("skips"));
        let sender = Sender::start(&config);
        sender.send("user.1", "e", "1");
        sender.flush();
        let run = Recording::start(&config, |settings| {
            settings.channels = vec![ChannelPattern::parse("user.*").expect("a pattern")];
        });
        let topic = config.topics.topic_for("user.1").expect("a topic");
        sender.raw(&topic, b"no envelope");
        sender.raw(&topic, br#"{"type":"ping","channel":"user.1","event":"e"}"#);
        sender.raw(&topic, br#"{"id":"1","channel":"user_1","event":"e"}"#);
        sender.raw(&topic, br#"{"id":"1","channel":"user.2","event":"e"}"#);
        sender.raw(
            &topic,
            br#"{"id":"1","channel":"user.1","event":"pusher:x"}"#,
        );
        let large = format!(
            r#"{{"id":"1","channel":"user.1","event":"e","data":"{}"}}"#,
            "x".repeat(300 << 10)
        );
        sender.raw(&topic, large.as_bytes());
        let last = sender.send("user.1", "e", "1");
        until("the last", || run.ids(true).contains(&last));
        // `user_1` maps to this topic as well, but the gateway does not serve that channel.
        assert_eq!(run.ids(true), [last]);
        let counters = &run.counters;
        assert_eq!(counters.bad_records.get(), 2);
        assert_eq!(counters.topic_mismatch.get(), 1);
        assert_eq!(counters.reserved_events.get(), 1);
        assert_eq!(counters.oversized_events.get(), 1);
        run.feed.stop();
    }
}

#[test]
fn reading_continues_after_a_topic_is_recreated() {
    // Records are deleted while the feed reads: real Kafka only.
    for brokers in brokers().into_iter().filter(|b| b.contains(':')).skip(1) {
        let config = config(&brokers, &unique("range"));
        let sender = Sender::start(&config);
        sender.send("user.1", "e", "1");
        sender.flush();
        let run = Recording::start(&config, |_| {});
        let topic = config.topics.topic_for("user.1").expect("a topic");
        let admin = crate::kafka::admin::Admin::start(&config).expect("an admin");
        admin.delete_topic(&topic, &|| true).expect("deleted");
        std::thread::sleep(Duration::from_millis(500));
        let sent = sender.send("user.1", "e", "2");
        sender.flush();
        until("the topic that was made again", || {
            run.ids(true).contains(&sent)
        });
        run.feed.stop();
    }
}

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
