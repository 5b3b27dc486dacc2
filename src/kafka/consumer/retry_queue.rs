//! Records that wait for a retry: a failed record holds back later records of its key in its partition, and no others.
//! A record without a key waits alone.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

/// Names the queue of a key in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyQueue {
    /// The partition's place in the assignment.
    pub slot: usize,
    key: QueueKey,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum QueueKey {
    Key(Rc<[u8]>),
    /// The offset of a record without a key.
    NoKey(i64),
}

impl KeyQueue {
    /// The queue that a record belongs to.
    #[must_use]
    pub fn of(slot: usize, key: Option<&[u8]>, offset: i64) -> Self {
        let key = key.map_or(QueueKey::NoKey(offset), |key| QueueKey::Key(Rc::from(key)));
        Self { slot, key }
    }
}

#[derive(Debug)]
struct Queue<R> {
    records: VecDeque<R>,
    /// When its first record last failed; `None` if it did not.
    failed: Option<Instant>,
    /// When its first record is due; `None` while a record of the queue is in flight.
    due: Option<Instant>,
}

/// The queues of a consumer.
#[derive(Debug)]
pub struct RetryQueue<R> {
    queues: HashMap<KeyQueue, Queue<R>>,
    len: usize,
    next_due: Option<Instant>,
}

impl<R> Default for RetryQueue<R> {
    fn default() -> Self {
        Self {
            queues: HashMap::new(),
            len: 0,
            next_due: None,
        }
    }
}

impl<R> RetryQueue<R> {
    /// True where no record waits and no record of a queue is in flight.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// How many records wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// When the first retry is due.
    #[must_use]
    pub const fn next_due(&self) -> Option<Instant> {
        self.next_due
    }

    /// True where records of this queue wait or are in flight.
    #[must_use]
    pub fn has(&self, queue: &KeyQueue) -> bool {
        self.queues.contains_key(queue)
    }

    /// The first record of a queue waits until `due`. `failed`: when its attempt failed; `None` if it was not tried.
    pub fn schedule(&mut self, queue: KeyQueue, record: R, due: Instant, failed: Option<Instant>) {
        let queue = self.queues.entry(queue).or_insert_with(|| Queue {
            records: VecDeque::new(),
            failed: None,
            due: None,
        });
        queue.records.push_front(record);
        queue.due = Some(due);
        queue.failed = failed.or(queue.failed);
        self.len += 1;
        self.update_next_due();
    }

    /// A record of this queue is handled elsewhere: the others wait until [`RetryQueue::advance`].
    pub fn hold(&mut self, queue: KeyQueue) {
        let queue = self.queues.entry(queue).or_insert_with(|| Queue {
            records: VecDeque::new(),
            failed: None,
            due: None,
        });
        queue.due = None;
        self.update_next_due();
    }

    /// A later record waits behind the others of its queue.
    pub fn follow(&mut self, queue: &KeyQueue, record: R) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.records.push_back(record);
            self.len += 1;
        }
    }

    /// The record that has been due for longest; among equals one that has not failed, or whose failure is longest ago.
    /// Its queue waits until [`RetryQueue::advance`] or [`RetryQueue::schedule`].
    pub fn take_due(&mut self, now: Instant) -> Option<(KeyQueue, R)> {
        self.next_due.filter(|due| *due <= now)?;
        let due = self.queues.iter().filter(|(_, queue)| queue.due.is_some());
        let (name, _) = due.min_by_key(|(_, queue)| (queue.due, queue.failed))?;
        let name = name.clone();
        let queue = self.queues.get_mut(&name)?;
        let record = queue.records.pop_front()?;
        queue.due = None;
        self.len -= 1;
        self.update_next_due();
        Some((name, record))
    }

    /// The record in flight is done with: the next one of its queue is due now.
    pub fn advance(&mut self, queue: &KeyQueue, now: Instant) {
        if let Some(waiting) = self.queues.get_mut(queue) {
            if waiting.records.is_empty() {
                self.queues.remove(queue);
            } else {
                waiting.due = Some(now);
                waiting.failed = None;
            }
        }
        self.update_next_due();
    }

    /// Drops the records for which `is_dropped` is true, given the partition's slot and the record.
    pub fn discard(&mut self, is_dropped: impl Fn(usize, &R) -> bool) {
        self.queues.retain(|name, queue| {
            queue
                .records
                .retain(|record| !is_dropped(name.slot, record));
            // A queue with a record in flight stays until that record is done with.
            queue.due.is_none() || !queue.records.is_empty()
        });
        self.len = self.queues.values().map(|queue| queue.records.len()).sum();
        self.update_next_due();
    }

    /// A revoked partition has no queues.
    pub fn remove_partition(&mut self, slot: usize) {
        self.queues.retain(|name, _| name.slot != slot);
        self.len = self.queues.values().map(|queue| queue.records.len()).sum();
        self.update_next_due();
    }

    fn update_next_due(&mut self) {
        self.next_due = self.queues.values().filter_map(|queue| queue.due).min();
    }
}

#[cfg(test)]
mod tests {
    use super::{Instant, KeyQueue, RetryQueue};
    use std::time::Duration;

    fn queue(key: &str) -> KeyQueue {
        KeyQueue::of(0, Some(key.as_bytes()), 0)
    }

    #[test]
    fn key_order_is_kept_across_retries() {
        let now = Instant::now();
        let mut retries = RetryQueue::default();
        retries.schedule(queue("a"), 1, now + Duration::from_millis(100), Some(now));
        retries.follow(&queue("a"), 2);
        assert!(retries.has(&queue("a")) && !retries.has(&queue("b")));
        assert_eq!(retries.take_due(now), None);
        let later = now + Duration::from_millis(100);
        assert_eq!(retries.take_due(later), Some((queue("a"), 1)));
        // The second record waits while the first is in flight.
        assert_eq!(retries.take_due(later), None);
        assert!(retries.has(&queue("a")));
        retries.advance(&queue("a"), later);
        assert_eq!(retries.take_due(later), Some((queue("a"), 2)));
        retries.advance(&queue("a"), later);
        assert!(retries.is_empty());
    }

    #[test]
    fn records_behind_one_that_is_held_wait_for_it() {
        let now = Instant::now();
        let mut retries = RetryQueue::default();
        retries.hold(queue("a"));
        retries.follow(&queue("a"), 2);
        assert_eq!((retries.take_due(now), retries.next_due()), (None, None));
        retries.advance(&queue("a"), now);
        assert_eq!(retries.take_due(now), Some((queue("a"), 2)));
        // A record of the queue that failed is held again.
        retries.follow(&queue("a"), 3);
        retries.hold(queue("a"));
        assert_eq!(retries.take_due(now), None);
        retries.advance(&queue("a"), now);
        retries.advance(&queue("a"), now);
        assert_eq!(retries.take_due(now), Some((queue("a"), 3)));
    }

    #[test]
    fn a_record_that_fails_again_stays_first() {
        let now = Instant::now();
        let mut retries = RetryQueue::default();
        retries.schedule(queue("a"), 1, now, Some(now));
        retries.follow(&queue("a"), 2);
        let (name, record) = retries.take_due(now).expect("due");
        retries.schedule(name, record, now, Some(now));
        assert_eq!(retries.len(), 2);
        assert_eq!(retries.take_due(now).map(|(_, record)| record), Some(1));
    }

    #[test]
    fn records_without_a_key_never_wait_for_each_other() {
        assert_ne!(KeyQueue::of(0, None, 1), KeyQueue::of(0, None, 2));
        assert_ne!(
            KeyQueue::of(0, Some(b"k"), 1),
            KeyQueue::of(1, Some(b"k"), 1)
        );
        assert_eq!(KeyQueue::of(0, Some(b""), 1), KeyQueue::of(0, Some(b""), 2));
    }

    #[test]
    fn discarded_records_leave_their_queues() {
        let now = Instant::now();
        let mut retries = RetryQueue::default();
        retries.schedule(KeyQueue::of(0, None, 1), 1, now, Some(now));
        retries.schedule(KeyQueue::of(1, None, 1), 2, now, Some(now));
        retries.discard(|slot, _| slot == 0);
        assert_eq!(retries.len(), 1);
        assert_eq!(retries.take_due(now).map(|(_, record)| record), Some(2));
        retries.remove_partition(1);
        assert!(retries.is_empty());
    }

    #[test]
    fn of_records_due_together_those_that_have_not_failed_come_first() {
        let earlier = Instant::now();
        let now = earlier + Duration::from_secs(1);
        let mut retries = RetryQueue::default();
        for (number, failed) in [(1, Some(now)), (2, Some(earlier)), (3, None)] {
            retries.schedule(KeyQueue::of(0, None, number), number, now, failed);
        }
        let (name, record) = retries.take_due(now).expect("due");
        assert_eq!(record, 3);
        retries.schedule(name, record, now, None);
        let (name, record) = retries.take_due(now).expect("due");
        assert_eq!(record, 3);
        retries.schedule(name, record, now, Some(now));
        assert_eq!(retries.take_due(now).map(|(_, record)| record), Some(2));
    }
}
