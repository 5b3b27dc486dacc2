//! Records that the caller of `poll()` has: they are complete when it acknowledges them. A rejected one holds back
//! later records of its key until then.

use std::time::Instant;

use super::super::retry_queue::KeyQueue;
use super::{AssignedRecords, Attempt, Fetched};

impl<M: Fetched> AssignedRecords<M> {
    /// The record was given to the caller of `poll()`, and waits for its acknowledgement.
    pub fn await_ack(&mut self, id: M::Id, now: impl FnOnce() -> Instant) {
        let queue = self.take_in_flight(id).and_then(|record| record.queue);
        if let Some(queue) = queue {
            self.retry_queue.advance(&queue, now());
        }
    }

    /// The record has its result; false where it is not in progress.
    pub fn acknowledge(&mut self, topic: &str, number: i32, offset: i64, now: Instant) -> bool {
        let Some(slot) = self.slot_of(topic, number) else {
            return false;
        };
        self.attempts.remove(&(slot, offset));
        self.release_key(slot, offset, now);
        self.at(slot)
            .is_some_and(|partition| partition.complete(offset))
    }

    /// The record failed and is handed out again by the caller: later records of its key wait until it is acknowledged.
    pub fn reject(
        &mut self,
        place: (&str, i32, i64),
        key: Option<&[u8]>,
        attempt: Attempt,
        now: Instant,
    ) {
        let (topic, number, offset) = place;
        let Some(slot) = self.slot_of(topic, number) else {
            return;
        };
        let queue = KeyQueue::of(slot, key, offset);
        self.retry_queue.hold(queue.clone());
        self.rejected.insert((slot, offset), queue);
        self.count_attempt(slot, offset, attempt, now);
    }

    /// True if a rejected record may be handed out again; false while an earlier one of its key waits. `None`: it is
    /// not rejected any more, as it is read again or its partition was revoked.
    pub fn may_retry(&self, topic: &str, number: i32, offset: i64) -> Option<bool> {
        let slot = self.slot_of(topic, number)?;
        let queue = self.rejected.get(&(slot, offset))?;
        let mut earlier = self.rejected.range((slot, i64::MIN)..(slot, offset));
        Some(!earlier.any(|(_, other)| other == queue))
    }

    /// Rejected records from `offset` on are read again, or belong to another member.
    pub(super) fn discard_rejected(&mut self, slot: usize, offset: i64) {
        let dropped = self.rejected.range((slot, offset)..=(slot, i64::MAX));
        let dropped: Vec<i64> = dropped.map(|((_, offset), _)| *offset).collect();
        for offset in dropped {
            self.release_key(slot, offset, Instant::now());
        }
    }

    fn release_key(&mut self, slot: usize, offset: i64, now: Instant) {
        let Some(queue) = self.rejected.remove(&(slot, offset)) else {
            return;
        };
        if !self.rejected.values().any(|other| *other == queue) {
            self.retry_queue.advance(&queue, now);
        }
    }
}
