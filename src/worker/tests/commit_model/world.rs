//! Kafka as one group and one topic see it, and the decisions of a run.

use std::collections::HashMap;

use super::super::*;
use crate::circuit::CircuitPolicy;
use crate::config::Delivery;
use crate::kafka::consumer::records::{CommitOffset, Fetched, RetryBounds};
use crate::retry::ExponentialBackoff;

pub(super) const TOPIC: &str = "t";
pub(super) const BOUNDS: RetryBounds = RetryBounds {
    queued: 3,
    ahead: 4,
};
/// A circuit opens soon, for two fetches: time is simulated in steps of a millisecond.
pub(super) const CIRCUIT: CircuitPolicy = CircuitPolicy {
    failures: 2,
    backoff: ExponentialBackoff {
        max_retries: 0,
        initial: Duration::from_micros(1500),
        max: Duration::from_micros(1500),
    },
};
/// Fetches of one process before it is stopped.
pub(super) const MAX_FETCHES: u32 = 25;

/// Decisions: enumerated at first, then from a seed.
pub(super) struct Choices {
    pub(super) fixed: Vec<usize>,
    pub(super) made: Vec<(usize, usize)>,
    pub(super) random: u64,
    pub(super) is_over: bool,
}

impl Choices {
    pub(super) fn next(&mut self, of: usize) -> usize {
        if self.is_over || of < 2 {
            return 0;
        }
        let place = self.made.len();
        let choice = self.fixed.get(place).copied().unwrap_or_else(|| {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            // Faults in about a third of the decisions, so that runs also get somewhere.
            if self.random % 3 > 0 {
                0
            } else {
                usize::try_from((self.random >> 8) % of as u64).unwrap_or(0)
            }
        });
        self.made.push((choice, of));
        choice
    }
}

/// An offset and the crash counts beside it.
pub(super) type Committed = (i64, Vec<(i64, i64, u32)>);

/// Kafka, as far as one group and one topic are concerned.
pub(super) struct World {
    pub(super) delivery: Delivery,
    pub(super) log: Vec<Vec<Message>>,
    pub(super) committed: RefCell<HashMap<i32, Committed>>,
    /// Results that consumers of the output can read.
    pub(super) results: RefCell<HashMap<(i32, i64), u32>>,
    pub(super) handlings: RefCell<HashMap<(i32, i64), u32>>,
    pub(super) choices: RefCell<Choices>,
}

#[derive(Clone)]
pub(super) struct Message {
    pub(super) id: u64,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Rc<Vec<u8>>,
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
        TOPIC.to_owned()
    }

    fn partition(&self) -> i32 {
        self.partition
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    fn size(&self) -> usize {
        self.value.len()
    }
}

impl World {
    /// Three partitions with records of a batch subscription (x), a single one (y) and none (z), keys and gaps.
    pub(super) fn new(delivery: Delivery, has_offsets: bool, choices: Choices) -> Self {
        let layout: [&[(&str, Option<&str>)]; 3] = [
            &[
                ("x", Some("a")),
                ("x", None),
                ("x", Some("a")),
                ("y", None),
                ("x", Some("b")),
                ("x", Some("a")),
                ("x", Some("b")),
            ],
            &[("y", Some("a")), ("x", None), ("z", None), ("y", Some("a"))],
            &[("x", None), ("y", Some("c")), ("x", Some("c"))],
        ];
        let partition = |(number, records): (usize, &&[(&str, Option<&str>)])| {
            let message = |(place, (channel, key)): (usize, &(&str, Option<&str>))| {
                let mut value = Vec::new();
                let channel = Some(*channel);
                let kind = "event";
                crate::envelope::write_envelope(
                    &mut value,
                    b"i",
                    kind,
                    channel,
                    Some("e"),
                    None,
                    1,
                );
                let place = i64::try_from(place).expect("small");
                Message {
                    id: 0,
                    partition: i32::try_from(number).expect("small"),
                    // A gap after the third record, as transactions and compaction leave them.
                    offset: 10 + place + i64::from(place > 2) * 3,
                    key: key.map(|key| key.as_bytes().to_vec()),
                    value: Rc::new(value),
                }
            };
            records.iter().enumerate().map(message).collect()
        };
        let committed = if has_offsets {
            (0..3)
                .map(|partition| (partition, (10, Vec::new())))
                .collect()
        } else {
            HashMap::new()
        };
        Self {
            delivery,
            log: layout.iter().enumerate().map(partition).collect(),
            committed: RefCell::new(committed),
            results: RefCell::default(),
            handlings: RefCell::default(),
            choices: RefCell::new(choices),
        }
    }

    pub(super) fn choose(&self, of: usize) -> usize {
        self.choices.borrow_mut().next(of)
    }

    pub(super) fn result(&self, record: (i32, i64)) {
        *self.results.borrow_mut().entry(record).or_insert(0) += 1;
    }

    /// Kafka accepts a commit. The promise: every record before the offset has its result.
    pub(super) fn commit(&self, offsets: &[CommitOffset]) {
        for commit in offsets {
            let records = &self.log[usize::try_from(commit.partition).expect("a partition")];
            if self.delivery != Delivery::AtMostOnce {
                for record in records
                    .iter()
                    .filter(|record| record.offset < commit.offset)
                {
                    assert!(
                        self.results
                            .borrow()
                            .contains_key(&(commit.partition, record.offset)),
                        "offset {} of partition {} passes record {} without its result",
                        commit.offset,
                        commit.partition,
                        record.offset
                    );
                }
            }
            let committed = (commit.offset, commit.crashes.clone());
            self.committed
                .borrow_mut()
                .insert(commit.partition, committed);
        }
    }
}

/// A record in flight; the model keeps its value beside the id of its message.
pub(super) type ModelRecord = Handle<(u64, Rc<Vec<u8>>)>;
