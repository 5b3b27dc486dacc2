//! The assigned partitions, and every record that was fetched from them and has no result yet.
//!
//! A record is in one place at a time: fetched (in the order librdkafka delivered it), in flight (a callback has it),
//! in the retry queue, or held back. Results and offsets are kept in its [`Partition`](super::partition::Partition).
//! Generic over the message, so that tests run the same code without Kafka.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use super::message::{Fetched, Handle};
use super::partition::Partition;
use super::partitions::PartitionTable;
pub use super::retries::{Attempt, RetryBounds};
use super::retries::{HeldBack, Retries};
use super::retry_queue::KeyQueue;

/// Topic and partition, and the offset after its last fetched record.
pub type Ends = BTreeMap<(Rc<str>, i32), i64>;

/// Result of [`AssignedRecords::next`].
#[derive(Debug)]
pub enum Next<M: Fetched> {
    /// Nothing is fetched and no retry is due.
    Empty,
    /// An error or the end of a partition, with the partition's slot.
    Event(M, Option<usize>),
    Record(Handle<M::Id>),
}

struct InFlight<M> {
    message: M,
    slot: usize,
    /// The queue it waited in, if it failed before or waited behind a record that did.
    queue: Option<KeyQueue>,
}

/// The slot of a record in flight whose partition was revoked.
const GONE: usize = usize::MAX;

pub struct AssignedRecords<M> {
    pub assigned: PartitionTable,
    fetched: VecDeque<M>,
    /// Fetched while the records before them were handled, and not part of their batch (at-most-once).
    next_batch: VecDeque<M>,
    in_flight: VecDeque<InFlight<M>>,
    pub(super) retries: Retries<M>,
    held_back: HeldBack<M>,
    /// Partitions to pause, as they were just held back.
    to_pause: Vec<(Rc<str>, i32)>,
    /// Records taken from the fetch queue, and their keys and values in bytes.
    pub consumed: u64,
    pub consumed_bytes: u64,
}

impl<M> Default for AssignedRecords<M> {
    fn default() -> Self {
        Self {
            assigned: PartitionTable::default(),
            fetched: VecDeque::new(),
            next_batch: VecDeque::new(),
            in_flight: VecDeque::new(),
            retries: Retries::default(),
            held_back: HeldBack::default(),
            to_pause: Vec::new(),
            consumed: 0,
            consumed_bytes: 0,
        }
    }
}

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
        self.fetched.iter().filter(|one| one.is_record()).count()
    }

    /// True where a record can be handed out: fetched, or its retry is due.
    pub fn has_records(&self, now: impl FnOnce() -> Instant) -> bool {
        !self.fetched.is_empty()
            || self
                .retries
                .queue
                .next_due()
                .is_some_and(|due| due <= now())
    }

    /// True where no record is fetched, held back or waiting for a retry.
    pub fn is_drained(&self) -> bool {
        self.fetched.is_empty()
            && self.next_batch.is_empty()
            && self.held_back.is_empty()
            && self.retries.queue.is_empty()
    }

    /// Hands out the next record: a due retry before fetched records.
    pub fn next(&mut self, bounds: RetryBounds, now: impl Fn() -> Instant) -> Next<M> {
        if !self.retries.queue.is_empty() {
            if let Some((queue, message)) = self.retries.queue.take_due(now()) {
                let slot = queue.slot;
                return Next::Record(self.deliver(message, slot, Some(queue)));
            }
        }
        while let Some(message) = self.fetched.pop_front() {
            let slot = self.assigned.slot(&message);
            if !message.is_record() {
                return Next::Event(message, slot);
            }
            // Dropped: fetched before its partition was revoked, or before a seek that is still to be done.
            let Some(slot) = slot.filter(|&slot| {
                let partition = self.assigned.get(slot);
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
        let partition = self.assigned.at(slot);
        if partition.is_some_and(|partition| partition.take(offset)) {
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
        let failures = self.retries.failures(slot, offset);
        let partition = self.assigned.get(slot);
        let crashes = partition.map_or(0, |partition| partition.crash_count(offset));
        let topic = partition.map(|partition| Rc::clone(&partition.topic));
        Handle {
            id: message.id(),
            slot,
            topic: topic.unwrap_or_else(|| Rc::from(message.topic())),
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
        let is_it = |record: &InFlight<M>| record.message.id() == id;
        if self.in_flight.front().is_some_and(is_it) {
            return self.in_flight.pop_front();
        }
        let place = self.in_flight.iter().position(is_it)?;
        self.in_flight.remove(place)
    }

    /// The record has its result: its offset may be committed.
    #[inline]
    pub fn complete(&mut self, id: M::Id, now: impl FnOnce() -> Instant) {
        let Some(record) = self.take_in_flight(id) else {
            return;
        };
        let offset = record.message.offset();
        if let Some(partition) = self.assigned.at(record.slot) {
            partition.complete(offset);
        }
        if let Some(queue) = record.queue {
            self.retries.queue.finish(&queue, offset, now());
        }
        self.retries.complete(record.slot, offset);
    }

    /// The record was given to the caller of `poll()`, and waits for its acknowledgement.
    pub fn await_ack(&mut self, id: M::Id, now: impl FnOnce() -> Instant) {
        if let Some(record) = self.take_in_flight(id) {
            if let Some(queue) = record.queue {
                let offset = record.message.offset();
                self.retries.await_ack(record.slot, &queue, offset, now());
            }
        }
    }

    /// The caller of `poll()` acknowledged the record: it has its result. False where it is not in progress.
    pub fn acknowledge(&mut self, topic: &str, number: i32, offset: i64, now: Instant) -> bool {
        let Some(slot) = self.assigned.slot_of(topic, number) else {
            return false;
        };
        self.retries.acknowledge(slot, offset, now);
        let partition = self.assigned.at(slot);
        partition.is_some_and(|partition| partition.complete(offset))
    }

    /// The caller of `poll()` rejected the record: it is handed out again after `wait`.
    pub fn reject(&mut self, message: M, attempt: Attempt, now: Instant, wait: Duration) {
        let (topic, number) = (message.topic(), message.partition());
        if let Some(slot) = self.assigned.slot_of(&topic, number) {
            self.retries.reject(slot, message, attempt, now, wait);
        }
    }

    /// True while a rejected record waits for its retry.
    pub fn waits_for_retry(&self, topic: &str, number: i32, offset: i64) -> bool {
        let slot = self.assigned.slot_of(topic, number);
        slot.is_some_and(|slot| self.retries.waits(slot, offset))
    }

    /// The record was not handled and is handed out again next.
    pub fn requeue(&mut self, id: M::Id, attempt: Attempt, now: Instant) {
        if let Some(record) = self.take_in_flight(id) {
            let (slot, offset) = (record.slot, record.message.offset());
            if self.put_back(record, now, None) {
                self.retries.count(slot, offset, attempt, now);
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
        let partition = self.assigned.get(record.slot);
        let wanted = partition.is_some_and(|partition| partition.is_in_progress(offset));
        let retries = &mut self.retries.queue;
        match record.queue {
            Some(queue) if wanted => retries.schedule(queue, offset, record.message, due, failed),
            Some(queue) => retries.finish(&queue, offset, due),
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
            self.retries.count(slot, offset, attempt, now);
        }
    }

    /// The process ends in the callback of the record: the attempt counts, and the next commit reports it.
    pub fn crashed(&mut self, slot: usize, offset: i64, attempt: u32) {
        let commits = self.assigned.last_commit();
        if let Some(partition) = self.assigned.at(slot) {
            partition.crashed(offset, attempt, commits);
        }
        // The crash count includes them.
        self.retries.forget_attempts(slot, offset);
    }

    /// The records in flight, in the order in which they were handed out.
    pub fn in_flight(&self) -> Vec<Handle<M::Id>> {
        let handle = |record: &InFlight<M>| self.handle(&record.message, record.slot);
        self.in_flight.iter().map(handle).collect()
    }

    /// Keeps back a record that must wait: behind a failed record of its key, or past the bounds. The record, where
    /// it need not.
    fn queue_behind_retry(&mut self, message: M, slot: usize, bounds: RetryBounds) -> Option<M> {
        if self.retries.queue.is_empty() && self.held_back.is_empty() {
            return Some(message);
        }
        let partition = self.assigned.get(slot);
        let is_held_back = partition.is_some_and(|partition| partition.held_back);
        if is_held_back || self.is_too_far_ahead(slot, message.offset(), bounds) {
            self.held_back.insert(slot, message);
            if let Some(partition) = self.assigned.at(slot).filter(|one| !one.held_back) {
                partition.held_back = true;
                let place = (Rc::clone(&partition.topic), partition.number);
                self.to_pause.push(place);
            }
            return None;
        }
        let Some(key) = message.key() else {
            return Some(message);
        };
        let queue = KeyQueue::of(slot, Some(key), message.offset());
        if !self.retries.queue.has(&queue) {
            return Some(message);
        }
        self.take(slot, &message);
        let offset = message.offset();
        self.retries.queue.follow(&queue, offset, message);
        None
    }

    /// True where a record has to wait for earlier ones. A record that was taken and requeued may be the first one
    /// without a result: it must not wait for itself.
    fn is_too_far_ahead(&self, slot: usize, offset: i64, bounds: RetryBounds) -> bool {
        let partition = self.assigned.get(slot);
        let ahead = partition.map_or(0, |partition| partition.ahead(offset));
        self.retries.queue.len() >= bounds.queued || ahead >= bounds.ahead
    }

    /// Partitions that were held back since the last call, to be paused.
    pub fn take_pauses(&mut self) -> Vec<(Rc<str>, i32)> {
        std::mem::take(&mut self.to_pause)
    }

    /// Releases partitions that need not be held back any more; those to resume.
    pub fn release(&mut self, bounds: RetryBounds) -> Vec<(Rc<str>, i32)> {
        let is_free = |slot: &usize| {
            let next = self.held_back.first(*slot).unwrap_or(i64::MAX);
            let partition = self.assigned.get(*slot);
            partition.is_some_and(|partition| partition.held_back)
                && !self.is_too_far_ahead(*slot, next, bounds)
        };
        let free: Vec<usize> = self.assigned.slots().filter(is_free).collect();
        let mut resumed = Vec::new();
        for slot in free {
            for (_, message) in self.held_back.take(slot).into_iter().rev() {
                self.fetched.push_front(message);
            }
            if let Some(partition) = self.assigned.at(slot) {
                partition.held_back = false;
                if !partition.paused {
                    resumed.push((Rc::clone(&partition.topic), partition.number));
                }
            }
        }
        resumed
    }

    /// The offset from which a paused partition is read again: of a seek that is still to be done, or else of its first
    /// record that is fetched or held back.
    pub fn first_to_read_again(&self, topic: &str, number: i32) -> Option<i64> {
        let slot = self.assigned.slot_of(topic, number)?;
        let rewind_to = self.assigned.get(slot)?.rewind_to();
        if rewind_to.is_some() {
            return rewind_to;
        }
        let fetched = self.fetched.iter().chain(&self.next_batch);
        let fetched = fetched.filter(|message| {
            message.is_record() && message.partition() == number && message.topic() == topic
        });
        let held_back = self.held_back.first(slot);
        fetched.map(Fetched::offset).chain(held_back).min()
    }

    /// The offset after the last fetched record of each partition.
    pub fn ends_of_fetched(&mut self) -> Ends {
        let mut ends = Ends::new();
        for message in self.fetched.iter().filter(|message| message.is_record()) {
            let slot = self.assigned.slot(message);
            if let Some(partition) = slot.and_then(|slot| self.assigned.get(slot)) {
                let place = (Rc::clone(&partition.topic), partition.number);
                ends.insert(place, message.offset() + 1);
            }
        }
        ends
    }

    /// A partition is about to be read from `offset`. What is fetched or held back is dropped: also before that offset,
    /// where a transaction is rewound and then turns out to be committed. So are later records that wait for a retry.
    pub fn discard(&mut self, topic: &str, number: i32, offset: i64) {
        let Some(slot) = self.assigned.slot_of(topic, number) else {
            return;
        };
        let assigned = &mut self.assigned;
        for batch in [&mut self.fetched, &mut self.next_batch] {
            batch.retain(|message| assigned.slot(message) != Some(slot));
        }
        self.held_back.take(slot);
        self.retries.discard(slot, offset);
    }

    /// Drops the records that are fetched and were not handed out: how many, and of which topics. Ends and errors stay.
    pub fn discard_fetched(&mut self) -> (u64, Vec<String>) {
        let (mut count, mut topics) = (0, BTreeSet::new());
        let assigned = &mut self.assigned;
        self.fetched.retain(|message| {
            if message.is_record() {
                count += 1;
                topics.insert(message.topic());
                let slot = assigned.slot(message);
                if let Some(partition) = slot.and_then(|slot| assigned.at(slot)) {
                    partition.complete(message.offset());
                }
            }
            !message.is_record()
        });
        (count, topics.into_iter().collect())
    }

    /// Undoes everything since the last commit: every partition is to be read again from there, which is a pending
    /// rewind until the client has sought.
    pub fn rewind(&mut self) {
        let restart =
            |one: &Partition| Some((one.topic.to_string(), one.number, one.restart_offset()?));
        let places: Vec<_> = self.assigned.all().filter_map(restart).collect();
        for (topic, number, offset) in places {
            self.sought_back(&topic, number, offset, false);
        }
    }

    /// A partition is read again from `offset`: what was fetched from there on is dropped. Without success the seek is
    /// a pending rewind.
    pub fn sought_back(&mut self, topic: &str, number: i32, offset: i64, succeeded: bool) {
        self.discard(topic, number, offset);
        let commits = self.assigned.last_commit();
        if let Some(partition) = self.assigned.find(topic, number) {
            if succeeded {
                partition.reread_from(offset, commits);
            } else {
                partition.rewind_later(offset, commits);
            }
        }
    }

    /// The group's offset was read again, -1 for none: the offset to read from. `None` where nothing was read yet.
    pub fn restart_at(&mut self, topic: &str, number: i32, committed: i64) -> Option<i64> {
        let partition = self.assigned.find(topic, number)?;
        if committed >= 0 {
            partition.restart_at(committed);
        }
        partition.restart_offset()
    }

    /// A partition was revoked: its records belong to another member.
    pub fn remove(&mut self, topic: &str, number: i32) {
        let Some(slot) = self.assigned.slot_of(topic, number) else {
            return;
        };
        self.discard(topic, number, i64::MIN);
        self.retries.remove(slot);
        for record in self.in_flight.iter_mut().filter(|one| one.slot == slot) {
            record.slot = GONE;
            record.queue = None;
        }
        self.assigned.remove(slot);
    }

    /// Every message is dropped: the client is about to be destroyed.
    pub fn clear(&mut self) {
        self.in_flight.clear();
        self.retries = Retries::default();
        self.held_back = HeldBack::default();
        self.fetched.clear();
        self.next_batch.clear();
    }
}
