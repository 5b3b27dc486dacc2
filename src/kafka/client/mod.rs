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
mod partitions;
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
#[cfg(test)]
mod tests;

use std::ffi::{c_void, CString};

pub(crate) use admin::AdminRequests;
pub use admin::NewTopic;
pub(crate) use admin_results::DescribedTopic;
pub use admin_results::{
    BrokerNode, ClusterDescription, GroupDescription, GroupListing, GroupMember,
};
pub use conf::Conf;
pub(in crate::kafka) use conf::LogLines;
pub(crate) use errors::REFUSED_BATCH;
pub use errors::{describe, error_names, is_permanent, is_refused, is_undeliverable, to_error};
use errors::{raw_code, take_error};
pub use handle::{Client, NativeClient};
pub(in crate::kafka) use handle::{IMMEDIATE, NO_CONSUMER_CLOSE};
pub(in crate::kafka) use membership::{CallError, ConsumerEvents, GroupMetadata};
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
pub(in crate::kafka) use partitions::entries;
pub(crate) use partitions::{offsets_of, partitions_of, AssignedPartitions, PartitionEntry};
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
