//! The read position: seek, pause and resume.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::TopicPartitionList;

use super::partition::SeekTarget;
use super::rebalance::{TopicPartition, OFFSET_BEGINNING, SHORT_TIMEOUT, TIMEOUT};
use super::Consumer;
use crate::error::{Error, Result};
use crate::kafka::client::{self, partitions_of};
use crate::runtime::clock::coarse_ms;

/// librdkafka's offset for the end of a partition.
const OFFSET_END: i64 = -1;
/// Interval of retries for a failed seek.
const SEEK_RETRY_MS: u64 = 500;

/// Target of a seek.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The first record that Kafka still has.
    Beginning,
    /// Behind the last record.
    End,
    /// An offset, 0 or more.
    Offset(i64),
    /// The first record with this timestamp (milliseconds since 1970) or a later one.
    Time(i64),
}

impl Consumer {
    /// The records since the last commit are read again, after a result was not delivered; one by one if `isolated`.
    pub fn read_again(&self, isolated: bool) {
        if isolated {
            self.isolate();
        }
        self.rewind();
    }

    /// Undoes everything handled since the last commit: the records are read again. Later records cannot be committed;
    /// where a seek fails, records are discarded until it succeeds.
    pub(in crate::kafka) fn rewind(&self) {
        let back = {
            let mut state = self.state.borrow_mut();
            state.records.rewind();
            state.records.assigned.pending_rewinds()
        };
        self.seek_back(&back);
        self.last_rewind.set(coarse_ms());
    }

    /// The records taken since the last commit are handed out one by one when they are read again, because Kafka
    /// refuses a result for good and it is not known which record it belongs to.
    pub(in crate::kafka) fn isolate(&self) {
        self.state.borrow_mut().records.assigned.isolate();
    }

    /// Moves to the group's offsets, whatever was handled here: another member, or an earlier process, may have
    /// committed since. True if the offsets of `sent` were committed; `None` where Kafka does not answer in time.
    pub(in crate::kafka) fn seek_to_committed(&self, sent: &TopicPartitionList) -> Option<bool> {
        let sent: HashMap<TopicPartition, i64> = client::entries(sent)
            .into_iter()
            .map(|entry| ((entry.topic, entry.partition), entry.offset))
            .collect();
        let mut asked: Vec<TopicPartition> = {
            let state = self.state.borrow();
            let partitions = state.records.assigned.all();
            partitions
                .map(|one| (one.topic.to_string(), one.number))
                .collect()
        };
        asked.extend(sent.keys().cloned());
        asked.sort_unstable();
        asked.dedup();
        if asked.is_empty() {
            return Some(false);
        }
        let committed = self.query_committed(&asked, SHORT_TIMEOUT)?;
        let mut places = Vec::new();
        let mut is_committed = false;
        for ((topic, number), (offset, _)) in asked.into_iter().zip(committed) {
            let place = (topic, number);
            is_committed |= sent.get(&place) == Some(&offset);
            let (topic, number) = place;
            let records = &mut self.state.borrow_mut().records;
            let restart = records.restart_at(&topic, number, offset);
            places.extend(restart.map(|offset| (topic, number, offset)));
        }
        self.seek_back(&places);
        Some(is_committed)
    }

    /// Retries requests that Kafka did not answer: seeks, and reading commit metadata.
    pub(super) fn retry_pending(&self) {
        let now = coarse_ms();
        if now.saturating_sub(self.last_rewind.get()) < SEEK_RETRY_MS {
            return;
        }
        self.last_rewind.set(now);
        if !self.state.borrow().metadata_unread.is_empty() {
            self.reread_metadata();
        }
        let late = self.state.borrow().records.assigned.pending_rewinds();
        self.seek_back(&late);
    }

    fn seek_back(&self, places: &[(String, i32, i64)]) {
        if places.is_empty() {
            return;
        }
        self.fetch_wait.shorten();
        let bound = crate::runtime::clock::bounded(Duration::from_secs(2));
        let each = places.iter();
        let each = each.map(|(topic, number, offset)| (topic, *number, *offset));
        let (sought, _) = self.client.seek(each, bound);
        let mut state = self.state.borrow_mut();
        for (entry, (topic, number, offset)) in sought.iter().zip(places) {
            let succeeded = entry.error == Code::NoError;
            state
                .records
                .sought_back(topic, *number, *offset, succeeded);
        }
    }

    /// Reads on from `position`. Inside `assigned` it takes effect before the first record, otherwise immediately.
    ///
    /// # Errors
    /// Configuration: the partition is not assigned to this consumer. Connection: Kafka does not answer.
    pub fn seek(&self, topic: &str, partition: i32, position: Position) -> Result<()> {
        let place = format!("Cannot seek in topic \"{topic}\" partition {partition}");
        let slot = self
            .state
            .borrow()
            .records
            .assigned
            .slot_of(topic, partition);
        if slot.is_none() {
            return Err(Error::configuration(format!(
                "{place}: it is not assigned to this consumer. Seek in the callback of onAssigned()."
            )));
        }
        let offset = match position {
            Position::Beginning => OFFSET_BEGINNING,
            Position::End => OFFSET_END,
            Position::Offset(offset) => offset,
            Position::Time(time) => self.offset_at(topic, partition, time, &place)?,
        };
        {
            let mut state = self.state.borrow_mut();
            if state.assigning {
                state.seeks.insert((topic.to_owned(), partition), offset);
                return Ok(());
            }
            state.records.discard(topic, partition, i64::MIN);
        }
        self.seek_now(topic, partition, offset, &place)
    }

    fn seek_now(&self, topic: &str, partition: i32, offset: i64, place: &str) -> Result<()> {
        let bound = crate::runtime::clock::bounded(Duration::from_secs(5));
        let (sought, failed) = self.client.seek([(topic, partition, offset)], bound);
        let of_partition = sought.first().map(|entry| entry.error);
        let code = failed.or(of_partition).unwrap_or(Code::NoError);
        if code != Code::NoError {
            return Err(client::to_error(code, place, "", &self.config.brokers));
        }
        self.fetch_wait.shorten();
        let mut state = self.state.borrow_mut();
        let commits = state.records.assigned.last_commit();
        if let Some(partition) = state.records.assigned.find(topic, partition) {
            let target = match offset {
                OFFSET_BEGINNING => SeekTarget::Beginning,
                OFFSET_END => SeekTarget::End,
                _ => SeekTarget::Offset(offset),
            };
            partition.sought(target, commits);
        }
        Ok(())
    }

    fn offset_at(&self, topic: &str, partition: i32, time: i64, place: &str) -> Result<i64> {
        self.client
            .offset_for_time(topic, partition, time, TIMEOUT)
            .map_err(|code| client::to_error(code, place, "", &self.config.brokers))
    }

    /// Pauses or resumes fetching; `None`s mean everything assigned.
    pub fn set_paused(&self, topic: Option<&str>, partition: Option<i32>, paused: bool) {
        let chosen: Vec<TopicPartition> = {
            let state = self.state.borrow();
            let assigned = state.records.assigned.all();
            assigned
                .filter(|assigned| topic.is_none_or(|topic| topic == &*assigned.topic))
                .filter(|assigned| partition.is_none_or(|partition| partition == assigned.number))
                .map(|assigned| (assigned.topic.to_string(), assigned.number))
                .collect()
        };
        {
            let mut state = self.state.borrow_mut();
            if state.assigning {
                state.pauses.retain(|one| !chosen.contains(one));
                if paused {
                    state.pauses.extend(chosen);
                }
                return;
            }
        }
        for (topic, number) in &chosen {
            if let Some(partition) = self
                .state
                .borrow_mut()
                .records
                .assigned
                .find(topic, *number)
            {
                partition.paused = paused;
                // Records that were held back are fetched again after resume(), as all others.
                partition.held_back &= !paused;
            }
        }
        let is_held_back = |(topic, number): &&TopicPartition| {
            let mut state = self.state.borrow_mut();
            let partition = state.records.assigned.find(topic, *number);
            partition.is_some_and(|one| one.held_back)
        };
        let changed = chosen.iter().filter(|one| !is_held_back(one)).cloned();
        let changed: Vec<TopicPartition> = changed.collect();
        self.client.set_paused(partitions_of(&changed), paused);
        if !paused {
            return;
        }
        // Records that were fetched and not handed out are fetched again after resume().
        let mut back = Vec::new();
        for (topic, number) in chosen {
            let first = self
                .state
                .borrow_mut()
                .records
                .first_fetched(&topic, number);
            back.extend(first.map(|offset| (topic, number, offset)));
        }
        self.seek_back(&back);
    }
}
