//! Records that must wait: behind a failed record of their key, or past the bounds.

use std::collections::VecDeque;
use std::rc::Rc;

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
