//! Records that wait for a retry: a failed record holds back later records of its key in its partition, and no others.
//! A record without a key waits alone.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
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

/// The order in which queues are due: since when their first record is due, when it last failed, and their number.
type Order = (Instant, Option<Instant>, u64);

#[derive(Debug)]
struct Queue<R> {
    number: u64,
    /// Its key in [`RetryQueue::due`].
    order: Option<Order>,
    /// In the order of their offsets.
    waiting: VecDeque<Waiting<R>>,
    /// The offsets of records that were handed out again and are not done with: later ones wait for them.
    in_flight: Vec<i64>,
    /// When its first record last failed; `None` if it did not.
    failed: Option<Instant>,
}

impl<R> Queue<R> {
    const fn new(number: u64) -> Self {
        Self {
            number,
            order: None,
            waiting: VecDeque::new(),
            in_flight: Vec::new(),
            failed: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Its place among those that are due; `None` while its first record waits for a record in flight.
    fn current_order(&self) -> Option<Order> {
        let first = self.waiting.front()?;
        let is_blocked = self.in_flight.iter().any(|offset| *offset < first.offset);
        let due = first.due.filter(|_| !is_blocked)?;
        Some((due, self.failed, self.number))
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
    /// The queues whose first record may be handed out once it is due.
    due: BTreeMap<Order, KeyQueue>,
    len: usize,
    created: u64,
}

impl<R> Default for RetryQueue<R> {
    fn default() -> Self {
        Self {
            queues: HashMap::new(),
            due: BTreeMap::new(),
            len: 0,
            created: 0,
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
    pub fn next_due(&self) -> Option<Instant> {
        self.due.keys().next().map(|(due, ..)| *due)
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
        let name = queue.clone();
        if let Entry::Vacant(new) = self.queues.entry(queue) {
            self.created += 1;
            new.insert(Queue::new(self.created));
        }
        self.change(&name, |queue| {
            queue.in_flight.retain(|other| *other != offset);
            queue.insert(offset, record, Some(due));
            queue.failed = failed.or(queue.failed);
        });
    }

    /// A later record waits behind the others of its queue.
    pub fn follow(&mut self, queue: &KeyQueue, offset: i64, record: R) {
        self.change(queue, |queue| queue.insert(offset, record, None));
    }

    /// The record that has been due for longest; among equals one that has not failed, or whose failure is longest ago.
    /// Later ones of its queue wait until [`RetryQueue::finish`] or [`RetryQueue::schedule`].
    pub fn take_due(&mut self, now: Instant) -> Option<(KeyQueue, R)> {
        let ((due, ..), name) = self.due.first_key_value()?;
        if *due > now {
            return None;
        }
        let name = name.clone();
        let record = self.change(&name, |queue| {
            let Waiting { offset, record, .. } = queue.waiting.pop_front()?;
            queue.in_flight.push(offset);
            Some(record)
        })??;
        Some((name, record))
    }

    /// A record is done with: the next one of its queue is due now, unless that waits for its own retry.
    pub fn finish(&mut self, name: &KeyQueue, offset: i64, now: Instant) {
        self.change(name, |queue| {
            queue.in_flight.retain(|other| *other != offset);
            if let Ok(place) = queue.place(offset) {
                queue.waiting.remove(place);
            }
            queue.failed = None;
            if let Some(first) = queue.waiting.front_mut() {
                first.due.get_or_insert(now);
            }
        });
    }

    /// Drops the records of a partition from `offset` on.
    pub fn discard(&mut self, slot: usize, offset: i64) {
        let names = self.queues.keys().filter(|name| name.slot == slot);
        let names: Vec<KeyQueue> = names.cloned().collect();
        for name in names {
            self.change(&name, |queue| {
                queue.waiting.retain(|other| other.offset < offset);
                queue.in_flight.retain(|other| *other < offset);
            });
        }
    }

    /// Changes a queue, and with it the number of waiting records and the order of the queues: a walk through all of
    /// them would take longer than the record. Empty queues are removed.
    fn change<T>(&mut self, name: &KeyQueue, change: impl FnOnce(&mut Queue<R>) -> T) -> Option<T> {
        let queue = self.queues.get_mut(name)?;
        let before = queue.waiting.len();
        let result = change(queue);
        self.len = self.len - before + queue.waiting.len();
        let order = queue.current_order();
        if order != queue.order {
            if let Some(old) = std::mem::replace(&mut queue.order, order) {
                self.due.remove(&old);
            }
            if let Some(order) = order {
                self.due.insert(order, name.clone());
            }
        }
        if queue.is_empty() {
            self.queues.remove(name);
        }
        Some(result)
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
    fn many_waiting_keys_do_not_slow_each_other_down() {
        const KEYS: i64 = 100_000;
        let now = Instant::now();
        let mut retries = RetryQueue::default();
        for offset in 0..KEYS {
            let due = now + Duration::from_millis(u64::try_from(offset % 100).expect("small"));
            retries.schedule(
                KeyQueue::of(0, None, offset),
                offset,
                offset,
                due,
                Some(now),
            );
        }
        let due = now + Duration::from_secs(1);
        for left in (0..KEYS).rev() {
            let (name, offset) = retries.take_due(due).expect("due");
            retries.finish(&name, offset, due);
            assert_eq!(i64::try_from(retries.len()), Ok(left));
        }
        assert!(retries.is_empty() && retries.next_due().is_none());
        // Minutes, if each change walked through all keys.
        assert!(
            now.elapsed() < Duration::from_secs(20),
            "{:?}",
            now.elapsed()
        );
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
