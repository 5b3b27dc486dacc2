//! Settings that the brokers cannot serve are errors, and no wait is silent.

use std::time::{Duration, Instant};

use super::Consumer;
use crate::config::{testing, Value};
use crate::error::{Error, Kind};
use crate::kafka::embedded::EmbeddedCluster;
use crate::runtime;
use crate::topic::TopicFilter;

/// API key of ConsumerGroupHeartbeat.
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;

struct Listener;

impl super::rebalance::RebalanceListener for Listener {
    type Abort = Error;

    fn assigned(&self, _: &[(String, i32)]) -> Result<(), Error> {
        Ok(())
    }

    fn revoked(&self, _: &[(String, i32)], _: bool) -> Result<(), Error> {
        Ok(())
    }
}

fn consumer(brokers: &str, properties: &[(&str, &str)], topic: &str) -> Consumer {
    let properties = properties
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
        .collect();
    let config = testing::config(&[
        ("brokers", Value::from(brokers)),
        ("consumer_group", Value::from(topic)),
        ("consumer_config", Value::Map(properties)),
    ]);
    let filters = vec![TopicFilter::Exact(topic.to_owned())];
    let consumer = Consumer::start(&config, &filters, false).expect("a consumer");
    consumer
        .subscribe(filters, String::new())
        .expect("a subscription");
    consumer
}

/// Runs the consumer until it reports a fatal error.
fn fatal_error(consumer: &Consumer) -> Error {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        consumer.fetch(Duration::from_millis(50), 10);
        consumer.serve_events(&Listener).expect("no abort");
        while consumer.next().is_some() {}
        if let Some(error) = consumer.take_fatal_error() {
            return error;
        }
    }
    panic!("no error: {:?}", consumer.waiting.last_error());
}

#[test]
fn a_broker_without_the_consumer_group_protocol_is_an_error_with_the_way_out() {
    let cluster = EmbeddedCluster::start("127.0.0.1", 0).expect("a cluster");
    cluster.create_topic("kip848", 1).expect("a topic");
    cluster.set_api_versions(CONSUMER_GROUP_HEARTBEAT, 0, 0);
    let consumer = consumer(
        cluster.address(),
        &[("group.protocol", "consumer")],
        "kip848",
    );
    let error = fatal_error(&consumer);
    assert_eq!(error.kind(), Kind::Configuration);
    for part in [
        "kip848",
        "KIP-848",
        "Remove \"group.protocol\"",
        "Kafka 4.0",
    ] {
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn an_offset_reset_policy_of_error_ends_the_consumer() {
    let cluster = EmbeddedCluster::start("127.0.0.1", 0).expect("a cluster");
    cluster.create_topic("noreset", 1).expect("a topic");
    let consumer = consumer(
        cluster.address(),
        &[("auto.offset.reset", "error")],
        "noreset",
    );
    let error = fatal_error(&consumer);
    assert_eq!(error.kind(), Kind::Configuration);
    assert!(error.message().contains("auto.offset.reset"), "{error}");
}

#[test]
fn a_wait_is_logged_after_ten_seconds_and_shown_as_the_last_error() {
    let consumer = consumer("127.0.0.1:1", &[], "unreachable");
    consumer.report_wait(1_000);
    consumer.report_wait(10_999);
    assert_eq!(consumer.waiting.last_error(), None);
    consumer.report_wait(11_000);
    let reason = consumer.waiting.last_error().expect("a reason");
    assert!(
        reason.contains("\"unreachable\" is waiting for Kafka at 127.0.0.1:1"),
        "{reason}"
    );
    let logged = runtime::current().log.drain();
    assert!(
        logged
            .iter()
            .any(|line| line.text == format!("{reason} (for 10 s).")),
        "{logged:?}"
    );
    consumer.begin();
    assert_eq!(consumer.waiting.last_error(), None);
}

#[test]
fn a_wait_for_many_missing_topics_names_the_first_ten() {
    let consumer = consumer("127.0.0.1:1", &[], "missing");
    consumer.stats.reachability.on_response(3, false);
    let missing = |count: usize| -> Vec<String> {
        (0..count)
            .map(|number| format!("topic{number:02}"))
            .collect()
    };
    let all = consumer.waiting.reason_for(&missing(10));
    assert!(all.ends_with("topic08, topic09"), "{all}");
    let first = consumer.waiting.reason_for(&missing(300));
    assert!(first.ends_with("topic00, topic01, topic02, topic03, topic04, topic05, topic06, topic07, topic08, topic09 \
         and 290 more"), "{first}");
}

#[test]
fn an_idle_consumer_of_many_partitions_waits_longer_in_kafka_until_a_record_comes() {
    let kafka = EmbeddedCluster::start("127.0.0.1", 0).expect("a cluster");
    kafka.create_topic("idle", 120).expect("a topic");
    let consumer = consumer(kafka.address(), &[], "idle");
    let fetch_wait = &consumer.assignment.fetch_wait;
    let short = fetch_wait.ms();
    // As with Apache Kafka.
    fetch_wait.short.set(short.clone()).expect("unset");
    let run_until = |wanted: &dyn Fn() -> bool| {
        let until = Instant::now() + Duration::from_secs(30);
        while !wanted() && Instant::now() < until {
            consumer.fetch(Duration::from_millis(50), 10);
            consumer.serve_events(&Listener).expect("no abort");
            while let Some(record) = consumer.next() {
                let done = Instant::now;
                consumer
                    .assignment
                    .records(|all| all.complete(record.id, done));
            }
        }
        assert!(wanted(), "{}", fetch_wait.ms());
    };
    run_until(&|| fetch_wait.ms() == "500");
    run_until(&|| fetch_wait.ms() == "1000");
    let producer = crate::kafka::producer::Producer::start(testing::config(&[(
        "brokers",
        Value::from(kafka.address()),
    )]))
    .expect("a client");
    producer
        .send(&crate::message::ProducerRecord {
            id: "",
            topic: "idle",
            partition: Some(3),
            key: None,
            value: Some(b"x"),
            headers: &[],
            timestamp_ms: 0,
        })
        .expect("queued");
    run_until(&|| fetch_wait.ms() == short);
    producer.close(Instant::now() + Duration::from_secs(1));
}

#[test]
fn the_metadata_of_many_topics_is_not_read_each_second() {
    let cluster = EmbeddedCluster::start("127.0.0.1", 0).expect("a cluster");
    let config = testing::config(&[("brokers", Value::from(cluster.address()))]);
    let interval = |filters: &[TopicFilter]| {
        let consumer = Consumer::start(&config, filters, false).expect("a consumer");
        consumer
            .client
            .property("topic.metadata.refresh.interval.ms")
    };
    let topics = |count: usize| -> Vec<TopicFilter> {
        let names = (0..count).map(|n| format!("topic{n}"));
        names.map(TopicFilter::Exact).collect()
    };
    assert_eq!(interval(&topics(99)).as_deref(), Some("1000"));
    assert_eq!(interval(&topics(100)).as_deref(), Some("5000"));
    let pattern = TopicFilter::Regex("^topic".to_owned());
    assert_eq!(interval(&[pattern]).as_deref(), Some("5000"));
}
