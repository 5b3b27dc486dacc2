//! Where the partitions of many topics begin and end, in a few questions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::bindings::{rd_kafka_OffsetSpec_t as Spec, rd_kafka_resp_err_t as Code};

use super::{is_missing, passes, Admin, Breathe, Call, Outcome, Span, SLICE};
use crate::error::Error;
use crate::kafka::native;

/// What has just moved is asked for again for this long: one topic in trouble must not hide the others.
const PATIENCE: Duration = Duration::from_secs(2);

/// A topic and where its partitions begin and end.
#[derive(Debug, Clone)]
pub struct Spans {
    /// The topic.
    pub topic: String,
    /// Why some are not known, if so.
    pub error: Option<Error>,
    /// The partitions that are known, in order.
    pub spans: Vec<Span>,
}

/// Offsets by topic and partition, and why one is not known.
type Found = HashMap<(String, i32), Result<i64, Code>>;

impl Admin {
    /// Where every partition of these topics begins and ends, in order of their names. Topics that are not there are left out; what
    /// is wrong with one is said there, such as a partition without a leader.
    ///
    /// # Errors
    /// InvalidChannel: no name of a topic. Connection: Kafka does not answer.
    pub fn offsets_of(&self, topics: &[String], breathe: Breathe<'_>) -> Outcome<Vec<Spans>> {
        let doing = "The offsets of the topics cannot be read";
        let call = Call::new(breathe);
        let described = self.described(topics, &call, doing)?;
        let asked: Vec<(&str, i32)> = described
            .iter()
            .flat_map(|topic| {
                let led = topic.partitions.iter().filter(|(_, led)| *led);
                led.map(|(partition, _)| (topic.name.as_str(), *partition))
            })
            .collect();
        let earliest = Spec::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64;
        let latest = Spec::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
        let beginnings = self.look_all(&asked, earliest, &call, doing)?;
        let ends = self.look_all(&asked, latest, &call, doing)?;
        let mut all = Vec::with_capacity(described.len());
        for topic in &described {
            if is_missing(topic.error) {
                continue;
            }
            let doing = format!("The offsets of topic \"{}\" cannot be read", topic.name);
            let mut error: Option<Error> = None;
            let mut spans = Vec::with_capacity(topic.partitions.len());
            let mut gone = false;
            if topic.error != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                error = Some(self.refused(topic.error, &doing, ""));
            }
            for (partition, led) in &topic.partitions {
                let place = (topic.name.clone(), *partition);
                let offset = |found: &Found| match found.get(&place) {
                    Some(answer) => *answer,
                    None => Err(Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE),
                };
                match (led, offset(&beginnings), offset(&ends)) {
                    (true, Ok(beginning), Ok(end)) => spans.push(Span {
                        partition: *partition,
                        beginning,
                        // Records that were deleted between the two questions.
                        end: end.max(beginning),
                    }),
                    (_, Err(code), _) | (_, _, Err(code)) if is_missing(code) => gone = true,
                    (false, ..) => {
                        error = Some(Error::connection(format!(
                            "{doing}: partition {partition} has no leader. Is one of the brokers down?"
                        )));
                    }
                    (_, Err(code), _) | (_, _, Err(code)) if passes(code) => {
                        error = Some(Error::connection(format!(
                            "{doing}: partition {partition}: {}.",
                            native::describe(code)
                        )));
                    }
                    (_, Err(code), _) | (_, _, Err(code)) => {
                        error = Some(self.refused(code, &doing, ""));
                    }
                }
            }
            // Deleted between the questions.
            if !gone {
                all.push(Spans {
                    topic: topic.name.clone(),
                    error,
                    spans,
                });
            }
        }
        Ok(all)
    }

    /// Asks for all, and again for what has just moved.
    fn look_all(
        &self,
        asked: &[(&str, i32)],
        what: i64,
        call: &Call<'_>,
        doing: &str,
    ) -> Outcome<Found> {
        let mut found = Found::with_capacity(asked.len());
        let mut open = asked.to_vec();
        let until = Instant::now() + PATIENCE;
        while !open.is_empty() {
            for (topic, partition, answer) in self.look(&open, what, call, doing)? {
                found.insert((topic, partition), answer);
            }
            open.retain(
                |(topic, partition)| match found.get(&((*topic).to_owned(), *partition)) {
                    Some(Err(code)) => passes(*code),
                    Some(Ok(_)) => false,
                    None => true,
                },
            );
            if open.is_empty() || Instant::now() > until {
                break;
            }
            self.wait(call, doing)?;
            std::thread::sleep(SLICE);
        }
        Ok(found)
    }
}
