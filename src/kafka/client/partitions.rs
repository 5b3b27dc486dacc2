//! Lists of topic partitions: the crate's own where we build them, and what librdkafka returns.
#![allow(unsafe_code)]

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys as sys;

use super::{c_string, text};

/// A list of partitions, without offsets.
pub(crate) fn partitions_of(partitions: &[(impl AsRef<str>, i32)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition(topic.as_ref(), *partition);
    }
    list
}

/// A list of partitions with their offsets, as librdkafka has them.
pub(crate) fn offsets_of<T: AsRef<str>>(
    partitions: impl IntoIterator<Item = (T, i32, i64)>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in partitions {
        // Refused for a negative offset that means nothing: the partition then has none.
        let _ = list
            .add_partition(topic.as_ref(), partition)
            .set_offset(Offset::from_raw(offset));
    }
    list
}

/// An element of a list that librdkafka filled.
#[derive(Debug, Clone)]
pub(crate) struct PartitionEntry {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// `NoError`, or why there is no offset.
    pub error: Code,
    /// The crate's `metadata()` panics for bytes that are no UTF-8, which another client may have committed.
    pub metadata: Vec<u8>,
}

/// The elements of a list that librdkafka filled.
pub(in crate::kafka) fn entries(list: &TopicPartitionList) -> Vec<PartitionEntry> {
    // SAFETY: a live list.
    unsafe { read_list(list.ptr()) }
}

/// # Safety
/// `list` must be null or alive.
pub(super) unsafe fn read_list(
    list: *const sys::rd_kafka_topic_partition_list_t,
) -> Vec<PartitionEntry> {
    let Some(list) = list.as_ref() else {
        return Vec::new();
    };
    let count = usize::try_from(list.cnt).unwrap_or(0);
    (0..count)
        .map(|place| read_element(&*list.elems.add(place)))
        .collect()
}

/// # Safety
/// `element` must be one of a list.
pub(super) unsafe fn read_element(element: &sys::rd_kafka_topic_partition_t) -> PartitionEntry {
    PartitionEntry {
        topic: text(element.topic),
        partition: element.partition,
        offset: element.offset,
        error: element.err.into(),
        metadata: super::message::bytes(element.metadata.cast(), element.metadata_size)
            .map_or_else(Vec::new, <[u8]>::to_vec),
    }
}

/// The partitions of a rebalance. Not the crate's list: that cannot be made from one of librdkafka's, and without the
/// topic ids in its private part the consumer protocol (KIP-848) does not accept an assignment.
pub(crate) struct AssignedPartitions(*mut sys::rd_kafka_topic_partition_list_t);

// SAFETY: plain data of librdkafka with a single owner.
unsafe impl Send for AssignedPartitions {}

impl AssignedPartitions {
    /// Copies a list.
    ///
    /// # Safety
    /// `list` must be alive.
    pub(super) unsafe fn copy_of(list: *const sys::rd_kafka_topic_partition_list_t) -> Self {
        Self(sys::rd_kafka_topic_partition_list_copy(list))
    }

    /// Topics and partitions, in order.
    pub fn names(&self) -> Vec<(String, i32)> {
        // SAFETY: ours.
        let entries = unsafe { read_list(self.0) }.into_iter();
        entries.map(|one| (one.topic, one.partition)).collect()
    }

    /// Sets where a partition of the list is read from.
    pub fn set_offset(&mut self, topic: &str, partition: i32, offset: i64) {
        let topic = c_string(topic);
        // SAFETY: ours; without an effect for a partition that is not in it.
        unsafe {
            sys::rd_kafka_topic_partition_list_set_offset(
                self.0,
                topic.as_ptr(),
                partition,
                offset,
            );
        }
    }

    pub(super) const fn raw(&self) -> *const sys::rd_kafka_topic_partition_list_t {
        self.0
    }
}

impl Drop for AssignedPartitions {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) };
    }
}
