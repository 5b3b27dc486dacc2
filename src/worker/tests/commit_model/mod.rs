//! A model of the promise behind every commit: an offset passes a record only with its result.
//!
//! The real loop and the real [`AssignedRecords`] run against a simulated Kafka that checks each commit. Every
//! decision is a choice: how records are fetched, what a callback does (return, throw, fail transiently, exit,
//! fatal error, pause, seek), whether a commit, a delivery, a seek or a transaction succeeds, when partitions are
//! revoked and assigned, when the process is killed. The first choices of a run are enumerated, the
//! rest come from a seed; after the faults a worker without faults has to finish.

mod process;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;

use self::process::Process;
use super::*;
use crate::config::Delivery;
use crate::dispatch::channels;
use crate::kafka::consumer::partitions::CommitOffset;
use crate::kafka::consumer::records::{Fetched, RetryBounds};
use crate::retry::{CircuitPolicy, ExponentialBackoff};

/// One process: `consume()` up to three times, until it crashes or is killed.
fn run_process(world: &World, subscriptions: &RefCell<Subscriptions<()>>, topics: &TopicMap) {
    let process = Process::start(world);
    for _ in 0..3 {
        process
            .records
            .borrow_mut()
            .requeue_all(process.clock.get());
        process.stop.reset();
        let limits = Limits {
            wait: Duration::ZERO,
            batch: [8, 1, 2, 3][world.choose(4)],
            max_messages: [0, 1, 3][world.choose(3)],
            when_empty: true,
        };
        let counters = WorkerCounters::default();
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
            Worker {
                source: &process,
                handler: &process,
                subscriptions,
                topics,
                delivery: match world.delivery {
                    Delivery::AtLeastOnce => DeliveryMode::AtLeastOnce,
                    Delivery::AtMostOnce => DeliveryMode::AtMostOnce,
                    Delivery::ExactlyOnce => DeliveryMode::ExactlyOnce(&process),
                },
                limits,
                stop: &process.stop,
                counters: &counters,
                pending_dead_letters: PendingDeadLetters::default(),
                circuit: CIRCUIT,
            }
            .run()
        }));
        match ended {
            Err(panic) if panic.downcast_ref::<&str>() == Some(&"fatal error") => {
                process.on_fatal_error();
                drop(process.commit_now(Duration::ZERO));
                return;
            }
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(Err(why)) if why == "exit" => return,
            Ok(Err(_)) if world.delivery == Delivery::ExactlyOnce => process.rewind(),
            Ok(_) => {}
        }
        // kill -9 between two calls.
        if world.choose(4) == 3 {
            return;
        }
    }
}

fn run_world(delivery: Delivery, has_offsets: bool, choices: Choices) -> Vec<(usize, usize)> {
    let world = World::new(delivery, has_offsets, choices);
    let topics = TopicMap::grouped("p", Vec::new(), TOPIC, None);
    let mut subscriptions = Subscriptions::default();
    for (name, style) in [("x", Style::Batch), ("y", Style::Single)] {
        let target = channels(name, &topics).expect("a channel");
        let callback = Some(());
        subscriptions
            .add(Subscription::new(target, style, callback))
            .expect("added");
    }
    let subscriptions = RefCell::new(subscriptions);
    for _ in 0..3 {
        run_process(&world, &subscriptions, &topics);
    }
    world.choices.borrow_mut().is_over = true;
    run_process(&world, &subscriptions, &topics);
    for record in world.log.iter().flatten() {
        let results = world.results.borrow();
        let results = results
            .get(&(record.partition, record.offset))
            .copied()
            .unwrap_or(0);
        match delivery {
            Delivery::AtLeastOnce => assert!(
                results > 0,
                "{record:?} has no result",
                record = (record.partition, record.offset)
            ),
            Delivery::ExactlyOnce => {
                assert_eq!(results, 1, "{:?}", (record.partition, record.offset));
            }
            Delivery::AtMostOnce => {}
        }
    }
    world.choices.into_inner().made
}

/// Runs with every combination of the first choices, then seeds; names the run that fails.
fn explore(delivery: Delivery, enumerated: usize, depth: usize, seeds: u64) {
    let run = |has_offsets, fixed: Vec<usize>, seed: u64| {
        let choices = Choices {
            fixed: fixed.clone(),
            made: Vec::new(),
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            is_over: false,
        };
        let caught = std::panic::catch_unwind(|| run_world(delivery, has_offsets, choices));
        caught.unwrap_or_else(|_| {
            panic!("{delivery:?}, offsets {has_offsets}, {fixed:?}, seed {seed}")
        })
    };
    for has_offsets in [false, true] {
        let mut fixed = Vec::new();
        for seed in 0..enumerated as u64 {
            let mut made = run(has_offsets, fixed, seed);
            made.truncate(depth);
            while made.last().is_some_and(|(choice, of)| choice + 1 >= *of) {
                made.pop();
            }
            let Some(last) = made.last_mut() else {
                break;
            };
            last.0 += 1;
            fixed = made.into_iter().map(|(choice, _)| choice).collect();
        }
        for seed in 0..seeds {
            run(has_offsets, Vec::new(), seed);
        }
    }
}

#[test]
fn at_least_once_commits_no_offset_before_the_results() {
    explore(Delivery::AtLeastOnce, 3000, 9, 4000);
}

#[test]
fn exactly_once_commits_each_result_once_with_its_offset() {
    explore(Delivery::ExactlyOnce, 3000, 9, 4000);
}

#[test]
fn at_most_once_begins_no_record_twice() {
    explore(Delivery::AtMostOnce, 3000, 9, 4000);
}

const TOPIC: &str = "t";
const BOUNDS: RetryBounds = RetryBounds {
    queued: 3,
    ahead: 4,
};
/// A circuit opens soon, for two fetches: time is simulated in steps of a millisecond.
const CIRCUIT: CircuitPolicy = CircuitPolicy {
    failures: 2,
    backoff: ExponentialBackoff {
        max_retries: 0,
        initial: Duration::from_micros(1500),
        max: Duration::from_micros(1500),
    },
};
/// Fetches of one process before it is stopped.
const MAX_FETCHES: u32 = 25;

/// Decisions: enumerated at first, then from a seed.
struct Choices {
    fixed: Vec<usize>,
    made: Vec<(usize, usize)>,
    random: u64,
    is_over: bool,
}

impl Choices {
    fn next(&mut self, of: usize) -> usize {
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
type Committed = (i64, Vec<(i64, i64, u32)>);

/// Kafka, as far as one group and one topic are concerned.
struct World {
    delivery: Delivery,
    log: Vec<Vec<Message>>,
    committed: RefCell<HashMap<i32, Committed>>,
    /// Results that consumers of the output can read.
    results: RefCell<HashMap<(i32, i64), u32>>,
    handlings: RefCell<HashMap<(i32, i64), u32>>,
    choices: RefCell<Choices>,
}

#[derive(Clone)]
struct Message {
    id: u64,
    partition: i32,
    offset: i64,
    key: Option<Vec<u8>>,
    value: Rc<Vec<u8>>,
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
    fn new(delivery: Delivery, has_offsets: bool, choices: Choices) -> Self {
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

    fn choose(&self, of: usize) -> usize {
        self.choices.borrow_mut().next(of)
    }

    fn result(&self, record: (i32, i64)) {
        *self.results.borrow_mut().entry(record).or_insert(0) += 1;
    }

    /// Kafka accepts a commit. The promise: every record before the offset has its result.
    fn commit(&self, offsets: &[CommitOffset]) {
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
type ModelRecord = Handle<(u64, Rc<Vec<u8>>)>;
