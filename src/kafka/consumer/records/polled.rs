//! Records that the caller of `poll()` has: they are complete when it acknowledges them. A rejected one is retried as
//! a record whose callback failed, and later records of its key wait until it is acknowledged.

use std::time::{Duration, Instant};

use super::super::retry_queue::KeyQueue;
use super::{AssignedRecords, Attempt, Fetched};

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
