//! Producer clients against the embedded broker: fatal errors, many clients, an unreachable broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pool::ProducerPool;
use super::Producer;
use crate::config::{testing, BrokerConfig, Value};
use crate::error::Kind;
use crate::kafka::consumer::Consumer;
use crate::kafka::embedded::EmbeddedCluster;
use crate::kafka::producer::pool::PRODUCERS;
use crate::message::ProducerRecord;
use crate::topic::TopicFilter;
use rdkafka::error::RDKafkaErrorCode as Code;

fn config(brokers: &str, more: &[(&str, Value)]) -> Arc<BrokerConfig> {
    let mut settings = vec![("brokers", Value::from(brokers))];
    settings.extend_from_slice(more);
    testing::config(&settings)
}

fn message<'a>(id: &'a str, topic: &'a str, value: &'a [u8]) -> ProducerRecord<'a> {
    ProducerRecord {
        id,
        topic,
        partition: None,
        key: Some(b"key"),
        value: Some(value),
        headers: &[],
        timestamp_ms: 0,
    }
}

/// The values in a topic with one partition, in order.
fn values(address: &str, topic: &str, expected: usize) -> Vec<String> {
    let config = config(
        address,
        &[("consumer_group", Value::from(crate::ids::new_id().as_str()))],
    );
    let consumer = Consumer::start(&config, &[], false).expect("a consumer");
    consumer
        .subscribe(vec![TopicFilter::Exact(topic.to_owned())], String::new())
        .expect("subscribed");
    let until = Instant::now() + Duration::from_secs(20);
    let mut all = Vec::new();
    while all.len() < expected && Instant::now() < until {
        consumer.fetch(Duration::from_millis(50), 1000);
        let _ = consumer.serve_events(&NoopListener);
        while let Some(record) = consumer.next() {
            all.push(String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned());
            consumer
                .assignment
                .records(|all| all.complete(record.id, Instant::now));
        }
    }
    all
}

struct NoopListener;

impl crate::kafka::consumer::rebalance::RebalanceListener for NoopListener {
    type Abort = ();

    fn assigned(&self, _: &[(String, i32)]) -> Result<(), ()> {
        Ok(())
    }

    fn revoked(&self, _: &[(String, i32)], _: bool) -> Result<(), ()> {
        Ok(())
    }
}

#[test]
fn a_client_with_a_fatal_error_is_replaced_without_loss() {
    let kafka = EmbeddedCluster::start("127.0.0.1", 0).expect("an embedded broker");
    kafka.create_topic("fatal", 1).expect("a topic");
    let config = config(kafka.address(), &[]);
    let pool = PRODUCERS.current();
    let first = pool.get(&config).expect("a client");
    let sent: Vec<String> = (0..200).map(|n| format!("{n}")).collect();
    for (n, value) in sent.iter().enumerate() {
        let id = format!("id-{n}");
        if n == 100 {
            let code = Code::OutOfOrderSequenceNumber;
            first.client.raise_fatal_error(code, "tried by a test");
        }
        let outgoing = message(&id, "fatal", value.as_bytes());
        let now = pool.get(&config).expect("a client");
        if now.send(&outgoing).is_err() {
            let next = pool.get(&config).expect("its successor");
            next.send(&outgoing).expect("accepted by the successor");
        }
    }
    let until = Instant::now() + Duration::from_secs(10);
    while !first.needs_replacement() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(first.needs_replacement());
    let mut arrived = values(kafka.address(), "fatal", sent.len());
    arrived.sort_by_key(|value| value.parse::<u32>().unwrap_or(0));
    // At least once: messages in flight may have been stored before they were sent again.
    arrived.dedup();
    assert_eq!(arrived, sent);
    let next = pool.get(&config).expect("its successor");
    assert!(!Arc::ptr_eq(&first, &next));
    assert_eq!(next.flush(Duration::from_secs(5)), Ok(()));
}

#[test]
fn at_most_eight_clients_least_recently_used_evicted_first() {
    let kafka = EmbeddedCluster::start("127.0.0.1", 0).expect("an embedded broker");
    let pool = ProducerPool::default();
    let with_linger = |n: i64| {
        config(
            kafka.address(),
            &[(
                "producer_config",
                Value::Map(vec![("linger.ms".into(), Value::Int(n))]),
            )],
        )
    };
    let first = pool.get(&with_linger(1)).expect("a client");
    first
        .send(&message("a", "eight", b"kept"))
        .expect("accepted");
    for n in 2..=8 {
        pool.get(&with_linger(n)).expect("a client");
    }
    assert!(Arc::ptr_eq(
        &first,
        &pool.get(&with_linger(1)).expect("the same client")
    ));
    let second = pool.get(&with_linger(2)).expect("the same client");
    assert!(!first.needs_replacement());
    let third_used_last = pool.get(&with_linger(9)).expect("a ninth");
    assert!(
        (8..=9).contains(&pool.all().len()),
        "eight, and the one that gives way"
    );
    assert!(pool
        .all()
        .iter()
        .any(|client| Arc::ptr_eq(client, &third_used_last)));
    assert!(pool.all().iter().any(|client| Arc::ptr_eq(client, &second)));
    assert_eq!(values(kafka.address(), "eight", 1), ["kept"]);
    pool.close();
}

#[test]
fn a_flush_unacknowledged_messages_are_named() {
    let config = config("127.0.0.1:1", &[]);
    let producer = Producer::start(config).expect("a client");
    producer
        .send(&message("one", "nowhere", b"1"))
        .expect("accepted");
    producer
        .send(&message("two", "nowhere", b"2"))
        .expect("accepted");
    let started = Instant::now();
    let error = producer
        .flush(Duration::from_millis(200))
        .expect_err("no broker listens");
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(error.kind(), Kind::Delivery);
    let named: Vec<&str> = error
        .failed()
        .iter()
        .map(|failed| failed.id.as_str())
        .collect();
    assert_eq!(named, ["one", "two"]);
    assert!(!producer.is_reachable());
    producer.close(Instant::now());
    assert_eq!(producer.waiting(), 0);
    let error = producer
        .flush(Duration::ZERO)
        .expect_err("they failed when it was closed");
    assert_eq!(error.failed().len(), 2);
}

#[test]
fn unreachable_clients_are_closed_within_one_time_limit() {
    let pool = ProducerPool::default();
    for port in 1..=4 {
        let config = config(&format!("127.0.0.1:{port}"), &[]);
        let producer = pool.get(&config).expect("a client");
        producer
            .send(&message("a", "nowhere", b"1"))
            .expect("accepted");
    }
    let started = Instant::now();
    pool.close();
    let took = started.elapsed();
    assert!(took < Duration::from_millis(4500), "took {took:?}");
}

#[test]
fn spooled_messages_are_sent_by_the_next_client() {
    let directory = std::env::temp_dir().join(format!("rt-spool-{}", crate::ids::new_id()));
    let spool = Value::from(directory.to_string_lossy().as_ref());
    // A port without a listener; the embedded broker is started there later.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let config = config(&format!("127.0.0.1:{port}"), &[("spool", spool)]);
    let away = Producer::start(Arc::clone(&config)).expect("a client");
    for n in 0..50 {
        let value = format!("{n}");
        away.send(&message(&format!("id-{n}"), "later", value.as_bytes()))
            .expect("accepted");
    }
    away.close(Instant::now());
    assert_eq!(
        away.spool().map(crate::spool::Spool::records_waiting),
        Some(50)
    );
    drop(away);
    let kafka = EmbeddedCluster::start("127.0.0.1", port).expect("an embedded broker");
    kafka.create_topic("later", 1).expect("a topic");
    let back = Producer::start(config).expect("a client");
    let expected: Vec<String> = (0..50).map(|n| format!("{n}")).collect();
    assert_eq!(values(kafka.address(), "later", 50), expected);
    let until = Instant::now() + Duration::from_secs(10);
    while back.spool().is_some_and(|spool| spool.files() > 0) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(back.spool().map(crate::spool::Spool::files), Some(0));
    back.close(Instant::now() + Duration::from_secs(5));
    std::fs::remove_dir_all(directory).expect("the directory of this test");
}

/// The short-cut reads librdkafka's message behind its public part: an update with another layout must not pass.
#[test]
fn a_record_without_headers_is_recognised_in_the_message_of_librdkafka() {
    let cluster = EmbeddedCluster::start("127.0.0.1", 0).expect("a cluster");
    cluster.create_topic("headers", 1).expect("a topic");
    let config = config(
        cluster.address(),
        &[("consumer_group", Value::from("headers"))],
    );
    let producer = Producer::start(Arc::clone(&config)).expect("a producer");
    let header = [("name".to_owned(), Some(b"value".to_vec()))];
    let with_header = ProducerRecord {
        headers: &header,
        ..message("b", "headers", b"{}")
    };
    let tombstone = ProducerRecord {
        value: None,
        ..message("c", "headers", b"")
    };
    for record in [message("a", "headers", b"{}"), with_header, tombstone] {
        producer.send(&record).expect("sent");
    }
    let consumer = Consumer::start(&config, &[], false).expect("a consumer");
    consumer
        .subscribe(
            vec![TopicFilter::Exact("headers".to_owned())],
            String::new(),
        )
        .expect("subscribed");
    let until = Instant::now() + Duration::from_secs(20);
    let mut found = Vec::new();
    while found.len() < 3 && Instant::now() < until {
        consumer.fetch(Duration::from_millis(50), 10);
        let _ = consumer.serve_events(&NoopListener);
        while let Some(record) = consumer.next() {
            found.push((record.is_without_headers(), record.headers().len()));
            consumer
                .assignment
                .records(|all| all.complete(record.id, Instant::now));
        }
    }
    assert_eq!(found, [(true, 0), (false, 1), (false, 0)]);
    producer.close(Instant::now() + Duration::from_secs(5));
}

#[test]
fn few_new_topics_are_opened_at_a_time_and_dropped_handles_are_opened_again() {
    let kafka = EmbeddedCluster::start("127.0.0.1", 0).expect("an embedded broker");
    let producer = Producer::start(config(kafka.address(), &[])).expect("a client");
    kafka.set_latency(200).expect("late");
    let topics: Vec<String> = (0..150).map(|n| format!("many-{n}")).collect();
    let send = |value: &[u8]| {
        for topic in &topics {
            producer.send(&message("", topic, value)).expect("queued");
        }
    };
    send(b"1");
    assert_eq!(producer.topics.lock().queued(), 100);
    // Messages of a queued topic wait in order.
    send(b"2");
    kafka.set_latency(0).expect("fast");
    producer.flush(Duration::from_secs(20)).expect("delivered");
    assert_eq!(producer.topics.lock().queued(), 0);
    // More topics than handles.
    send(b"3");
    send(b"4");
    producer.flush(Duration::from_secs(20)).expect("delivered");
    for topic in ["many-0", "many-49", "many-50", "many-149"] {
        assert_eq!(values(kafka.address(), topic, 4), ["1", "2", "3", "4"]);
    }
    producer.close(Instant::now() + Duration::from_secs(1));
}
