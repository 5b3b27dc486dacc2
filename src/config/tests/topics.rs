//! Tests of prefix, strategy and `topic_mapping`.

use super::{from, refused, with};

#[test]
fn topic_mapping_uses_the_first_match() {
    let c = from(
        r#"{"topic_strategy":"grouped","default_partitions":"6","topic_mapping":{
            "user.*":"rt.user",
            "orders.*":{"topic":"orders.events","partitions":"12","replication_factor":3,"retention":"7d"},
            "**.log":{"topic":"logs","retention_ms":-1,"replication":-1}}}"#,
    )
    .unwrap();
    let t = &c.topics;
    assert_eq!(t.strategy(), crate::topic::TopicStrategy::Grouped);
    for (channel, topic) in [
        ("user.1", "rt.user"),
        ("orders.1", "orders.events"),
        ("user.log", "rt.user"),
        ("a.b.log", "logs"),
        ("x", "realtime"),
    ] {
        assert_eq!(t.topic_for(channel).unwrap(), topic, "{channel}");
    }
    let spec = |topic: &str| {
        t.spec_for_topic(topic)
            .map(|s| (s.partitions, s.replication, s.retention_ms))
    };
    assert_eq!(
        spec("orders.events"),
        Some((Some(12), Some(3), Some(604_800_000)))
    );
    assert_eq!(spec("rt.user"), Some((Some(6), None, None)));
    assert_eq!(spec("logs"), Some((Some(6), None, Some(-1))));
    assert_eq!(spec("realtime"), Some((Some(6), None, None)));
    assert_eq!(spec("other"), None);

    let c = with(r#"{"topic_strategy":"grouped","topic_prefix":"p"}"#, &[]).unwrap();
    assert_eq!(c.topics.topic_for("x").unwrap(), "p");
    let c = with(
        "{}",
        &[
            ("KAFKA_TOPIC_STRATEGY", "grouped"),
            ("KAFKA_DEFAULT_TOPIC", "all"),
        ],
    )
    .unwrap();
    assert_eq!(c.topics.topic_for("x").unwrap(), "all");
    let c = from(r#"{"topic_strategy":"one-per-channel-dots"}"#).unwrap();
    assert_eq!(c.topics.topic_for("user.1").unwrap(), "realtime_user.1");
    let c = from(r#"{"topic_mapping":{"a":"b"}}"#).unwrap();
    assert!(c.warnings[0].contains("'grouped'") && c.topics.mapping().is_empty());
    let c = from(r#"{"topic_mapping":{"a":"b"},"topic_strategy":"one_per_channel"}"#).unwrap();
    assert!(c.warnings.is_empty() && c.debug_notes.len() == 1);

    for (mapping, says) in [
        (r#""x""#, "an array of channel patterns"),
        (
            r#"{"a":7}"#,
            "'a' in 'topic_mapping' in the array given to the Broker must be",
        ),
        (r#"{"a":{"partitions":3}}"#, "has no topic"),
        (
            r#"{"a":{"topic":"t","partition":3}}"#,
            "Did you mean 'partitions'?",
        ),
        (r#"{"a":{"topic":"t","partitions":0}}"#, "from 1 to 100000"),
        (r#"{"a":{"topic":"t","retention":"7x"}}"#, "'7d'"),
        (r#"{"a":"b c"}"#, "a space at position 2"),
        (r#"{"a":"realtime.__presence"}"#, "reserved"),
        (r#"{"":"b"}"#, "cannot be empty"),
    ] {
        refused(
            &format!(r#"{{"topic_strategy":"grouped","topic_mapping":{mapping}}}"#),
            &[says],
        );
    }
    refused(
        r#"{"topic_strategy":"per-user"}"#,
        &["'one-per-channel'", "'grouped'"],
    );
    let c = from(&format!(r#"{{"dlq_prefix":"{}."}}"#, "d".repeat(60))).unwrap();
    assert_eq!(c.dlq_prefix.len(), 60);
    assert!(c.topics.topic_for(&"x".repeat(180)).is_err());
}
