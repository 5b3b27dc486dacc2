//! Metadata of a cluster: topics with their partitions, leaders and replicas.
#![allow(unsafe_code)]

use std::time::Duration;

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka_sys as sys;

use super::{c_string, text};

/// A topic handle. Must be dropped before its client.
pub(crate) struct TopicHandle(*mut sys::rd_kafka_topic_t);

impl TopicHandle {
    /// `client` must outlive the handle. `None`: librdkafka rejects the name.
    pub fn new(client: *mut sys::rd_kafka_t, name: &str) -> Option<Self> {
        let name = c_string(name);
        // SAFETY: the caller guarantees a live client; no topic configuration is passed.
        let raw = unsafe { sys::rd_kafka_topic_new(client, name.as_ptr(), std::ptr::null_mut()) };
        (!raw.is_null()).then_some(Self(raw))
    }

    pub fn raw(&self) -> *mut sys::rd_kafka_topic_t {
        self.0
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_topic_destroy(self.0) };
    }
}

/// A topic of the cluster.
#[derive(Debug, Clone)]
pub struct TopicInfo {
    pub name: String,
    /// `NO_ERROR`, or the reason why nothing else is known.
    pub error: Code,
    /// The partitions, sorted by their id.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    pub id: i32,
    /// Node id of the leader; -1 for none.
    pub leader: i32,
    /// Node ids of all replicas.
    pub replicas: Vec<i32>,
    /// Node ids of the in-sync replicas.
    pub isr: Vec<i32>,
}

/// Requests the metadata of one topic, or of all.
///
/// # Errors
/// The error code if Kafka does not respond within `bound`.
pub(crate) fn metadata(
    client: *mut sys::rd_kafka_t,
    only: Option<&TopicHandle>,
    bound: Duration,
) -> Result<Vec<TopicInfo>, Code> {
    let mut metadata = std::ptr::null();
    let bound = i32::try_from(bound.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the caller guarantees a live client; the response is read and destroyed here.
    unsafe {
        let code = sys::bindings::rd_kafka_metadata(
            client,
            i32::from(only.is_none()),
            only.map_or(std::ptr::null_mut(), TopicHandle::raw),
            &raw mut metadata,
            bound,
        );
        if code.is_error() {
            return Err(code.into());
        }
        let mut topics: Vec<TopicInfo> = list((*metadata).topics, (*metadata).topic_cnt)
            .iter()
            .map(|topic| TopicInfo {
                name: text(topic.topic),
                error: topic.err.into(),
                partitions: list(topic.partitions, topic.partition_cnt)
                    .iter()
                    .map(|partition| PartitionInfo {
                        id: partition.id,
                        leader: partition.leader,
                        replicas: list(partition.replicas, partition.replica_cnt).to_vec(),
                        isr: list(partition.isrs, partition.isr_cnt).to_vec(),
                    })
                    .collect(),
            })
            .collect();
        sys::bindings::rd_kafka_metadata_destroy(metadata);
        for topic in &mut topics {
            topic
                .partitions
                .sort_unstable_by_key(|partition| partition.id);
        }
        Ok(topics)
    }
}

/// All brokers of the cluster: node id, advertised host and port.
///
/// # Errors
/// The error code if Kafka does not respond within `bound`.
pub(crate) fn brokers(
    client: *mut sys::rd_kafka_t,
    bound: Duration,
) -> Result<Vec<(i32, String, u16)>, Code> {
    let mut metadata = std::ptr::null();
    let bound = i32::try_from(bound.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the caller guarantees a live client; the response is read and destroyed here.
    unsafe {
        let none = std::ptr::null_mut();
        let code = sys::bindings::rd_kafka_metadata(client, 0, none, &raw mut metadata, bound);
        if code.is_error() {
            return Err(code.into());
        }
        let brokers = list((*metadata).brokers, (*metadata).broker_cnt)
            .iter()
            .map(|broker| {
                let port = u16::try_from(broker.port).unwrap_or(0);
                (broker.id, text(broker.host), port)
            })
            .collect();
        sys::bindings::rd_kafka_metadata_destroy(metadata);
        Ok(brokers)
    }
}

/// # Safety
/// `pointer` must be null or point at `count` values that live as long as the response is used.
unsafe fn list<'a, T>(pointer: *const T, count: i32) -> &'a [T] {
    match usize::try_from(count) {
        Ok(count) if !pointer.is_null() => std::slice::from_raw_parts(pointer, count),
        _ => &[],
    }
}
