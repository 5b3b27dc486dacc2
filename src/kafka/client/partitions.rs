//! Lists of topic partitions: the crate's own where we build them, and what librdkafka returns.
#![allow(unsafe_code)]

use std::ffi::c_int;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys as sys;

use super::c_string;
use super::errors::copied;
use super::owned::{Native, Owned, Text};

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

/// A list of librdkafka, the crate's own or not.
#[repr(transparent)]
pub(super) struct NativeList(sys::rd_kafka_topic_partition_list_t);

// SAFETY: librdkafka's function for these lists.
unsafe impl Native for NativeList {
    const DESTROY: unsafe extern "C" fn(*mut Self) = rd_kafka_topic_partition_list_destroy;
}

// SAFETY: as librdkafka has them.
unsafe extern "C" {
    fn rd_kafka_topic_partition_list_destroy(list: *mut NativeList);
    safe fn rd_kafka_topic_partition_list_copy(list: &NativeList) -> Owned<'static, NativeList>;
    safe fn rd_kafka_topic_partition_list_set_offset(
        list: &mut NativeList,
        topic: Text<'_>,
        partition: c_int,
        offset: i64,
    ) -> RDKafkaRespErr;
}

impl NativeList {
    pub fn of(list: &TopicPartitionList) -> &Self {
        // SAFETY: alive as long as the crate's list.
        unsafe { &*list.ptr().cast() }
    }

    /// For calls that write to the elements.
    pub fn of_mut(list: &mut TopicPartitionList) -> &mut Self {
        // SAFETY: as above, and borrowed alone.
        unsafe { &mut *list.ptr().cast() }
    }

    pub fn read(&self) -> Vec<PartitionEntry> {
        let count = usize::try_from(self.0.cnt).unwrap_or(0);
        // SAFETY: the list has so many elements.
        let elements = (0..count).map(|place| unsafe { &*self.0.elems.add(place).cast() });
        elements.map(NativeElement::read).collect()
    }
}

/// An element of a list of librdkafka.
#[repr(transparent)]
pub(super) struct NativeElement(sys::rd_kafka_topic_partition_t);

impl NativeElement {
    pub fn read(&self) -> PartitionEntry {
        let one = &self.0;
        // SAFETY: text and bytes of the element live as long as it.
        let (topic, metadata) = unsafe {
            let bytes = super::message::bytes(one.metadata.cast(), one.metadata_size);
            (copied(one.topic), bytes)
        };
        PartitionEntry {
            topic,
            partition: one.partition,
            offset: one.offset,
            error: one.err.into(),
            metadata: metadata.map_or_else(Vec::new, <[u8]>::to_vec),
        }
    }
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
    NativeList::of(list).read()
}

/// The partitions of a rebalance. Not the crate's list: that cannot be made from one of librdkafka's, and without the
/// topic ids in its private part the consumer protocol (KIP-848) does not accept an assignment.
pub(crate) struct AssignedPartitions(Owned<'static, NativeList>);

// SAFETY: plain data of librdkafka with a single owner.
unsafe impl Send for AssignedPartitions {}

impl AssignedPartitions {
    pub(super) fn copy_of(list: &NativeList) -> Self {
        Self(rd_kafka_topic_partition_list_copy(list))
    }

    /// Topics and partitions, in order.
    pub fn names(&self) -> Vec<(String, i32)> {
        let entries = self.0.read().into_iter();
        entries.map(|one| (one.topic, one.partition)).collect()
    }

    /// Sets where a partition of the list is read from; without an effect for one that is not in it.
    pub fn set_offset(&mut self, topic: &str, partition: i32, offset: i64) {
        let topic = c_string(topic);
        let topic = Text::from(&topic);
        rd_kafka_topic_partition_list_set_offset(&mut self.0, topic, partition, offset);
    }

    pub(super) fn list(&self) -> &NativeList {
        &self.0
    }
}
