//! From Kafka to the sockets: a sender in a process of its own, a real Kafka (or the embedded broker), a gateway here, readers in a
//! third process. Ages are from the sender's call to the reader's read, so the way into Kafka is among them.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use toporia_realtime::config::{BrokerConfig, Environment, Layers, Value};
use toporia_realtime::gateway::Gateway;
use toporia_realtime::ids;
use toporia_realtime::kafka::producer::{Outgoing, Producer};
use toporia_realtime::message::{write_end, write_event};

use crate::contenders::settings;
use crate::meter::{self, cpu, Row};
use crate::readers::Readers;

const CHANNEL: &str = "public.bench";
/// Deliveries a second that the goal is about.
const DELIVERIES: usize = 20_000;
const SECONDS: usize = 10;

struct Nothing;

impl Environment for Nothing {
    fn var(&self, _: &str) -> Option<String> {
        None
    }

    fn ini(&self, _: &str) -> Option<String> {
        None
    }
}

fn config(brokers: &str, prefix: &str) -> Arc<BrokerConfig> {
    let map = Value::Map(vec![
        ("brokers".to_owned(), Value::from(brokers)),
        ("topic_prefix".to_owned(), Value::from(prefix)),
    ]);
    let layers = Layers {
        constructor: Some(&map),
        configured: None,
        env: &Nothing,
    };
    let mut config = BrokerConfig::resolve(None, &layers).expect("a configuration");
    // What waits for company before it is sent is not Kafka's time.
    config.producer_overrides.set("linger.ms", "0");
    Arc::new(config)
}

/// Subscribers and records a second, each twenty thousand deliveries a second.
pub fn run(brokers: &str) {
    println!("\nFrom the sender through Kafka at {brokers} to sockets, {DELIVERIES} deliveries a second for {SECONDS} s");
    let mut rows = Vec::new();
    for subscribers in [500_usize, 100, 20] {
        let prefix = format!("bench-{}", ids::unix_ms());
        let config = config(brokers, &prefix);
        let gateway = Gateway::start(settings(), &config).expect("a gateway");
        let readers = Readers::start(&gateway.address().to_string(), subscribers, 0);
        let per_second = DELIVERIES / subscribers;
        // The topic is made, and every connection is warm.
        send_elsewhere(brokers, &prefix, 50, 2);
        let _ = readers.report();
        let before = cpu();
        send_elsewhere(brokers, &prefix, per_second, SECONDS);
        std::thread::sleep(Duration::from_millis(300));
        let used = cpu() - before;
        let ages = readers.report();
        let frames = (per_second * SECONDS * subscribers) as f64;
        rows.push(Row {
            name: "",
            cells: vec![
                subscribers.to_string(),
                per_second.to_string(),
                format!("{:.2}", ages.p50),
                format!("{:.2}", ages.p99),
                format!("{:.1}", ages.most),
                format!("{:.2}", used * 1e6 / frames),
            ],
        });
        drop(readers);
        gateway.stop(Duration::from_millis(500));
    }
    meter::table(
        &[
            "",
            "subscribers",
            "records/s",
            "p50 ms",
            "p99 ms",
            "max ms",
            "µs CPU/frame",
        ],
        &rows,
    );
}

fn send_elsewhere(brokers: &str, prefix: &str, per_second: usize, seconds: usize) {
    let program = std::env::current_exe().expect("own path");
    let (rate, time) = (per_second.to_string(), seconds.to_string());
    let status = Command::new(program)
        .args(["sender", brokers, prefix, &rate, &time])
        .status()
        .expect("the sender starts");
    assert!(status.success());
}

/// The process that sends.
pub fn send(brokers: &str, prefix: &str, per_second: &str, seconds: &str) {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let (rate, seconds) = (number(per_second), number(seconds));
    let config = config(brokers, prefix);
    let producer = Producer::start(Arc::clone(&config)).expect("a producer");
    let topic = config.topics.topic_for(CHANNEL).expect("a topic");
    let begun = Instant::now();
    for n in 0..rate * seconds {
        let due = Duration::from_nanos(n * 1_000_000_000 / rate);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let id = ids::new_id_bytes();
        let mut value = Vec::with_capacity(400);
        write_event(&mut value, &id, CHANNEL, "order.created");
        value.extend_from_slice(b",\"data\":");
        value.extend_from_slice(crate::data(crate::NOTE).as_bytes());
        write_end(&mut value, 1);
        let id = String::from_utf8_lossy(&id).into_owned();
        let sent = producer.send(&Outgoing {
            id: &id,
            topic: &topic,
            partition: None,
            key: Some(CHANNEL.as_bytes()),
            value: Some(&value),
            headers: &[],
            timestamp_ms: 0,
        });
        sent.expect("accepted");
    }
    producer.close(Instant::now() + Duration::from_secs(10));
}
