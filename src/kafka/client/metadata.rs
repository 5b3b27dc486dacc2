//! What a cluster says of its topics: partitions, leaders and copies.
#![allow(unsafe_code)]

use std::time::Duration;

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::{c_string, text};

/// A topic as a client knows it. Ends before its client.
pub(crate) struct TopicHandle(*mut sys::rd_kafka_topic_t);

impl TopicHandle {
    /// `client` must outlive it. `None`: a name librdkafka does not take.
    pub fn new(client: *mut sys::rd_kafka_t, name: &str) -> Option<Self> {
        let name = c_string(name);
        // SAFETY: callers hold a live client; no configuration of its own.
        let raw = unsafe { sys::rd_kafka_topic_new(client, name.as_ptr(), std::ptr::null_mut()) };
        (!raw.is_null()).then_some(Self(raw))
    }

    /// The raw handle.
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

/// One topic of the cluster.
#[derive(Debug, Clone)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Why nothing is known of it, if so.
    pub error: Code,
    /// In order.
    pub partitions: Vec<PartitionInfo>,
}

/// One partition of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its number.
    pub id: i32,
    /// The broker that leads it; -1 for none.
    pub leader: i32,
    /// The brokers that have a copy.
    pub replicas: Vec<i32>,
    /// Those of them that are up to date.
    pub isr: Vec<i32>,
}

/// Asks for one topic, or for all, and reads the answer.
///
/// # Errors
/// The code, where Kafka does not answer within `bound`.
pub(crate) fn metadata(
    client: *mut sys::rd_kafka_t,
    only: Option<&TopicHandle>,
    bound: Duration,
) -> Result<Vec<TopicInfo>, Code> {
    let mut metadata = std::ptr::null();
    let bound = i32::try_from(bound.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: callers hold a live client; the answer is read and destroyed here.
    unsafe {
        let code = sys::bindings::rd_kafka_metadata(
            client,
            i32::from(only.is_none()),
            only.map_or(std::ptr::null_mut(), TopicHandle::raw),
            &raw mut metadata,
            bound,
        );
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code);
        }
        let mut topics: Vec<TopicInfo> = list((*metadata).topics, (*metadata).topic_cnt)
            .iter()
            .map(|topic| TopicInfo {
                name: text(topic.topic),
                error: topic.err,
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

/// Every broker that the cluster knows: its id, and the host and port it names itself by.
///
/// # Errors
/// The code, where Kafka does not answer within `bound`.
pub(crate) fn brokers(
    client: *mut sys::rd_kafka_t,
    bound: Duration,
) -> Result<Vec<(i32, String, u16)>, Code> {
    let mut metadata = std::ptr::null();
    let bound = i32::try_from(bound.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: callers hold a live client; the answer is read and destroyed here.
    unsafe {
        let none = std::ptr::null_mut();
        let code = sys::bindings::rd_kafka_metadata(client, 0, none, &raw mut metadata, bound);
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code);
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
/// `pointer` must be null or point at `count` values that live as long as the answer is used.
unsafe fn list<'a, T>(pointer: *const T, count: i32) -> &'a [T] {
    match usize::try_from(count) {
        Ok(count) if !pointer.is_null() => std::slice::from_raw_parts(pointer, count),
        _ => &[],
    }
}
