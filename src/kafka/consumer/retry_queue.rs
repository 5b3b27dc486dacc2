//! Records that wait for another try, in lanes: a failed record holds back what comes after it with the same key in the same
//! partition, and nothing else. A record without a key has a lane of its own.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

/// Which records wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyQueue {
    /// The partition's place in the assignment.
    pub slot: usize,
    name: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Key(Rc<[u8]>),
    Alone(i64),
}

impl KeyQueue {
    /// The lane of a record.
    #[must_use]
    pub fn of(slot: usize, key: Option<&[u8]>, offset: i64) -> Self {
        let name = key.map_or(Name::Alone(offset), |key| Name::Key(Rc::from(key)));
        Self { slot, name }
    }
}

#[derive(Debug)]
struct Queue<R> {
    waiting: VecDeque<R>,
    /// When its first record may be tried again; `None` while that one is out.
    due: Option<Instant>,
}

/// All lanes of a consumer.
#[derive(Debug)]
pub struct RetryQueue<R> {
    lanes: HashMap<KeyQueue, Queue<R>>,
    waiting: usize,
    next_due: Option<Instant>,
}

impl<R> Default for RetryQueue<R> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            waiting: 0,
            next_due: None,
        }
    }
}

impl<R> RetryQueue<R> {
    /// True where no record waits and none of a lane is out.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// How many records wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// When the first of them is due.
    #[must_use]
    pub const fn next_due(&self) -> Option<Instant> {
        self.next_due
    }

    /// True where somebody has to wait in this lane.
    #[must_use]
    pub fn has(&self, lane: &KeyQueue) -> bool {
        self.lanes.contains_key(lane)
    }

    /// The first record of a lane, or one that was out, waits until `due`.
    pub fn park(&mut self, lane: KeyQueue, record: R, due: Instant) {
        let queue = self.lanes.entry(lane).or_insert_with(|| Queue {
            waiting: VecDeque::new(),
            due: None,
        });
        queue.waiting.push_front(record);
        queue.due = Some(due);
        self.waiting += 1;
        self.look_ahead();
    }

    /// A later record of a lane waits behind the others.
    pub fn follow(&mut self, lane: &KeyQueue, record: R) {
        if let Some(queue) = self.lanes.get_mut(lane) {
            queue.waiting.push_back(record);
            self.waiting += 1;
        }
    }

    /// The record that has been due for longest, with its lane, which stays busy until [`RetryQueue::advance`] or [`RetryQueue::park`].
    pub fn take_due(&mut self, now: Instant) -> Option<(KeyQueue, R)> {
        self.next_due.filter(|due| *due <= now)?;
        let due = self.lanes.iter().filter(|(_, queue)| queue.due.is_some());
        let (lane, _) = due.min_by_key(|(_, queue)| queue.due)?;
        let lane = lane.clone();
        let queue = self.lanes.get_mut(&lane)?;
        let record = queue.waiting.pop_front()?;
        queue.due = None;
        self.waiting -= 1;
        self.look_ahead();
        Some((lane, record))
    }

    /// The record that was out is done: the next one of its lane is due at once.
    pub fn advance(&mut self, lane: &KeyQueue, now: Instant) {
        if let Some(queue) = self.lanes.get_mut(lane) {
            if queue.waiting.is_empty() {
                self.lanes.remove(lane);
            } else {
                queue.due = Some(now);
            }
        }
        self.look_ahead();
    }

    /// Takes out everything of the partitions for which `leaves` is true.
    pub fn remove(&mut self, leaves: impl Fn(usize) -> bool) -> Vec<R> {
        let mut gone = Vec::new();
        self.lanes.retain(|lane, queue| {
            let stays = !leaves(lane.slot);
            if !stays {
                gone.extend(queue.waiting.drain(..));
            }
            stays
        });
        self.waiting -= gone.len();
        self.look_ahead();
        gone
    }

    fn look_ahead(&mut self) {
        self.next_due = self.lanes.values().filter_map(|queue| queue.due).min();
    }
}

#[cfg(test)]
mod tests {
    use super::{Instant, KeyQueue, RetryQueue};
    use std::time::Duration;

    fn lane(key: &str) -> KeyQueue {
        KeyQueue::of(0, Some(key.as_bytes()), 0)
    }

    #[test]
    fn a_lane_keeps_its_order_and_holds_nobody_else() {
        let now = Instant::now();
        let mut parked = RetryQueue::default();
        parked.park(lane("a"), 1, now + Duration::from_millis(100));
        parked.follow(&lane("a"), 2);
        assert!(parked.has(&lane("a")) && !parked.has(&lane("b")));
        assert_eq!(parked.take_due(now), None);
        let later = now + Duration::from_millis(100);
        assert_eq!(parked.take_due(later), Some((lane("a"), 1)));
        // InFlight: the second one waits for it.
        assert_eq!(parked.take_due(later), None);
        assert!(parked.has(&lane("a")));
        parked.advance(&lane("a"), later);
        assert_eq!(parked.take_due(later), Some((lane("a"), 2)));
        parked.advance(&lane("a"), later);
        assert!(parked.is_empty());
    }

    #[test]
    fn one_that_fails_again_stays_first() {
        let now = Instant::now();
        let mut parked = RetryQueue::default();
        parked.park(lane("a"), 1, now);
        parked.follow(&lane("a"), 2);
        let (back, record) = parked.take_due(now).expect("due");
        parked.park(back, record, now);
        assert_eq!(parked.waiting(), 2);
        assert_eq!(parked.take_due(now).map(|(_, record)| record), Some(1));
    }

    #[test]
    fn without_a_key_nobody_waits_for_anybody() {
        assert_ne!(KeyQueue::of(0, None, 1), KeyQueue::of(0, None, 2));
        assert_ne!(
            KeyQueue::of(0, Some(b"k"), 1),
            KeyQueue::of(1, Some(b"k"), 1)
        );
        assert_eq!(KeyQueue::of(0, Some(b""), 1), KeyQueue::of(0, Some(b""), 2));
    }

    #[test]
    fn a_partition_that_goes_takes_its_lanes_along() {
        let now = Instant::now();
        let mut parked = RetryQueue::default();
        parked.park(KeyQueue::of(0, None, 1), 1, now);
        parked.park(KeyQueue::of(1, None, 1), 2, now);
        assert_eq!(parked.remove(|slot| slot == 0), [1]);
        assert_eq!(parked.waiting(), 1);
        assert_eq!(parked.take_due(now).map(|(_, record)| record), Some(2));
    }
}
