//! The assigned partitions, and every record that was fetched from them and has no result yet.
//!
//! A record is in one place at a time: fetched (in the order librdkafka delivered it), in flight (a callback has it),
//! in the retry queue, or held back. Results and offsets are kept in its [`Partition`]. Generic over the message, so
//! that tests run the same code without Kafka.

mod partitions;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::waiting::Failures;
use super::partition::Partition;
use super::retry_queue::{KeyQueue, RetryQueue};
pub use waiting::Attempt;

/// A message as librdkafka delivers it: a record, an error, or the end of a partition.
pub trait Fetched {
    /// Identifies a message while it is alive.
    type Id: Copy + Eq;
    fn id(&self) -> Self::Id;
    /// False for errors and ends of partitions.
    fn is_record(&self) -> bool;
    /// Equal for messages of one topic; 0 where there is no topic.
    fn topic_handle(&self) -> usize;
    /// The topic's name.
    fn topic(&self) -> String;
    /// The partition's number.
    fn partition(&self) -> i32;
    fn offset(&self) -> i64;
    /// The key; `None` for no key.
    fn key(&self) -> Option<&[u8]>;
    /// Key and value in bytes.
    fn size(&self) -> usize;
}

/// Topic and partition, and the offset after its last fetched record.
pub type Ends = BTreeMap<(Rc<str>, i32), i64>;

/// A record that was handed out, by the id of its message.
#[derive(Debug, Clone)]
pub struct Handle<I> {
    /// Id of the message.
    pub id: I,
    /// The partition's place in the assignment; `GONE` where it was revoked.
    pub slot: usize,
    pub topic: Rc<str>,
    pub partition: i32,
    pub offset: i64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Earlier attempts that do not count, as they failed transiently.
    pub transient: u32,
    /// Since when it has failed transiently.
    pub transient_since: Option<Instant>,
    /// Attempts until its callback last ended the process, by `exit` or a fatal error; 0 where it never did.
    pub crashes: u32,
    /// Handed out alone, see [`Partition::is_isolated`].
    pub isolated: bool,
    /// See [`Partition::was_handled`].
    pub was_handled: bool,
}

impl<I> Handle<I> {
    /// The number of this attempt without those that do not count.
    #[must_use]
    pub const fn counted_attempt(&self) -> u32 {
        self.attempt - self.transient
    }

    /// Topic, partition and offset.
    #[must_use]
    pub fn place(&self) -> (String, i32, i64) {
        (self.topic.to_string(), self.partition, self.offset)
    }
}

/// Result of [`AssignedRecords::next`].
#[derive(Debug)]
pub enum Next<M: Fetched> {
    /// Nothing is fetched and no retry is due.
    Empty,
    /// An error or the end of a partition, with the partition's slot.
    Event(M, Option<usize>),
    Record(Handle<M::Id>),
}

/// How far a partition may run past a record that waits for its retry.
#[derive(Debug, Clone, Copy)]
pub struct RetryBounds {
    /// Maximum records in the retry queue (`retry_max_parked`).
    pub queued: usize,
    /// Maximum distance to the committable offset (`retry_max_ahead`).
    pub ahead: usize,
}

/// An offset for a commit, with the crash counts that go into its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitOffset {
    pub topic: Rc<str>,
    pub partition: i32,
    /// The next record that the group has to read.
    pub offset: i64,
    /// See [`super::commit::CommitMetadata`].
    pub crashes: Vec<(i64, i64, u32)>,
}

struct InFlight<M> {
    message: M,
    slot: usize,
    /// The queue it waited in, if it failed before or waited behind a record that did.
    queue: Option<KeyQueue>,
}

/// The slot of a record in flight whose partition was revoked.
pub const GONE: usize = usize::MAX;

/// Every record without a result; see the module documentation.
pub struct AssignedRecords<M> {
    partitions: Vec<Option<Partition>>,
    index: HashMap<(Rc<str>, i32), usize>,
    fetched: VecDeque<M>,
    /// Fetched while the records before them were handled, and not part of their batch (at-most-once).
    next_batch: VecDeque<M>,
    in_flight: VecDeque<InFlight<M>>,
    retry_queue: RetryQueue<M>,
    /// Records rejected by the caller of `poll()`, with the queues that they hold until they are acknowledged.
    rejected: BTreeMap<(usize, i64), KeyQueue>,
    /// Fetched records of partitions that are paused because they ran too far ahead, with their slots.
    held_back: VecDeque<(usize, M)>,
    /// Partitions to pause, as they were just held back.
    to_pause: Vec<(Rc<str>, i32)>,
    /// The partition of the last message: most often that of the next one.
    recent: Option<(usize, i32, usize)>,
    /// Failed attempts of records without a result.
    attempts: HashMap<(usize, i64), Failures>,
    /// The number of the last commit sent.
    commits: usize,
    /// Records taken from the fetch queue, and their keys and values in bytes.
    pub consumed: u64,
    pub consumed_bytes: u64,
}

impl<M> Default for AssignedRecords<M> {
    fn default() -> Self {
        Self {
            partitions: Vec::new(),
            index: HashMap::new(),
            fetched: VecDeque::new(),
            next_batch: VecDeque::new(),
            in_flight: VecDeque::new(),
            retry_queue: RetryQueue::default(),
            rejected: BTreeMap::new(),
            held_back: VecDeque::new(),
            to_pause: Vec::new(),
            recent: None,
            attempts: HashMap::new(),
            commits: 0,
            consumed: 0,
            consumed_bytes: 0,
        }
    }
}

/// Records on their way.
impl<M: Fetched> AssignedRecords<M> {
    /// A message that librdkafka delivered.
    #[inline]
    pub fn push_fetched(&mut self, message: M) {
        self.fetched.push_back(message);
    }

    /// A message that librdkafka delivered, for the next batch.
    pub fn push_next_batch(&mut self, message: M) {
        self.next_batch.push_back(message);
    }

    /// The next batch begins with messages of [`AssignedRecords::push_next_batch`]; how many.
    pub fn begin_batch(&mut self, max: usize) -> usize {
        let count = self.next_batch.len().min(max);
        self.fetched.extend(self.next_batch.drain(..count));
        count
    }

    /// How many messages are fetched and not handed out.
    pub fn fetched_count(&self) -> usize {
        self.fetched.len()
    }

    /// How many records are fetched and not handed out.
    pub fn fetched_records(&self) -> usize {
        self.fetched
            .iter()
            .filter(|message| message.is_record())
            .count()
    }

    /// True where a record can be handed out: fetched, or its retry is due.
    pub fn has_records(&self, now: impl FnOnce() -> Instant) -> bool {
        !self.fetched.is_empty() || self.next_retry().is_some_and(|due| due <= now())
    }

    /// True where no record is fetched, held back or waiting for a retry.
    pub fn is_drained(&self) -> bool {
        self.fetched.is_empty()
            && self.next_batch.is_empty()
            && self.held_back.is_empty()
            && self.retry_queue.is_empty()
    }

    /// When the first retry is due.
    pub fn next_retry(&self) -> Option<Instant> {
        self.retry_queue.next_due()
    }

    /// Records that wait for a retry, or behind one that does.
    pub fn queued_for_retry(&self) -> usize {
        self.retry_queue.len()
    }

    /// Hands out the next record: a due retry before fetched records.
    pub fn next(&mut self, bounds: RetryBounds, now: impl Fn() -> Instant) -> Next<M> {
        if !self.retry_queue.is_empty() {
            if let Some((queue, message)) = self.retry_queue.take_due(now()) {
                let slot = queue.slot;
                return Next::Record(self.deliver(message, slot, Some(queue)));
            }
        }
        while let Some(message) = self.fetched.pop_front() {
            let slot = self.slot(&message);
            if !message.is_record() {
                return Next::Event(message, slot);
            }
            // Dropped: fetched before its partition was revoked, or before a seek that is still to be done.
            let Some(slot) = slot.filter(|&slot| {
                let partition = self.partitions[slot].as_ref();
                partition.is_some_and(|partition| partition.rewind_to().is_none())
            }) else {
                continue;
            };
            let Some(message) = self.queue_behind_retry(message, slot, bounds) else {
                continue;
            };
            self.take(slot, &message);
            return Next::Record(self.deliver(message, slot, None));
        }
        Next::Empty
    }

    #[allow(clippy::inline_always)] // Called once for each record.
    #[inline(always)]
    fn take(&mut self, slot: usize, message: &M) {
        let offset = message.offset();
        if self
            .at(slot)
            .is_some_and(|partition| partition.take(offset))
        {
            self.consumed += 1;
            self.consumed_bytes += message.size() as u64;
        }
    }

    #[allow(clippy::inline_always)] // Called once for each record.
    #[inline(always)]
    fn deliver(&mut self, message: M, slot: usize, queue: Option<KeyQueue>) -> Handle<M::Id> {
        let handle = self.handle(&message, slot);
        self.in_flight.push_back(InFlight {
            message,
            slot,
            queue,
        });
        handle
    }

    #[allow(clippy::inline_always)] // Called once for each record.
    #[inline(always)]
    fn handle(&self, message: &M, slot: usize) -> Handle<M::Id> {
        let offset = message.offset();
        let failures = if self.attempts.is_empty() {
            Failures::default()
        } else {
            self.attempts
                .get(&(slot, offset))
                .copied()
                .unwrap_or_default()
        };
        let partition = self.partitions.get(slot).and_then(Option::as_ref);
        let crashes = partition.map_or(0, |partition| partition.crash_count(offset));
        Handle {
            id: message.id(),
            slot,
            topic: partition.map_or_else(
                || Rc::from(message.topic()),
                |partition| Rc::clone(&partition.topic),
            ),
            partition: message.partition(),
            offset,
            attempt: 1 + failures.counted + failures.transient + crashes,
            transient: failures.transient,
            transient_since: failures.transient_since,
            crashes,
            isolated: partition.is_some_and(|partition| partition.is_isolated(offset)),
            was_handled: partition.is_some_and(|partition| partition.was_handled(offset)),
        }
    }

    #[allow(clippy::inline_always)] // Called once for each record.
    #[inline(always)]
    fn take_in_flight(&mut self, id: M::Id) -> Option<InFlight<M>> {
        if self
            .in_flight
            .front()
            .is_some_and(|record| record.message.id() == id)
        {
            return self.in_flight.pop_front();
        }
        let place = self
            .in_flight
            .iter()
            .position(|record| record.message.id() == id)?;
        self.in_flight.remove(place)
    }

    /// The record has its result: its offset may be committed.
    #[inline]
    pub fn complete(&mut self, id: M::Id, now: impl FnOnce() -> Instant) {
        let Some(record) = self.take_in_flight(id) else {
            return;
        };
        let offset = record.message.offset();
        if let Some(partition) = self.at(record.slot) {
            partition.complete(offset);
        }
        if let Some(queue) = record.queue {
            self.retry_queue.finish(&queue, offset, now());
        }
        if !self.attempts.is_empty() {
            self.attempts.remove(&(record.slot, offset));
            self.rejected.remove(&(record.slot, offset));
        }
    }

    /// The record was not handled and is handed out again next.
    pub fn requeue(&mut self, id: M::Id, attempt: Attempt, now: Instant) {
        if let Some(record) = self.take_in_flight(id) {
            let (slot, offset) = (record.slot, record.message.offset());
            if self.put_back(record, now, None) {
                self.count_attempt(slot, offset, attempt, now);
            }
        }
    }

    /// Every record in flight was not handled: a fatal error skipped the rest of the loop.
    pub fn requeue_all(&mut self, now: Instant) {
        while let Some(record) = self.in_flight.pop_back() {
            self.put_back(record, now, None);
        }
    }

    /// False where the record is not put back, as it is read again or its partition was revoked.
    fn put_back(&mut self, record: InFlight<M>, due: Instant, failed: Option<Instant>) -> bool {
        let offset = record.message.offset();
        let wanted = self
            .at(record.slot)
            .is_some_and(|partition| partition.is_in_progress(offset));
        match record.queue {
            Some(queue) if wanted => {
                self.retry_queue
                    .schedule(queue, offset, record.message, due, failed);
            }
            Some(queue) => self.retry_queue.finish(&queue, offset, due),
            None if wanted => self.fetched.push_front(record.message),
            None => {}
        }
        wanted
    }

    /// The record is handed out again after `wait`, and later records of its key wait behind it.
    pub fn schedule_retry(&mut self, id: M::Id, attempt: Attempt, now: Instant, wait: Duration) {
        let Some(mut record) = self.take_in_flight(id) else {
            return;
        };
        let (slot, offset) = (record.slot, record.message.offset());
        if record.queue.is_none() {
            record.queue = Some(KeyQueue::of(slot, record.message.key(), offset));
        }
        let failed = (attempt != Attempt::NotMade).then_some(now);
        if self.put_back(record, now + wait, failed) {
            self.count_attempt(slot, offset, attempt, now);
        }
    }

    /// The process ends in the callback of the record: the attempt counts, and the next commit reports it.
    pub fn crashed(&mut self, slot: usize, offset: i64, attempt: u32) {
        let commits = self.commits;
        if let Some(partition) = self.at(slot) {
            partition.crashed(offset, attempt, commits);
        }
        // The crash count includes them.
        self.attempts.remove(&(slot, offset));
    }

    /// The records in flight, in the order in which they were handed out.
    pub fn in_flight(&self) -> Vec<Handle<M::Id>> {
        let records = self.in_flight.iter();
        records
            .map(|record| self.handle(&record.message, record.slot))
            .collect()
    }

    /// The first record of a partition that is fetched or held back.
    pub fn first_fetched(&mut self, topic: &str, number: i32) -> Option<i64> {
        let slot = self.slot_of(topic, number)?;
        let held = self.held_back.iter();
        let held = held.filter(|(other, _)| *other == slot);
        let first_held = held.map(|(_, message)| message.offset()).min();
        let fetched = self.fetched.iter().chain(&self.next_batch);
        let fetched = fetched.filter(|message| {
            message.is_record() && message.partition() == number && message.topic() == topic
        });
        fetched.map(Fetched::offset).chain(first_held).min()
    }

    /// Records from `offset` on are about to be read again: those that are fetched, held back or waiting for a retry
    /// are dropped.
    pub fn discard(&mut self, topic: &str, number: i32, offset: i64) {
        if let Some(slot) = self.slot_of(topic, number) {
            self.discard_from(slot, offset);
        }
    }

    fn discard_from(&mut self, slot: usize, offset: i64) {
        for is_next in [false, true] {
            for message in std::mem::take(self.batch(is_next)) {
                if self.slot(&message) != Some(slot) || message.offset() < offset {
                    self.batch(is_next).push_back(message);
                }
            }
        }
        self.held_back
            .retain(|(other, message)| *other != slot || message.offset() < offset);
        self.retry_queue.discard(slot, offset);
        self.rejected
            .retain(|(other, rejected), _| *other != slot || *rejected < offset);
    }

    fn batch(&mut self, is_next: bool) -> &mut VecDeque<M> {
        if is_next {
            &mut self.next_batch
        } else {
            &mut self.fetched
        }
    }

    /// Drops the records that are fetched and were not handed out: how many, and of which topics. Ends and errors stay.
    pub fn discard_fetched(&mut self) -> (u64, Vec<String>) {
        let (mut count, mut topics) = (0, BTreeSet::new());
        for message in std::mem::take(&mut self.fetched) {
            if message.is_record() {
                count += 1;
                topics.insert(message.topic());
                let offset = message.offset();
                let slot = self.slot(&message);
                if let Some(partition) = slot.and_then(|slot| self.at(slot)) {
                    partition.complete(offset);
                }
            } else {
                self.fetched.push_back(message);
            }
        }
        (count, topics.into_iter().collect())
    }
}
