//! Tests of values, precedence, ranges and the rules between settings.

use std::path::Path;

use super::super::*;
use super::{env, from, json, refused, with, Env};

#[test]
fn defaults() {
    let c = from("[]").unwrap();
    assert_eq!(
        (c.name.as_str(), c.brokers.as_str()),
        ("kafka", "localhost:9092")
    );
    assert_eq!(c.consumer_group, "realtime-servers");
    assert_eq!(c.topics.topic_for("user.1").unwrap(), "realtime_user_1");
    assert_eq!((c.acks, c.idempotent, c.sync), (Acks::All, true, false));
    assert_eq!(
        (c.queue_full_ms, c.request_flush_ms, c.shutdown_flush_ms),
        (100, 500, 10_000)
    );
    assert_eq!(
        (c.max_hops, c.loop_guard, c.auto_create_topics),
        (8, true, true)
    );
    assert_eq!(
        (c.dlq, c.dlq_prefix.as_str(), c.max_retries),
        (true, "dlq", 3)
    );
    assert_eq!((c.retry_backoff_ms, c.retry_backoff_max_ms), (100, 10_000));
    assert_eq!((c.retry_max_parked, c.retry_max_ahead), (1000, 1000));
    assert_eq!((c.transient_max_seconds, c.circuit_failures), (0, 5));
    assert_eq!(
        (c.commit_interval_ms, c.transaction_ms, c.delivery),
        (1000, 50, Delivery::AtLeastOnce)
    );
    assert_eq!(
        (&c.spool, &c.transactional_id, &c.group_instance_id),
        (&None, &None, &None)
    );
    assert_eq!(c.application, "default");
    assert!(c.debug_notes.is_empty() && c.warnings.is_empty());
    assert!(!c.is_embedded());
}

#[test]
fn the_most_specific_layer_wins_and_empty_counts_as_unset() {
    let variables = env(&[
        ("KAFKA_TOPIC_PREFIX", "environment"),
        ("KAFKA_BROKERS", "env:1"),
        ("ini:topic_prefix", "ini"),
        ("ini:consumer_group", " "),
        ("KAFKA_CONSUMER_GROUP", "env-group"),
    ]);
    let layer = |prefix: &str| format!(r#"{{"topic_prefix":{prefix}}}"#);
    let prefix = |constructor: &str, broker: &str, top: &str, env: &Env| {
        let constructor = json(&layer(constructor));
        let configured = json(&format!(
            r#"{{"topic_prefix":{top},"brokers":{{"kafka":{}}}}}"#,
            layer(broker)
        ));
        let layers = Layers {
            constructor: Some(&constructor),
            configured: Some(&configured),
            env,
        };
        let config = BrokerConfig::resolve(None, &layers).unwrap();
        config.topics.prefix().to_owned()
    };
    assert_eq!(prefix(r#""a""#, r#""b""#, r#""c""#, &variables), "a");
    assert_eq!(prefix(r#""""#, r#""b""#, r#""c""#, &variables), "b");
    assert_eq!(prefix("null", r#"" ""#, r#""c""#, &variables), "c");
    assert_eq!(prefix("null", "null", "null", &variables), "ini");
    assert_eq!(
        prefix("null", "null", "null", &env(&[("KAFKA_TOPIC_PREFIX", "e")])),
        "e"
    );
    assert_eq!(prefix("null", "null", "null", &Env::default()), "realtime");
    let c = with(
        "{}",
        &[
            ("KAFKA_BROKERS", "env:1"),
            ("ini:consumer_group", " "),
            ("KAFKA_CONSUMER_GROUP", "g"),
        ],
    );
    let c = c.unwrap();
    assert_eq!(
        (c.brokers.as_str(), c.consumer_group.as_str()),
        ("env:1", "g")
    );
}

#[test]
fn addresses() {
    for (brokers, expected) in [
        (r#""a:1, b:2 ,""#, "a:1,b:2"),
        (r#"["a:1","","b"]"#, "a:1,b"),
        (r#"{"0":"a:1","2":"b:2"}"#, "a:1,b:2"),
        (r#""[::1]:9092""#, "[::1]:9092"),
        (
            r#""SASL_SSL://k.example:9093""#,
            "SASL_SSL://k.example:9093",
        ),
        (r#""embedded""#, "embedded"),
        (r"[]", "fallback:1"),
        (r#"[""]"#, "fallback:1"),
        (r#""""#, "fallback:1"),
    ] {
        let c = with(
            &format!(r#"{{"brokers":{brokers}}}"#),
            &[("KAFKA_BROKERS", "fallback:1")],
        );
        assert_eq!(c.unwrap().brokers, expected, "{brokers}");
    }
    for bad in [
        r#""a b:1""#,
        r#""a:0""#,
        r#""a:99999""#,
        r#""a:x""#,
        r#"":1""#,
        "7",
        "true",
        r#""embedded,a:1""#,
        r#"[["a"]]"#,
    ] {
        refused(&format!(r#"{{"brokers":{bad}}}"#), &["brokers", "must be"]);
    }
    refused(
        r#"{"brokers":{"kafka":{"brokers":"a:1"}}}"#,
        &["Realtime::configure()"],
    );
    assert!(from(r#"{"brokers":"embedded"}"#).unwrap().is_embedded());
}

#[test]
fn values_are_converted_from_text() {
    let c = from(
        r#"{"queue_full_ms":"250","loop_guard":"off","dlq":0,"spool_max_bytes":"64M","max_hops":3.0,
            "produce":"SYNC","delivery":"at_most_once","auto_create_topics":"no","commit_interval_ms":" 50 "}"#,
    )
    .unwrap();
    assert_eq!(
        (c.queue_full_ms, c.max_hops, c.spool_max_bytes),
        (250, 3, 64 << 20)
    );
    assert_eq!(
        (c.loop_guard, c.dlq, c.auto_create_topics, c.sync),
        (false, false, false, true)
    );
    assert_eq!(
        (c.delivery, c.commit_interval_ms),
        (Delivery::AtMostOnce, 50)
    );
    for (text, says) in [
        (
            r#"{"queue_full_ms":"soon"}"#,
            "'queue_full_ms' in the array given to the Broker must be a whole number of ms \
            from 0 to 600000; it is 'soon'.",
        ),
        (r#"{"queue_full_ms":-1}"#, "it is -1"),
        (r#"{"queue_full_ms":1.5}"#, "it is 1.5"),
        (r#"{"queue_full_ms":[1]}"#, "it is a list"),
        (r#"{"max_hops":1001}"#, "from 0 to 1000"),
        (r#"{"loop_guard":"maybe"}"#, "true or false; it is 'maybe'"),
        (r#"{"loop_guard":2}"#, "it is 2"),
        (
            r#"{"delivery":"exactly"}"#,
            "'at-least-once', 'at-most-once', 'exactly-once'",
        ),
        (r#"{"produce":true}"#, "'async', 'sync'"),
        (r#"{"topic_prefix":true}"#, "must be text; it is true"),
        (r#"{"topic_prefix":"a b"}"#, "a space at position 2"),
        (r#"{"topic_prefix":"x.__events"}"#, "reserved"),
        (r#"{"consumer_group":"a\nb"}"#, "printable"),
        (r#"{"dlq_prefix":"d l q"}"#, "dlq_prefix"),
        (r#"{"driver":"redis"}"#, "'kafka'; it is 'redis'"),
        (
            r#"{"producer_config":"linger.ms=5"}"#,
            "an array of names and values",
        ),
    ] {
        refused(text, &[says]);
    }
}

#[test]
fn contradicting_settings_are_refused() {
    refused(
        r#"{"acks":1,"delivery":"exactly-once"}"#,
        &["acks=1 contradicts delivery 'exactly-once'"],
    );
    refused(
        r#"{"producer_config":{"acks":"0"},"delivery":"exactly-once"}"#,
        &["acks=0"],
    );
    refused(
        r#"{"producer_config":{"acks":"1","enable.idempotence":true}}"#,
        &["acks=1", "enable.idempotence"],
    );
    refused(
        r#"{"idempotence":false,"delivery":"exactly-once"}"#,
        &["idempotence", "exactly-once"],
    );
    refused(r#"{"acks":2}"#, &["'all', '-1', '1', '0'; it is 2"]);
    refused(
        r#"{"retry_backoff_ms":500,"retry_backoff_max_ms":100}"#,
        &["retry_backoff_ms (500)", "(100)"],
    );
    assert_eq!(
        from(r#"{"retry_backoff_ms":20000}"#)
            .unwrap()
            .retry_backoff_max_ms,
        20_000
    );

    let c = from(r#"{"producer_config":{"request.required.acks":"1"}}"#).unwrap();
    assert_eq!(
        (c.acks, c.idempotent, c.warnings.len()),
        (Acks::Leader, false, 1)
    );
    assert!(
        c.warnings[0].contains("acks=1 turns idempotence off"),
        "{:?}",
        c.warnings
    );
    let c = from(r#"{"acks":1,"idempotence":false}"#).unwrap();
    assert!(!c.idempotent && c.warnings.is_empty());
    let c = from(r#"{"acks":"ALL","producer_config":{"max.in.flight":10}}"#).unwrap();
    assert!(c.idempotent && c.warnings[0].contains("lowered to 5"));
}

#[test]
fn settings_without_an_effect_are_advice() {
    let advice = |json: &str, env: &[(&str, &str)]| with(json, env).unwrap().advice;
    let spool = [("REALTIME_SPOOL", "off")];
    assert!(advice("{}", &[])[0].starts_with("spool is not set: "));
    assert_eq!(advice("{}", &spool), [""; 0]);
    for (json, words) in [
        (r#"{"delivery":"at-most-once","dlq":true}"#, "'dlq' in "),
        (
            r#"{"delivery":"at-most-once","max_retries":"3"}"#,
            "neither retries",
        ),
        (r#"{"transactional_id":"a"}"#, "which has no transactions"),
        (
            r#"{"topic_mapping":{"a":"b"},"topic_strategy":"one-per-channel"}"#,
            "topic_mapping has no effect",
        ),
        (
            r#"{"consumer_config":{"enable.auto.commit":true}}"#,
            "commits itself",
        ),
    ] {
        let found = advice(json, &spool);
        assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
    }
    for json in [
        r#"{"delivery":"at-most-once","dlq":false,"max_retries":0}"#,
        r#"{"delivery":"exactly-once","transactional_id":"a"}"#,
        r#"{"topic_mapping":{"a":"b"},"topic_strategy":"grouped"}"#,
    ] {
        assert_eq!(advice(json, &spool), [""; 0], "{json}");
    }
}

#[test]
fn the_spool() {
    let spool = |value: &str, env: &[(&str, &str)]| {
        with(&format!(r#"{{"spool":{value}}}"#), env).unwrap().spool
    };
    assert_eq!(
        spool(r#""/var/spool/x""#, &[]).as_deref(),
        Some(Path::new("/var/spool/x"))
    );
    let relative = spool(r#""var/spool""#, &[]).unwrap();
    assert!(relative.is_absolute() && relative.ends_with("var/spool"));
    for off in ["false", r#""off""#] {
        assert_eq!(spool(off, &[("REALTIME_SPOOL", "/tmp/x")]), None);
    }
    assert_eq!(
        spool("null", &[("ini:spool", "/a"), ("REALTIME_SPOOL", "/b")]).as_deref(),
        Some(Path::new("/a"))
    );
    assert_eq!(
        spool("null", &[("REALTIME_SPOOL", "/b")]).as_deref(),
        Some(Path::new("/b"))
    );
    let c = with(r#"{"spool":"/a"}"#, &[("APP_ENV", "testing")]).unwrap();
    assert!(c.spool.is_none() && c.debug_notes[0].contains("APP_ENV"));
    refused(r#"{"spool":true}"#, &["a directory, 'always', or false"]);
}

#[test]
fn spool_when_always_needs_a_directory() {
    let dir = ("REALTIME_SPOOL", "/b");
    let always = |json: &str, env: &[(&str, &str)]| {
        let c = with(json, env).unwrap();
        (c.spool, c.spool_always)
    };
    let there = |path: &str| (Some(Path::new(path).to_owned()), true);
    let json = r#"{"spool":"/a","spool_when":"always"}"#;
    assert_eq!(always(json, &[]), there("/a"));
    assert_eq!(always(r#"{"spool":"always"}"#, &[dir]), there("/b"));
    let by_env = [dir, ("REALTIME_SPOOL_WHEN", "always")];
    assert_eq!(always("{}", &by_env), there("/b"));
    let by_ini = [("ini:spool", "/i"), ("ini:spool_when", "always")];
    assert_eq!(always("{}", &by_ini), there("/i"));
    let json = r#"{"spool_when":"undelivered"}"#;
    assert_eq!(
        always(json, &by_env),
        (Some(Path::new("/b").to_owned()), false)
    );
    // Off for one broker, although the environment enables it.
    assert_eq!(always(r#"{"spool":false}"#, &by_env), (None, false));
    assert_eq!(always(json, &[("APP_ENV", "testing"), dir]), (None, false));
    assert_eq!(
        always(r#"{"spool":"always"}"#, &[("APP_ENV", "testing")]),
        (None, false)
    );
    for nowhere in [
        r#"{"spool":"always"}"#,
        r#"{"spool_when":"always"}"#,
        r#"{"spool_when":"always","spool":false}"#,
    ] {
        refused(nowhere, &["`spool` does not name a directory", "always"]);
    }
    refused(r#"{"spool":"/a","spool_when":"never"}"#, &["'always'"]);
}

#[test]
fn comments_in_environment_variables_are_not_part_of_the_value() {
    let variables = [
        ("KAFKA_BROKERS", "a:1,b:2 # the cluster"),
        ("KAFKA_CONSUMER_GROUP", "# default"),
        ("KAFKA_SECURITY_PROTOCOL", "ssl # or plaintext"),
    ];
    // Read directly, through env() in an array, and through explode().
    for text in [
        "{}",
        r##"{"brokers":"a:1,b:2 # the cluster","consumer_group":"# default"}"##,
        r#"{"brokers":["a:1","b:2 # the cluster"],"security":{"protocol":"ssl # or plaintext"}}"#,
    ] {
        let c = with(text, &variables).unwrap();
        assert_eq!(c.brokers, "a:1,b:2", "{text}");
        assert_eq!(c.consumer_group, "realtime-servers", "{text}");
        let properties = c.producer_properties();
        assert!(
            properties.contains(&("security.protocol".to_owned(), "ssl".to_owned())),
            "{text}"
        );
    }
    // The same for variables of any name, at any depth; a secret may contain " #".
    let c = with(
        r##"{"producer_config":{"linger.ms":"5 # ms","socket.send.buffer.bytes":"# off"},
            "topic_strategy":"grouped","topic_mapping":{"a":{"topic":"a","partitions":"3 # few"}},
            "security":{"protocol":"sasl_ssl","username":"u","password":"x #2"}}"##,
        &[
            ("LINGER", "5 # ms"),
            ("BUFFER", "# off"),
            ("PARTITIONS", "3 # few"),
            ("LOGIN", "x #2"),
        ],
    )
    .unwrap();
    let properties = c.producer_properties();
    let get = |name: &str| properties.iter().find(|(known, _)| known == name);
    assert_eq!(get("linger.ms").unwrap().1, "5");
    assert_eq!(get("socket.send.buffer.bytes"), None);
    assert_eq!(get("sasl.password").unwrap().1, "x #2");
    assert_eq!(c.topics.mapping()[0].spec.partitions, Some(3));
    // A text that does not come from the variable is taken as it is.
    refused(r#"{"brokers":"a:1 # x"}"#, &["brokers", "must be"]);
    let c = from(r#"{"consumer_group":"orders #1"}"#).unwrap();
    assert_eq!(c.consumer_group, "orders #1");
}

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
