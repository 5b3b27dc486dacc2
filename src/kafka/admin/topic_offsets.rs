//! Where the partitions of many topics begin and end, in a few questions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::bindings::{rd_kafka_OffsetSpec_t as Spec, rd_kafka_resp_err_t as Code};

use super::{
    is_transient, is_unknown_topic, Admin, AdminCall, AdminResult, OffsetRange, PollInterrupts,
    POLL_INTERVAL,
};
use crate::error::Error;
use crate::kafka::client;

/// What has just moved is asked for again for this long: one topic in trouble must not hide the others.
const RETRY_TIME: Duration = Duration::from_secs(2);

/// A topic and where its partitions begin and end.
#[derive(Debug, Clone)]
pub struct TopicOffsets {
    /// The topic.
    pub topic: String,
    /// Why some are not known, if so.
    pub error: Option<Error>,
    /// The partitions that are known, in order.
    pub offset_ranges: Vec<OffsetRange>,
}

/// Offsets by topic and partition, and why one is not known.
type Found = HashMap<(String, i32), Result<i64, Code>>;

impl Admin {
    /// Where every partition of these topics begins and ends, in order of their names. Topics that are not there are left out; what
    /// is wrong with one is said there, such as a partition without a leader.
    ///
    /// # Errors
    /// InvalidChannel: no name of a topic. Connection: Kafka does not answer.
    pub fn offsets_of(
        &self,
        topics: &[String],
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Vec<TopicOffsets>> {
        let action = "The offsets of the topics cannot be read";
        let call = AdminCall::new(poll_interrupts);
        let described = self.describe_topics(topics, &call, action)?;
        let asked: Vec<(&str, i32)> = described
            .iter()
            .flat_map(|topic| {
                let led = topic.partitions.iter().filter(|(_, led)| *led);
                led.map(|(partition, _)| (topic.name.as_str(), *partition))
            })
            .collect();
        let earliest = Spec::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64;
        let latest = Spec::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
        let beginnings = self.list_offsets_of_all(&asked, earliest, &call, action)?;
        let ends = self.list_offsets_of_all(&asked, latest, &call, action)?;
        let mut all = Vec::with_capacity(described.len());
        for topic in &described {
            if is_unknown_topic(topic.error) {
                continue;
            }
            let action = format!("The offsets of topic \"{}\" cannot be read", topic.name);
            let mut error: Option<Error> = None;
            let mut offset_ranges = Vec::with_capacity(topic.partitions.len());
            let mut gone = false;
            if topic.error != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                error = Some(self.response_error(topic.error, &action, ""));
            }
            for (partition, led) in &topic.partitions {
                let place = (topic.name.clone(), *partition);
                let offset = |found: &Found| match found.get(&place) {
                    Some(response) => *response,
                    None => Err(Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE),
                };
                match (led, offset(&beginnings), offset(&ends)) {
                    (true, Ok(beginning), Ok(end)) => offset_ranges.push(OffsetRange {
                        partition: *partition,
                        beginning,
                        // Records that were deleted between the two questions.
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
            // Deleted between the questions.
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

    /// Asks for all, and again for what has just moved.
    fn list_offsets_of_all(
        &self,
        asked: &[(&str, i32)],
        what: i64,
        call: &AdminCall<'_>,
        action: &str,
    ) -> AdminResult<Found> {
        let mut found = Found::with_capacity(asked.len());
        let mut open = asked.to_vec();
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
