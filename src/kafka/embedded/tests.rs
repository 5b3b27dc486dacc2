//! Parsing of request and error names, and a transaction on the mock cluster, which exactly-once depends on.

use std::time::{Duration, Instant};

use super::*;
use crate::kafka::client::{produce, CallError, Client, Conf, Outgoing, TopicHandle};
use rdkafka::types::RDKafkaType;

#[test]
fn requests_and_errors_are_parsed_by_kafka_name_in_any_case() {
    assert_eq!(
        RequestKind::parse("produce").unwrap(),
        RequestKind::parse("Produce").unwrap()
    );
    for name in ["NOT_LEADER_FOR_PARTITION", "not_leader_or_follower"] {
        assert_eq!(
            Fault::parse(name).unwrap(),
            Fault::parse("RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION").unwrap()
        );
    }
    for name in [
        "_TRANSPORT",
        "unknown_topic_or_partition",
        "PRODUCER_FENCED",
    ] {
        Fault::parse(name).unwrap();
    }
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    let message_of = |error: Error| error.message().to_owned();
    let message = message_of(RequestKind::parse("OfsetCommit").unwrap_err());
    assert!(
        message.contains("Did you mean \"OffsetCommit\"?"),
        "{message}"
    );
    let message = message_of(Fault::parse("NOT_LEADER_FOR_PARTITON").unwrap_err());
    assert!(
        message.contains("Did you mean \"NOT_LEADER_FOR_PARTITION\"?"),
        "{message}"
    );
    let message = message_of(Fault::parse("_TIMED_OUT").unwrap_err());
    assert!(message.contains("setLatency()"), "{message}");
    assert!(Fault::parse("NO_ERROR").is_err());
}

fn transactional(address: &str) -> Client {
    let mut conf = Conf::empty();
    for (name, value) in [
        ("bootstrap.servers", address),
        ("transactional.id", "tests"),
        ("linger.ms", "0"),
    ] {
        conf.set(name, value, "test").unwrap();
    }
    let client = conf.into_client(RDKafkaType::RD_KAFKA_PRODUCER).unwrap();
    expect(client.init_transactions(TEN_SECONDS));
    client
}

const TEN_SECONDS: Duration = Duration::from_secs(10);

fn expect(result: std::result::Result<(), CallError>) {
    let reason = result.err().map(|error| error.reason);
    assert_eq!(reason, None);
}

fn send(client: &Client, topic: &str, value: &str) {
    let handle = TopicHandle::new(client, topic).unwrap();
    let message = Outgoing {
        partition: Some(0),
        key: None,
        value: Some(value.as_bytes()),
        headers: &[],
        timestamp_ms: 0,
        opaque: 0,
    };
    assert_eq!(produce(&handle, &message), Code::NoError);
}

#[test]
fn transactions_are_answered_and_survive_faults() {
    let embedded = EmbeddedCluster::start("127.0.0.1", 0).unwrap();
    embedded.create_topic("t", 1).unwrap();
    let fail = |request, fault| {
        let (request, fault) = (
            RequestKind::parse(request).unwrap(),
            Fault::parse(fault).unwrap(),
        );
        embedded.fail_next(request, fault, 1).unwrap();
    };
    fail("InitProducerId", "COORDINATOR_LOAD_IN_PROGRESS");
    let producer = transactional(embedded.address());
    expect(producer.begin_transaction());
    fail("AddPartitionsToTxn", "CONCURRENT_TRANSACTIONS");
    fail("EndTxn", "NOT_COORDINATOR");
    send(&producer, "t", "committed");
    expect(producer.commit_transaction(TEN_SECONDS));
    expect(producer.begin_transaction());
    send(&producer, "t", "aborted");
    expect(producer.abort_transaction(TEN_SECONDS));
    drop(producer);
    embedded.stop();
}

#[test]
fn a_broker_keeps_its_port_while_down() {
    let embedded = EmbeddedCluster::start("127.0.0.1", 0).unwrap();
    let reaches = || std::net::TcpStream::connect(embedded.address()).is_ok();
    assert!(reaches());
    embedded.set_up(false).unwrap();
    embedded.set_up(false).unwrap();
    assert!(!reaches());
    embedded.clear_faults().unwrap();
    let until = Instant::now() + Duration::from_secs(2);
    while !reaches() {
        assert!(Instant::now() < until, "it did not come back");
        std::thread::sleep(Duration::from_millis(10));
    }
    embedded.stop();
    assert!(embedded.set_up(true).is_err());
}
