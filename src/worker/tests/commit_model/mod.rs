//! A model of the promise behind every commit: an offset passes a record only with its result.
//!
//! The real loop and the real [`AssignedRecords`] run against a simulated Kafka that checks each commit. Every
//! decision is a choice: how records are fetched, what a callback does (return, throw, fail transiently, exit,
//! fatal error, pause, seek), whether a commit, a delivery, a seek or a transaction succeeds, when partitions are
//! revoked and assigned, when the process is killed. The first choices of a run are enumerated, the
//! rest come from a seed; after the faults a worker without faults has to finish.

mod process;
mod world;

use std::panic::AssertUnwindSafe;

use self::process::Process;
use self::world::{Choices, World, CIRCUIT, TOPIC};
use super::*;
use crate::config::Delivery;
use crate::dispatch::channels;

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
