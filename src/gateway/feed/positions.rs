//! The positions of the feed: the topics it reads, each with a number; the first and the next offset of each partition.
//!
//! Written by the feed's threads and read by every socket that issues a token: atomics behind a lock that is
//! write-locked only when a topic or a partition is added.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::{ControlTopics, Key, OffsetSpec, TopicRole};
use crate::gateway::broadcast::TopicNumber;

/// Kafka's id of a topic, which changes when the topic is recreated; 0 if the cluster has no ids.
pub type TopicId = u128;

/// The state of one partition.
#[derive(Debug)]
pub struct PartitionState {
    pub topic: TopicNumber,
    pub name: Arc<str>,
    pub number: i32,
    /// All records below were passed to the sink, or precede the start offset.
    next: AtomicI64,
    /// Records below only fill the replay buffer.
    pub live_from: AtomicI64,
    /// Records with an earlier timestamp are skipped; for brokers that cannot look up offsets by time.
    pub not_before_ms: AtomicI64,
    /// False when the partition is not read: its topic was deleted, or its offset was out of range.
    pub is_active: AtomicBool,
    /// Reading is not authorized: [`Self::is_filled`] does not wait for it.
    pub denied: AtomicBool,
}

impl PartitionState {
    /// True when the records that existed at the start were passed on, or the partition cannot be read.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        !self.is_active.load(Ordering::Acquire)
            || self.denied.load(Ordering::Acquire)
            || self.next() >= self.live_from.load(Ordering::Acquire)
    }

    /// The offset that comes next.
    #[must_use]
    pub fn next(&self) -> i64 {
        self.next.load(Ordering::Acquire)
    }

    /// All records below `offset` were passed on. The position never goes back, except in [`Self::restart`].
    pub fn advance_to(&self, offset: i64) {
        self.next.fetch_max(offset, Ordering::AcqRel);
    }

    /// The partition is no longer read and its position is invalid.
    pub fn reset(&self) {
        self.is_active.store(false, Ordering::Release);
        self.next.store(-1, Ordering::Release);
    }

    /// Reading starts, or starts again, at `from`.
    pub fn restart(&self, from: i64, live_from: i64, not_before_ms: i64) {
        self.denied.store(false, Ordering::Release);
        self.not_before_ms.store(not_before_ms, Ordering::Release);
        self.live_from.store(live_from, Ordering::Release);
        self.next.store(from, Ordering::Release);
        self.is_active.store(true, Ordering::Release);
    }
}

#[derive(Debug)]
pub struct Topic {
    pub number: TopicNumber,
    pub name: Arc<str>,
    /// High and low half of the topic id.
    id: [AtomicU64; 2],
    partitions: RwLock<Vec<Arc<PartitionState>>>,
}

impl Topic {
    /// The topic id; 0 if unknown.
    #[must_use]
    pub fn id(&self) -> TopicId {
        let [high, low] = &self.id;
        u128::from(high.load(Ordering::Acquire)) << 64 | u128::from(low.load(Ordering::Acquire))
    }

    #[allow(clippy::cast_possible_truncation)] // the two halves
    pub fn set_id(&self, id: TopicId) {
        self.id[0].store((id >> 64) as u64, Ordering::Release);
        self.id[1].store(id as u64, Ordering::Release);
    }

    /// The partitions, in the order in which they were found.
    #[must_use]
    pub fn partitions(&self) -> Vec<Arc<PartitionState>> {
        self.partitions.read().clone()
    }

    #[must_use]
    pub fn partition(&self, number: i32) -> Option<Arc<PartitionState>> {
        let partitions = self.partitions.read();
        partitions
            .iter()
            .find(|state| state.number == number)
            .cloned()
    }

    /// The partition, added if it is new.
    pub fn get_or_insert(&self, number: i32) -> Arc<PartitionState> {
        if let Some(state) = self.partition(number) {
            return state;
        }
        let mut partitions = self.partitions.write();
        if let Some(state) = partitions.iter().find(|state| state.number == number) {
            return Arc::clone(state);
        }
        let state = Arc::new(PartitionState {
            topic: self.number,
            name: Arc::clone(&self.name),
            number,
            next: AtomicI64::new(-1),
            live_from: AtomicI64::new(i64::MAX),
            not_before_ms: AtomicI64::new(i64::MIN),
            is_active: AtomicBool::new(false),
            denied: AtomicBool::new(false),
        });
        partitions.push(Arc::clone(&state));
        state
    }

    /// Calls `with` with the number and next offset of every partition that is read.
    pub fn for_each_next_offset(&self, mut with: impl FnMut(i32, i64)) {
        for state in self.partitions.read().iter() {
            let next = state.next();
            if next >= 0 && state.is_active.load(Ordering::Acquire) {
                with(state.number, next);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    numbers: HashMap<Arc<str>, TopicNumber>,
    topics: Vec<Arc<Topic>>,
}

/// All topics of one feed.
#[derive(Debug, Default)]
pub struct Positions {
    table: RwLock<Table>,
    refreshed_ms: AtomicI64,
    /// Requests a refresh of the topic list, for a replay that waits for a new topic.
    pub refresh_request: Notify,
}

impl Positions {
    /// All topics that existed at this time, Unix ms, are read.
    pub fn set_refreshed(&self, ms: i64) {
        self.refreshed_ms.store(ms, Ordering::Release);
    }

    /// Time of the last refresh after which all topics were read, Unix ms; 0 before the first.
    #[must_use]
    pub fn refreshed_ms(&self) -> i64 {
        self.refreshed_ms.load(Ordering::Acquire)
    }

    /// The topic with this name, if it is known.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<Topic>> {
        let table = self.table.read();
        let number = *table.numbers.get(name)?;
        table.topics.get(number as usize).cloned()
    }

    /// True once the control topics are read from their ends, so that no record is missed.
    #[must_use]
    pub fn reach_ends(&self, topics: &ControlTopics) -> bool {
        let names = [&topics.presence, &topics.client, &topics.events];
        names.into_iter().all(|name| {
            let partitions = self.find(name).map(|topic| topic.partitions());
            let is_read = |state: &Arc<PartitionState>| {
                state.is_active.load(Ordering::Acquire)
                    && state.next() >= state.live_from.load(Ordering::Acquire)
            };
            partitions.is_some_and(|all| !all.is_empty() && all.iter().all(is_read))
        })
    }

    /// The topic of that number.
    #[must_use]
    pub fn topic(&self, number: TopicNumber) -> Option<Arc<Topic>> {
        self.table.read().topics.get(number as usize).cloned()
    }

    /// The topic with this name, added if it is new.
    pub fn get_or_insert(&self, name: &str) -> Arc<Topic> {
        if let Some(topic) = self.find(name) {
            return topic;
        }
        let mut table = self.table.write();
        if let Some(&number) = table.numbers.get(name) {
            return Arc::clone(&table.topics[number as usize]);
        }
        let number = TopicNumber::try_from(table.topics.len()).unwrap_or(TopicNumber::MAX);
        let name: Arc<str> = name.into();
        let topic = Arc::new(Topic {
            number,
            name: Arc::clone(&name),
            id: [AtomicU64::new(0), AtomicU64::new(0)],
            partitions: RwLock::default(),
        });
        table.numbers.insert(name, number);
        table.topics.push(Arc::clone(&topic));
        topic
    }

    #[must_use]
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.table.read().topics.clone()
    }
}

/// A flag that one thread waits for. Notifications between two waits are merged.
#[derive(Debug, Default)]
pub struct Notify {
    notified: Mutex<bool>,
    wake: Condvar,
}

impl Notify {
    /// Asks for a look.
    pub fn notify(&self) {
        *self.notified.lock() = true;
        self.wake.notify_all();
    }

    /// Waits for a notification, at most `bound`; true if there was one, also one before the call.
    pub fn wait(&self, bound: Duration) -> bool {
        let until = Instant::now() + bound;
        let mut notified = self.notified.lock();
        while !*notified && !self.wake.wait_until(&mut notified, until).timed_out() {}
        std::mem::take(&mut *notified)
    }
}

/// Maximum records of a partition that fill the replay buffer at the start.
const MAX_HISTORY_RECORDS: i64 = 50_000;

/// Start of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StartOffset {
    pub from: i64,
    pub live_from: i64,
    pub not_before_ms: i64,
    pub since_ms: i64,
}

impl StartOffset {
    /// The embedded broker cannot look up offsets by time: the reader skips records before `ms`.
    pub fn for_mock(self, is_mock: bool, ms: i64) -> Self {
        if !is_mock {
            return self;
        }
        Self {
            not_before_ms: ms,
            since_ms: ms,
            ..self
        }
    }
}

/// Start of a partition that exists at startup. `since` is the first offset within the history; negative if all records
/// are older.
pub(super) fn initial_start(
    role: TopicRole,
    end: i64,
    since: Option<i64>,
    requested_ms: i64,
    history_ms: i64,
) -> StartOffset {
    let since = since.filter(|offset| *offset >= 0).unwrap_or(end).min(end);
    let from = match role {
        TopicRole::Channels => since.max(end - MAX_HISTORY_RECORDS),
        TopicRole::Presence => since,
        TopicRole::Client | TopicRole::Events => end,
    };
    let since_ms = if from > since {
        requested_ms
    } else {
        requested_ms.saturating_sub(history_ms)
    };
    StartOffset {
        from,
        live_from: end,
        not_before_ms: i64::MIN,
        since_ms,
    }
}

/// Start and end offsets of partitions found later; `None` if no broker answers. The start is the offset of
/// `offset_spec`, or the end if there is none.
///
/// The end is requested first: a record written between the two requests is found by its time, or lies behind the end.
/// In the other order it would be missed, and the first message of a new topic lost.
pub(super) fn late_start_offsets(
    mut send_admin_request: impl FnMut(OffsetSpec) -> Result<HashMap<Key, i64>, Code>,
    offset_spec: OffsetSpec,
) -> Option<HashMap<Key, (i64, i64)>> {
    let ends = send_admin_request(OffsetSpec::End).ok()?;
    let found = send_admin_request(offset_spec).ok()?;
    let both = ends.into_iter().filter_map(|(key, end)| {
        let first = *found.get(&key)?;
        Some((key, (if first < 0 { end } else { first }, end)))
    });
    Some(both.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn topics_keep_their_numbers_and_offsets_never_go_back() {
        let positions = Positions::default();
        let a = positions.get_or_insert("a");
        let b = positions.get_or_insert("b");
        assert_eq!((a.number, b.number), (0, 1));
        assert_eq!(positions.get_or_insert("a").number, 0);
        let state = a.get_or_insert(3);
        state.restart(10, 12, 0);
        state.advance_to(15);
        state.advance_to(11);
        let mut seen = Vec::new();
        a.for_each_next_offset(|number, next| seen.push((number, next)));
        assert_eq!(seen, [(3, 15)]);
        a.set_id(u128::MAX - 5);
        assert_eq!(positions.find("a").map(|a| a.id()), Some(u128::MAX - 5));
        // A partition that may not be read is not waited for.
        a.get_or_insert(3).restart(10, 12, 0);
        assert!(!state.is_filled());
        state
            .denied
            .store(true, std::sync::atomic::Ordering::Release);
        assert!(state.is_filled());
        state.restart(10, 12, 0);
        assert!(!state.is_filled());
        state.advance_to(12);
        assert!(state.is_filled());
        b.get_or_insert(0);
        b.for_each_next_offset(|_, _| panic!("it is not read yet"));
    }

    #[test]
    fn notifications_before_a_wait_are_merged() {
        let notify = Notify::default();
        notify.notify();
        notify.notify();
        assert!(notify.wait(Duration::from_secs(5)));
        assert!(!notify.wait(Duration::from_millis(1)));
    }

    /// A partition whose records have these timestamps; one more is written after each request.
    fn start_while_writing(mut log: Vec<i64>, offset_spec: OffsetSpec) -> Option<(i64, i64)> {
        let key = ("t".to_owned(), 0);
        let offset = |place: usize| i64::try_from(place).expect("small");
        let starts = late_start_offsets(
            |offset_spec| {
                let response = match offset_spec {
                    OffsetSpec::Beginning => 0,
                    OffsetSpec::End => offset(log.len()),
                    OffsetSpec::Since(ms) => log.iter().position(|t| *t >= ms).map_or(-1, offset),
                };
                log.push(1_000);
                Ok(HashMap::from([(key.clone(), response)]))
            },
            offset_spec,
        );
        starts.and_then(|starts| starts.get(&key).copied())
    }

    #[test]
    fn records_written_during_offset_queries_are_read() {
        // A new topic: its first record is written between the requests, or after both.
        assert_eq!(
            start_while_writing(vec![], OffsetSpec::Since(900)),
            Some((0, 0))
        );
        // An old topic that becomes visible: only recent records.
        assert_eq!(
            start_while_writing(vec![1, 2, 3], OffsetSpec::Since(900)),
            Some((3, 3))
        );
        assert_eq!(
            start_while_writing(vec![1, 950, 960], OffsetSpec::Since(900)),
            Some((1, 3))
        );
        // The producer's clock is behind: found by the end offset.
        assert_eq!(
            start_while_writing(vec![1, 2, 3], OffsetSpec::Since(5_000)),
            Some((3, 3))
        );
        assert_eq!(
            start_while_writing(vec![1, 2], OffsetSpec::Beginning),
            Some((0, 2))
        );
    }

    #[test]
    fn partitions_without_an_offset_are_queried_again() {
        let (here, away) = (("t".to_owned(), 0), ("t".to_owned(), 1));
        let starts = late_start_offsets(
            |offset_spec| {
                let mut response = HashMap::from([(here.clone(), 7)]);
                if offset_spec == OffsetSpec::End {
                    response.insert(away.clone(), 9);
                }
                Ok(response)
            },
            OffsetSpec::Since(0),
        );
        assert_eq!(starts, Some(HashMap::from([(here, (7, 7))])));
        let silent = |_| Err(Code::OperationTimedOut);
        assert_eq!(late_start_offsets(silent, OffsetSpec::Since(0)), None);
    }

    #[test]
    fn initial_start_is_the_end_minus_the_history() {
        let at = |role, end, since| initial_start(role, end, since, 1_000_000, 120_000);
        let start = at(TopicRole::Channels, 50, Some(20));
        assert_eq!((start.from, start.live_from), (20, 50));
        assert_eq!(start.since_ms, 880_000);
        let all_old = at(TopicRole::Channels, 50, Some(-1));
        assert_eq!((all_old.from, all_old.live_from), (50, 50));
        let too_much = at(TopicRole::Channels, 60_000, Some(20));
        assert_eq!((too_much.from, too_much.live_from), (10_000, 60_000));
        assert_eq!(too_much.since_ms, 1_000_000);
        assert_eq!(at(TopicRole::Client, 50, None).from, 50);
        assert_eq!(at(TopicRole::Events, 50, Some(0)).from, 50);
        assert_eq!(at(TopicRole::Presence, 5000, Some(20)).from, 20);
    }
}
