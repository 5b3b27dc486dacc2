//! Safe functions around librdkafka's C API, and what the `rdkafka` crate has of it: error codes, partition lists and
//! native configurations. Only the files here call the C API.
//!
//! The crate's own clients (`Client`, and with it `BaseConsumer`, `BaseProducer` and `AdminClient`) are not used:
//! `Client::new` sends log lines to the client's main queue, where they pile up until the application polls, and a PHP
//! process may not do that for hours; and their `Drop` destroys the client, which hangs in a forked child.

mod admin;
mod admin_results;
mod conf;
mod errors;
mod handle;
mod membership;
mod message;
mod metadata;
mod mock;
mod network;
mod owned;
#[cfg(target_os = "linux")]
mod wrapped;
#[cfg(not(target_os = "linux"))]
mod wrapped {
    pub(super) fn with_one_read<R>(queue: impl FnOnce() -> R) -> R {
        queue()
    }
}
mod queue;
mod reports;

use std::ffi::{c_void, CString};

pub(in crate::kafka) use admin::group_members;
pub(crate) use admin::AdminRequests;
pub use admin::NewTopic;
pub(crate) use admin_results::DescribedTopic;
pub use admin_results::{
    BrokerNode, ClusterDescription, GroupDescription, GroupListing, GroupMember,
};
pub use conf::Conf;
pub(in crate::kafka) use conf::{ConsumerEvents, LogLines};
pub(crate) use errors::REFUSED_BATCH;
pub use errors::{describe, error_names, is_permanent, is_refused, is_undeliverable, to_error};
use errors::{raw_code, take_error};
pub use handle::{Client, NativeClient};
pub(in crate::kafka) use handle::{IMMEDIATE, NO_CONSUMER_CLOSE};
pub(in crate::kafka) use membership::{CallError, GroupMetadata};
pub(crate) use message::{produce, Outgoing};
pub use message::{KafkaMessage, NativeMessage, NativeMessageId};
pub(crate) use metadata::{
    brokers, cluster_id_of_idle, keyed_partitioner, known_watermarks, metadata, query_watermarks,
    request_metadata, topic_names, NativePartitioner, Partitioner, TopicHandle,
};
pub use metadata::{PartitionInfo, TopicInfo};
pub(in crate::kafka) use mock::MockCluster;
#[cfg(test)]
pub(crate) use network::connectivity;
pub(in crate::kafka) use owned::entries;
pub(crate) use owned::{offsets_of, partitions_of, AssignedPartitions, PartitionEntry};
pub(crate) use queue::{ClientEvent, EventQueue};
pub use reports::Reachability;
pub(in crate::kafka) use reports::{OnAcknowledgement, ProducedMessage};

/// librdkafka's version, such as `2.12.1`.
#[must_use]
pub fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}

/// The features librdkafka was built with, comma separated (`ssl,zstd,sasl_scram,…`).
#[must_use]
pub fn features() -> String {
    let built = Conf::empty().get("builtin.features").unwrap_or_default();
    // It lists Kerberos whether built in or not; our build has none.
    let real: Vec<&str> = built
        .split(',')
        .filter(|name| *name != "sasl_gssapi")
        .collect();
    real.join(",")
}

/// A C string. Topic and property names are validated beforehand; anything after an inner NUL is dropped.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

/// A pointer that librdkafka passes back to a callback.
pub(crate) fn opaque<T>(value: *const T) -> *mut c_void {
    value.cast_mut().cast()
}

/// True for the cluster id of an embedded broker, in this process or another.
pub(crate) fn is_mock(cluster_id: &str) -> bool {
    cluster_id.starts_with("mockCluster")
}

#[cfg(test)]
mod tests {
    //! Why the clients of the `rdkafka` crate are not used: each test shows a reason that a comment of this module
    //! gives. Where one fails with a newer crate, that client may do.

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

        fn generate_oauth_token(
            &self,
            _config: Option<&str>,
        ) -> Result<OAuthToken, Box<dyn Error>> {
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
}
