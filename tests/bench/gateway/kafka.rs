//! From Kafka to the sockets: a sender in a process of its own, Apache Kafka (or the embedded broker), a gateway here,
//! and readers in a third process, all on the same cores; seven of eight readers are only drained, because real clients
//! are other machines.
//!
//! The latency of an event is measured in two parts that meet where Kafka acknowledges the record: until Kafka has it,
//! and from then until it is in the client's socket.
//!
//! Each round also reports how late the machine wakes a thread that sleeps for a millisecond on an idle process: on a
//! shared host this alone may exceed the measured latency. The median and the best of the rounds are reported.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message};
use toporia_realtime::config::{BrokerConfig, Environment, Layers, Value};
use toporia_realtime::envelope::{write_end, write_event};
use toporia_realtime::gateway::Gateway;
use toporia_realtime::ids;

use crate::contenders::{settings, Contender, Raw};
use crate::meter::{self, cpu, now_ns, sorted, Percentiles, Row};
use crate::readers::{Others, Readers, Sample, LOOKS};

const CHANNEL: &str = "public.bench";
/// The target of deliveries per second.
const DELIVERIES: usize = 20_000;
const SECONDS: usize = 5;
/// The number of rounds.
const ROUNDS: usize = 9;
/// Warm-up at the same rate: a JVM compiles its hot code in the first seconds.
const WARM_UP: usize = 10;

struct Nothing;

impl Environment for Nothing {
    fn raw_var(&self, _: &str) -> Option<String> {
        None
    }

    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn warn_of_comment(&self, _: &str) {}

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
    Arc::new(BrokerConfig::resolve(None, &layers).expect("a configuration"))
}

/// Subscribers and records per second, each 20,000 deliveries per second.
pub fn run(brokers: &str) {
    println!(
        "\nThrough Kafka at {brokers} to sockets, {DELIVERIES} deliveries a second, {ROUNDS} rounds of {SECONDS} s. \
         Milliseconds: p50, median of the rounds / p99, median of the rounds / p99 of the best round"
    );
    let mut rows = Vec::new();
    for subscribers in [500_usize, 100, 20] {
        let rounds = rounds(brokers, subscribers);
        let part = |of: &dyn Fn(&Round) -> Percentiles| {
            let all: Vec<Percentiles> = rounds.iter().map(of).collect();
            let p50 = sorted(all.iter().map(|p| p.p50));
            let p99 = sorted(all.iter().map(|p| p.p99));
            format!(
                "{:.2} / {:.2} / {:.2}",
                p50[ROUNDS / 2],
                p99[ROUNDS / 2],
                p99[0]
            )
        };
        let cpu = sorted(rounds.iter().map(|r| r.cpu));
        rows.push(Row {
            name: "",
            cells: vec![
                subscribers.to_string(),
                (DELIVERIES / subscribers).to_string(),
                part(&|r| r.idle),
                part(&|r| r.to_kafka),
                part(&|r| r.to_socket),
                part(&|r| r.whole),
                part(&|r| r.raw),
                format!("{:.2}", cpu[ROUNDS / 2]),
            ],
        });
    }
    meter::table(
        &[
            "",
            "subscribers",
            "records/s",
            "the idle machine wakes a thread late by",
            "call to Kafka's acknowledgement",
            "acknowledgement to socket",
            "call to socket",
            "a loop that only writes, no Kafka",
            "µs CPU/frame",
        ],
        &rows,
    );
}

struct Round {
    idle: Percentiles,
    to_kafka: Percentiles,
    to_socket: Percentiles,
    whole: Percentiles,
    raw: Percentiles,
    /// Microseconds of CPU time per frame.
    cpu: f64,
}

fn rounds(brokers: &str, subscribers: usize) -> Vec<Round> {
    let prefix = format!("bench-{}", ids::unix_ms());
    let config = config(brokers, &prefix);
    let per_second = DELIVERIES / subscribers;
    let gateway = Gateway::start(settings(), &config).expect("a gateway");
    let readers = start(&gateway.address().to_string(), subscribers);
    let mut raw = Raw::start();
    let raw_readers = start(&raw.address(), subscribers);
    raw.settled(subscribers);
    send_elsewhere(&config, brokers, per_second, WARM_UP);
    let _ = readers.samples();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let idle = Percentiles::of((0..1000).map(|_| lateness()));
        let before = cpu();
        let acknowledged = send_elsewhere(&config, brokers, per_second, SECONDS);
        std::thread::sleep(Duration::from_millis(300));
        let used = cpu() - before;
        let samples = readers.samples();
        let events = per_second * SECONDS;
        assert_eq!(
            samples.len(),
            subscribers.div_ceil(LOOKS) * events,
            "every event arrived"
        );
        let ack = |s: &Sample| acknowledged.get(&s.called).copied().unwrap_or(s.called);
        let times = |of: &dyn Fn(&Sample) -> u64| Percentiles::of(samples.iter().map(of));
        rounds.push(Round {
            idle,
            to_kafka: times(&|s| ack(s).saturating_sub(s.called)),
            to_socket: times(&|s| s.came.saturating_sub(ack(s))),
            whole: times(&|s| s.came.saturating_sub(s.called)),
            raw: writes_only(&mut raw, &raw_readers, per_second),
            cpu: used * 1e6 / (events * subscribers) as f64,
        });
    }
    drop(readers);
    gateway.stop(Duration::from_millis(500));
    rounds
}

/// Readers; those that do not check the time leave the cores to the servers.
fn start(address: &str, subscribers: usize) -> Readers {
    Readers::start_with(address, subscribers, 0, Others::InPassing)
}

/// The delay of a sleep of one millisecond, in ns.
fn lateness() -> u64 {
    const SLEEP: Duration = Duration::from_millis(1);
    let begun = Instant::now();
    std::thread::sleep(SLEEP);
    u64::try_from(begun.elapsed().saturating_sub(SLEEP).as_nanos()).unwrap_or(u64::MAX)
}

/// The limit of the machine: the same events to as many sockets at the same pace from a loop that only writes, without
/// Kafka.
fn writes_only(raw: &mut Raw, readers: &Readers, per_second: usize) -> Percentiles {
    let begun = Instant::now();
    for n in 0..per_second * SECONDS {
        let due = Duration::from_secs_f64(n as f64 / per_second as f64);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        raw.broadcast(&crate::data(crate::NOTE));
    }
    std::thread::sleep(Duration::from_millis(300));
    let samples = readers.samples();
    Percentiles::of(samples.iter().map(|s| s.came.saturating_sub(s.called)))
}

/// Sends from a process of its own. Returns the acknowledgement time of each event, by the time of its call.
fn send_elsewhere(
    config: &BrokerConfig,
    brokers: &str,
    per_second: usize,
    seconds: usize,
) -> HashMap<u64, u64> {
    let program = std::env::current_exe().expect("own path");
    let topic = config.topics.topic_for(CHANNEL).expect("a topic");
    let (rate, time) = (per_second.to_string(), seconds.to_string());
    let output = Command::new(program)
        .args(["sender", brokers, &topic, &rate, &time])
        .stderr(Stdio::inherit())
        .output()
        .expect("the sender starts");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("numbers");
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(called, ack)| (called.parse().expect("ns"), ack.parse().expect("ns")))
        .collect()
}

/// Prints the acknowledgement time of each record.
struct Acknowledged;

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, called: Box<u64>) {
        let now = now_ns();
        let place = result.as_ref().expect("delivered");
        assert!(place.offset() >= 0);
        println!("{called} {now}");
    }
}

/// The sending process: a plain rdkafka producer without batching delay (`linger.ms=0`).
pub fn send(brokers: &str, topic: &str, per_second: &str, seconds: &str) {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let (rate, seconds) = (number(per_second), number(seconds));
    let producer: ThreadedProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("linger.ms", "0")
        .set("socket.nagle.disable", "true")
        .create_with_context(Acknowledged)
        .expect("a producer");
    let begun = Instant::now();
    for n in 0..rate * seconds {
        let due = Duration::from_nanos(n * 1_000_000_000 / rate);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let called = now_ns();
        let mut value = Vec::with_capacity(400);
        write_event(
            &mut value,
            &ids::new_id_with_time().0,
            CHANNEL,
            "order.created",
        );
        value.extend_from_slice(b",\"data\":");
        value.extend_from_slice(crate::data_of(called, crate::NOTE).as_bytes());
        write_end(&mut value, 1);
        let record = BaseRecord::with_opaque_to(topic, Box::new(called))
            .key(CHANNEL)
            .payload(&value);
        producer.send(record).map_err(|(e, _)| e).expect("accepted");
    }
    producer.flush(Duration::from_secs(10)).expect("delivered");
}
