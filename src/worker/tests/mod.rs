//! The loop without Kafka and PHP: a source of numbers, and a handler that fails on request.

mod cases;
mod commit_model;
mod transactions;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::{
    DeliveryMode, Handler, Limits, Outcome, PendingDeadLetters, Reason, Source, StopSignal, Worker,
    WorkerCounters,
};
use crate::dead_letter::DeadLetter;
use crate::dispatch::{channels, Style, Subscription, Subscriptions};
use crate::envelope::Scanned;
use crate::error::{Error, FailedMessage, Kind, Result};
use crate::kafka::consumer::rebalance::RebalanceListener;
use crate::kafka::consumer::records::{Attempt, Handle};
use crate::kafka::consumer::PreCommit;
use crate::kafka::transaction::{TransactionOutcome, Transactions};
use crate::retry::{CircuitPolicy, ExponentialBackoff};
use crate::topic::TopicMap;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// No circuit opens unless a test sets the number of failures.
const CIRCUIT: CircuitPolicy = CircuitPolicy {
    failures: 0,
    backoff: ExponentialBackoff {
        max_retries: 3,
        initial: Duration::from_millis(100),
        max: Duration::from_secs(10),
    },
};

/// A record whose offset is its number. Its id is its value.
type Number = Handle<Rc<Vec<u8>>>;

fn number(topic: &str, value: Vec<u8>, offset: u32) -> Number {
    Handle {
        id: Rc::new(value),
        // As many partitions as topics, and each topic is its channel's.
        slot: topic.as_bytes().last().map_or(0, |last| usize::from(*last)),
        topic: Rc::from(topic),
        partition: 0,
        offset: i64::from(offset),
        attempt: 1,
        transient: 0,
        transient_since: None,
        crashes: 0,
        isolated: false,
        was_handled: false,
    }
}

fn of(item: &Number) -> u32 {
    u32::try_from(item.offset).expect("a number")
}

#[derive(Default)]
struct Numbers {
    ahead: RefCell<VecDeque<Number>>,
    fetched: RefCell<VecDeque<Number>>,
    done: RefCell<Vec<u32>>,
    failed: Cell<u32>,
    /// Every call of `schedule_retry`.
    scheduled: RefCell<Vec<(u32, Attempt, Duration)>>,
    /// Simulated time since the start: each fetch takes a millisecond.
    elapsed: Cell<Duration>,
    commits: Cell<u32>,
    undelivered: Cell<bool>,
    /// Everything handed out since the last commit.
    since_commit: RefCell<Vec<Number>>,
    /// The last record at the last call of `results()`.
    awaited: Cell<Option<u32>>,
    /// Records whose results Kafka refuses for good.
    poison: RefCell<Vec<u32>>,
    /// Pre-commits that are not answered yet.
    unanswered: Cell<u32>,
}

impl Source for Numbers {
    type Id = Rc<Vec<u8>>;

    fn value(item: &Number) -> Option<&[u8]> {
        Some(&item.id)
    }

    fn fetch(&self, _: Duration, most: usize) -> usize {
        self.sleep(Duration::from_millis(1));
        let mut ahead = self.ahead.borrow_mut();
        let count = ahead.len().min(most);
        self.fetched.borrow_mut().extend(ahead.drain(..count));
        count
    }

    fn has_records(&self) -> bool {
        !self.fetched.borrow().is_empty()
    }

    fn next(&self) -> Option<Number> {
        let next = self.fetched.borrow_mut().pop_front();
        self.since_commit.borrow_mut().extend(next.clone());
        next
    }

    fn complete(&self, item: &Number) {
        self.done.borrow_mut().push(of(item));
    }

    fn requeue(&self, item: &Number, attempt: Attempt) {
        let failed = u32::from(attempt != Attempt::NotMade);
        self.failed.set(self.failed.get() + failed);
        self.fetched.borrow_mut().push_front(item.clone());
    }

    fn schedule_retry(&self, item: &Number, attempt: Attempt, wait: Duration) {
        let failed = u32::from(attempt != Attempt::NotMade);
        self.failed.set(self.failed.get() + failed);
        self.scheduled.borrow_mut().push((of(item), attempt, wait));
        self.ahead.borrow_mut().push_back(item.clone());
    }

    fn now(&self) -> Instant {
        *START + self.elapsed.get()
    }

    fn sleep(&self, time: Duration) {
        self.elapsed.set(self.elapsed.get() + time);
    }

    fn keep_alive(&self, _: u64) {}

    fn is_rebalancing(&self) -> bool {
        false
    }

    fn results(&self, _: Duration) -> Result<bool> {
        let mut since = self.since_commit.borrow_mut();
        let last = since.last().map(of);
        if self.awaited.replace(last) == last {
            let refusal = self.refusal(&since);
            since.clear();
            return refusal.map_or(Ok(true), Err);
        }
        // Before the last one is handled.
        let earlier = since.len().saturating_sub(1);
        let refusal = self.refusal(&since[..earlier]);
        if refusal.is_none() {
            since.drain(..earlier);
        }
        refusal.map_or(Ok(true), Err)
    }

    fn read_again(&self, isolated: bool) {
        let since = self.since_commit.take();
        let mut ahead = self.ahead.borrow_mut();
        for number in self.fetched.borrow_mut().drain(..).rev() {
            ahead.push_front(number);
        }
        for number in since.into_iter().rev() {
            self.done.borrow_mut().retain(|done| *done != of(&number));
            ahead.push_front(Number {
                isolated,
                was_handled: isolated,
                ..number
            });
        }
    }

    fn has_isolated(&self) -> bool {
        self.ahead.borrow().iter().any(|number| number.isolated)
            || self.fetched.borrow().iter().any(|number| number.isolated)
    }

    fn pre_commit(&self, _: Duration) -> PreCommit {
        if self.unanswered.get() > 0 {
            self.unanswered.set(self.unanswered.get() - 1);
            return PreCommit::Pending;
        }
        self.commits.set(self.commits.get() + 1);
        if self.undelivered.get() {
            PreCommit::Refused
        } else {
            PreCommit::Committed
        }
    }

    fn discard_fetched(&self) -> (u64, Vec<String>) {
        (
            self.fetched.borrow_mut().drain(..).count() as u64,
            Vec::new(),
        )
    }

    fn serve_events<W: RebalanceListener>(&self, _: &W) -> Result<(), W::Abort> {
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
        let refusal = self.refusal(&self.since_commit.borrow());
        match refusal {
            None => {
                self.since_commit.take();
                Ok(())
            }
            Some(error) => {
                self.read_again(true);
                Err(error)
            }
        }
    }

    fn take_fatal_error(&self) -> Option<Error> {
        None
    }

    fn is_at_end(&self) -> bool {
        self.ahead.borrow().is_empty() && self.fetched.borrow().is_empty()
    }

    fn has_no_more(&self) -> bool {
        false
    }
}

impl Numbers {
    /// The error for the first result that Kafka refuses.
    fn refusal(&self, numbers: &[Number]) -> Option<Error> {
        let poison = self.poison.borrow();
        let refused = numbers.iter().find(|one| poison.contains(&of(one)))?;
        Some(Error::delivery(
            "refused",
            vec![FailedMessage {
                id: of(refused).to_string(),
                topic: "out".to_owned(),
                reason: "refused".to_owned(),
                kind: Kind::Delivery,
                permanent: true,
            }],
        ))
    }
}

type Callback = Box<dyn Fn(u32) -> Outcome<String>>;

fn dead_letter(reason: &str) -> DeadLetter {
    DeadLetter {
        class: "Boom".to_owned(),
        reason: reason.to_owned(),
        chain: String::new(),
        attempts: 1,
        headers_only: false,
        permanent: false,
    }
}

struct Script {
    callback: Callback,
    dead_letters: RefCell<Vec<u32>>,
    lists: RefCell<Vec<Vec<u32>>>,
}

impl RebalanceListener for Script {
    type Abort = String;

    fn assigned(&self, _: &[(String, i32)]) -> Result<(), String> {
        Ok(())
    }

    fn revoked(&self, _: &[(String, i32)], _: bool) -> Result<(), String> {
        Ok(())
    }
}

impl Handler<Rc<Vec<u8>>> for Script {
    type Callback = ();

    fn handle(
        &self,
        _: &Rc<Subscription<()>>,
        item: &Number,
        _: Option<&Scanned<'_>>,
    ) -> Outcome<String> {
        (self.callback)(of(item))
    }

    fn handle_batch(&self, _: &Rc<Subscription<()>>, items: &[Number]) -> (usize, Outcome<String>) {
        self.lists.borrow_mut().push(items.iter().map(of).collect());
        for (place, item) in items.iter().enumerate() {
            match (self.callback)(of(item)) {
                Outcome::Handled => {}
                other => return (place, other),
            }
        }
        (items.len(), Outcome::Handled)
    }

    fn wants(&self, _: &Number) -> bool {
        true
    }

    fn retries_exhausted(&self, _: &Number) -> Option<DeadLetter> {
        None
    }

    fn not_an_envelope(&self, reason: &Error) -> DeadLetter {
        dead_letter(reason.message())
    }

    fn undelivered(&self, _: &Number, error: Error) -> Outcome<String> {
        Outcome::DeadLetter(dead_letter(error.message()))
    }

    fn dead_letter(&self, item: &Number, _: &DeadLetter) -> Result<()> {
        self.dead_letters.borrow_mut().push(of(item));
        Ok(())
    }

    fn poll_interrupts(&self, _: u64) -> Result<(), String> {
        Ok(())
    }

    fn fail(&self, error: Error) -> String {
        error.message().to_owned()
    }
}

struct Fixture {
    circuit: CircuitPolicy,
    source: Numbers,
    handler: Script,
    subscriptions: RefCell<Subscriptions<()>>,
    topics: TopicMap,
    stop: Rc<StopSignal>,
    counters: WorkerCounters,
}

fn fixture(
    style: Style,
    channel_names: &[&str],
    callback: Callback,
    stop: &Rc<StopSignal>,
) -> Fixture {
    let topics = TopicMap::one_per_channel("t", false);
    let mut subscriptions = Subscriptions::default();
    for name in channel_names {
        let target = channels(name, &topics).expect("a channel");
        subscriptions
            .add(Subscription::new(target, style, Some(())))
            .expect("added");
    }
    Fixture {
        circuit: CIRCUIT,
        source: Numbers::default(),
        handler: Script {
            callback,
            dead_letters: RefCell::default(),
            lists: RefCell::default(),
        },
        subscriptions: RefCell::new(subscriptions),
        topics,
        stop: Rc::clone(stop),
        counters: WorkerCounters::default(),
    }
}

/// Records of one channel for a callback that receives them one by one.
fn single(
    callback: impl Fn(u32) -> Outcome<String> + 'static,
    numbers: std::ops::Range<u32>,
) -> Fixture {
    let fixture = fixture(Style::Single, &["a"], Box::new(callback), &Rc::default());
    fixture.put(numbers, "t_a", "a");
    fixture
}

impl Fixture {
    fn put(&self, numbers: std::ops::Range<u32>, topic: &'static str, channel: &str) {
        for place in numbers {
            let mut value = Vec::new();
            crate::envelope::write_envelope(
                &mut value,
                b"i",
                "event",
                Some(channel),
                Some("e"),
                None,
                1,
            );
            let record = number(topic, value, place);
            self.source.ahead.borrow_mut().push_back(record);
        }
    }

    fn run(&self, limits: Limits) -> Result<(u64, Reason), String> {
        self.run_with(DeliveryMode::AtLeastOnce, limits)
    }

    fn run_with(
        &self,
        delivery: DeliveryMode<'_>,
        limits: Limits,
    ) -> Result<(u64, Reason), String> {
        Worker {
            delivery,
            pending_dead_letters: PendingDeadLetters::default(),
            circuit: self.circuit,
            source: &self.source,
            handler: &self.handler,
            subscriptions: &self.subscriptions,
            topics: &self.topics,
            limits,
            stop: &self.stop,
            counters: &self.counters,
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

fn succeed(_: u32) -> Outcome<String> {
    Outcome::Handled
}

/// A callback whose dependency is unavailable for `outage` after its first call: the calls so far, and the outcome.
fn dependency(
    away: impl Fn(u32) -> bool + 'static,
    failed: impl Fn(u32) -> Outcome<String> + 'static,
) -> (Rc<Cell<u32>>, impl Fn(u32) -> Outcome<String>) {
    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    let callback = move |number| {
        counted.set(counted.get() + 1);
        if away(counted.get()) {
            failed(number)
        } else {
            Outcome::Handled
        }
    };
    (calls, callback)
}

fn retry(_: u32) -> Outcome<String> {
    Outcome::Retry(Duration::ZERO)
}

fn transient(_: u32) -> Outcome<String> {
    Outcome::Transient(Duration::from_millis(1))
}
