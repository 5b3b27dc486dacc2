//! Records that must wait: for their retry, for an acknowledgement by the caller of `poll()`, behind a failed record of
//! their key, or because they are too far ahead.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::message::Fetched;
use super::retry_queue::{KeyQueue, RetryQueue};

/// The attempt after which a record is handed out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The callback was not called, or not for this record.
    NotMade,
    /// It failed, and is one of the record's attempts.
    Counted,
    /// It failed because something that the callback needs is unavailable: it does not count.
    Transient,
}

/// Failed attempts of a record without a result.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Failures {
    pub counted: u32,
    pub transient: u32,
    /// When the first of its consecutive transient failures was.
    pub transient_since: Option<Instant>,
}

/// Records that failed. One that the caller of `poll()` rejected is retried as a record whose callback failed, and
/// later records of its key wait until it is acknowledged.
pub(super) struct Retries<M> {
    pub queue: RetryQueue<M>,
    /// Records rejected by the caller of `poll()`, with the queues that they hold until they are acknowledged.
    rejected: BTreeMap<(usize, i64), KeyQueue>,
    /// Failed attempts of records without a result, by slot and offset.
    attempts: HashMap<(usize, i64), Failures>,
}

impl<M> Default for Retries<M> {
    fn default() -> Self {
        Self {
            queue: RetryQueue::default(),
            rejected: BTreeMap::new(),
            attempts: HashMap::new(),
        }
    }
}

impl<M: Fetched> Retries<M> {
    #[inline]
    pub fn failures(&self, slot: usize, offset: i64) -> Failures {
        if self.attempts.is_empty() {
            return Failures::default();
        }
        let known = self.attempts.get(&(slot, offset));
        known.copied().unwrap_or_default()
    }

    pub fn count(&mut self, slot: usize, offset: i64, attempt: Attempt, now: Instant) {
        if attempt == Attempt::NotMade {
            return;
        }
        let failures = self.attempts.entry((slot, offset)).or_default();
        if attempt == Attempt::Transient {
            failures.transient += 1;
            failures.transient_since.get_or_insert(now);
        } else {
            failures.counted += 1;
            failures.transient_since = None;
        }
    }

    /// The attempts of a record do not count any more.
    pub fn forget_attempts(&mut self, slot: usize, offset: i64) {
        self.attempts.remove(&(slot, offset));
    }

    /// Records whose last attempt failed transiently: their number, and since when the first of them has failed.
    pub fn transient_failures(&self) -> (usize, Option<Instant>) {
        let failures = self.attempts.values();
        let since = failures.filter_map(|failures| failures.transient_since);
        (since.clone().count(), since.min())
    }

    /// The record has its result.
    #[inline]
    pub fn complete(&mut self, slot: usize, offset: i64) {
        if !self.attempts.is_empty() {
            self.attempts.remove(&(slot, offset));
            self.rejected.remove(&(slot, offset));
        }
    }

    /// The record was given to the caller of `poll()`, and waits for its acknowledgement.
    pub fn await_ack(&mut self, slot: usize, queue: &KeyQueue, offset: i64, now: Instant) {
        if !self.rejected.contains_key(&(slot, offset)) {
            self.queue.finish(queue, offset, now);
        }
    }

    /// The caller of `poll()` acknowledged the record.
    pub fn acknowledge(&mut self, slot: usize, offset: i64, now: Instant) {
        self.attempts.remove(&(slot, offset));
        if let Some(queue) = self.rejected.remove(&(slot, offset)) {
            self.queue.finish(&queue, offset, now);
        }
    }

    /// The caller of `poll()` rejected the record: it is handed out again after `wait`.
    pub fn reject(
        &mut self,
        slot: usize,
        message: M,
        attempt: Attempt,
        now: Instant,
        wait: Duration,
    ) {
        let offset = message.offset();
        let queue = self.rejected.entry((slot, offset));
        let queue = queue.or_insert_with(|| KeyQueue::of(slot, message.key(), offset));
        let queue = queue.clone();
        self.queue
            .schedule(queue, offset, message, now + wait, Some(now));
        self.count(slot, offset, attempt, now);
    }

    /// True while a rejected record waits for its retry.
    pub fn waits(&self, slot: usize, offset: i64) -> bool {
        let queue = self.rejected.get(&(slot, offset));
        queue.is_some_and(|queue| self.queue.is_waiting(queue, offset))
    }

    /// Drops the records of a partition from `offset` on.
    pub fn discard(&mut self, slot: usize, offset: i64) {
        self.queue.discard(slot, offset);
        self.rejected
            .retain(|(other, rejected), _| *other != slot || *rejected < offset);
    }

    /// The partition was revoked.
    pub fn remove(&mut self, slot: usize) {
        self.discard(slot, i64::MIN);
        self.attempts.retain(|(other, _), _| *other != slot);
    }
}

/// How far a partition may run past a record that waits for its retry.
#[derive(Debug, Clone, Copy)]
pub struct RetryBounds {
    /// Maximum records in the retry queue (`retry_max_parked`).
    pub queued: usize,
    /// Maximum distance to the committable offset (`retry_max_ahead`).
    pub ahead: usize,
}

/// Fetched records of partitions that are paused because they ran too far ahead, with their slots.
pub(super) struct HeldBack<M>(VecDeque<(usize, M)>);

impl<M> Default for HeldBack<M> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<M: Fetched> HeldBack<M> {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A requeued record precedes the later ones of its partition.
    pub fn insert(&mut self, slot: usize, message: M) {
        let offset = message.offset();
        let is_later = |(other, record): &(usize, M)| *other == slot && record.offset() > offset;
        let place = self.0.iter().position(is_later).unwrap_or(self.0.len());
        self.0.insert(place, (slot, message));
    }

    /// The first offset of a partition.
    pub fn first(&self, slot: usize) -> Option<i64> {
        let first = self.0.iter().find(|(other, _)| *other == slot);
        first.map(|(_, message)| message.offset())
    }

    /// Takes the records of a partition, in order.
    pub fn take(&mut self, slot: usize) -> VecDeque<(usize, M)> {
        let all = std::mem::take(&mut self.0).into_iter();
        let (taken, rest) = all.partition(|(other, _)| *other == slot);
        self.0 = rest;
        taken
    }
}
