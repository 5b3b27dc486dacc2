//! Topic handles, and metadata of a cluster: topics with their partitions, leaders and replicas.
#![allow(unsafe_code)]

use std::collections::HashSet;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use super::handle::{ms, Client, NativeClient, Part};
use super::owned::{copied, Native, Owned, Text};
use super::{c_string, EventQueue};

// SAFETY: as librdkafka has them, which copies names. A topic takes its configuration, and a partition that does not
// exist or is not fetched is an error.
unsafe extern "C" {
    safe fn rd_kafka_topic_new<'a>(
        client: &'a NativeClient,
        name: Text<'_>,
        conf: Option<Owned<'_, sys::rd_kafka_topic_conf_t>>,
    ) -> Option<Owned<'a, sys::rd_kafka_topic_t>>;
    safe fn rd_kafka_default_topic_conf_dup(
        client: &NativeClient,
    ) -> Owned<'_, sys::rd_kafka_topic_conf_t>;
    safe fn rd_kafka_consume_start_queue(
        topic: &sys::rd_kafka_topic_t,
        partition: i32,
        offset: i64,
        queue: &sys::rd_kafka_queue_t,
    ) -> c_int;
    safe fn rd_kafka_consume_stop(topic: &sys::rd_kafka_topic_t, partition: i32) -> c_int;
    safe fn rd_kafka_last_error() -> RDKafkaRespErr;
    safe fn rd_kafka_metadata(
        client: &NativeClient,
        all: c_int,
        only: Option<&sys::rd_kafka_topic_t>,
        metadata: &mut Option<Owned<'static, Metadata>>,
        bound: c_int,
    ) -> RDKafkaRespErr;
    fn rd_kafka_metadata_destroy(metadata: *mut Metadata);
    safe fn rd_kafka_query_watermark_offsets(
        client: &NativeClient,
        topic: Text<'_>,
        partition: i32,
        low: &mut i64,
        high: &mut i64,
        bound: c_int,
    ) -> RDKafkaRespErr;
    safe fn rd_kafka_get_watermark_offsets(
        client: &NativeClient,
        topic: Text<'_>,
        partition: i32,
        low: &mut i64,
        high: &mut i64,
    ) -> RDKafkaRespErr;
}

/// A topic handle; owns its client too.
pub(crate) struct TopicHandle(Part<sys::rd_kafka_topic_t>);

impl TopicHandle {
    /// `None`: librdkafka rejects the name.
    pub fn new(client: &Client, name: &str) -> Option<Self> {
        let name = c_string(name);
        let part = Part::new(client, |client| {
            rd_kafka_topic_new(client, Text::from(&name), None)
        });
        part.map(Self)
    }

    /// A handle whose messages ask `partitioner` for their partition.
    pub fn with_partitioner<P: Partitioner>(
        client: &Client,
        name: &str,
        partitioner: &Arc<P>,
    ) -> Option<Self> {
        let name = c_string(name);
        client.keep(Arc::clone(partitioner) as _);
        let conf = rd_kafka_default_topic_conf_dup(client);
        let opaque = super::opaque(Arc::as_ptr(partitioner));
        // SAFETY: the function is given a `P`, which the client keeps.
        unsafe {
            sys::rd_kafka_topic_conf_set_opaque(conf.raw(), opaque);
            sys::rd_kafka_topic_conf_set_partitioner_cb(conf.raw(), Some(partition::<P>));
        }
        let part = Part::new(client, |client| {
            rd_kafka_topic_new(client, Text::from(&name), Some(conf))
        });
        part.map(Self)
    }

    #[inline]
    pub(super) fn raw(&self) -> *mut sys::rd_kafka_topic_t {
        self.0.raw()
    }

    pub fn client(&self) -> &Client {
        self.0.client()
    }

    /// The address that messages of the topic carry.
    pub fn address(&self) -> usize {
        self.raw().addr()
    }

    /// Starts fetching a partition into `queue`.
    ///
    /// # Errors
    /// librdkafka's reason.
    pub fn start(&self, partition: i32, offset: i64, queue: &EventQueue) -> Result<(), Code> {
        match rd_kafka_consume_start_queue(&self.0, partition, offset, queue.native()) {
            0 => Ok(()),
            _ => Err(rd_kafka_last_error().into()),
        }
    }

    /// Stops fetching a partition; without an effect for one that was not started.
    pub fn stop(&self, partition: i32) {
        rd_kafka_consume_stop(&self.0, partition);
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
    Some(match name {
        "murmur2_random" => sys::rd_kafka_msg_partitioner_murmur2_random,
        "murmur2" => sys::rd_kafka_msg_partitioner_murmur2,
        "consistent" => sys::rd_kafka_msg_partitioner_consistent,
        "consistent_random" => sys::rd_kafka_msg_partitioner_consistent_random,
        "fnv1a" => sys::rd_kafka_msg_partitioner_fnv1a,
        "fnv1a_random" => sys::rd_kafka_msg_partitioner_fnv1a_random,
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

/// A response of Kafka with metadata.
#[repr(transparent)]
struct Metadata(sys::rd_kafka_metadata_t);

// SAFETY: librdkafka's function for such responses.
unsafe impl Native for Metadata {
    const DESTROY: unsafe extern "C" fn(*mut Self) = rd_kafka_metadata_destroy;
}

impl Metadata {
    fn request(
        client: &NativeClient,
        all: bool,
        only: Option<&TopicHandle>,
        bound: Duration,
    ) -> Result<Owned<'static, Self>, Code> {
        let mut metadata = None;
        let only = only.map(|topic| &*topic.0);
        let code = rd_kafka_metadata(client, i32::from(all), only, &mut metadata, ms(bound));
        metadata.ok_or_else(|| code.into())
    }

    fn topics(&self) -> Vec<TopicInfo> {
        // SAFETY: texts and arrays of the response, which are as long as it says.
        let mut topics: Vec<TopicInfo> = unsafe {
            let topics = list(self.0.topics, self.0.topic_cnt).iter();
            let read = topics.map(|topic| TopicInfo {
                name: copied(topic.topic),
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
            });
            read.collect()
        };
        for topic in &mut topics {
            topic
                .partitions
                .sort_unstable_by_key(|partition| partition.id);
        }
        topics
    }

    fn brokers(&self) -> Vec<(i32, String, u16)> {
        // SAFETY: as above.
        unsafe {
            let brokers = list(self.0.brokers, self.0.broker_cnt).iter();
            let read = brokers.map(|broker| {
                let port = u16::try_from(broker.port).unwrap_or(0);
                (broker.id, copied(broker.host), port)
            });
            read.collect()
        }
    }
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
    Ok(Metadata::request(client, only.is_none(), only, bound)?.topics())
}

/// All brokers of the cluster: node id, advertised host and port.
///
/// # Errors
/// The error code if Kafka does not respond within `bound`.
pub(crate) fn brokers(
    client: &NativeClient,
    bound: Duration,
) -> Result<Vec<(i32, String, u16)>, Code> {
    Ok(Metadata::request(client, false, None, bound)?.brokers())
}

/// Requests metadata of one topic, or of those in use, because the request itself is wanted; true if a broker responds.
pub(crate) fn request_metadata(
    client: &NativeClient,
    only: Option<&TopicHandle>,
    bound: Duration,
) -> bool {
    Metadata::request(client, false, only, bound).is_ok()
}

/// The names of all topics in the cluster; `None` if Kafka does not respond in time.
pub(crate) fn topic_names(client: &NativeClient, bound: Duration) -> Option<HashSet<String>> {
    let topics = metadata(client, None, bound).ok()?;
    Some(topics.into_iter().map(|topic| topic.name).collect())
}

/// The cluster id for an idle client. Such a client does not connect by itself, so this requests metadata first.
pub(crate) fn cluster_id_of_idle(client: &NativeClient, wait: Duration) -> Option<String> {
    request_metadata(client, None, wait).then_some(())?;
    client.cluster_id(Duration::ZERO)
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
    let topic = Text::from(&topic);
    let bound = ms(bound);
    let code =
        rd_kafka_query_watermark_offsets(client, topic, partition, &mut low, &mut high, bound);
    (!code.is_error()).then_some((low, high))
}

/// The same as far as the client knows them, without asking Kafka.
pub(crate) fn known_watermarks(
    client: &NativeClient,
    topic: &str,
    partition: i32,
) -> Option<(i64, i64)> {
    let (topic, mut low, mut high) = (c_string(topic), -1, -1);
    let topic = Text::from(&topic);
    let code = rd_kafka_get_watermark_offsets(client, topic, partition, &mut low, &mut high);
    (!code.is_error()).then_some((low, high))
}
