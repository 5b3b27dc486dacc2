//! A caller of `poll()` against the records of a consumer: it acknowledges and rejects in any order, while partitions
//! are read again or revoked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{AssignedRecords, Attempt, Fetched, Next, RetryBounds};

const BOUNDS: RetryBounds = RetryBounds {
    queued: 6,
    ahead: 8,
};
const RECORDS: i64 = 20;
const STEP: Duration = Duration::from_millis(1);

#[derive(Clone)]
struct Message {
    id: u64,
    partition: i32,
    offset: i64,
}

impl Fetched for Message {
    type Id = u64;

    fn id(&self) -> u64 {
        self.id
    }

    fn is_record(&self) -> bool {
        true
    }

    fn topic_handle(&self) -> usize {
        1
    }

    fn topic(&self) -> String {
        "t".to_owned()
    }

    fn partition(&self) -> i32 {
        self.partition
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn key(&self) -> Option<&[u8]> {
        key_of(self.offset)
    }

    fn size(&self) -> usize {
        1
    }
}

/// Two keys in turns, and every third record without one.
fn key_of(offset: i64) -> Option<&'static [u8]> {
    [Some(&b"a"[..]), Some(&b"b"[..]), None][usize::try_from(offset % 3).expect("small")]
}

struct Caller {
    records: AssignedRecords<Message>,
    random: u64,
    now: Instant,
    ids: u64,
    /// The next offset to fetch, by partition.
    positions: BTreeMap<i32, i64>,
    /// Messages that were returned and have no result.
    open: Vec<Message>,
    /// Rejected messages that are not acknowledged: from here on the later ones of their key wait. `true`: returned
    /// again.
    rejected: BTreeMap<(i32, i64), bool>,
    acknowledged: Vec<(i32, i64)>,
    committed: BTreeMap<i32, i64>,
}

impl Caller {
    fn new(seed: u64) -> Self {
        let mut caller = Self {
            records: AssignedRecords::default(),
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            now: Instant::now(),
            ids: 1,
            positions: BTreeMap::new(),
            open: Vec::new(),
            rejected: BTreeMap::new(),
            acknowledged: Vec::new(),
            committed: BTreeMap::new(),
        };
        for partition in 0..2 {
            caller.assign(partition);
        }
        caller
    }

    fn choose(&mut self, of: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from((self.random >> 8) % of as u64).expect("small")
    }

    fn assign(&mut self, partition: i32) {
        let committed = self.committed.get(&partition).copied().unwrap_or(0);
        self.records.assigned.add("t", partition, committed);
        self.positions.insert(partition, committed);
    }

    /// What was returned from `offset` on belongs to no record any more.
    fn forget(&mut self, partition: i32, offset: i64) {
        let stale = |other: i32, at: i64| other == partition && at >= offset;
        self.open.retain(|open| !stale(open.partition, open.offset));
        self.rejected.retain(|(other, at), _| !stale(*other, *at));
    }

    fn fetch(&mut self) {
        self.records.release(BOUNDS);
        if self.records.fetched_count() > 0 {
            return;
        }
        for partition in 0..2 {
            let held = self
                .records
                .assigned
                .find("t", partition)
                .is_some_and(|one| one.held_back);
            let most = self.choose(4);
            let position = self.positions.get_mut(&partition).expect("assigned");
            for _ in 0..most {
                if held || *position == RECORDS {
                    break;
                }
                self.records.push_fetched(Message {
                    id: self.ids,
                    partition,
                    offset: *position,
                });
                (self.ids, *position) = (self.ids + 1, *position + 1);
            }
        }
    }

    fn poll(&mut self) {
        self.now += STEP;
        self.fetch();
        let now = self.now;
        let next = self.records.next(BOUNDS, || now);
        self.records.take_pauses();
        let Next::Record(handle) = next else {
            return;
        };
        self.records.await_ack(handle.id, || now);
        let place = (handle.partition, handle.offset);
        let earlier = self.rejected.range((place.0, i64::MIN)..place);
        for ((_, other), _) in earlier {
            let is_behind = key_of(*other).is_some() && key_of(*other) == key_of(place.1);
            assert!(!is_behind, "{place:?} before {other}, which was rejected");
        }
        if let Some(is_returned) = self.rejected.get_mut(&place) {
            assert!(!std::mem::replace(is_returned, true), "{place:?} twice");
            assert!(handle.attempt > 1);
        }
        self.open.push(Message {
            id: 0,
            partition: handle.partition,
            offset: handle.offset,
        });
    }

    fn settle(&mut self, is_rejected: bool) {
        if self.open.is_empty() {
            return;
        }
        let at = self.choose(self.open.len());
        let mut message = self.open.swap_remove(at);
        let place = (message.partition, message.offset);
        if is_rejected {
            let wait = STEP * u32::try_from(self.choose(5)).expect("small");
            message.id = self.ids;
            self.ids += 1;
            self.records
                .reject(message, Attempt::Counted, self.now, wait);
            assert!(self.records.waits_for_retry("t", place.0, place.1));
            self.rejected.insert(place, false);
        } else {
            assert!(self.records.acknowledge("t", place.0, place.1, self.now));
            self.rejected.remove(&place);
            self.acknowledged.push(place);
        }
    }

    fn commit(&mut self) {
        for commit in self.records.assigned.committable() {
            for offset in 0..commit.offset {
                let place = (commit.partition, offset);
                assert!(
                    self.acknowledged.contains(&place),
                    "{commit:?} passes {place:?}"
                );
            }
            let number = self.records.assigned.next_commit();
            self.records
                .assigned
                .committed("t", commit.partition, commit.offset, number);
            self.committed.insert(commit.partition, commit.offset);
        }
    }

    fn read_again(&mut self) {
        self.records.rewind();
        for (topic, partition, offset) in self.records.assigned.pending_rewinds() {
            self.records.sought_back(&topic, partition, offset, true);
            self.positions.insert(partition, offset);
            self.forget(partition, offset);
        }
        self.open.clear();
    }

    fn rebalance(&mut self) {
        let partition = i32::try_from(self.choose(2)).expect("small");
        self.records.remove("t", partition);
        self.forget(partition, i64::MIN);
        self.assign(partition);
    }
}

#[test]
fn a_caller_of_poll_gets_every_record_and_rejected_ones_before_the_later_ones_of_their_key() {
    for seed in 0..3000 {
        let mut caller = Caller::new(seed);
        for _ in 0..200 {
            match caller.choose(20) {
                0..=8 => caller.poll(),
                9..=12 => caller.settle(false),
                13..=16 => caller.settle(true),
                17 => caller.commit(),
                18 if caller.choose(5) == 0 => caller.read_again(),
                19 if caller.choose(5) == 0 => caller.rebalance(),
                _ => {}
            }
        }
        for _ in 0..1000 {
            caller.poll();
            caller.settle(false);
        }
        caller.commit();
        let ends: Vec<i64> = caller.committed.into_values().collect();
        assert_eq!(ends, [RECORDS, RECORDS], "seed {seed}");
        assert!(caller.records.is_drained());
    }
}

#[test]
fn a_pause_does_not_cancel_a_seek_that_is_still_to_be_done() {
    let mut records = AssignedRecords::<Message>::default();
    records.assigned.add("t", 0, 0);
    let message = |offset| Message {
        id: 1,
        partition: 0,
        offset,
    };
    records.push_fetched(message(3));
    assert_eq!(records.first_to_read_again("t", 0), Some(3));
    records.sought_back("t", 0, 5, false);
    records.push_fetched(message(7));
    assert_eq!(records.first_to_read_again("t", 0), Some(5));
}
