//! Parsing of request and error names, and a transaction on the mock cluster, which exactly-once depends on.
#![allow(unsafe_code)]

use std::time::{Duration, Instant};

use super::*;
use crate::kafka::client::take_error;

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

/// A transactional producer on the C API.
struct Transactional(*mut sys::rd_kafka_t);

impl Transactional {
    fn start(address: &str) -> Self {
        let mut conf = Conf::empty();
        for (name, value) in [
            ("bootstrap.servers", address),
            ("transactional.id", "tests"),
            ("linger.ms", "0"),
        ] {
            conf.set(name, value, "test").unwrap();
        }
        let client = conf
            .into_client(sys::bindings::rd_kafka_type_t::RD_KAFKA_PRODUCER)
            .unwrap();
        let own = Self(client);
        // SAFETY: a live client.
        own.expect(unsafe { sys::rd_kafka_init_transactions(client, 10_000) });
        own
    }

    fn expect(&self, error: *mut sys::rd_kafka_error_t) {
        // SAFETY: the error is owned here.
        let error = unsafe { take_error(error) };
        assert!(error.is_none(), "{error:?} of {:?}", self.0);
    }

    fn send(&self, topic: &str, value: &str) {
        let name = client::c_string(topic);
        // SAFETY: live objects; the value is copied (flag 2), and the handle dropped.
        unsafe {
            let handle = sys::rd_kafka_topic_new(self.0, name.as_ptr(), std::ptr::null_mut());
            let status = sys::rd_kafka_produce(
                handle,
                0,
                2,
                value.as_ptr().cast_mut().cast(),
                value.len(),
                std::ptr::null(),
                0,
                std::ptr::null_mut(),
            );
            assert_eq!(status, 0);
            sys::rd_kafka_topic_destroy(handle);
        }
    }
}

impl Drop for Transactional {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_destroy(self.0) };
    }
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
    let producer = Transactional::start(embedded.address());
    // SAFETY: a live client.
    unsafe {
        producer.expect(sys::rd_kafka_begin_transaction(producer.0));
        fail("AddPartitionsToTxn", "CONCURRENT_TRANSACTIONS");
        fail("EndTxn", "NOT_COORDINATOR");
        producer.send("t", "committed");
        producer.expect(sys::rd_kafka_commit_transaction(producer.0, 10_000));
        producer.expect(sys::rd_kafka_begin_transaction(producer.0));
        producer.send("t", "aborted");
        producer.expect(sys::rd_kafka_abort_transaction(producer.0, 10_000));
    }
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
