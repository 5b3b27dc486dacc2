//! First and end offsets of many topics, in a few requests.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::Offset;

use super::{
    is_transient, is_unknown_topic, Admin, AdminCall, AdminResult, OffsetRange, PollInterrupts,
    POLL_INTERVAL,
};
use crate::error::Error;
use crate::kafka::client;

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

impl Admin {
    /// First and end offsets of all partitions of these topics, sorted by name. Unknown topics are left out; an error
    /// of one topic, such as a partition without a leader, is stored in its result.
    ///
    /// # Errors
    /// InvalidChannel: not a valid topic name. Connection: Kafka does not respond.
    pub fn offsets_of(
        &self,
        topics: &[String],
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Vec<TopicOffsets>> {
        let action = "The offsets of the topics cannot be read";
        let call = AdminCall::new(poll_interrupts);
        let described = self.describe_topics(topics, &call, action)?;
        let requested: Vec<(&str, i32)> = described
            .iter()
            .flat_map(|topic| {
                let led = topic.partitions.iter().filter(|(_, led)| *led);
                led.map(|(partition, _)| (topic.name.as_str(), *partition))
            })
            .collect();
        let beginnings = self.list_offsets_of_all(&requested, Offset::Beginning, &call, action)?;
        let ends = self.list_offsets_of_all(&requested, Offset::End, &call, action)?;
        let mut all = Vec::with_capacity(described.len());
        for topic in &described {
            if is_unknown_topic(topic.error) {
                continue;
            }
            let action = format!("The offsets of topic \"{}\" cannot be read", topic.name);
            let mut error: Option<Error> = None;
            let mut offset_ranges = Vec::with_capacity(topic.partitions.len());
            let mut gone = false;
            if topic.error != Code::NoError {
                error = Some(self.response_error(topic.error, &action, ""));
            }
            for (partition, led) in &topic.partitions {
                let place = (topic.name.clone(), *partition);
                let offset = |found: &Found| match found.get(&place) {
                    Some(response) => *response,
                    None => Err(Code::LeaderNotAvailable),
                };
                match (led, offset(&beginnings), offset(&ends)) {
                    (true, Ok(beginning), Ok(end)) => offset_ranges.push(OffsetRange {
                        partition: *partition,
                        beginning,
                        // Records may be deleted between the two requests.
                        end: end.max(beginning),
                    }),
                    (_, Err(code), _) | (_, _, Err(code)) if is_unknown_topic(code) => gone = true,
                    (false, ..) => {
                        error = Some(Error::connection(format!(
                            "{action}: partition {partition} has no leader. Is one of the brokers down?"
                        )));
                    }
                    (_, Err(code), _) | (_, _, Err(code)) if is_transient(code) => {
                        error = Some(Error::connection(format!(
                            "{action}: partition {partition}: {}.",
                            client::describe(code)
                        )));
                    }
                    (_, Err(code), _) | (_, _, Err(code)) => {
                        error = Some(self.response_error(code, &action, ""));
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
        &self,
        requested: &[(&str, i32)],
        what: Offset,
        call: &AdminCall<'_>,
        action: &str,
    ) -> AdminResult<Found> {
        let mut found = Found::with_capacity(requested.len());
        let mut open = requested.to_vec();
        let until = Instant::now() + RETRY_TIME;
        while !open.is_empty() {
            for (topic, partition, response) in self.list_offsets_once(&open, what, call, action)? {
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
            self.check_deadline(call, action)?;
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(found)
    }
}
