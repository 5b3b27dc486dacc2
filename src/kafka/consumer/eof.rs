//! Detects that every assigned partition is read to its end: by the ends that librdkafka reports or, for a consumer
//! started without these reports, by queries.
#![allow(unsafe_code)]

use std::rc::Rc;
use std::time::{Duration, Instant};

use rdkafka::error::IsError;
use rdkafka_sys as sys;

use super::partition::Partition;
use super::Consumer;
use crate::kafka::client;

/// Interval of end queries.
const EVERY: Duration = Duration::from_millis(200);
/// Maximum wait for one query.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Wait without new records before an end that is never reached counts as reached: the last offsets are transaction
/// markers, or were compacted away.
const END_GRACE: Duration = Duration::from_secs(2);

impl Consumer {
    /// True where partitions are assigned and all of them are read to their ends.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        {
            let state = self.state.borrow();
            let mut assigned = state.records.partitions().peekable();
            let busy = !state.records.is_drained() || assigned.peek().is_none();
            if busy || (self.reports_eof && !assigned.all(Partition::is_at_end)) {
                return false;
            }
        }
        if self.reports_eof {
            return self.confirm_ends();
        }
        // This consumer was started by a consume() that does not stop at the end; a new one would have to rejoin the
        // group.
        if self.last_end_query.get().elapsed() < EVERY {
            return false;
        }
        self.last_end_query.set(Instant::now());
        self.last_fetch.get().elapsed() >= EVERY && self.all_at_end()
    }

    fn all_at_end(&self) -> bool {
        let quiet = self.last_fetch.get().elapsed() >= END_GRACE;
        let places: Vec<(Rc<str>, i32, Option<i64>, bool)> = {
            let state = self.state.borrow();
            let assigned = state.records.partitions();
            assigned
                .map(|one| {
                    let next = one.next_offset();
                    let is_paused = one.paused || one.rewind_to().is_some();
                    (Rc::clone(&one.topic), one.number, next, is_paused)
                })
                .collect()
        };
        places.into_iter().all(|(topic, number, next, is_paused)| {
            let ends = self.query_ends(&topic, number);
            !is_paused
                && ends.is_some_and(|(low, high)| {
                    let next = match next {
                        Some(next) => next,
                        None if self.reads_from_end => high,
                        None => low,
                    };
                    next >= high || quiet
                })
        })
    }

    /// librdkafka reports an end once: ends from before this run may have moved since. Queries them once in a run.
    fn confirm_ends(&self) -> bool {
        if self.ends_confirmed.get() {
            return true;
        }
        let ends: Vec<(Rc<str>, i32, i64)> = {
            let state = self.state.borrow();
            let assigned = state.records.partitions();
            assigned
                .filter_map(|one| Some((Rc::clone(&one.topic), one.number, one.end()?)))
                .collect()
        };
        let mut confirmed = true;
        for (topic, number, end) in ends {
            let queried = self.query_ends(&topic, number);
            if queried.is_none_or(|(_, high)| high > end) {
                confirmed = false;
            }
            if queried.is_some_and(|(_, high)| high > end) {
                let mut state = self.state.borrow_mut();
                if let Some(partition) = state.records.find(&topic, number) {
                    partition.end_moved();
                }
            }
        }
        self.ends_confirmed.set(confirmed);
        confirmed
    }

    /// The first offset of a partition and the one after its last record; `None` where Kafka does not answer in time.
    fn query_ends(&self, topic: &str, number: i32) -> Option<(i64, i64)> {
        let topic = client::c_string(topic);
        let bound = crate::clock::bounded(TIMEOUT).as_millis();
        let (mut low, mut high) = (-1, -1);
        // SAFETY: a live client; the results are written before it returns.
        let code = unsafe {
            sys::bindings::rd_kafka_query_watermark_offsets(
                self.client,
                topic.as_ptr(),
                number,
                &raw mut low,
                &raw mut high,
                i32::try_from(bound).unwrap_or(1000),
            )
        };
        (!code.is_error()).then_some((low, high))
    }
}
