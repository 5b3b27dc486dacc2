//! Offsets: first and last of one topic or many, by timestamp, and deletion of records.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::Offset;

use super::{
    is_transient, is_unknown_topic, topics, Admin, AdminCall, AdminResult, PollInterrupts,
};
use crate::error::Error;
use crate::kafka::client;

type PartitionOffset = (i32, i64);
/// Topic, partition, and the offset or error.
type ListedOffset = (String, i32, Result<i64, Code>);

/// First and end offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRange {
    pub partition: i32,
    pub beginning: i64,
    /// High watermark; with `read_committed` the last stable offset.
    pub end: i64,
}

impl OffsetRange {
    /// Records may be deleted between the requests for the two offsets.
    fn new(partition: i32, beginning: i64, end: i64) -> Self {
        Self {
            partition,
            beginning,
            end: end.max(beginning),
        }
    }
}

/// Time limit for retries while leaders move: one affected topic must not delay the others.
const RETRY_TIME: Duration = Duration::from_secs(2);

/// First and end offsets of a topic's partitions.
#[derive(Debug, Clone)]
pub struct TopicOffsets {
    pub topic: String,
    /// Set if some are not known.
    pub error: Option<Error>,
    /// The known partitions, in order.
    pub offset_ranges: Vec<OffsetRange>,
}

/// Offset or error by topic and partition.
type Found = HashMap<(String, i32), Result<i64, Code>>;

/// First and end offset of every partition of a topic.
///
/// # Errors
/// UnknownTopic; Connection: Kafka does not respond, or a partition has no leader.
pub fn of_topic(
    admin: &Admin,
    topic: &str,
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<Vec<OffsetRange>> {
    let action = format!("The offsets of topic \"{topic}\" cannot be read");
    offset_ranges(topic, &admin.call(action, poll_interrupts))
}

pub(super) fn offset_ranges(topic: &str, call: &AdminCall<'_>) -> AdminResult<Vec<OffsetRange>> {
    let partitions = topics::partitions(topic, call)?;
    let partitions: Vec<i32> = partitions.iter().map(|partition| partition.id).collect();
    let beginnings = list_offsets(topic, &partitions, Offset::Beginning, call)?;
    let ends = list_offsets(topic, &partitions, Offset::End, call)?;
    let both = beginnings.into_iter().zip(ends);
    Ok(both
        .map(|((partition, beginning), (_, end))| OffsetRange::new(partition, beginning, end))
        .collect())
}

/// The first offset of each partition with a timestamp of `ms` or later; the end offset if there is none.
///
/// # Errors
/// As [`of_topic`]; Configuration: an embedded broker, which stores no timestamps.
pub fn at_time(
    admin: &Admin,
    topic: &str,
    ms: i64,
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<Vec<PartitionOffset>> {
    let action = format!("The offsets of topic \"{topic}\" cannot be looked up by time");
    let call = admin.call(action, poll_interrupts);
    call.refuse_mock()?;
    let ranges = offset_ranges(topic, &call)?;
    let partitions: Vec<i32> = ranges.iter().map(|range| range.partition).collect();
    let found = list_offsets(topic, &partitions, Offset::Offset(ms.max(0)), &call)?;
    let found = ranges.iter().zip(found);
    Ok(found
        .map(|(range, (partition, offset))| {
            (partition, if offset < 0 { range.end } else { offset })
        })
        .collect())
}

/// Requests an offset of all partitions and retries while a leader is moving. The result is in the order of
/// `partitions`.
fn list_offsets(
    topic: &str,
    partitions: &[i32],
    what: Offset,
    call: &AdminCall<'_>,
) -> AdminResult<Vec<PartitionOffset>> {
    let requested: Vec<(&str, i32)> = partitions.iter().map(|id| (topic, *id)).collect();
    loop {
        let mut found = Vec::with_capacity(requested.len());
        let mut moved = None;
        for (_, partition, response) in list_offsets_once(&requested, what, call)? {
            match response {
                Ok(offset) => found.push((partition, offset)),
                Err(code) if is_unknown_topic(code) => {
                    return Err(call.unknown_topic(topic).into())
                }
                Err(code) if is_transient(code) => {
                    moved = Some(format!("partition {partition}: {}", client::describe(code)));
                }
                Err(code) => return Err(call.error(code, "").into()),
            }
        }
        if moved.is_none() && found.len() == partitions.len() {
            found.sort_unstable_by_key(|(partition, _)| *partition);
            return Ok(found);
        }
        if let Some(detail) = moved {
            call.note(detail);
        }
        call.pause()?;
    }
}

/// One ListOffsets request for partitions of any topics. Partitions may be missing from the result.
fn list_offsets_once(
    requested: &[(&str, i32)],
    what: Offset,
    call: &AdminCall<'_>,
) -> AdminResult<Vec<ListedOffset>> {
    let mut list = client::partitions_of(requested);
    list.set_all_offsets(what)
        .map_err(|refused| call.wrong(format_args!("{refused}.")))?;
    let read_committed = call.admin.read_committed;
    let response = call.request(|request| request.list_offsets(&list, read_committed))?;
    let found = response.listed_offsets().into_iter();
    Ok(found
        .map(|entry| {
            let offset = match entry.error {
                Code::NoError => Ok(entry.offset),
                code => Err(code),
            };
            (entry.topic, entry.partition, offset)
        })
        .collect())
}

/// Deletes the records before these offsets; the remaining records keep their offsets.
///
/// # Errors
/// UnknownTopic; Configuration: unknown partition, an offset after the end, a topic that is only compacted, an embedded
/// broker. Connection: Kafka does not respond; records may have been deleted nevertheless.
pub fn delete_records(
    admin: &Admin,
    topic: &str,
    before: &[(i32, i64)],
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<()> {
    let action = format!("Records of topic \"{topic}\" cannot be deleted");
    let call = admin.call(action, poll_interrupts);
    call.refuse_mock()?;
    // All offsets are validated before anything is deleted.
    let ranges = offset_ranges(topic, &call)?;
    for (partition, offset) in before {
        let range = range_of(&ranges, *partition, &call)?;
        if *offset < 0 || *offset > range.end {
            let wrong = call.wrong(format_args!(
                "partition {partition} holds the offsets {} to {}, {offset} given.",
                range.beginning, range.end
            ));
            return Err(wrong.into());
        }
    }
    if before.is_empty() {
        return Ok(());
    }
    let before = before.iter();
    let list = client::offsets_of(before.map(|(partition, offset)| (topic, *partition, *offset)));
    let response = call.request(|request| request.delete_records(&list))?;
    for entry in response.deleted_records() {
        if entry.error != Code::NoError {
            let action = format!("{} (partition {})", call.action, entry.partition);
            return Err(call.about(action).error(entry.error, "").into());
        }
    }
    Ok(())
}

/// First and end offsets of all partitions of these topics, sorted by name. Unknown topics are left out; an error of
/// one topic, such as a partition without a leader, is stored in its result.
///
/// # Errors
/// InvalidChannel: not a valid topic name. Connection: Kafka does not respond.
pub fn of_topics(
    admin: &Admin,
    topics: &[String],
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<Vec<TopicOffsets>> {
    let call = admin.call("The offsets of the topics cannot be read", poll_interrupts);
    let described = topics::describe(topics, &call)?;
    let requested: Vec<(&str, i32)> = described
        .iter()
        .flat_map(|topic| {
            let led = topic.partitions.iter().filter(|(_, led)| *led);
            led.map(|(partition, _)| (topic.name.as_str(), *partition))
        })
        .collect();
    let beginnings = list_offsets_of_all(&requested, Offset::Beginning, &call)?;
    let ends = list_offsets_of_all(&requested, Offset::End, &call)?;
    let mut all = Vec::with_capacity(described.len());
    for topic in &described {
        if is_unknown_topic(topic.error) {
            continue;
        }
        let call = call.about(format!(
            "The offsets of topic \"{}\" cannot be read",
            topic.name
        ));
        let mut error: Option<Error> = None;
        let mut offset_ranges = Vec::with_capacity(topic.partitions.len());
        let mut gone = false;
        if topic.error != Code::NoError {
            error = Some(call.response_error(topic.error, ""));
        }
        for (partition, led) in &topic.partitions {
            let place = (topic.name.clone(), *partition);
            let offset = |found: &Found| match found.get(&place) {
                Some(response) => *response,
                None => Err(Code::LeaderNotAvailable),
            };
            let connection = |why: &str| {
                let place = format!("{}: partition {partition}", call.action);
                Some(Error::connection(format!("{place}{why}")))
            };
            match (led, offset(&beginnings), offset(&ends)) {
                (true, Ok(beginning), Ok(end)) => {
                    offset_ranges.push(OffsetRange::new(*partition, beginning, end));
                }
                (_, Err(code), _) | (_, _, Err(code)) if is_unknown_topic(code) => gone = true,
                (false, ..) => {
                    error = connection(" has no leader. Is one of the brokers down?");
                }
                (_, Err(code), _) | (_, _, Err(code)) if is_transient(code) => {
                    error = connection(&format!(": {}.", client::describe(code)));
                }
                (_, Err(code), _) | (_, _, Err(code)) => {
                    error = Some(call.response_error(code, ""));
                }
            }
        }
        // Deleted between the requests.
        if !gone {
            all.push(TopicOffsets {
                topic: topic.name.clone(),
                error,
                offset_ranges,
            });
        }
    }
    Ok(all)
}

/// Requests all offsets, and retries those whose leader is moving.
fn list_offsets_of_all(
    requested: &[(&str, i32)],
    what: Offset,
    call: &AdminCall<'_>,
) -> AdminResult<Found> {
    let mut found = Found::with_capacity(requested.len());
    let mut open = requested.to_vec();
    let until = Instant::now() + RETRY_TIME;
    while !open.is_empty() {
        for (topic, partition, response) in list_offsets_once(&open, what, call)? {
            found.insert((topic, partition), response);
        }
        open.retain(
            |(topic, partition)| match found.get(&((*topic).to_owned(), *partition)) {
                Some(Err(code)) => is_transient(*code),
                Some(Ok(_)) => false,
                None => true,
            },
        );
        if open.is_empty() || Instant::now() > until {
            break;
        }
        call.pause()?;
    }
    Ok(found)
}

pub(super) fn range_of<'a>(
    offset_ranges: &'a [OffsetRange],
    partition: i32,
    call: &AdminCall<'_>,
) -> Result<&'a OffsetRange, Error> {
    let found = offset_ranges
        .iter()
        .find(|range| range.partition == partition);
    found.ok_or_else(|| {
        call.wrong(format_args!(
            "there is no partition {partition}; the topic has {}, numbered from 0.",
            offset_ranges.len()
        ))
    })
}
