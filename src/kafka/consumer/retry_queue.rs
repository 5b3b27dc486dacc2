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
struct Waiting<R> {
    offset: i64,
    record: R,
    /// When it may be handed out; `None` for a record that waits for earlier ones of its key.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Queue<R> {
    /// In the order of their offsets.
    waiting: VecDeque<Waiting<R>>,
    /// The offsets of records that were handed out again and are not done with: later ones wait for them.
    in_flight: Vec<i64>,
    /// When its first record last failed; `None` if it did not.
    failed: Option<Instant>,
}

impl<R> Default for Queue<R> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            in_flight: Vec::new(),
            failed: None,
        }
    }
}

impl<R> Queue<R> {
    /// When its first record is due; `None` while that waits for a record in flight.
    fn due(&self) -> Option<Instant> {
        let first = self.waiting.front()?;
        let is_blocked = self.in_flight.iter().any(|offset| *offset < first.offset);
        first.due.filter(|_| !is_blocked)
    }

    /// The place of a waiting record, or where it would be.
    fn place(&self, offset: i64) -> Result<usize, usize> {
        self.waiting
            .binary_search_by_key(&offset, |other| other.offset)
    }

    fn insert(&mut self, offset: i64, record: R, due: Option<Instant>) {
        let place = self.place(offset).unwrap_or_else(|place| place);
        let waiting = Waiting {
            offset,
            record,
            due,
        };
        self.waiting.insert(place, waiting);
    }
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

    /// True while this record waits.
    #[must_use]
    pub fn is_waiting(&self, queue: &KeyQueue, offset: i64) -> bool {
        let queue = self.queues.get(queue);
        queue.is_some_and(|queue| queue.place(offset).is_ok())
    }

    /// A record waits until `due`, and later ones of its queue wait for it. `failed`: when its attempt failed; `None`
    /// if it was not tried.
    pub fn schedule(
        &mut self,
        queue: KeyQueue,
        offset: i64,
        record: R,
        due: Instant,
        failed: Option<Instant>,
    ) {
        let queue = self.queues.entry(queue).or_default();
        queue.in_flight.retain(|other| *other != offset);
        queue.insert(offset, record, Some(due));
        queue.failed = failed.or(queue.failed);
        self.update();
    }

    /// A later record waits behind the others of its queue.
    pub fn follow(&mut self, queue: &KeyQueue, offset: i64, record: R) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.insert(offset, record, None);
            self.len += 1;
        }
    }

    /// The record that has been due for longest; among equals one that has not failed, or whose failure is longest ago.
    /// Later ones of its queue wait until [`RetryQueue::finish`] or [`RetryQueue::schedule`].
    pub fn take_due(&mut self, now: Instant) -> Option<(KeyQueue, R)> {
        self.next_due.filter(|due| *due <= now)?;
        let due = self.queues.iter();
        let due = due.filter_map(|(name, queue)| Some(((queue.due()?, queue.failed), name)));
        let (_, name) = due.min_by_key(|(order, _)| *order)?;
        let name = name.clone();
        let queue = self.queues.get_mut(&name)?;
        let Waiting { offset, record, .. } = queue.waiting.pop_front()?;
        queue.in_flight.push(offset);
        self.update();
        Some((name, record))
    }

    /// A record is done with: the next one of its queue is due now, unless that waits for its own retry.
    pub fn finish(&mut self, name: &KeyQueue, offset: i64, now: Instant) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        queue.in_flight.retain(|other| *other != offset);
        if let Ok(place) = queue.place(offset) {
            queue.waiting.remove(place);
        }
        queue.failed = None;
        match queue.waiting.front_mut() {
            Some(first) => {
                first.due.get_or_insert(now);
            }
            None if queue.in_flight.is_empty() => {
                self.queues.remove(name);
            }
            None => {}
        }
        self.update();
    }

    /// Drops the records of a partition from `offset` on.
    pub fn discard(&mut self, slot: usize, offset: i64) {
        self.queues.retain(|name, queue| {
            if name.slot == slot {
                queue.waiting.retain(|other| other.offset < offset);
                queue.in_flight.retain(|other| *other < offset);
            }
            !queue.waiting.is_empty() || !queue.in_flight.is_empty()
        });
        self.update();
    }

    pub fn clear(&mut self) {
        self.queues.clear();
        self.update();
    }

    fn update(&mut self) {
        self.len = self.queues.values().map(|queue| queue.waiting.len()).sum();
        self.next_due = self.queues.values().filter_map(Queue::due).min();
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
        let due = now + Duration::from_millis(100);
        retries.schedule(queue("a"), 1, 1, due, Some(now));
        retries.follow(&queue("a"), 2, 2);
        assert!(retries.has(&queue("a")) && !retries.has(&queue("b")));
        assert_eq!(retries.take_due(now), None);
        assert_eq!(retries.take_due(due), Some((queue("a"), 1)));
        // The second record waits while the first is in flight.
        assert_eq!((retries.take_due(due), retries.next_due()), (None, None));
        assert!(retries.has(&queue("a")));
        retries.finish(&queue("a"), 1, due);
        assert_eq!(retries.take_due(due), Some((queue("a"), 2)));
        retries.finish(&queue("a"), 2, due);
        assert!(retries.is_empty());
    }

    #[test]
    fn records_that_fail_in_another_order_are_retried_in_theirs_each_after_its_own_wait() {
        let now = Instant::now();
        let later = now + Duration::from_millis(100);
        let mut retries = RetryQueue::default();
        retries.schedule(queue("a"), 2, 2, later, Some(now));
        retries.schedule(queue("a"), 1, 1, now, Some(now));
        retries.follow(&queue("a"), 3, 3);
        assert_eq!(retries.take_due(now), Some((queue("a"), 1)));
        retries.finish(&queue("a"), 1, now);
        assert_eq!(
            (retries.take_due(now), retries.next_due()),
            (None, Some(later))
        );
        assert_eq!(retries.take_due(later), Some((queue("a"), 2)));
        // One before a record in flight need not wait for it; one behind it waits for both.
        retries.schedule(queue("a"), 0, 0, later, Some(later));
        assert_eq!(retries.take_due(later), Some((queue("a"), 0)));
        retries.finish(&queue("a"), 2, later);
        assert_eq!(retries.take_due(later), None);
        retries.finish(&queue("a"), 0, later);
        assert_eq!(retries.take_due(later), Some((queue("a"), 3)));
    }

    #[test]
    fn a_record_that_is_done_with_while_it_waits_is_not_retried() {
        let now = Instant::now();
        let mut retries = RetryQueue::default();
        retries.schedule(queue("a"), 1, 1, now, Some(now));
        retries.follow(&queue("a"), 2, 2);
        assert!(retries.is_waiting(&queue("a"), 1));
        retries.finish(&queue("a"), 1, now);
        assert!(!retries.is_waiting(&queue("a"), 1));
        assert_eq!(
            (retries.len(), retries.take_due(now)),
            (1, Some((queue("a"), 2)))
        );
    }

    #[test]
    fn a_record_that_fails_again_stays_first() {
        let now = Instant::now();
        let mut retries = RetryQueue::default();
        retries.schedule(queue("a"), 1, 1, now, Some(now));
        retries.follow(&queue("a"), 2, 2);
        let (name, record) = retries.take_due(now).expect("due");
        retries.schedule(name, 1, record, now, Some(now));
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
        retries.schedule(queue("a"), 1, 1, now, Some(now));
        retries.follow(&queue("a"), 2, 2);
        retries.schedule(KeyQueue::of(1, None, 1), 1, 3, now, None);
        retries.discard(0, 2);
        assert_eq!(retries.len(), 2);
        assert_eq!(retries.take_due(now).map(|(_, record)| record), Some(3));
        assert_eq!(retries.take_due(now).map(|(_, record)| record), Some(1));
        // Also where a record of the queue is in flight: it is read again.
        retries.discard(0, i64::MIN);
        retries.discard(1, i64::MIN);
        assert!(retries.is_empty());
    }

    #[test]
    fn of_records_due_together_those_that_have_not_failed_come_first() {
        let earlier = Instant::now();
        let now = earlier + Duration::from_secs(1);
        let mut retries = RetryQueue::default();
        for (number, failed) in [(1, Some(now)), (2, Some(earlier)), (3, None)] {
            retries.schedule(KeyQueue::of(0, None, number), number, number, now, failed);
        }
        let (name, record) = retries.take_due(now).expect("due");
        assert_eq!(record, 3);
        retries.schedule(name, record, record, now, None);
        let (name, record) = retries.take_due(now).expect("due");
        assert_eq!(record, 3);
        retries.schedule(name, record, record, now, Some(now));
        assert_eq!(retries.take_due(now).map(|(_, record)| record), Some(2));
    }
}
