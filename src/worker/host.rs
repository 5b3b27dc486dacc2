//! The interface of the loop to the outside: the host's callbacks and their results, its consumer, and when to stop.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::dead_letter::DeadLetter;
use crate::dispatch::Subscription;
use crate::envelope::Scanned;
use crate::error::{Error, Result};
use crate::kafka::consumer::rebalance::RebalanceListener;
use crate::kafka::consumer::records::{AssignedRecords, Attempt, Handle};
use crate::kafka::consumer::{Consumer, MessageId, PreCommit};
use crate::kafka::producer::pool::PRODUCERS;
use crate::runtime::clock;

/// The result of a callback for its record.
#[derive(Debug)]
pub enum Outcome<A> {
    /// The callback returned.
    Handled,
    /// The record is a replay for another group.
    Skipped,
    /// The callback failed: retry after this time.
    Retry(Duration),
    /// The callback failed because something that it needs is unavailable: retry after this time, without counting the
    /// attempt.
    Transient(Duration),
    /// The callback failed, and the record is given up.
    DeadLetter(DeadLetter),
    /// The callback failed, and delivery is at-most-once. `permanent`: as in [`DeadLetter`].
    Dropped { permanent: bool },
    /// The host asks to stop; the record was not handled.
    Stop(A),
    /// The callback was cut off from outside, by the destruction of its Fiber or by a stop signal: the record was not
    /// handled, and the attempt does not count.
    Interrupted(A),
    /// The process is ending inside the callback; the handler has recorded the crash.
    Exiting(A),
}

impl<A> Outcome<A> {
    /// True where the callback may fail with other records for the same reason.
    pub(super) const fn is_failure_of_callback(&self) -> bool {
        match self {
            Self::Retry(_) | Self::Transient(_) => true,
            Self::DeadLetter(letter) => !letter.permanent,
            Self::Dropped { permanent } => !*permanent,
            Self::Handled
            | Self::Skipped
            | Self::Stop(_)
            | Self::Interrupted(_)
            | Self::Exiting(_) => false,
        }
    }
}

/// The host's callbacks.
pub trait Handler<I>: RebalanceListener {
    /// Type of a subscription's callback.
    type Callback;
    /// Calls the callback with one record.
    fn handle(
        &self,
        subscription: &Rc<Subscription<Self::Callback>>,
        item: &Handle<I>,
        envelope: Option<&Scanned<'_>>,
    ) -> Outcome<Self::Abort>;
    /// Calls the callback with a batch: the number of records handled before one failed, and the result of that one.
    fn handle_batch(
        &self,
        subscription: &Rc<Subscription<Self::Callback>>,
        items: &[Handle<I>],
    ) -> (usize, Outcome<Self::Abort>);
    /// False for a replay that another group asked for.
    fn wants(&self, item: &Handle<I>) -> bool;
    /// The dead letter of a record whose callbacks ended the process too often.
    fn retries_exhausted(&self, item: &Handle<I>) -> Option<DeadLetter>;
    /// The dead letter of a record of a channel topic that is not an envelope.
    fn not_an_envelope(&self, reason: &Error) -> DeadLetter;
    /// The result of a record whose messages Kafka refuses for good.
    fn undelivered(&self, item: &Handle<I>, error: Error) -> Outcome<Self::Abort>;
    /// Writes a dead letter.
    ///
    /// # Errors
    /// It could not be written; the loop ends.
    fn dead_letter(&self, item: &Handle<I>, dead_letter: &DeadLetter) -> Result<()>;
    /// Runs between records: signal handlers and the host's periodic work; `now` as above.
    ///
    /// # Errors
    /// The host asks to stop.
    fn poll_interrupts(&self, now: u64) -> Result<(), Self::Abort>;
    /// Converts an error into the host's form.
    fn fail(&self, error: Error) -> Self::Abort;
}

// The consumer of the loop.
//
// The only real implementation is [`Consumer`]. It is a trait for the model in `tests/commit_model`, which runs this
// loop through thousands of sequences of lost responses, refused results, rebalances and kills, with simulated time:
// no broker fails on request at each of these points, or as fast.

/// The methods of [`Consumer`] with these names, and the time.
pub trait Source {
    /// Identifies a record while it is in flight.
    type Id: Clone;

    fn value(item: &Handle<Self::Id>) -> Option<&[u8]>;
    fn fetch(&self, wait: Duration, most: usize) -> usize;
    fn has_records(&self) -> bool;
    fn next(&self) -> Option<Handle<Self::Id>>;
    fn complete(&self, item: &Handle<Self::Id>);
    fn requeue(&self, item: &Handle<Self::Id>, attempt: Attempt);
    fn schedule_retry(&self, item: &Handle<Self::Id>, attempt: Attempt, wait: Duration);
    /// The current time; tests simulate it.
    fn now(&self) -> Instant {
        Instant::now()
    }
    /// Lets time pass; tests simulate it.
    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
    /// `now` is the time of `coarse_ms()`.
    fn keep_alive(&self, now: u64);
    fn is_rebalancing(&self) -> bool;
    /// # Errors
    /// The listener asks to stop.
    fn serve_events<W: RebalanceListener>(&self, listener: &W) -> Result<(), W::Abort>;
    /// # Errors
    /// Delivery: a message sent by a callback was not delivered.
    fn commit_if_due(&self, now: u64) -> Result<()>;
    /// # Errors
    /// Delivery: a message sent by a callback was not delivered.
    fn commit_now(&self, bound: Duration) -> Result<()>;
    /// # Errors
    /// Delivery: a message sent by a callback was not delivered.
    fn results(&self, wait: Duration) -> Result<bool>;
    fn read_again(&self, isolated: bool);
    fn has_isolated(&self) -> bool;
    fn pre_commit(&self, bound: Duration) -> PreCommit;
    fn discard_fetched(&self) -> (u64, Vec<String>);
    fn take_fatal_error(&self) -> Option<Error>;
    fn is_at_end(&self) -> bool;
    fn has_no_more(&self) -> bool;
}

impl Source for Consumer {
    type Id = MessageId;

    #[inline]
    fn value(item: &Handle<MessageId>) -> Option<&[u8]> {
        item.value()
    }

    fn fetch(&self, wait: Duration, most: usize) -> usize {
        self.fetch(wait, most)
    }

    fn has_records(&self) -> bool {
        self.assignment.records(|all| all.has_records(Instant::now))
    }

    #[inline]
    fn next(&self) -> Option<Handle<MessageId>> {
        self.next()
    }

    #[inline]
    fn complete(&self, item: &Handle<MessageId>) {
        self.assignment
            .records(|all| all.complete(item.id, Instant::now));
    }

    fn requeue(&self, item: &Handle<MessageId>, attempt: Attempt) {
        self.assignment
            .records(|all| all.requeue(item.id, attempt, Instant::now()));
    }

    fn schedule_retry(&self, item: &Handle<MessageId>, attempt: Attempt, wait: Duration) {
        self.assignment
            .records(|all| all.schedule_retry(item.id, attempt, Instant::now(), wait));
    }

    #[inline]
    fn keep_alive(&self, now: u64) {
        self.keep_alive(now);
    }

    fn is_rebalancing(&self) -> bool {
        self.is_rebalancing()
    }

    fn serve_events<W: RebalanceListener>(&self, listener: &W) -> Result<(), W::Abort> {
        self.serve_events(listener)
    }

    fn commit_if_due(&self, now: u64) -> Result<()> {
        self.commits.commit_if_due(now)
    }

    fn commit_now(&self, bound: Duration) -> Result<()> {
        self.commits.commit_now(bound)
    }

    fn results(&self, wait: Duration) -> Result<bool> {
        PRODUCERS.current().callback_results(Instant::now() + wait)
    }

    fn read_again(&self, isolated: bool) {
        self.assignment.read_again(isolated);
    }

    #[inline]
    fn has_isolated(&self) -> bool {
        self.assignment.records(|all| all.assigned.has_isolated())
    }

    fn pre_commit(&self, bound: Duration) -> PreCommit {
        self.commits.pre_commit(bound)
    }

    fn discard_fetched(&self) -> (u64, Vec<String>) {
        self.assignment.records(AssignedRecords::discard_fetched)
    }

    fn take_fatal_error(&self) -> Option<Error> {
        self.take_fatal_error()
    }

    fn is_at_end(&self) -> bool {
        self.is_at_end()
    }

    fn has_no_more(&self) -> bool {
        self.has_no_more()
    }
}

/// Reason of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `stopConsuming()`.
    Requested,
    /// A stop signal.
    Signal,
    /// `maxMessages` were handled.
    MaxMessages,
    /// Every assigned partition is read to its end.
    Empty,
}

impl Reason {
    /// The value of `stats()['stop_reason']`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "stopped",
            Self::Signal => "signal",
            Self::MaxMessages => "max_messages",
            Self::Empty => "empty",
        }
    }
}

/// Limits of one `consume()`.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum wait of one poll.
    pub wait: Duration,
    /// Maximum records per fetch.
    pub batch: usize,
    /// Stop after this many records; 0 for no limit.
    pub max_messages: u64,
    /// Stop at the end of every assigned partition.
    pub when_empty: bool,
}

impl Limits {
    /// The reason to stop after `handled` records, if there is one.
    #[must_use]
    pub fn reached(&self, handled: u64) -> Option<Reason> {
        (self.max_messages > 0 && handled >= self.max_messages).then_some(Reason::MaxMessages)
    }

    /// How many records may still be handled.
    #[must_use]
    pub fn remaining(&self, handled: u64) -> u64 {
        if self.max_messages == 0 {
            return u64::MAX;
        }
        self.max_messages.saturating_sub(handled)
    }
}

thread_local! {
    /// Number of [`Hold`]s. Read by signal handlers.
    static HOLDS: AtomicU32 = const { AtomicU32::new(0) };
    /// Signals received while there was a [`Hold`], one bit each.
    static DEFERRED: AtomicU32 = const { AtomicU32::new(0) };
}

/// True while records are being handled on this thread: the host's signal handlers run after them. Async-signal-safe.
pub fn holds_signals() -> bool {
    HOLDS.with(|holds| holds.load(Ordering::Relaxed)) > 0
}

/// The host's handler of this signal is to run after the current record. False if it was deferred before.
/// Async-signal-safe.
pub fn defer_signal(bit: u32) -> bool {
    DEFERRED.with(|bits| bits.fetch_or(bit, Ordering::Relaxed)) & bit == 0
}

/// The signals to deliver after the current record, one bit each.
#[inline]
pub fn deferred_signals() -> u32 {
    DEFERRED.with(|bits| bits.load(Ordering::Relaxed))
}

/// The signal is not deferred any more. False if it was not.
pub fn take_deferred_signal(bit: u32) -> bool {
    DEFERRED.with(|bits| bits.fetch_and(!bit, Ordering::Relaxed)) & bit != 0
}

/// Defers the host's signal handlers: the records that are being handled get their result first.
pub struct Hold<'a>(&'a Cell<u32>);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let own = self.0.get();
        // 0 after a fatal error, see `StopSignal::release()`.
        if own > 0 {
            self.0.set(own - 1);
            HOLDS.with(|holds| holds.fetch_sub(1, Ordering::Relaxed));
        }
    }
}

/// A request to stop after the current record.
#[derive(Debug, Default)]
pub struct StopSignal {
    requested: Cell<bool>,
    holds: Cell<u32>,
}

impl StopSignal {
    /// Called by `stopConsuming()`.
    pub fn request(&self) {
        self.requested.set(true);
    }

    /// Defers the host's signal handlers until the guard is dropped.
    pub fn hold(&self) -> Hold<'_> {
        self.holds.set(self.holds.get() + 1);
        HOLDS.with(|holds| holds.fetch_add(1, Ordering::Relaxed));
        Hold(&self.holds)
    }

    /// True while this worker defers signals; another one of the thread may.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.holds.get() > 0
    }

    /// Drops the holds of this worker: a fatal error jumped over their guards.
    pub fn release(&self) {
        let own = self.holds.take();
        HOLDS.with(|holds| holds.fetch_sub(own, Ordering::Relaxed));
    }

    /// Clears every request before a new run.
    pub fn reset(&self) {
        self.requested.set(false);
        clock::clear_signal();
    }

    /// Clears `stopConsuming()` before a new run; a signal that arrived already still ends it.
    pub fn clear_request(&self) {
        self.requested.set(false);
    }

    /// The reason to stop, if one was requested.
    #[inline]
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        if self.requested.get() {
            return Some(Reason::Requested);
        }
        clock::is_signalled().then_some(Reason::Signal)
    }
}
