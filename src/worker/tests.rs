//! The loop without Kafka and without PHP: a source of numbers, and a handler that fails when told to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::{
    Ending, Graves, Handler, Item, Letter, Limits, Outcome, Promise, Reason, Source, StopSignal,
    Tally, Transactions, Worker,
};
use crate::dispatch::{channels, Style, Subscription, Subscriptions};
use crate::error::{Error, Result};
use crate::kafka::consumer::assignment::Watcher;
use crate::kafka::consumer::Ahead;
use crate::message::Scanned;
use crate::topic::TopicMap;

#[derive(Clone)]
struct Number {
    topic: &'static str,
    value: Rc<Vec<u8>>,
    place: u32,
}

impl Item for Number {
    fn topic(&self) -> &str {
        self.topic
    }

    fn value(&self) -> Option<&[u8]> {
        Some(&self.value)
    }

    fn is_beside(&self, other: &Self) -> bool {
        self.topic == other.topic
    }

    fn place(&self) -> (String, i32, i64) {
        (self.topic.to_owned(), 0, i64::from(self.place))
    }

    fn deaths(&self) -> u32 {
        0
    }
}

#[derive(Default)]
struct Numbers {
    ahead: RefCell<VecDeque<Number>>,
    hand: RefCell<VecDeque<Number>>,
    done: RefCell<Vec<u32>>,
    failed: Cell<u32>,
    commits: Cell<u32>,
    undelivered: Cell<bool>,
    /// Commits ahead that get no answer yet.
    unanswered: Cell<u32>,
}

impl Source for Numbers {
    type Item = Number;

    fn fetch(&self, _: Duration, most: usize) -> usize {
        let mut ahead = self.ahead.borrow_mut();
        let count = ahead.len().min(most);
        self.hand.borrow_mut().extend(ahead.drain(..count));
        count
    }

    fn has_records(&self) -> bool {
        !self.hand.borrow().is_empty()
    }

    fn next(&self) -> Option<Number> {
        self.hand.borrow_mut().pop_front()
    }

    fn done(&self, item: &Number) {
        self.done.borrow_mut().push(item.place);
    }

    fn put_back(&self, item: &Number, failed: bool) {
        self.failed.set(self.failed.get() + u32::from(failed));
        self.hand.borrow_mut().push_front(item.clone());
    }

    fn park(&self, item: &Number, _: Duration) {
        self.failed.set(self.failed.get() + 1);
        self.ahead.borrow_mut().push_back(item.clone());
    }

    fn tend(&self) {}

    fn commit_ahead(&self, _: Duration) -> Ahead {
        if self.unanswered.get() > 0 {
            self.unanswered.set(self.unanswered.get() - 1);
            return Ahead::Unanswered;
        }
        self.commits.set(self.commits.get() + 1);
        if self.undelivered.get() {
            Ahead::Refused
        } else {
            Ahead::Committed
        }
    }

    fn drop_hand(&self) -> (u64, Vec<String>) {
        (self.hand.borrow_mut().drain(..).count() as u64, Vec::new())
    }

    fn serve_events<W: Watcher>(&self, _: &W) -> Result<(), W::Abort> {
        Ok(())
    }

    fn commit_if_due(&self, _: u64) -> Result<()> {
        if self.undelivered.get() {
            return Err(Error::delivery("lost", Vec::new()));
        }
        Ok(())
    }

    fn commit_now(&self, _: Duration) -> Result<()> {
        self.commits.set(self.commits.get() + 1);
        Ok(())
    }

    fn refused(&self) -> Option<Error> {
        None
    }

    fn is_at_end(&self) -> bool {
        self.ahead.borrow().is_empty() && self.hand.borrow().is_empty()
    }

    fn is_idle_for_good(&self) -> bool {
        false
    }
}

type Told = Box<dyn Fn(u32) -> Outcome<String>>;

fn letter(reason: &str) -> Letter {
    Letter {
        class: "Boom".to_owned(),
        reason: reason.to_owned(),
        attempts: 1,
    }
}

struct Script {
    tell: Told,
    buried: RefCell<Vec<u32>>,
    lists: RefCell<Vec<Vec<u32>>>,
}

impl Watcher for Script {
    type Abort = String;

    fn assigned(&self, _: &[(String, i32)]) -> Result<(), String> {
        Ok(())
    }

    fn revoked(&self, _: &[(String, i32)], _: bool) -> Result<(), String> {
        Ok(())
    }
}

impl Handler<Number> for Script {
    type Callback = ();

    fn handle(
        &self,
        _: &Rc<Subscription<()>>,
        item: &Number,
        _: Option<&Scanned<'_>>,
    ) -> Outcome<String> {
        (self.tell)(item.place)
    }

    fn handle_batch(&self, _: &Rc<Subscription<()>>, items: &[Number]) -> (usize, Outcome<String>) {
        self.lists
            .borrow_mut()
            .push(items.iter().map(|item| item.place).collect());
        for (place, item) in items.iter().enumerate() {
            match (self.tell)(item.place) {
                Outcome::Handled => {}
                other => return (place, other),
            }
        }
        (items.len(), Outcome::Handled)
    }

    fn wants(&self, _: &Number) -> bool {
        true
    }

    fn worn_out(&self, _: &Number) -> Option<Letter> {
        None
    }

    fn not_an_envelope(&self, reason: &Error) -> Letter {
        letter(reason.message())
    }

    fn bury(&self, item: &Number, _: &Letter) -> Result<()> {
        self.buried.borrow_mut().push(item.place);
        Ok(())
    }

    fn breathe(&self, _: u64) -> Result<(), String> {
        Ok(())
    }

    fn fail(&self, error: Error) -> String {
        error.message().to_owned()
    }
}

struct Scene {
    source: Numbers,
    handler: Script,
    subscriptions: RefCell<Subscriptions<()>>,
    topics: TopicMap,
    stop: Rc<StopSignal>,
    tally: Tally,
}

fn scene(style: Style, channel_names: &[&str], tell: Told, stop: &Rc<StopSignal>) -> Scene {
    let topics = TopicMap::one_per_channel("t", false);
    let mut subscriptions = Subscriptions::default();
    for name in channel_names {
        let target = channels(name, &topics).expect("a channel");
        subscriptions
            .add(Subscription {
                target,
                style,
                callback: Some(()),
            })
            .expect("added");
    }
    Scene {
        source: Numbers::default(),
        handler: Script {
            tell,
            buried: RefCell::default(),
            lists: RefCell::default(),
        },
        subscriptions: RefCell::new(subscriptions),
        topics,
        stop: Rc::clone(stop),
        tally: Tally::default(),
    }
}

impl Scene {
    fn put(&self, numbers: std::ops::Range<u32>, topic: &'static str, channel: &str) {
        for number in numbers {
            let mut value = Vec::new();
            crate::message::write_envelope(
                &mut value,
                b"i",
                "event",
                Some(channel),
                Some("e"),
                None,
                1,
            );
            self.source.ahead.borrow_mut().push_back(Number {
                topic,
                value: Rc::new(value),
                place: number,
            });
        }
    }

    fn run(&self, limits: Limits) -> Result<(u64, Reason), String> {
        self.run_with(Promise::AtLeastOnce, limits)
    }

    fn run_with(&self, promise: Promise<'_>, limits: Limits) -> Result<(u64, Reason), String> {
        Worker {
            promise,
            graves: Graves::default(),
            source: &self.source,
            handler: &self.handler,
            subscriptions: &self.subscriptions,
            topics: &self.topics,
            limits,
            stop: &self.stop,
            tally: &self.tally,
        }
        .run()
    }
}

fn limits() -> Limits {
    Limits {
        wait: Duration::ZERO,
        batch: 10,
        max_messages: 0,
        when_empty: true,
    }
}

fn all_is_well(_: u32) -> Outcome<String> {
    Outcome::Handled
}

#[test]
fn everything_is_handled_in_order_and_committed_once_more_at_the_end() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    scene.put(0..25, "t_a", "a");
    assert_eq!(scene.run(limits()), Ok((25, Reason::Empty)));
    assert_eq!(*scene.source.done.borrow(), (0..25).collect::<Vec<_>>());
    assert_eq!(scene.source.commits.get(), 1);
}

#[test]
fn a_limit_takes_effect_after_the_record_in_hand() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    scene.put(0..25, "t_a", "a");
    let some = Limits {
        max_messages: 7,
        ..limits()
    };
    assert_eq!(scene.run(some), Ok((7, Reason::MaxMessages)));
    assert_eq!(scene.run(some), Ok((7, Reason::MaxMessages)));
    assert_eq!(scene.source.done.borrow().len(), 14);
}

#[test]
fn a_callback_can_ask_to_stop() {
    let stop = Rc::new(StopSignal::default());
    let asked = Rc::clone(&stop);
    let tell = move |number| {
        if number == 3 {
            asked.ask();
        }
        Outcome::Handled
    };
    let scene = scene(Style::Single, &["a"], Box::new(tell), &stop);
    scene.put(0..10, "t_a", "a");
    assert_eq!(scene.run(limits()), Ok((4, Reason::Asked)));
}

#[test]
fn a_failed_record_is_put_back_as_another_attempt_and_those_before_it_are_committed() {
    let tell = |number| {
        if number == 5 {
            Outcome::Stop("boom".to_owned())
        } else {
            Outcome::Handled
        }
    };
    let scene = scene(Style::Single, &["a"], Box::new(tell), &Rc::default());
    scene.put(0..10, "t_a", "a");
    assert_eq!(scene.run(limits()), Err("boom".to_owned()));
    assert_eq!(*scene.source.done.borrow(), [0, 1, 2, 3, 4]);
    assert_eq!(scene.source.failed.get(), 1);
    assert_eq!(scene.source.commits.get(), 1);
    assert_eq!(scene.tally.failures.get(), 1);
    assert_eq!(scene.source.next().map(|item| item.place), Some(5));
}

#[test]
fn what_a_callback_sent_and_nobody_took_ends_the_loop() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    scene.put(0..3, "t_a", "a");
    scene.source.undelivered.set(true);
    assert_eq!(scene.run(limits()), Err("lost".to_owned()));
}

#[test]
fn skipped_records_pass_and_are_counted() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    scene.put(0..2, "t_b", "b");
    scene.put(2..4, "t_b", "a");
    scene.put(4..5, "t_a", "a");
    assert_eq!(scene.run(limits()), Ok((1, Reason::Empty)));
    assert_eq!(
        (scene.tally.skipped.get(), scene.tally.mismatched.get()),
        (2, 2)
    );
    assert_eq!(scene.source.done.borrow().len(), 5);
}

#[test]
fn lists_keep_the_order_of_their_partitions() {
    let scene = scene(
        Style::Batch,
        &["a", "b"],
        Box::new(all_is_well),
        &Rc::default(),
    );
    scene.put(0..2, "t_a", "a");
    scene.put(2..4, "t_b", "b");
    scene.put(4..6, "t_a", "a");
    assert_eq!(scene.run(limits()), Ok((6, Reason::Empty)));
    assert_eq!(
        *scene.handler.lists.borrow(),
        [vec![0, 1, 4, 5], vec![2, 3]]
    );
}

#[test]
fn a_list_says_how_far_it_came() {
    let tell = |number| {
        if number == 2 {
            Outcome::Stop("boom".to_owned())
        } else {
            Outcome::Handled
        }
    };
    let scene = scene(Style::Batch, &["a"], Box::new(tell), &Rc::default());
    scene.put(0..5, "t_a", "a");
    assert_eq!(scene.run(limits()), Err("boom".to_owned()));
    assert_eq!(*scene.source.done.borrow(), [0, 1]);
    let rest: Vec<u32> = std::iter::from_fn(|| scene.source.next())
        .map(|item| item.place)
        .collect();
    assert_eq!(rest, [2, 3, 4]);
}

#[test]
fn what_is_no_envelope_is_kept_and_passed() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    let broken = Number {
        topic: "t_a",
        value: Rc::new(b"{".to_vec()),
        place: 0,
    };
    scene.source.ahead.borrow_mut().push_back(broken);
    assert_eq!(scene.run(limits()), Ok((1, Reason::Empty)));
    assert_eq!(*scene.handler.buried.borrow(), [0]);
}

#[test]
fn one_that_fails_is_tried_again_and_the_others_go_on() {
    let tries = Cell::new(0);
    let tell = move |number| {
        if number == 1 && tries.replace(tries.get() + 1) < 2 {
            return Outcome::Again(Duration::ZERO);
        }
        Outcome::Handled
    };
    let scene = scene(Style::Single, &["a"], Box::new(tell), &Rc::default());
    scene.put(0..4, "t_a", "a");
    assert_eq!(scene.run(limits()), Ok((4, Reason::Empty)));
    assert_eq!(*scene.source.done.borrow(), [0, 2, 3, 1]);
    assert_eq!(
        (scene.tally.failures.get(), scene.tally.retries.get()),
        (2, 2)
    );
}

#[test]
fn one_that_is_given_up_counts_as_done() {
    let tell = |number| match number {
        1 => Outcome::GivenUp(letter("no")),
        _ => Outcome::Handled,
    };
    let scene = scene(Style::Batch, &["a"], Box::new(tell), &Rc::default());
    scene.put(0..4, "t_a", "a");
    assert_eq!(scene.run(limits()), Ok((4, Reason::Empty)));
    assert_eq!(*scene.handler.buried.borrow(), [1]);
    assert_eq!(scene.tally.dead_lettered.get(), 1);
}

#[test]
fn at_most_once_commits_first_and_drops_what_it_cannot_commit() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    scene.put(0..4, "t_a", "a");
    assert_eq!(
        scene.run_with(Promise::AtMostOnce, limits()),
        Ok((4, Reason::Empty))
    );
    scene.source.undelivered.set(true);
    scene.put(4..6, "t_a", "a");
    // Only the periodic commits of at-least-once fail here as well.
    let dropped = Limits {
        batch: 1,
        ..limits()
    };
    assert!(scene.run_with(Promise::AtMostOnce, dropped).is_err());
    assert_eq!(scene.source.done.borrow().len(), 4);
}

#[test]
fn at_most_once_keeps_what_it_has_until_its_commit_is_answered() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    scene.put(0..4, "t_a", "a");
    scene.source.unanswered.set(3);
    assert_eq!(
        scene.run_with(Promise::AtMostOnce, limits()),
        Ok((4, Reason::Empty))
    );
    assert_eq!(scene.tally.dropped.get(), 0);
}

#[derive(Default)]
struct Ledger {
    began: Cell<u32>,
    committed: Cell<u32>,
    aborted: Cell<u32>,
}

impl Transactions for Ledger {
    fn prepare(&self) -> Result<bool> {
        Ok(true)
    }

    fn begin(&self) -> Result<bool> {
        self.began.set(self.began.get() + 1);
        Ok(true)
    }

    fn commit(&self) -> Result<Ending> {
        self.committed.set(self.committed.get() + 1);
        Ok(Ending::Committed)
    }

    fn abort(&self) -> Result<()> {
        self.aborted.set(self.aborted.get() + 1);
        Ok(())
    }

    fn bound(&self) -> Duration {
        Duration::from_secs(20)
    }
}

#[test]
fn a_failure_takes_the_transaction_back_and_the_letter_goes_into_the_next() {
    let tell = |number| match number {
        1 => Outcome::GivenUp(letter("no")),
        _ => Outcome::Handled,
    };
    let scene = scene(Style::Single, &["a"], Box::new(tell), &Rc::default());
    scene.put(0..4, "t_a", "a");
    let ledger = Ledger::default();
    // The source does not go back by itself: the one that failed is put back, those after it follow.
    assert_eq!(
        scene.run_with(Promise::ExactlyOnce(&ledger), limits()),
        Ok((3, Reason::Empty))
    );
    assert_eq!(*scene.handler.buried.borrow(), [1]);
    assert_eq!((ledger.began.get(), ledger.committed.get()), (2, 1));
    assert_eq!((ledger.aborted.get(), scene.tally.aborted.get()), (1, 1));
    assert_eq!(scene.tally.transactions.get(), 1);
}
