//! Admin calls against the mock cluster.

use std::collections::BTreeMap;

use std::rc::Rc;

use super::*;
use crate::config::{testing, Value};
use crate::error::Kind;
use crate::kafka::embedded::{EmbeddedCluster, Fault, RequestKind};
use crate::kafka::producer::Producer;
use crate::message::ProducerRecord;

fn config(brokers: &str) -> Arc<BrokerConfig> {
    testing::config(&[("brokers", Value::from(brokers))])
}

fn fill(config: &Arc<BrokerConfig>, topic: &str, partitions: i32, each: usize) {
    let producer = Producer::start(Arc::clone(config)).expect("a client");
    for partition in 0..partitions {
        for n in 0..each {
            let value = format!("{partition}-{n}");
            let outgoing = ProducerRecord {
                id: &value,
                topic,
                partition: Some(partition),
                key: Some(b"key"),
                value: Some(value.as_bytes()),
                headers: &[],
                timestamp_ms: 0,
            };
            producer.send(&outgoing).expect("accepted");
        }
    }
    assert!(producer.wait_for_delivery(Instant::now() + Duration::from_secs(10)));
    producer.close(Instant::now() + Duration::from_secs(1));
}

fn keep_waiting() -> bool {
    true
}

/// Values by partition, in order.
fn read(admin: &Rc<Admin>, topic: &str, from: &[(i32, i64)]) -> BTreeMap<i32, Vec<String>> {
    let mut reader = TopicReader::start(admin, topic, from, &keep_waiting).expect("a reader");
    let mut all: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    loop {
        match reader.next(POLL_INTERVAL).expect("a step") {
            ReadStep::End => return all,
            ReadStep::Waiting => {}
            ReadStep::Record(message) => {
                let value = String::from_utf8_lossy(message.value().unwrap_or_default());
                let partition = message.origin.as_ref().expect("an origin").partition;
                all.entry(partition).or_default().push(value.into_owned());
            }
        }
    }
}

fn message(error: AdminError) -> (Kind, String) {
    match error {
        AdminError::Error(error) => (error.kind(), error.message().to_owned()),
        AdminError::Interrupted => panic!("interrupted"),
    }
}

#[test]
fn a_topic_is_read_from_its_beginning_to_its_end() {
    let kafka = EmbeddedCluster::start("127.0.0.1", 0).expect("an embedded broker");
    assert!(kafka.create_topic("three", 3).expect("a topic"));
    assert!(!kafka.create_topic("three", 3).expect("the same topic"));
    let config = config(kafka.address());
    fill(&config, "three", 2, 700);
    let admin = Rc::new(Admin::start(&config).expect("a client"));
    let offset_ranges = offsets::of_topic(&admin, "three", &keep_waiting).expect("offsets");
    let range = |partition, end| OffsetRange {
        partition,
        beginning: 0,
        end,
    };
    assert_eq!(offset_ranges, [range(0, 700), range(1, 700), range(2, 0)]);
    for _ in 0..2 {
        let all = read(&admin, "three", &[]);
        for partition in 0..2 {
            let expected: Vec<String> = (0..700).map(|n| format!("{partition}-{n}")).collect();
            assert_eq!(all[&partition], expected);
        }
    }
    let rest = read(&admin, "three", &[(0, 698), (1, 700), (2, 9)]);
    assert_eq!(
        rest,
        BTreeMap::from([(0, vec!["0-698".to_owned(), "0-699".to_owned()])])
    );
    drop(admin);
    kafka.stop();
}

#[test]
fn records_written_after_the_start_are_excluded_and_a_reader_can_be_dropped_at_any_time() {
    let kafka = EmbeddedCluster::start("127.0.0.1", 0).expect("an embedded broker");
    kafka.create_topic("one", 1).expect("a topic");
    let config = config(kafka.address());
    fill(&config, "one", 1, 500);
    let admin = Rc::new(Admin::start(&config).expect("a client"));
    let mut reader = TopicReader::start(&admin, "one", &[], &keep_waiting).expect("a reader");
    fill(&config, "one", 1, 100);
    let mut count = 0;
    loop {
        match reader.next(POLL_INTERVAL).expect("a step") {
            ReadStep::End => break,
            ReadStep::Waiting => {}
            ReadStep::Record(_) => count += 1,
        }
    }
    assert_eq!(count, 500);
    drop(reader);
    let mut reader = TopicReader::start(&admin, "one", &[], &keep_waiting).expect("a reader");
    while !matches!(
        reader.next(POLL_INTERVAL).expect("a step"),
        ReadStep::Record(_)
    ) {}
    drop(reader);
    // The client closes although fetched records are left.
    drop(admin);
    kafka.stop();
}

#[test]
fn topics_are_listed_by_pattern_without_creating_any() {
    let kafka = EmbeddedCluster::start("127.0.0.1", 0).expect("an embedded broker");
    for (topic, partitions) in [("user.1", 1), ("user.2", 2), ("order", 1)] {
        kafka.create_topic(topic, partitions).expect("a topic");
    }
    let admin = Admin::start(&config(kafka.address())).expect("a client");
    let names = |pattern| -> Vec<String> {
        let topics = topics::list(&admin, pattern, &keep_waiting).expect("topics");
        topics.into_iter().map(|topic| topic.name).collect()
    };
    assert_eq!(names(None), ["order", "user.1", "user.2"]);
    assert_eq!(names(Some("user.*")), ["user.1", "user.2"]);
    assert_eq!(names(Some("order")), ["order"]);
    assert!(names(Some("missing")).is_empty());
    let (kind, text) = message(offsets::of_topic(&admin, "missing", &keep_waiting).unwrap_err());
    assert_eq!(kind, Kind::UnknownTopic);
    assert!(text.contains("\"missing\""), "{text}");
    assert_eq!(names(None).len(), 3, "nothing was created by asking");
    drop(admin);
    kafka.stop();
}

#[test]
fn unsupported_operations_are_refused_and_transient_faults_are_retried() {
    let kafka = EmbeddedCluster::start("127.0.0.1", 0).expect("an embedded broker");
    kafka.create_topic("one", 1).expect("a topic");
    let config = config(kafka.address());
    fill(&config, "one", 1, 3);
    let admin = Rc::new(Admin::start(&config).expect("a client"));
    for error in [
        topics::delete(&admin, "one", &keep_waiting).unwrap_err(),
        offsets::at_time(&admin, "one", 0, &keep_waiting).unwrap_err(),
        offsets::delete_records(&admin, "one", &[(0, 1)], &keep_waiting).unwrap_err(),
    ] {
        let (kind, text) = message(error);
        assert_eq!(kind, Kind::Configuration, "{text}");
        assert!(text.contains("embedded broker"), "{text}");
    }
    for (request, fault) in [
        ("Metadata", "_TRANSPORT"),
        ("ListOffsets", "NOT_LEADER_FOR_PARTITION"),
        ("Fetch", "_TRANSPORT"),
    ] {
        let request = RequestKind::parse(request).expect("a request");
        kafka
            .fail_next(request, Fault::parse(fault).expect("a fault"), 1)
            .expect("a broker that runs");
    }
    assert_eq!(read(&admin, "one", &[]).get(&0).map(Vec::len), Some(3));
    drop(admin);
    kafka.stop();
}

#[test]
fn a_call_can_be_interrupted_and_the_error_names_the_unreachable_broker() {
    let admin = Admin::start(&config("127.0.0.1:1")).expect("a client");
    let started = Instant::now();
    assert!(matches!(
        topics::list(&admin, None, &|| started.elapsed()
            < Duration::from_millis(200)),
        Err(AdminError::Interrupted)
    ));
    assert!(started.elapsed() < Duration::from_secs(2));
    let (kind, text) = message(topics::list(&admin, None, &keep_waiting).unwrap_err());
    assert_eq!(kind, Kind::Connection);
    assert!(
        text.contains("127.0.0.1:1") && text.contains("refused"),
        "{text}"
    );
    assert!(started.elapsed() < Duration::from_secs(13));
}

#[test]
fn the_embedded_broker_describes_cluster_topics_and_committed_offsets() {
    let kafka = EmbeddedCluster::start("127.0.0.1", 0).expect("an embedded broker");
    let without_topics = Admin::start(&config(kafka.address())).expect("a client");
    let none = groups::committed(&without_topics, "nobody", &keep_waiting);
    assert!(none.expect("no offsets").is_empty());
    drop(without_topics);
    for (topic, partitions) in [("one", 1), ("two", 2)] {
        kafka.create_topic(topic, partitions).expect("a topic");
    }
    let config = config(kafka.address());
    fill(&config, "two", 2, 3);
    let admin = Admin::start(&config).expect("a client");
    let cluster = topics::cluster(&admin, &keep_waiting).expect("a cluster");
    assert!(cluster.id.is_some_and(|id| client::is_mock(&id)));
    assert_eq!(cluster.brokers.len(), 1);
    assert!(kafka
        .address()
        .ends_with(&format!(":{}", cluster.brokers[0].port)));
    let names: Vec<String> = ["two", "missing", "one", "two"].map(str::to_owned).to_vec();
    let found = offsets::of_topics(&admin, &names, &keep_waiting).expect("offsets");
    let found: Vec<_> = found
        .iter()
        .map(|of| {
            (
                of.topic.as_str(),
                of.error.is_none(),
                of.offset_ranges.len(),
            )
        })
        .collect();
    assert_eq!(found, [("one", true, 1), ("two", true, 2)]);
    let none = groups::committed(&admin, "nobody", &keep_waiting).expect("no offsets");
    assert!(none.is_empty());
    let several =
        groups::committed_of_all(&admin, &["b".to_owned(), "a".to_owned()], &keep_waiting)
            .expect("no offsets");
    let names: Vec<_> = several.iter().map(|of| of.group.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let (kind, _) = message(groups::committed(&admin, "", &keep_waiting).unwrap_err());
    assert_eq!(kind, Kind::Configuration);
    for error in [
        groups::list(&admin, &keep_waiting).unwrap_err(),
        groups::describe(&admin, "a", &keep_waiting).unwrap_err(),
        topics::config(&admin, "one", &keep_waiting).unwrap_err(),
        topics::create_partitions(&admin, "one", 2, &keep_waiting).unwrap_err(),
        topics::authorized_operations(&admin, &["one".to_owned()], &keep_waiting).unwrap_err(),
    ] {
        let (kind, text) = message(error);
        assert_eq!(kind, Kind::Configuration, "{text}");
        assert!(text.contains("embedded broker"), "{text}");
    }
    drop(admin);
    kafka.stop();
}
