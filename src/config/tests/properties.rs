//! Tests of librdkafka properties, Java's names for them, and security settings.

use super::{from, refused, with};

fn producer(text: &str) -> Vec<(String, String)> {
    from(text).unwrap().producer_properties()
}

fn consumer(text: &str) -> Vec<(String, String)> {
    from(text).unwrap().consumer_properties()
}

fn value<'a>(properties: &'a [(String, String)], name: &str) -> Option<&'a str> {
    properties
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, v)| v.as_str())
}

fn each_once(properties: &[(String, String)]) {
    assert!(
        properties.windows(2).all(|w| w[0].0 < w[1].0),
        "{properties:?}"
    );
}

#[test]
fn default_properties_of_both_clients() {
    let p = producer("{}");
    each_once(&p);
    for (name, expected) in [
        ("bootstrap.servers", "localhost:9092"),
        ("client.id", "toporia_realtime"),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("partitioner", "murmur2_random"),
        ("linger.ms", "5"),
        ("message.timeout.ms", "300000"),
        ("socket.keepalive.enable", "true"),
        ("statistics.interval.ms", "0"),
    ] {
        assert_eq!(value(&p, name), Some(expected), "{name}");
    }
    assert_eq!(value(&p, "max.in.flight.requests.per.connection"), None);
    let c = consumer("{}");
    each_once(&c);
    for (name, expected) in [
        ("group.id", "realtime-servers"),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("allow.auto.create.topics", "false"),
        ("fetch.queue.backoff.ms", "5"),
    ] {
        assert_eq!(value(&c, name), Some(expected), "{name}");
    }
    assert_eq!(value(&c, "acks").or(value(&c, "linger.ms")), None);
    assert_eq!(
        value(&consumer(r#"{"brokers":"embedded"}"#), "fetch.wait.max.ms"),
        Some("20")
    );
}

#[test]
fn session_timeouts_are_shorter_for_local_brokers() {
    let session = |brokers: &str| {
        let properties = consumer(&format!(r#"{{"brokers":"{brokers}"}}"#));
        value(&properties, "session.timeout.ms").map(str::to_owned)
    };
    for local in [
        "localhost:9092",
        "127.0.0.1:1,[::1]:2",
        "PLAINTEXT://localhost:9092",
        "embedded",
    ] {
        assert_eq!(session(local).as_deref(), Some("6000"), "{local}");
    }
    for remote in ["kafka:9092", "localhost:9092,kafka:9092"] {
        assert_eq!(session(remote), None, "{remote}");
    }
}

#[test]
fn user_properties_override_defaults_under_any_name() {
    let p = producer(
        r#"{"producer_config":{"queue.buffering.max.ms":"20","batch.size":"16384","buffer.memory":33554432,
            "max.request.size":"2000000","delivery.timeout.ms":9000,"compression.codec":"OFF",
            "send.buffer.bytes":-1,"key.serializer":"x",
            "max.in.flight":2,"acks":1,"socket.nagle.disable":false,"x":""}}"#,
    );
    each_once(&p);
    for (name, expected) in [
        ("linger.ms", "20"),
        ("batch.size", "16384"),
        ("queue.buffering.max.kbytes", "32768"),
        ("message.max.bytes", "2000000"),
        ("message.timeout.ms", "9000"),
        ("compression.type", "none"),
        ("socket.send.buffer.bytes", "0"),
        ("max.in.flight.requests.per.connection", "2"),
        ("acks", "1"),
        ("enable.idempotence", "false"),
        ("socket.nagle.disable", "false"),
    ] {
        assert_eq!(value(&p, name), Some(expected), "{name}");
    }
    assert_eq!(value(&p, "key.serializer").or(value(&p, "x")), None);
    let c = from(
        r#"{"consumer_config":{"fetch.max.wait.ms":"50","group.id":"g","auto.commit.interval.ms":"200",
            "enable.auto.commit":"true","max.poll.records":10,"auto.offset.reset":"none","request.timeout.ms":7000,
            "group.instance.id":"i-1",
            "partition.assignment.strategy":"org.apache.kafka.clients.consumer.RangeAssignor"}}"#,
    )
    .unwrap();
    assert_eq!(
        (c.consumer_group.as_str(), c.commit_interval_ms),
        ("g", 200)
    );
    assert_eq!(c.group_instance_id.as_deref(), Some("i-1"));
    assert!(c.debug_notes.iter().any(
        |n| n.contains("enable.auto.commit is ignored") || n.contains("enable.auto.commit' in")
    ));
    let p = c.consumer_properties();
    each_once(&p);
    for (name, expected) in [
        ("fetch.wait.max.ms", "50"),
        ("group.id", "g"),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "error"),
        ("socket.timeout.ms", "7000"),
        ("group.instance.id", "i-1"),
        ("partition.assignment.strategy", "range"),
    ] {
        assert_eq!(value(&p, name), Some(expected), "{name}");
    }
    assert_eq!(
        value(&p, "max.poll.records").or(value(&p, "auto.commit.interval.ms")),
        None
    );
    // Unknown names are passed to librdkafka, which validates them.
    assert_eq!(
        value(
            &producer(r#"{"producer_config":{"no.such":"1"}}"#),
            "no.such"
        ),
        Some("1")
    );
    assert_eq!(
        from(r#"{"producer_config":{"max.block.ms":"5"}}"#)
            .unwrap()
            .queue_full_ms,
        5
    );
    assert_eq!(
        from(r#"{"queue_full_ms":7,"producer_config":{"max.block.ms":"5"}}"#)
            .unwrap()
            .queue_full_ms,
        7
    );
    assert_eq!(
        from(r#"{"producer_config":{"bootstrap.servers":"k:1"}}"#)
            .unwrap()
            .brokers,
        "k:1"
    );
    refused(
        r#"{"producer_config":{"buffer.memory":"much"}}"#,
        &["buffer.memory", "bytes"],
    );
    refused(
        r#"{"producer_config":{"linger.ms":[5]}}"#,
        &["linger.ms", "a list"],
    );
    refused(
        r#"{"producer_config":{"sasl.jaas.config":"x"}}"#,
        &["security.username"],
    );
}

#[test]
fn the_consumer_group_protocol_omits_classic_properties() {
    let c =
        consumer(r#"{"consumer_config":{"group.protocol":"Consumer","session.timeout.ms":9000}}"#);
    assert_eq!(value(&c, "group.protocol"), Some("consumer"));
    assert_eq!(
        value(&c, "session.timeout.ms").or(value(&c, "partition.assignment.strategy")),
        None
    );
}

#[test]
fn security_is_read_from_the_array_and_the_environment() {
    let array = from(
        r#"{"security":{"protocol":"SASL_SSL","mechanism":"scram-sha-256",
        "username":"u","password":"p","ca":"/ca.pem","verify":"off"}}"#,
    )
    .unwrap();
    for properties in [array.producer_properties(), array.consumer_properties()] {
        for (name, expected) in [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.username", "u"),
            ("sasl.password", "p"),
            ("ssl.ca.location", "/ca.pem"),
            ("enable.ssl.certificate.verification", "false"),
        ] {
            assert_eq!(value(&properties, name), Some(expected), "{name}");
        }
    }
    assert!(!format!("{array:?}").contains("\"p\""), "{array:?}");
    let variables = [
        ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
        ("KAFKA_SASL_USERNAME", "u"),
        ("KAFKA_SASL_PASSWORD", "p"),
    ];
    let c = with(
        r#"{"producer_config":{"sasl.username":"producer"}}"#,
        &variables,
    )
    .unwrap();
    let (p, consumer) = (c.producer_properties(), c.consumer_properties());
    assert_eq!(value(&p, "sasl.username"), Some("producer"));
    assert_eq!(value(&consumer, "sasl.username"), Some("u"));
    assert_eq!(value(&consumer, "sasl.mechanism"), Some("PLAIN"));

    for (text, says) in [
        (
            r#"{"security":{"protocol":"tls"}}"#,
            "plaintext, ssl, sasl_plaintext or sasl_ssl",
        ),
        (
            r#"{"security":{"protocol":"sasl_ssl"}}"#,
            "KAFKA_SASL_USERNAME",
        ),
        (
            r#"{"security":{"protocol":"sasl_ssl","username":"u"}}"#,
            "no password",
        ),
        (
            r#"{"security":{"protocol":"sasl_ssl","mechanism":"GSSAPI"}}"#,
            "Kerberos",
        ),
        (
            r#"{"security":{"protocol":"sasl_ssl","mechanism":"OAUTHBEARER"}}"#,
            "has no source of tokens",
        ),
        (
            r#"{"security":{"protocol":"sasl_ssl","mechanism":"oauthbearer"},
                "producer_config":{"sasl.oauthbearer.method":"oidc"}}"#,
            "the producer has no token_endpoint",
        ),
        (
            r#"{"security":{"protocol":"sasl_ssl","token":"oidc","token_endpoint":"https://id/t","client_id":"a"}}"#,
            "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET",
        ),
        (
            r#"{"security":{"username":"u","password":"p"}}"#,
            "sasl_ssl or sasl_plaintext",
        ),
        (
            r#"{"security":{"protocol":"ssl"},"producer_config":{"security.protocol":"plaintext"}}"#,
            "contradicts producer_config.security.protocol ('plaintext')",
        ),
    ] {
        refused(text, &[says]);
    }
    let c = with("{}", &variables[1..]).unwrap();
    assert_eq!(
        (
            c.warnings.len(),
            value(&c.producer_properties(), "sasl.username")
        ),
        (1, None)
    );
    let c = from(r#"{"security":{"ca":"/x"}}"#).unwrap();
    assert!(c.warnings.len() == 1 && c.warnings[0].contains("not encrypted"));
}

#[test]
fn an_openssl_that_was_built_with_the_crate_searches_for_the_certificates_of_the_system() {
    let location = |text| {
        let location = producer(text);
        value(&location, "ssl.ca.location").map(str::to_owned)
    };
    let expected = cfg!(feature = "openssl-vendored").then(|| "probe".to_owned());
    assert_eq!(location(r#"{"security":{"protocol":"ssl"}}"#), expected);
    assert_eq!(location("{}"), None);
    let given = location(r#"{"security":{"protocol":"ssl","ca":"/ca.pem"}}"#);
    assert_eq!(given.as_deref(), Some("/ca.pem"));
}

#[test]
fn the_producer_key_depends_on_every_producer_setting() {
    let key = |text: &str| from(text).unwrap().producer_key();
    let base = key("{}");
    assert_eq!(
        base,
        key(r#"{"topic_prefix":"realtime","consumer_group":"other","max_hops":2}"#)
    );
    assert_eq!(
        base,
        key(r#"{"producer_config":{"queue.buffering.max.ms":5}}"#)
    );
    for other in [
        r#"{"brokers":"other:1"}"#,
        r#"{"topic_prefix":"x"}"#,
        r#"{"topic_strategy":"grouped"}"#,
        r#"{"acks":1}"#,
        r#"{"spool":"/x"}"#,
        r#"{"queue_full_ms":1}"#,
        r#"{"producer_config":{"linger.ms":6}}"#,
        r#"{"application":"a"}"#,
        r#"{"produce":"sync"}"#,
        r#"{"security":{"protocol":"sasl_ssl","username":"u","password":"p"}}"#,
    ] {
        assert_ne!(base, key(other), "{other}");
    }
}

#[test]
fn oauthbearer_with_unsecured_tokens_is_accepted() {
    let unsecured = r#"{"enable.sasl.oauthbearer.unsecure.jwt":true,"sasl.oauthbearer.config":"principal=shop"}"#;
    let text = format!(
        r#"{{"security":{{"protocol":"sasl_plaintext","mechanism":"OAUTHBEARER"}},
            "producer_config":{unsecured},"consumer_config":{unsecured}}}"#
    );
    let config = from(&text).unwrap();
    for properties in [config.producer_properties(), config.consumer_properties()] {
        assert_eq!(value(&properties, "sasl.mechanism"), Some("OAUTHBEARER"));
    }
}

#[test]
fn the_source_of_tokens_is_not_passed_to_librdkafka() {
    let text = r#"{"security":{"protocol":"sasl_ssl","token_endpoint":"https://id.example/token",
        "client_id":"shop","client_secret":"hidden","scope":"kafka","region":"eu-west-1"}}"#;
    let config = from(text).unwrap();
    let [source] = &config.token_sources[..] else {
        panic!("{:?}", config.token_sources);
    };
    assert_eq!(source.kind, "oidc");
    assert_eq!(
        source.settings.get("token_endpoint"),
        Some("https://id.example/token")
    );
    assert!(!format!("{config:?}").contains("hidden"));
    for properties in [config.producer_properties(), config.consumer_properties()] {
        assert_eq!(value(&properties, "sasl.mechanism"), Some("OAUTHBEARER"));
        assert_eq!(
            value(&properties, "toporia.token"),
            Some(source.name.as_str())
        );
        let ours = |name: &str| name.starts_with("sasl.oauthbearer") || name.ends_with(".region");
        assert!(!properties.iter().any(|(name, _)| ours(name)));
    }
    let other = from(&text.replace("shop", "other")).unwrap();
    assert_ne!(other.token_sources[0].name, source.name);

    let variables = [
        ("KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
        ("KAFKA_SASL_MECHANISM", "OAUTHBEARER"),
        ("KAFKA_SASL_OAUTHBEARER_TOKEN", "aws-msk-iam"),
        ("AWS_REGION", "eu-west-1"),
    ];
    let config = with("{}", &variables).unwrap();
    assert_eq!(config.token_sources.len(), 1);
    assert_eq!(config.token_sources[0].kind, "aws-msk-iam");
    assert_eq!(
        config.token_sources[0].settings.get("region"),
        Some("eu-west-1")
    );
    let config = with("{}", &variables[3..]).unwrap();
    assert!(config.token_sources.is_empty());
    assert!(value(&config.producer_properties(), "toporia.token.region").is_none());
}
