//! Admin requests for many topics in one batch: offsets by time, first and last offsets, topic ids.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_char;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use sys::bindings::{rd_kafka_OffsetSpec_t as Spec, rd_kafka_admin_op_t as Operation};

use super::consumer::FeedConsumer;
use super::positions::TopicId;
use crate::kafka::client::{self, AdminOptions, EventQueue, TopicPartitionList};

/// Maximum topics in one request for ids.
const MAX_TOPICS_PER_REQUEST: usize = 500;

/// A partition, by the name of its topic.
pub(crate) type Key = (String, i32);

/// Selects an offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OffsetSpec {
    /// The first offset that exists.
    Beginning,
    /// The offset after the last record.
    End,
    /// The first offset with this timestamp or a later one, Unix ms; -1 if all records are older.
    Since(i64),
}

impl FeedConsumer {
    /// Requests the offsets of all these partitions in one batch. A partition whose leader does not answer is missing
    /// in the result.
    ///
    /// # Errors
    /// The error code if no broker answers in time.
    pub fn offsets(
        &self,
        partitions: &[Key],
        offset_spec: OffsetSpec,
        bound: Duration,
    ) -> Result<HashMap<Key, i64>, Code> {
        if partitions.is_empty() {
            return Ok(HashMap::new());
        }
        let spec = match offset_spec {
            OffsetSpec::Beginning => Spec::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
            OffsetSpec::End => Spec::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
            OffsetSpec::Since(ms) => ms.max(0),
        };
        let mut requested = TopicPartitionList::new();
        for (topic, partition) in partitions {
            requested.add(topic, *partition, spec);
        }
        let queue = EventQueue::new(self.raw());
        let options =
            AdminOptions::new(self.raw(), Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS, bound)
                .read_committed(self.reads_committed());
        // SAFETY: live objects; the request copies what it needs.
        unsafe {
            sys::bindings::rd_kafka_ListOffsets(
                self.raw(),
                requested.raw(),
                options.raw(),
                queue.raw(),
            );
        }
        let response = queue
            .poll(bound + Duration::from_secs(1))
            .ok_or(Code::OperationTimedOut)?;
        if let Some((code, _)) = response.error() {
            return Err(code);
        }
        let mut found = HashMap::with_capacity(partitions.len());
        // SAFETY: the result lives as long as its event.
        unsafe {
            let result = sys::bindings::rd_kafka_event_ListOffsets_result(response.raw());
            let mut count = 0_usize;
            let infos = sys::bindings::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            for place in 0..count {
                let element = &*sys::bindings::rd_kafka_ListOffsetsResultInfo_topic_partition(
                    *infos.add(place),
                );
                if Code::from(element.err) == Code::NoError {
                    let key = (client::topic_of(element), element.partition);
                    found.insert(key, element.offset);
                }
            }
        }
        Ok(found)
    }

    /// The ids of these topics; brokers before 2.8 have none.
    pub fn topic_ids(&self, names: &[String], bound: Duration) -> HashMap<String, TopicId> {
        let mut found = HashMap::with_capacity(names.len());
        for some in names.chunks(MAX_TOPICS_PER_REQUEST) {
            self.topic_ids_chunk(some, bound, &mut found);
        }
        found
    }

    fn topic_ids_chunk(
        &self,
        names: &[String],
        bound: Duration,
        found: &mut HashMap<String, TopicId>,
    ) {
        let names: Vec<_> = names.iter().map(|name| client::c_string(name)).collect();
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let queue = EventQueue::new(self.raw());
        let options = AdminOptions::new(
            self.raw(),
            Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            bound,
        );
        // SAFETY: live objects; the collection is destroyed here, and the request copies what it needs.
        unsafe {
            let topics = sys::bindings::rd_kafka_TopicCollection_of_topic_names(
                pointers.as_mut_ptr(),
                pointers.len(),
            );
            sys::bindings::rd_kafka_DescribeTopics(self.raw(), topics, options.raw(), queue.raw());
            sys::bindings::rd_kafka_TopicCollection_destroy(topics);
        }
        let Some(response) = queue.poll(bound + Duration::from_secs(1)) else {
            return;
        };
        if response.error().is_some() {
            return;
        }
        // SAFETY: the result lives as long as its event.
        unsafe {
            let result = sys::bindings::rd_kafka_event_DescribeTopics_result(response.raw());
            let mut count = 0_usize;
            let all = sys::bindings::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            for place in 0..count {
                let topic = *all.add(place);
                if !sys::bindings::rd_kafka_TopicDescription_error(topic).is_null() {
                    continue;
                }
                let id = sys::bindings::rd_kafka_TopicDescription_topic_id(topic);
                if id.is_null() {
                    continue;
                }
                let name = client::text(sys::bindings::rd_kafka_TopicDescription_name(topic));
                #[allow(clippy::cast_sign_loss)] // 64 bits are 64 bits
                let half = |bits: i64| u128::from(bits as u64);
                let id = half(sys::bindings::rd_kafka_Uuid_most_significant_bits(id)) << 64
                    | half(sys::bindings::rd_kafka_Uuid_least_significant_bits(id));
                found.insert(name, id);
            }
        }
    }
}
