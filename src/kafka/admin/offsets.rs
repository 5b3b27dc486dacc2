//! Offsets of a topic: first and last, by timestamp, and deletion of records.
#![allow(unsafe_code)]

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use sys::bindings::{rd_kafka_OffsetSpec_t as Spec, rd_kafka_admin_op_t as Operation};

use super::{
    is_transient, is_unknown_topic, Admin, AdminCall, AdminResult, PollInterrupts, POLL_INTERVAL,
};
use crate::error::Error;
use crate::kafka::client::{self, TopicPartitionList};

pub type PartitionOffset = (i32, i64);
/// Topic, partition, and the offset or error.
pub(super) type ListedOffset = (String, i32, Result<i64, Code>);

/// First and end offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRange {
    pub partition: i32,
    pub beginning: i64,
    /// High watermark; with `read_committed` the last stable offset.
    pub end: i64,
}

impl Admin {
    /// First and end offset of every partition of a topic.
    ///
    /// # Errors
    /// UnknownTopic; Connection: Kafka does not respond, or a partition has no leader.
    pub fn offsets(
        &self,
        topic: &str,
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Vec<OffsetRange>> {
        let action = format!("The offsets of topic \"{topic}\" cannot be read");
        self.offset_ranges(topic, &AdminCall::new(poll_interrupts), &action)
    }

    pub(super) fn offset_ranges(
        &self,
        topic: &str,
        call: &AdminCall<'_>,
        action: &str,
    ) -> AdminResult<Vec<OffsetRange>> {
        let partitions: Vec<i32> = self
            .partitions(topic, call, action)?
            .iter()
            .map(|partition| partition.id)
            .collect();
        let earliest = Spec::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64;
        let latest = Spec::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
        let beginnings = self.list_offsets(topic, &partitions, earliest, call, action)?;
        let ends = self.list_offsets(topic, &partitions, latest, call, action)?;
        let offset_ranges = beginnings.iter().zip(&ends);
        Ok(offset_ranges
            .map(|((partition, beginning), (_, end))| OffsetRange {
                partition: *partition,
                beginning: *beginning,
                // Records may be deleted between the two requests.
                end: *end.max(beginning),
            })
            .collect())
    }

    /// The first offset of each partition with a timestamp of `ms` or later; the end offset if there is none.
    ///
    /// # Errors
    /// As [`Admin::offsets`]; Configuration: an embedded broker, which stores no timestamps.
    pub fn offsets_at(
        &self,
        topic: &str,
        ms: i64,
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Vec<PartitionOffset>> {
        let action = format!("The offsets of topic \"{topic}\" cannot be looked up by time");
        let call = AdminCall::new(poll_interrupts);
        self.refuse_mock(&call, &action)?;
        let offset_ranges = self.offset_ranges(topic, &call, &action)?;
        let partitions: Vec<i32> = offset_ranges.iter().map(|range| range.partition).collect();
        let found = self.list_offsets(topic, &partitions, ms.max(0), &call, &action)?;
        let found = offset_ranges.iter().zip(found);
        Ok(found
            .map(|(range, (partition, offset))| {
                (partition, if offset < 0 { range.end } else { offset })
            })
            .collect())
    }

    /// Requests an offset of all partitions and retries while a leader is moving. The result is in the order of
    /// `partitions`.
    fn list_offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        what: i64,
        call: &AdminCall<'_>,
        action: &str,
    ) -> AdminResult<Vec<PartitionOffset>> {
        let requested: Vec<(&str, i32)> = partitions.iter().map(|id| (topic, *id)).collect();
        loop {
            let mut found = Vec::with_capacity(requested.len());
            let mut moved = None;
            for (_, partition, response) in
                self.list_offsets_once(&requested, what, call, action)?
            {
                match response {
                    Ok(offset) => found.push((partition, offset)),
                    Err(code) if is_unknown_topic(code) => {
                        return Err(self.unknown_topic(topic, action).into())
                    }
                    Err(code) if is_transient(code) => {
                        moved = Some(format!("partition {partition}: {}", client::describe(code)));
                    }
                    Err(code) => return Err(self.error_for(code, action, "").into()),
                }
            }
            if moved.is_none() && found.len() == partitions.len() {
                found.sort_unstable_by_key(|(partition, _)| *partition);
                return Ok(found);
            }
            if let Some(detail) = moved {
                *self.last_client_error.borrow_mut() = Some(detail);
            }
            self.check_deadline(call, action)?;
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// One ListOffsets request for partitions of any topics. Partitions may be missing from the result.
    pub(super) fn list_offsets_once(
        &self,
        requested: &[(&str, i32)],
        what: i64,
        call: &AdminCall<'_>,
        action: &str,
    ) -> AdminResult<Vec<ListedOffset>> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in requested {
            list.add(topic, *partition, what);
        }
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS, call);
        let options = options.read_committed(self.read_committed);
        // SAFETY: live objects; the request copies what it needs.
        let response = self.request(&options, call, action, |client, options, queue| unsafe {
            sys::bindings::rd_kafka_ListOffsets(client, list.raw(), options, queue);
        })?;
        // SAFETY: the result lives as long as its event.
        unsafe {
            let result = sys::bindings::rd_kafka_event_ListOffsets_result(response.raw());
            let mut count = 0usize;
            let infos = sys::bindings::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            let read = |place| {
                let info = *infos.add(place);
                let element = &*sys::bindings::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
                let offset = match Code::from(element.err) {
                    Code::NoError => Ok(element.offset),
                    code => Err(code),
                };
                (client::topic_of(element), element.partition, offset)
            };
            Ok((0..count).map(read).collect())
        }
    }

    /// Deletes the records before these offsets; the remaining records keep their offsets.
    ///
    /// # Errors
    /// UnknownTopic; Configuration: unknown partition, an offset after the end, a topic that is only compacted, an
    /// embedded broker. Connection: Kafka does not respond; records may have been deleted nevertheless.
    pub fn delete_records(
        &self,
        topic: &str,
        before: &[(i32, i64)],
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<()> {
        let action = format!("Records of topic \"{topic}\" cannot be deleted");
        let call = AdminCall::new(poll_interrupts);
        self.refuse_mock(&call, &action)?;
        self.check(topic, before, &call, &action)?;
        if before.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (partition, offset) in before {
            list.add(topic, *partition, *offset);
        }
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DELETERECORDS, &call);
        // SAFETY: live objects; the request copies what it needs.
        let response = self.request(&options, &call, &action, |client, options, queue| unsafe {
            let delete = sys::bindings::rd_kafka_DeleteRecords_new(list.raw());
            let mut all = [delete];
            sys::bindings::rd_kafka_DeleteRecords(client, all.as_mut_ptr(), 1, options, queue);
            sys::bindings::rd_kafka_DeleteRecords_destroy(delete);
        })?;
        // SAFETY: the result lives as long as its event; the copy is ours.
        let response = unsafe {
            let result = sys::bindings::rd_kafka_event_DeleteRecords_result(response.raw());
            TopicPartitionList::from_raw(sys::rd_kafka_topic_partition_list_copy(
                sys::bindings::rd_kafka_DeleteRecords_result_offsets(result),
            ))
        };
        for element in response.elements() {
            if Code::from(element.err) != Code::NoError {
                let action = format!("{action} (partition {})", element.partition);
                return Err(self.error_for(element.err.into(), &action, "").into());
            }
        }
        Ok(())
    }

    /// Validates all offsets before anything is deleted.
    fn check(
        &self,
        topic: &str,
        before: &[(i32, i64)],
        call: &AdminCall<'_>,
        action: &str,
    ) -> AdminResult<()> {
        let offset_ranges = self.offset_ranges(topic, call, action)?;
        for (partition, offset) in before {
            let range = range_of(&offset_ranges, *partition, action)?;
            if *offset < 0 || *offset > range.end {
                return Err(Error::configuration(format!(
                    "{action}: partition {partition} holds the offsets {} to {}, {offset} given.",
                    range.beginning, range.end
                ))
                .into());
            }
        }
        Ok(())
    }
}

pub(super) fn range_of<'a>(
    offset_ranges: &'a [OffsetRange],
    partition: i32,
    action: &str,
) -> Result<&'a OffsetRange, Error> {
    let found = offset_ranges
        .iter()
        .find(|range| range.partition == partition);
    found.ok_or_else(|| {
        Error::configuration(format!(
            "{action}: there is no partition {partition}; the topic has {}, numbered from 0.",
            offset_ranges.len()
        ))
    })
}
