//! Offsets of a topic: where its partitions begin and end, what was written since a time, and deleting what lies before one.
#![allow(unsafe_code)]

use rdkafka_sys as sys;
use sys::bindings::{
    rd_kafka_OffsetSpec_t as Spec, rd_kafka_admin_op_t as Operation, rd_kafka_resp_err_t as Code,
};

use super::{is_missing, passes, Admin, Breathe, Call, Outcome, SLICE};
use crate::error::Error;
use crate::kafka::native::{self, Partitions};

/// A partition and an offset in it.
pub type Offset = (i32, i64);
/// A partition, and its offset or why there is none.
pub(super) type Answered = (String, i32, Result<i64, Code>);

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// The first offset that is still there.
    pub beginning: i64,
    /// The offset after the last; with `read_committed` that of the first transaction that is still open.
    pub end: i64,
}

impl Admin {
    /// Where every partition of a topic begins and ends.
    ///
    /// # Errors
    /// UnknownTopic; Connection: Kafka does not answer, or a partition has no leader.
    pub fn offsets(&self, topic: &str, breathe: Breathe<'_>) -> Outcome<Vec<Span>> {
        let doing = format!("The offsets of topic \"{topic}\" cannot be read");
        self.spans(topic, &Call::new(breathe), &doing)
    }

    pub(super) fn spans(&self, topic: &str, call: &Call<'_>, doing: &str) -> Outcome<Vec<Span>> {
        let partitions: Vec<i32> = self
            .partitions(topic, call, doing)?
            .iter()
            .map(|partition| partition.id)
            .collect();
        let earliest = Spec::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64;
        let latest = Spec::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
        let beginnings = self.list(topic, &partitions, earliest, call, doing)?;
        let ends = self.list(topic, &partitions, latest, call, doing)?;
        let spans = beginnings.iter().zip(&ends);
        Ok(spans
            .map(|((partition, beginning), (_, end))| Span {
                partition: *partition,
                beginning: *beginning,
                // Records that were deleted between the two questions.
                end: *end.max(beginning),
            })
            .collect())
    }

    /// The first offset of every partition whose record is not older than `ms`; the end where all are.
    ///
    /// # Errors
    /// As [`Admin::offsets`]; Configuration: an embedded broker, which keeps no times.
    pub fn offsets_at(&self, topic: &str, ms: i64, breathe: Breathe<'_>) -> Outcome<Vec<Offset>> {
        let doing = format!("The offsets of topic \"{topic}\" cannot be looked up by time");
        let call = Call::new(breathe);
        self.refuse_mock(&call, &doing)?;
        let spans = self.spans(topic, &call, &doing)?;
        let partitions: Vec<i32> = spans.iter().map(|span| span.partition).collect();
        let found = self.list(topic, &partitions, ms.max(0), &call, &doing)?;
        let found = spans.iter().zip(found);
        Ok(found
            .map(|(span, (partition, offset))| {
                (partition, if offset < 0 { span.end } else { offset })
            })
            .collect())
    }

    /// Asks the leaders of all partitions at once, again where one has just moved. The answers come in the order of `partitions`.
    fn list(
        &self,
        topic: &str,
        partitions: &[i32],
        what: i64,
        call: &Call<'_>,
        doing: &str,
    ) -> Outcome<Vec<Offset>> {
        let asked: Vec<(&str, i32)> = partitions.iter().map(|id| (topic, *id)).collect();
        loop {
            let mut found = Vec::with_capacity(asked.len());
            let mut moved = None;
            for (_, partition, answer) in self.look(&asked, what, call, doing)? {
                match answer {
                    Ok(offset) => found.push((partition, offset)),
                    Err(code) if is_missing(code) => return Err(self.unknown(topic, doing).into()),
                    Err(code) if passes(code) => {
                        moved = Some(format!("partition {partition}: {}", native::describe(code)));
                    }
                    Err(code) => return Err(self.failed(code, doing, "").into()),
                }
            }
            if moved.is_none() && found.len() == partitions.len() {
                found.sort_unstable_by_key(|(partition, _)| *partition);
                return Ok(found);
            }
            if let Some(words) = moved {
                *self.heard.borrow_mut() = Some(words);
            }
            self.wait(call, doing)?;
            std::thread::sleep(SLICE);
        }
    }

    /// One question for an offset of each of these partitions, of whatever topics. Partitions may be missing from the answer.
    pub(super) fn look(
        &self,
        asked: &[(&str, i32)],
        what: i64,
        call: &Call<'_>,
        doing: &str,
    ) -> Outcome<Vec<Answered>> {
        let mut list = Partitions::new();
        for (topic, partition) in asked {
            list.add(topic, *partition, what);
        }
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS, call);
        let options = options.read_committed(self.committed);
        // SAFETY: live objects; the request copies what it needs.
        let answer = self.request(&options, call, doing, |client, options, queue| unsafe {
            sys::bindings::rd_kafka_ListOffsets(client, list.raw(), options, queue);
        })?;
        // SAFETY: the result lives as long as its event.
        unsafe {
            let result = sys::bindings::rd_kafka_event_ListOffsets_result(answer.raw());
            let mut count = 0usize;
            let infos = sys::bindings::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            let read = |place| {
                let info = *infos.add(place);
                let element = &*sys::bindings::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
                let offset = match element.err {
                    Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(element.offset),
                    code => Err(code),
                };
                (native::topic_of(element), element.partition, offset)
            };
            Ok((0..count).map(read).collect())
        }
    }

    /// Deletes the records before these offsets; what lies behind keeps its offsets.
    ///
    /// # Errors
    /// UnknownTopic; Configuration: no such partition, an offset behind its end, a topic that is only compacted, an embedded broker.
    /// Connection: Kafka does not answer; what it was told before may be gone all the same.
    pub fn delete_records(
        &self,
        topic: &str,
        before: &[(i32, i64)],
        breathe: Breathe<'_>,
    ) -> Outcome<()> {
        let doing = format!("Records of topic \"{topic}\" cannot be deleted");
        let call = Call::new(breathe);
        self.refuse_mock(&call, &doing)?;
        self.check(topic, before, &call, &doing)?;
        if before.is_empty() {
            return Ok(());
        }
        let mut list = Partitions::new();
        for (partition, offset) in before {
            list.add(topic, *partition, *offset);
        }
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DELETERECORDS, &call);
        // SAFETY: live objects; the request copies what it needs.
        let answer = self.request(&options, &call, &doing, |client, options, queue| unsafe {
            let delete = sys::bindings::rd_kafka_DeleteRecords_new(list.raw());
            let mut all = [delete];
            sys::bindings::rd_kafka_DeleteRecords(client, all.as_mut_ptr(), 1, options, queue);
            sys::bindings::rd_kafka_DeleteRecords_destroy(delete);
        })?;
        // SAFETY: the result lives as long as its event; the copy is ours.
        let answered = unsafe {
            let result = sys::bindings::rd_kafka_event_DeleteRecords_result(answer.raw());
            Partitions::from_raw(sys::rd_kafka_topic_partition_list_copy(
                sys::bindings::rd_kafka_DeleteRecords_result_offsets(result),
            ))
        };
        for element in answered.elements() {
            if element.err != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                let doing = format!("{doing} (partition {})", element.partition);
                return Err(self.failed(element.err, &doing, "").into());
            }
        }
        Ok(())
    }

    /// Before anything is deleted: all of it can be.
    fn check(
        &self,
        topic: &str,
        before: &[(i32, i64)],
        call: &Call<'_>,
        doing: &str,
    ) -> Outcome<()> {
        let spans = self.spans(topic, call, doing)?;
        for (partition, offset) in before {
            let span = find(&spans, *partition, doing)?;
            if *offset < 0 || *offset > span.end {
                return Err(Error::configuration(format!(
                    "{doing}: partition {partition} holds the offsets {} to {}, {offset} given.",
                    span.beginning, span.end
                ))
                .into());
            }
        }
        Ok(())
    }
}

/// The partition's span.
pub(super) fn find<'a>(spans: &'a [Span], partition: i32, doing: &str) -> Result<&'a Span, Error> {
    let found = spans.iter().find(|span| span.partition == partition);
    found.ok_or_else(|| {
        Error::configuration(format!(
            "{doing}: it has no partition {partition}, but {} of them, from 0.",
            spans.len()
        ))
    })
}
