//! Why the clients of the `rdkafka` crate are not used: each test shows a reason that a comment of this module gives.
//! Where one fails with a newer crate, that client may do.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::AdminClient;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaType;
use rdkafka::ClientConfig;

use super::{partitions_of, Conf};
use crate::spool::tests::Child;

/// Events that the crate has passed on to the application.
#[derive(Clone, Default)]
struct Seen {
    lines: Arc<AtomicUsize>,
    errors: Arc<AtomicUsize>,
    token_requests: Arc<AtomicUsize>,
}

impl ClientContext for Seen {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _line: &str) {
        self.lines.fetch_add(1, Ordering::SeqCst);
    }

    fn error(&self, _error: KafkaError, _reason: &str) {
        self.errors.fetch_add(1, Ordering::SeqCst);
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.token_requests.fetch_add(1, Ordering::SeqCst);
        Err("there is none".into())
    }
}

impl ConsumerContext for Seen {}

/// A client of a port that no broker listens on.
fn start<C: FromClientConfigAndContext<Seen>>(properties: &[(&str, &str)]) -> (C, Seen) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:1");
    config.set_log_level(RDKafkaLogLevel::Debug);
    for (name, value) in properties {
        config.set(*name, *value);
    }
    let seen = Seen::default();
    let client = config.create_with_context(seen.clone());
    (client.expect("a client"), seen)
}

fn poll_until(consumer: &BaseConsumer<Seen>, count: &AtomicUsize) -> bool {
    let until = Instant::now() + Duration::from_secs(5);
    while count.load(Ordering::SeqCst) == 0 && Instant::now() < until {
        drop(consumer.poll(Duration::from_millis(20)));
    }
    count.load(Ordering::SeqCst) > 0
}

#[test]
fn log_lines_of_the_crates_client_wait_until_it_is_polled() {
    let (consumer, seen) = start::<BaseConsumer<Seen>>(&[("debug", "all")]);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(seen.lines.load(Ordering::SeqCst), 0);
    assert!(poll_until(&consumer, &seen.lines), "they were written");
}

#[test]
fn the_crates_admin_client_sees_no_errors_of_its_client() {
    let bound = Duration::from_millis(100);
    let (admin, unseen) = start::<AdminClient<Seen>>(&[("debug", "all")]);
    let (consumer, seen) = start::<BaseConsumer<Seen>>(&[]);
    let _ = admin.inner().fetch_metadata(None, bound);
    let _ = consumer.fetch_metadata(None, bound);
    assert!(poll_until(&consumer, &seen.errors), "the port is closed");
    assert_eq!(unseen.errors.load(Ordering::SeqCst), 0);
    assert_eq!(unseen.lines.load(Ordering::SeqCst), 0);
}

#[test]
fn the_crates_admin_client_is_not_asked_for_tokens() {
    let sasl = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "OAUTHBEARER"),
    ];
    let (_admin, unasked) = start::<AdminClient<Seen>>(&sasl);
    let (consumer, asked) = start::<BaseConsumer<Seen>>(&sasl);
    assert!(poll_until(&consumer, &asked.token_requests), "it is polled");
    assert_eq!(unasked.token_requests.load(Ordering::SeqCst), 0);
}

#[test]
fn the_crates_client_hangs_in_a_forked_child_when_it_is_dropped() {
    let (consumer, _) = start::<BaseConsumer<Seen>>(&[]);
    let mut conf = Conf::silent();
    let set = conf.set("bootstrap.servers", "127.0.0.1:1", "consumer_config");
    set.expect("a known property");
    let own = conf.into_client(RDKafkaType::RD_KAFKA_CONSUMER);
    let own = own.expect("a client");
    let mut consumer = Some(consumer);
    let child = Child::run(|| drop(consumer.take()));
    assert_eq!(Child::run(|| drop(own)).wait(), 0, "ours is left alone");
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.is_running());
    child.kill();
    assert_eq!(child.wait(), -libc::SIGKILL);
}

#[test]
fn the_crates_consumer_is_assigned_nothing_without_a_group() {
    let (consumer, _) = start::<BaseConsumer<Seen>>(&[]);
    let refused = consumer.assign(&partitions_of(&[("one", 0)]));
    assert!(refused.is_err());
}
