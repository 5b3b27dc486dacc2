//! Tests of whole configurations: selection of brokers, unknown keys, and the configuration that Toporia ships.

use super::super::*;
use super::{env, from, json, refused, Env};
use crate::error::{Kind, Result};

fn resolve(
    configured: &str,
    name: Option<&str>,
    variables: &[(&str, &str)],
) -> Result<BrokerConfig> {
    let configured = json(configured);
    let env: Env = env(variables);
    let layers = Layers {
        constructor: None,
        configured: Some(&configured),
        env: &env,
    };
    BrokerConfig::resolve(name, &layers)
}

fn says(result: Result<BrokerConfig>, parts: &[&str]) {
    let error = result.map(|c| c.name).unwrap_err();
    assert_eq!(error.kind(), Kind::Configuration);
    for part in parts {
        assert!(error.message().contains(part), "{error}");
    }
}

const TWO: &str = r#"{"brokers":{"redis":{"driver":"redis","host":"x"},
    "kafka":{"brokers":"a:1"},"orders":{"driver":"kafka","brokers":"b:1"}}}"#;

#[test]
fn a_broker_is_selected_by_name() {
    assert_eq!(resolve(TWO, None, &[]).unwrap().brokers, "a:1");
    assert_eq!(resolve(TWO, Some("orders"), &[]).unwrap().brokers, "b:1");
    assert_eq!(
        resolve(TWO, None, &[("REALTIME_BROKER", "orders")])
            .unwrap()
            .name,
        "orders"
    );
    let default = TWO.replacen('{', r#"{"default_broker":"orders","#, 1);
    assert_eq!(
        resolve(&default, None, &[("REALTIME_BROKER", "kafka")])
            .unwrap()
            .name,
        "orders"
    );
    says(
        resolve(TWO, Some("redis"), &[]),
        &["'redis' is not a Kafka broker", "kafka, orders"],
    );
    says(
        resolve(TWO, None, &[("REALTIME_BROKER", "redis")]),
        &["not a Kafka broker", "REALTIME_BROKER"],
    );
    says(
        resolve(TWO, Some("order"), &[]),
        &["'order'", "Did you mean 'orders'?"],
    );
    says(
        resolve(TWO, Some("warehouse"), &[]),
        &["Configured are: kafka, orders"],
    );
    says(resolve("{}", Some("other"), &[]), &["only 'kafka'"]);
    says(
        resolve("{}", Some("localhost:9092"), &[]),
        &["KAFKA_BROKERS"],
    );
    // The only Kafka broker is the default, whatever its name.
    let one = r#"{"brokers":{"main":{"brokers":"m:1"}}}"#;
    assert_eq!(resolve(one, None, &[]).unwrap().name, "main");
    says(
        resolve(one, None, &[("REALTIME_BROKER", "other")]),
        &["'other'"],
    );
    // Flat use: `brokers` holds addresses.
    assert_eq!(
        resolve(r#"{"brokers":["a:1","b:2"]}"#, None, &[])
            .unwrap()
            .brokers,
        "a:1,b:2"
    );
    assert_eq!(
        resolve(r#"{"brokers":"a:1"}"#, Some("kafka"), &[])
            .unwrap()
            .brokers,
        "a:1"
    );
}

#[test]
fn a_constructor_array_does_not_need_a_default_broker() {
    let configured = json(TWO);
    let constructor = json(r#"{"topic_prefix":"p"}"#);
    let based = json(r#"{"broker":"orders","topic_prefix":"q"}"#);
    let env = env(&[("REALTIME_BROKER", "redis")]);
    let layers = |constructor| Layers {
        constructor: Some(constructor),
        configured: Some(&configured),
        env: &env,
    };
    let c = BrokerConfig::resolve(None, &layers(&constructor)).unwrap();
    assert_eq!(
        (c.name.as_str(), c.brokers.as_str(), c.topics.prefix()),
        ("kafka", "a:1", "p")
    );
    let c = BrokerConfig::resolve(None, &layers(&based)).unwrap();
    assert_eq!(
        (c.name.as_str(), c.brokers.as_str(), c.topics.prefix()),
        ("orders", "b:1", "q")
    );
}

#[test]
fn the_application_configuration_is_validated() {
    let none = env(&[]);
    let host = application_config(Some(&json(TWO)), &none).unwrap();
    assert_eq!(
        (host.default_broker.as_str(), host.brokers),
        ("kafka", vec!["kafka".to_owned(), "orders".to_owned()])
    );
    let host = application_config(None, &env(&[("REALTIME_BROKER", " orders ")])).unwrap();
    assert_eq!(host.default_broker, "orders");
    let ours = r#"{"default_broker":"kafka","brokers":{},"handlers":{"order.*":"H"},"middleware":[],"commands":[],
        "gateway":{"host":"127.0.0.1","port":6001,"secrets":["x"],"public_by_mark":true},"log":null,"spool":"/x"}"#;
    assert!(application_config(Some(&json(ours)), &none).is_ok());
    for (text, parts) in [
        (
            r#"{"default_brokr":"x"}"#,
            &[
                "'default_brokr' in the realtime configuration",
                "'default_broker'",
            ][..],
        ),
        (
            r#"{"gateway":{"allowed_origin":"x"}}"#,
            &["realtime.gateway", "'allowed_origins'"],
        ),
        (r#"{"gateway":"x"}"#, &["realtime.gateway must be an array"]),
        (
            r#"{"brokers":{"kafka":{"topic_prefx":"x"}}}"#,
            &["realtime.brokers.kafka", "Did you mean 'topic_prefix'?"],
        ),
        (
            r#"{"brokers":{"kafka":"a:1"}}"#,
            &["realtime.brokers.kafka must be an array"],
        ),
        (r#"["x"]"#, &["must be an array of settings"]),
    ] {
        let error = application_config(Some(&json(text)), &none).unwrap_err();
        for part in parts {
            assert!(error.message().contains(part), "{text}: {error}");
        }
    }
}

#[test]
fn unknown_keys_suggest_the_nearest_name() {
    for (key, near) in [
        ("topic_prefx", "topic_prefix"),
        ("topic-prefix", "topic_prefix"),
        ("borkers", "brokers"),
        ("consumer_groups", "consumer_group"),
        ("ackss", "acks"),
        ("max_retry", "max_retries"),
        ("request_flush", "request_flush_ms"),
        ("TOPIC_PREFIX", "topic_prefix"),
    ] {
        let text = format!(r#"{{"{key}":"x"}}"#);
        let says = [
            format!("Unknown setting '{key}'"),
            format!("Did you mean '{near}'?"),
        ];
        refused(
            &text,
            &[&says[0], &says[1], "the array given to the Broker"],
        );
    }
    refused(
        r#"{"completely_different":1}"#,
        &["Known settings: ", "topic_prefix"],
    );
    refused(
        r#"{"security":{"user":"x"}}"#,
        &["security", "Unknown setting 'user'"],
    );
}

/// All keys of the configurations that both generations of the framework ship.
#[test]
fn the_configuration_shipped_by_toporia_is_accepted() {
    let shipped = r#"{"default_transport":"memory","default_broker":null,"transports":{"memory":{"driver":"memory"}},
        "brokers":{"redis":{"driver":"redis","host":"127.0.0.1"},"postgres":{"driver":"postgres"},
        "kafka":{"driver":"kafka","client":"auto","brokers":["localhost:9092"],"topic_prefix":"realtime",
        "consumer_group":"realtime-servers","circuit_breaker_threshold":5,"circuit_breaker_timeout":60,
        "topic_strategy":"grouped","topic_mapping":[],"default_topic":"realtime","default_partitions":10,
        "manual_commit":false,"async_queue":true,"producer_pool":false,"pool_size":4,"shared_memory":false,
        "shared_queue_name":"q","shared_queue_max_size":1,"shared_queue_ttl":1,"queue_max_size":1,"batch_size":1000,
        "buffer_size":1000,"flush_interval_ms":50,"dlq_enabled":true,"dlq_prefix":"dlq","dlq_max_retries":5,
        "producer_config":{"security.protocol":"plaintext","compression.type":"lz4","batch.size":"131072",
        "linger.ms":"5","acks":"1","max.in.flight.requests.per.connection":"10"},
        "consumer_config":{"auto.offset.reset":"earliest","session.timeout.ms":"30000","max.poll.interval.ms":"300000",
        "fetch.min.bytes":"1024","fetch.wait.max.ms":"500","max.partition.fetch.bytes":"1048576",
        "security.protocol":"plaintext","metadata.max.age.ms":"300000","topic.metadata.refresh.interval.ms":"300000"}}},
        "authorizers":[],"presence":{"enabled":true},"rate_limit":{"enabled":true},"validate_input":true,
        "channel_middleware":{},"use_enhanced_pipeline":true,"rate_limiting":{"enabled":true}}"#;
    let c = resolve(shipped, None, &[]).unwrap();
    assert_eq!(c.topics.topic_for("user.1").unwrap(), "realtime");
    assert_eq!((c.max_retries, c.dlq, c.acks), (5, true, Acks::Leader));
    for key in [
        "client",
        "manual_commit",
        "circuit_breaker_timeout",
        "shared_queue_ttl",
        "buffer_size",
    ] {
        let place = format!("realtime.brokers.kafka.{key} is ignored");
        assert_eq!(
            c.debug_notes
                .iter()
                .filter(|n| n.starts_with(&place))
                .count(),
            1,
            "{key}"
        );
    }
    assert_eq!(c.warnings.len(), 1, "{:?}", c.warnings);
    let consumer = c.consumer_properties();
    assert!(consumer.contains(&("session.timeout.ms".to_owned(), "30000".to_owned())));
    assert!(from(r#"{"driver":"kafka-improved","client":"rdkafka"}"#).is_ok());
}
