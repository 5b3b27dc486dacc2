//! The assignment of a consumer: its partitions with their records, and the positions at which they are read.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::TopicPartitionList;

use super::idle::FetchWait;
use super::message::FetchedMessage;
use super::partition::{Partition, SeekTarget};
use super::rebalance::{TopicPartition, OFFSET_BEGINNING, SHORT_TIMEOUT, TIMEOUT};
use super::records::{AssignedRecords, RetryBounds};
use super::status::GroupStats;
use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::kafka::client::{self, partitions_of, AssignedPartitions, Client, PartitionEntry};
use crate::runtime::clock::{bounded, coarse_ms};

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

/// Requests from inside the `assigned` callback, which take effect with the assignment.
#[derive(Default)]
struct Requests {
    seeks: HashMap<TopicPartition, i64>,
    pauses: Vec<TopicPartition>,
}

pub struct Assignment {
    pub(super) client: Client,
    pub(super) config: Arc<BrokerConfig>,
    /// Borrowed briefly, never while a callback runs.
    pub(super) records: RefCell<AssignedRecords<FetchedMessage>>,
    /// `None` outside of the `assigned` callback.
    requests: RefCell<Option<Requests>>,
    pub(super) fetch_wait: FetchWait,
    /// Time of the last rewind or attempt at one.
    last_rewind: Cell<u64>,
}

impl Assignment {
    pub(super) fn new(client: &Client, config: &Arc<BrokerConfig>, fetch_wait: FetchWait) -> Self {
        Self {
            client: client.clone(),
            config: Arc::clone(config),
            records: RefCell::default(),
            requests: RefCell::default(),
            fetch_wait,
            last_rewind: Cell::new(0),
        }
    }

    /// Reads or changes the records; `with` must not call the consumer.
    #[inline]
    pub fn records<R>(&self, with: impl FnOnce(&mut AssignedRecords<FetchedMessage>) -> R) -> R {
        with(&mut self.records.borrow_mut())
    }

    /// Partitions are about to be assigned.
    pub(super) fn begin(&self) {
        self.requests.replace(Some(Requests::default()));
    }

    /// Adds a partition. `committed`: the group's offset, negative where it has none. `is_new`: it is read from the
    /// beginning, unless the application seeks.
    pub(super) fn add(
        &self,
        (topic, number): &TopicPartition,
        committed: i64,
        crashes: &[(i64, i64, u32)],
        is_new: bool,
    ) {
        self.records(|all| {
            let partition = all.assigned.add(topic, *number, committed);
            partition.restore_crash_counts(crashes);
        });
        if let Some(requests) = self.requests.borrow_mut().as_mut().filter(|_| is_new) {
            let place = (topic.clone(), *number);
            requests.seeks.insert(place, OFFSET_BEGINNING);
        }
    }

    /// The `assigned` callback has returned: sets the offsets that it asked for; the partitions to pause.
    pub(super) fn end(&self, list: &mut AssignedPartitions) -> Vec<TopicPartition> {
        let requests = self.requests.take().unwrap_or_default();
        for ((topic, number), offset) in requests.seeks {
            list.set_offset(&topic, number, offset);
        }
        requests.pauses
    }

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
        let back = self.records(|all| {
            all.rewind();
            all.assigned.pending_rewinds()
        });
        self.seek_back(&back);
        self.last_rewind.set(coarse_ms());
    }

    /// The records taken since the last commit are handed out one by one when they are read again, because Kafka
    /// refuses a result for good and it is not known which record it belongs to.
    pub(in crate::kafka) fn isolate(&self) {
        self.records(|all| all.assigned.isolate());
    }

    /// Moves to the group's offsets, whatever was handled here: another member, or an earlier process, may have
    /// committed since. True if the offsets of `sent` were committed; `None` where Kafka does not answer in time.
    pub(in crate::kafka) fn seek_to_committed(&self, sent: &TopicPartitionList) -> Option<bool> {
        let sent: HashMap<TopicPartition, i64> = client::entries(sent)
            .into_iter()
            .map(|entry| ((entry.topic, entry.partition), entry.offset))
            .collect();
        let mut asked = self.partitions(|_| true);
        asked.extend(sent.keys().cloned());
        asked.sort_unstable();
        asked.dedup();
        if asked.is_empty() {
            return Some(false);
        }
        let committed = self.committed(&asked, SHORT_TIMEOUT)?;
        let mut places = Vec::new();
        let mut is_committed = false;
        for (place, entry) in asked.into_iter().zip(committed) {
            is_committed |= sent.get(&place) == Some(&entry.offset);
            let (topic, number) = place;
            let restart = self.records(|all| all.restart_at(&topic, number, entry.offset));
            places.extend(restart.map(|offset| (topic, number, offset)));
        }
        self.seek_back(&places);
        Some(is_committed)
    }

    /// The group's offsets with their metadata; `None` where Kafka does not answer in time.
    pub(super) fn committed(
        &self,
        partitions: &[TopicPartition],
        bound: Duration,
    ) -> Option<Vec<PartitionEntry>> {
        let list = partitions_of(partitions);
        let entries = self.client.committed(list, bounded(bound)).ok()?;
        let is_known = |entry: &PartitionEntry| entry.error == Code::NoError;
        entries.iter().all(is_known).then_some(entries)
    }

    /// Retries seeks that Kafka did not answer; false if they were tried a moment ago.
    pub(super) fn retry_seeks(&self) -> bool {
        let now = coarse_ms();
        if now.saturating_sub(self.last_rewind.get()) < SEEK_RETRY_MS {
            return false;
        }
        self.last_rewind.set(now);
        let late = self.records(|all| all.assigned.pending_rewinds());
        self.seek_back(&late);
        true
    }

    fn seek_back(&self, places: &[(String, i32, i64)]) {
        if places.is_empty() {
            return;
        }
        self.fetch_wait.shorten();
        let each = places.iter();
        let each = each.map(|(topic, number, offset)| (topic, *number, *offset));
        let (sought, _) = self.client.seek(each, bounded(Duration::from_secs(2)));
        self.records(|all| {
            for (entry, (topic, number, offset)) in sought.iter().zip(places) {
                let succeeded = entry.error == Code::NoError;
                all.sought_back(topic, *number, *offset, succeeded);
            }
        });
    }

    /// Reads on from `position`. Inside `assigned` it takes effect before the first record, otherwise immediately.
    ///
    /// # Errors
    /// Configuration: the partition is not assigned to this consumer. Connection: Kafka does not answer.
    pub fn seek(&self, topic: &str, partition: i32, position: Position) -> Result<()> {
        let action = format!("Cannot seek in topic \"{topic}\" partition {partition}");
        let slot = self.records(|all| all.assigned.slot_of(topic, partition));
        if slot.is_none() {
            return Err(Error::configuration(format!(
                "{action}: it is not assigned to this consumer. Seek in the callback of onAssigned()."
            )));
        }
        let refused = |code| client::to_error(code, &action, "", &self.config.brokers);
        let (offset, target) = match position {
            Position::Beginning => (OFFSET_BEGINNING, SeekTarget::Beginning),
            Position::End => (OFFSET_END, SeekTarget::End),
            Position::Offset(offset) => (offset, SeekTarget::Offset(offset)),
            Position::Time(time) => {
                let found = self.client.offset_for_time(topic, partition, time, TIMEOUT);
                match found.map_err(refused)? {
                    OFFSET_END => (OFFSET_END, SeekTarget::End),
                    offset => (offset, SeekTarget::Offset(offset)),
                }
            }
        };
        if let Some(requests) = &mut *self.requests.borrow_mut() {
            let place = (topic.to_owned(), partition);
            requests.seeks.insert(place, offset);
            return Ok(());
        }
        let bound = bounded(Duration::from_secs(5));
        let (sought, failed) = self.client.seek([(topic, partition, offset)], bound);
        let of_partition = sought.first().map(|entry| entry.error);
        let code = failed.or(of_partition).unwrap_or(Code::NoError);
        if code != Code::NoError {
            return Err(refused(code));
        }
        self.fetch_wait.shorten();
        // After a seek that failed, what was fetched is still to be handled.
        self.records(|all| {
            all.discard(topic, partition, i64::MIN);
            let commits = all.assigned.last_commit();
            if let Some(partition) = all.assigned.find(topic, partition) {
                partition.sought(target, commits);
            }
        });
        Ok(())
    }

    /// Pauses or resumes fetching; `None`s mean everything assigned.
    pub fn set_paused(&self, topic: Option<&str>, partition: Option<i32>, paused: bool) {
        let chosen = self.partitions(|assigned| {
            topic.is_none_or(|topic| topic == &*assigned.topic)
                && partition.is_none_or(|partition| partition == assigned.number)
        });
        if let Some(requests) = &mut *self.requests.borrow_mut() {
            requests.pauses.retain(|one| !chosen.contains(one));
            if paused {
                requests.pauses.extend(chosen);
            }
            return;
        }
        let changed = self.records(|all| {
            let changed = chosen.iter().filter(|(topic, number)| {
                let partition = all.assigned.find(topic, *number);
                partition.is_none_or(|partition| {
                    partition.paused = paused;
                    // Records that were held back are fetched again after resume(), as all others.
                    partition.held_back &= !paused;
                    !partition.held_back
                })
            });
            changed.cloned().collect::<Vec<_>>()
        });
        self.client.set_paused(partitions_of(&changed), paused);
        if !paused {
            return;
        }
        // Records that were fetched and not handed out are fetched again after resume().
        let back = self.records(|all| {
            let back = chosen.into_iter().filter_map(|(topic, number)| {
                let first = all.first_to_read_again(&topic, number)?;
                Some((topic, number, first))
            });
            back.collect::<Vec<_>>()
        });
        self.seek_back(&back);
    }

    /// How far a partition may run past a record that waits for its retry.
    pub(super) fn retry_bounds(&self) -> RetryBounds {
        RetryBounds {
            queued: self.config.retry_max_parked,
            ahead: self.config.retry_max_ahead,
        }
    }

    /// Resumes partitions that need not be held back any more.
    pub(super) fn resume_held_back(&self) {
        let released = self.records(|all| all.release(self.retry_bounds()));
        if !released.is_empty() {
            self.fetch_wait.shorten();
            self.client.set_paused(partitions_of(&released), false);
        }
    }

    /// How long to wait for new records: not past the time when a retry is due.
    pub(super) fn until_due(&self, wait: Duration) -> Duration {
        let due = self.records.borrow().retries.queue.next_due();
        let due = due.map(|due| due.saturating_duration_since(Instant::now()));
        let wait = due.map_or(wait, |due| wait.min(due));
        // Rounded up for librdkafka: with 0 ms the last millisecond would be spent polling.
        Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
    }

    fn partitions(&self, is_chosen: impl Fn(&Partition) -> bool) -> Vec<TopicPartition> {
        let records = self.records.borrow();
        let chosen = records.assigned.all().filter(|one| is_chosen(one));
        chosen
            .map(|one| (one.topic.to_string(), one.number))
            .collect()
    }

    /// Number of assigned partitions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.records.borrow().assigned.all().count()
    }

    /// Topic, partition, the next offset and the lag (both negative while unknown).
    #[must_use]
    pub fn positions(&self) -> Vec<(String, i32, i64, i64)> {
        let records = self.records.borrow();
        let position = |partition: &Partition| {
            let (topic, number) = (&*partition.topic, partition.number);
            let known = client::known_watermarks(&self.client, topic, number);
            let (low, high) = known.unwrap_or((-1, -1));
            let next = match partition.next_offset() {
                Some(next) => next,
                None if partition.is_at_end() => high,
                None => -1,
            };
            let lag = match (next, high) {
                (_, high) if high < 0 => -1,
                (next, high) if next >= 0 => (high - next).max(0),
                (_, high) => (high - low).max(0),
            };
            (topic.to_owned(), number, next, lag)
        };
        records.assigned.all().map(position).collect()
    }

    /// State for the metrics. The lag of each partition takes a look-up: only on request.
    #[must_use]
    pub fn stats(&self, with_lag: bool) -> GroupStats {
        let lag = with_lag.then(|| {
            let known = self.positions().into_iter();
            let known = known.filter_map(|(topic, partition, _, lag)| {
                Some((topic, partition, u64::try_from(lag).ok()?))
            });
            known.collect()
        });
        let records = self.records.borrow();
        let (transient, since) = records.retries.transient_failures();
        GroupStats {
            transient: transient as u64,
            transient_wait: since.map_or(Duration::ZERO, |since| since.elapsed()),
            open_circuits: 0,
            queued_for_retry: records.retries.queue.len() as u64,
            held_back: records.assigned.all().filter(|one| one.held_back).count() as u64,
            assigned: records.assigned.all().count() as u64,
            uncommitted: records.assigned.has_uncommitted(),
            lag,
        }
    }
}
