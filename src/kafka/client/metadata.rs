//! Topic handles, and metadata of a cluster: topics with their partitions, leaders and replicas.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka_sys as sys;

use super::handle::{ms, Client, NativeClient};
use super::{c_string, text, EventQueue};

/// A topic handle; owns its client too.
pub(crate) struct TopicHandle {
    raw: *mut sys::rd_kafka_topic_t,
    client: Client,
}

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl Send for TopicHandle {}
unsafe impl Sync for TopicHandle {}

impl TopicHandle {
    /// `None`: librdkafka rejects the name.
    pub fn new(client: &Client, name: &str) -> Option<Self> {
        Self::open(client, name, null_mut())
    }

    /// A handle whose messages ask `partitioner` for their partition.
    pub fn with_partitioner<P: Partitioner>(
        client: &Client,
        name: &str,
        partitioner: &Arc<P>,
    ) -> Option<Self> {
        // SAFETY: a live client, which keeps the partitioner; the handle takes the configuration.
        let conf = unsafe {
            let conf = sys::bindings::rd_kafka_default_topic_conf_dup(client.raw());
            let opaque = super::opaque(Arc::as_ptr(partitioner));
            sys::bindings::rd_kafka_topic_conf_set_opaque(conf, opaque);
            sys::bindings::rd_kafka_topic_conf_set_partitioner_cb(conf, Some(partition::<P>));
            conf
        };
        client.keep(Arc::clone(partitioner) as _);
        Self::open(client, name, conf)
    }

    fn open(client: &Client, name: &str, conf: *mut sys::rd_kafka_topic_conf_t) -> Option<Self> {
        let name = c_string(name);
        // SAFETY: a live client; the configuration is the caller's, or null for the client's own.
        let raw = unsafe { sys::rd_kafka_topic_new(client.raw(), name.as_ptr(), conf) };
        (!raw.is_null()).then(|| Self {
            raw,
            client: client.clone(),
        })
    }

    pub(in crate::kafka) const fn raw(&self) -> *mut sys::rd_kafka_topic_t {
        self.raw
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The address that messages of the topic carry.
    pub fn address(&self) -> usize {
        self.raw.addr()
    }

    /// Starts fetching a partition into `queue`.
    ///
    /// # Errors
    /// librdkafka's reason.
    pub fn start(&self, partition: i32, offset: i64, queue: &EventQueue) -> Result<(), Code> {
        // SAFETY: live objects; the last error is that of this thread.
        unsafe {
            let queue = queue.raw();
            match sys::bindings::rd_kafka_consume_start_queue(self.raw, partition, offset, queue) {
                0 => Ok(()),
                _ => Err(sys::bindings::rd_kafka_last_error().into()),
            }
        }
    }

    /// Stops fetching a partition; without an effect for one that was not started.
    pub fn stop(&self, partition: i32) {
        // SAFETY: a live handle.
        unsafe { sys::bindings::rd_kafka_consume_stop(self.raw, partition) };
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        if !self.client.is_inherited() {
            // SAFETY: ours.
            unsafe { sys::rd_kafka_topic_destroy(self.raw) };
        }
    }
}

/// A partitioner of librdkafka.
pub(crate) type NativePartitioner = unsafe extern "C" fn(
    *const sys::rd_kafka_topic_t,
    *const c_void,
    usize,
    i32,
    *mut c_void,
    *mut c_void,
) -> i32;

/// Decides about the partition that one of librdkafka's partitioners has chosen.
pub(crate) trait Partitioner: Send + Sync + 'static {
    fn native(&self) -> NativePartitioner;

    /// The partition of a message with this opaque: `chosen`, or another. librdkafka refuses a message for one that
    /// does not exist, such as number `count`.
    fn decide(&self, chosen: i32, count: i32, has_key: bool, opaque: u64) -> i32;
}

unsafe extern "C" fn partition<P: Partitioner>(
    topic: *const sys::rd_kafka_topic_t,
    key: *const c_void,
    length: usize,
    count: i32,
    partitioner: *mut c_void,
    opaque: *mut c_void,
) -> i32 {
    let partitioner = &*partitioner.cast::<P>();
    let chosen = (partitioner.native())(topic, key, length, count, null_mut(), opaque);
    partitioner.decide(chosen, count, !key.is_null(), opaque as u64)
}

/// The partitioner of this name that gives all messages of a key the same partition.
pub(crate) fn keyed_partitioner(name: &str) -> Option<NativePartitioner> {
    use sys::bindings as b;
    Some(match name {
        "murmur2_random" => b::rd_kafka_msg_partitioner_murmur2_random,
        "murmur2" => b::rd_kafka_msg_partitioner_murmur2,
        "consistent" => b::rd_kafka_msg_partitioner_consistent,
        "consistent_random" => b::rd_kafka_msg_partitioner_consistent_random,
        "fnv1a" => b::rd_kafka_msg_partitioner_fnv1a,
        "fnv1a_random" => b::rd_kafka_msg_partitioner_fnv1a_random,
        _ => return None,
    })
}

/// A topic of the cluster.
#[derive(Debug, Clone)]
pub struct TopicInfo {
    pub name: String,
    /// `NoError`, or the reason why nothing else is known.
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
    client: &NativeClient,
    only: Option<&TopicHandle>,
    bound: Duration,
) -> Result<Vec<TopicInfo>, Code> {
    with_metadata(client, only.is_none(), only, bound, |metadata| {
        // SAFETY: the arrays of the response are as long as it says.
        let mut topics: Vec<TopicInfo> = unsafe { list(metadata.topics, metadata.topic_cnt) }
            .iter()
            .map(|topic| unsafe {
                TopicInfo {
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
                }
            })
            .collect();
        for topic in &mut topics {
            topic
                .partitions
                .sort_unstable_by_key(|partition| partition.id);
        }
        topics
    })
}

/// All brokers of the cluster: node id, advertised host and port.
///
/// # Errors
/// The error code if Kafka does not respond within `bound`.
pub(crate) fn brokers(
    client: &NativeClient,
    bound: Duration,
) -> Result<Vec<(i32, String, u16)>, Code> {
    with_metadata(client, false, None, bound, |metadata| {
        // SAFETY: as above.
        let brokers = unsafe { list(metadata.brokers, metadata.broker_cnt) };
        let each = brokers.iter().map(|broker| {
            let port = u16::try_from(broker.port).unwrap_or(0);
            // SAFETY: as above.
            (broker.id, unsafe { text(broker.host) }, port)
        });
        each.collect()
    })
}

/// Requests metadata of one topic, or of those in use, because the request itself is wanted; true if a broker responds.
pub(crate) fn request_metadata(
    client: &NativeClient,
    only: Option<&TopicHandle>,
    bound: Duration,
) -> bool {
    with_metadata(client, false, only, bound, |_| ()).is_ok()
}

fn with_metadata<R>(
    client: &NativeClient,
    all: bool,
    only: Option<&TopicHandle>,
    bound: Duration,
    read: impl FnOnce(&sys::rd_kafka_metadata_t) -> R,
) -> Result<R, Code> {
    let topic = only.map_or(null_mut(), |topic| topic.raw);
    let (all, mut metadata) = (i32::from(all), null());
    // SAFETY: a live client; the response is read and destroyed here.
    unsafe {
        let code = sys::bindings::rd_kafka_metadata(
            client.raw(),
            all,
            topic,
            &raw mut metadata,
            ms(bound),
        );
        if code.is_error() {
            return Err(code.into());
        }
        let result = read(&*metadata);
        sys::bindings::rd_kafka_metadata_destroy(metadata);
        Ok(result)
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

/// The first offset of a partition and the one after its last record, from its leader; `None` where that does not
/// answer in time.
pub(crate) fn query_watermarks(
    client: &NativeClient,
    topic: &str,
    partition: i32,
    bound: Duration,
) -> Option<(i64, i64)> {
    let (topic, mut low, mut high) = (c_string(topic), -1, -1);
    // SAFETY: a live client; the results are written before it returns.
    let code = unsafe {
        sys::bindings::rd_kafka_query_watermark_offsets(
            client.raw(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
            ms(bound),
        )
    };
    (!code.is_error()).then_some((low, high))
}

/// The same as far as the client knows them, without asking Kafka.
pub(crate) fn known_watermarks(
    client: &NativeClient,
    topic: &str,
    partition: i32,
) -> Option<(i64, i64)> {
    let (topic, mut low, mut high) = (c_string(topic), -1, -1);
    // SAFETY: a live client; answers from memory.
    let code = unsafe {
        sys::bindings::rd_kafka_get_watermark_offsets(
            client.raw(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (!code.is_error()).then_some((low, high))
}
