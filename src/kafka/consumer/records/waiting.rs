//! Records that must wait: behind a failed record of their key, or past the bounds.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{AssignedRecords, Fetched, KeyQueue, RetryBounds};

impl<M: Fetched> AssignedRecords<M> {
    /// Keeps back a record that must wait: behind a failed record of its key, or past the bounds. The record, where
    /// it need not.
    pub(super) fn queue_behind_retry(
        &mut self,
        message: M,
        slot: usize,
        bounds: RetryBounds,
    ) -> Option<M> {
        if self.retry_queue.is_empty() && self.held_back.is_empty() {
            return Some(message);
        }
        let is_held_back = self.at(slot).is_some_and(|partition| partition.held_back);
        if is_held_back || self.is_too_far_ahead(slot, message.offset(), bounds) {
            self.hold_back(slot, message);
            return None;
        }
        let Some(key) = message.key() else {
            return Some(message);
        };
        let queue = KeyQueue::of(slot, Some(key), message.offset());
        if !self.retry_queue.has(&queue) {
            return Some(message);
        }
        self.take(slot, &message);
        self.retry_queue.follow(&queue, message.offset(), message);
        None
    }

    /// True where a record has to wait for earlier ones. A record that was taken and requeued may be the first one
    /// without a result: it must not wait for itself.
    fn is_too_far_ahead(&self, slot: usize, offset: i64, bounds: RetryBounds) -> bool {
        let partition = self.partitions[slot].as_ref();
        let ahead = partition.map_or(0, |partition| partition.ahead(offset));
        self.retry_queue.len() >= bounds.queued || ahead >= bounds.ahead
    }

    /// A requeued record precedes the later ones of its partition.
    fn hold_back(&mut self, slot: usize, message: M) {
        let offset = message.offset();
        let later = self
            .held_back
            .iter()
            .position(|(other, record)| *other == slot && record.offset() > offset);
        match later {
            Some(later) => self.held_back.insert(later, (slot, message)),
            None => self.held_back.push_back((slot, message)),
        }
        let Some(partition) = self.partitions[slot].as_mut() else {
            return;
        };
        if !partition.held_back {
            partition.held_back = true;
            self.to_pause
                .push((Rc::clone(&partition.topic), partition.number));
        }
    }

    /// Partitions that were held back since the last call, to be paused.
    pub fn take_pauses(&mut self) -> Vec<(Rc<str>, i32)> {
        std::mem::take(&mut self.to_pause)
    }

    /// Releases partitions that need not be held back any more; those to resume.
    pub fn release(&mut self, bounds: RetryBounds) -> Vec<(Rc<str>, i32)> {
        let held = |slot: &usize| {
            let partition = self.partitions[*slot].as_ref();
            partition.is_some_and(|partition| partition.held_back)
        };
        let slots = (0..self.partitions.len()).filter(held);
        let free: Vec<usize> = slots
            .filter(|&slot| {
                let mut held = self.held_back.iter().filter(|(other, _)| *other == slot);
                let next = held.next().map_or(i64::MAX, |(_, first)| first.offset());
                !self.is_too_far_ahead(slot, next, bounds)
            })
            .collect();
        let mut resumed = Vec::new();
        for slot in free {
            let mut rest = VecDeque::new();
            for (other, message) in std::mem::take(&mut self.held_back).into_iter().rev() {
                if other == slot {
                    self.fetched.push_front(message);
                } else {
                    rest.push_front((other, message));
                }
            }
            self.held_back = rest;
            if let Some(partition) = self.at(slot) {
                partition.held_back = false;
                if !partition.paused {
                    resumed.push((Rc::clone(&partition.topic), partition.number));
                }
            }
        }
        resumed
    }
}

// Failed attempts of records that have no result yet.

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
    pub(super) counted: u32,
    pub(super) transient: u32,
    /// When the first of its consecutive transient failures was.
    pub(super) transient_since: Option<Instant>,
}

impl<M: Fetched> AssignedRecords<M> {
    pub(super) fn count_attempt(
        &mut self,
        slot: usize,
        offset: i64,
        attempt: Attempt,
        now: Instant,
    ) {
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

    /// Records whose last attempt failed transiently: their number, and since when the first of them has failed.
    pub fn transient_failures(&self) -> (usize, Option<Instant>) {
        let since = self
            .attempts
            .values()
            .filter_map(|failures| failures.transient_since);
        since.fold(
            (0, None),
            |(count, first): (usize, Option<Instant>), since| {
                (
                    count + 1,
                    Some(first.map_or(since, |first| first.min(since))),
                )
            },
        )
    }
}

// Records that the caller of `poll()` has: they are complete when it acknowledges them. A rejected one is retried as
// a record whose callback failed, and later records of its key wait until it is acknowledged.

impl<M: Fetched> AssignedRecords<M> {
    /// The record was given to the caller of `poll()`, and waits for its acknowledgement.
    pub fn await_ack(&mut self, id: M::Id, now: impl FnOnce() -> Instant) {
        let Some(record) = self.take_in_flight(id) else {
            return;
        };
        let offset = record.message.offset();
        let Some(queue) = record.queue else {
            return;
        };
        if !self.rejected.contains_key(&(record.slot, offset)) {
            self.retry_queue.finish(&queue, offset, now());
        }
    }

    /// The record has its result; false where it is not in progress.
    pub fn acknowledge(&mut self, topic: &str, number: i32, offset: i64, now: Instant) -> bool {
        let Some(slot) = self.slot_of(topic, number) else {
            return false;
        };
        self.attempts.remove(&(slot, offset));
        if let Some(queue) = self.rejected.remove(&(slot, offset)) {
            self.retry_queue.finish(&queue, offset, now);
        }
        self.at(slot)
            .is_some_and(|partition| partition.complete(offset))
    }

    /// The record failed, and is handed out again after `wait`.
    pub fn reject(&mut self, message: M, attempt: Attempt, now: Instant, wait: Duration) {
        let offset = message.offset();
        let Some(slot) = self.slot_of(&message.topic(), message.partition()) else {
            return;
        };
        let queue = self
            .rejected
            .entry((slot, offset))
            .or_insert_with(|| KeyQueue::of(slot, message.key(), offset))
            .clone();
        self.retry_queue
            .schedule(queue, offset, message, now + wait, Some(now));
        self.count_attempt(slot, offset, attempt, now);
    }

    /// True while a rejected record waits for its retry.
    pub fn waits_for_retry(&self, topic: &str, number: i32, offset: i64) -> bool {
        let slot = self.slot_of(topic, number);
        let queue = slot.and_then(|slot| self.rejected.get(&(slot, offset)));
        queue.is_some_and(|queue| self.retry_queue.is_waiting(queue, offset))
    }
}
