//! The two sides of the loop: a source of records and a handler with the callbacks.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::dispatch::Subscription;
use crate::envelope::Scanned;
use crate::error::{Error, Result};
use crate::kafka::consumer::assignment::RebalanceListener;
use crate::kafka::consumer::records::Attempt;
use crate::kafka::consumer::PreCommit;

/// One record of a source.
pub trait Item: Clone {
    fn topic(&self) -> &str;
    /// Value; `None` for a tombstone.
    fn value(&self) -> Option<&[u8]>;
    /// True where both records come from the same partition.
    fn same_partition(&self, other: &Self) -> bool;
    /// Topic, partition and offset.
    fn place(&self) -> (String, i32, i64);
    /// Attempts until its callback last ended the process; 0 where it never did.
    fn crashes(&self) -> u32;
    /// Handed out alone, because Kafka refused a result of this record or of one near it for good.
    fn is_isolated(&self) -> bool;
    /// True for an isolated record whose callback returned before: it is handled again.
    fn was_handled(&self) -> bool;
}

/// A source of records: the consumer, or a double in tests.
pub trait Source {
    type Item: Item;
    /// Fetches up to `most` records, waiting at most `wait` for the first; the number of records fetched.
    fn fetch(&self, wait: Duration, most: usize) -> usize;
    /// True where a record can be handed out: fetched, or its retry is due.
    fn has_records(&self) -> bool;
    /// Hands out the next record.
    fn next(&self) -> Option<Self::Item>;
    /// The record was handled or is skipped.
    fn complete(&self, item: &Self::Item);
    /// The record was not handled and is handed out again next.
    fn requeue(&self, item: &Self::Item, attempt: Attempt);
    /// The record is handed out again after `wait`; later records of its key wait behind it.
    fn schedule_retry(&self, item: &Self::Item, attempt: Attempt, wait: Duration);
    /// The current time; tests simulate it.
    fn now(&self) -> Instant {
        Instant::now()
    }
    /// Lets time pass; tests simulate it.
    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
    /// Keeps the group membership alive while there are many records to hand out; cheap.
    fn keep_alive(&self);
    /// True where a rebalance waits to be processed.
    fn is_rebalancing(&self) -> bool;
    /// Processes rebalances.
    ///
    /// # Errors
    /// The listener asks to stop.
    fn serve_events<W: RebalanceListener>(&self, listener: &W) -> Result<(), W::Abort>;
    /// Commits if the commit interval has passed; `now` is that of [`crate::clock::coarse_ms`].
    ///
    /// # Errors
    /// Delivery: a message sent by a callback was not delivered.
    fn commit_if_due(&self, now: u64) -> Result<()>;
    /// Commits and waits for the response, `bound` at most.
    ///
    /// # Errors
    /// Delivery: a message sent by a callback was not delivered.
    fn commit_now(&self, bound: Duration) -> Result<()>;
    /// Waits until everything that the callbacks sent is acknowledged; false if that takes longer than `wait`.
    ///
    /// # Errors
    /// Delivery: a message sent by a callback was not delivered.
    fn results(&self, wait: Duration) -> Result<bool>;
    /// The records since the last commit are read again, after a result was not delivered; one by one if `isolated`.
    fn read_again(&self, isolated: bool);
    /// True where isolated records are still to be read.
    fn has_isolated(&self) -> bool;
    /// Commits everything fetched before it is handled. Without a response within `bound` the fetched records wait for
    /// it: call it again.
    fn pre_commit(&self, bound: Duration) -> PreCommit;
    /// Drops everything fetched: how many records, and of which topics.
    fn discard_fetched(&self) -> (u64, Vec<String>);
    /// A permanent error that Kafka reported, once.
    fn take_fatal_error(&self) -> Option<Error>;
    /// Every assigned partition is read to its end.
    fn is_at_end(&self) -> bool;
    /// Nothing is assigned and nothing will be: the topics do not exist, or the group has assigned every partition to
    /// other members.
    fn has_no_more(&self) -> bool;
}

/// Why a record becomes a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Class of the exception.
    pub class: String,
    /// Message of the exception.
    pub reason: String,
    /// The exception with its previous ones: class, message, file and line of each; empty if there was none.
    pub chain: String,
    /// Number of attempts.
    pub attempts: u32,
    /// The dead-letter topic refused the record as too large: only its headers are written.
    pub headers_only: bool,
    /// The record is at fault: no attempt of another record is expected to fail for this reason.
    pub permanent: bool,
}

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
        item: &I,
        envelope: Option<&Scanned<'_>>,
    ) -> Outcome<Self::Abort>;
    /// Calls the callback with a batch: the number of records handled before one failed, and the result of that one.
    fn handle_batch(
        &self,
        subscription: &Rc<Subscription<Self::Callback>>,
        items: &[I],
    ) -> (usize, Outcome<Self::Abort>);
    /// False for a replay that another group asked for.
    fn wants(&self, item: &I) -> bool;
    /// The dead letter of a record whose callbacks ended the process too often.
    fn retries_exhausted(&self, item: &I) -> Option<DeadLetter>;
    /// The dead letter of a record of a channel topic that is not an envelope.
    fn not_an_envelope(&self, reason: &Error) -> DeadLetter;
    /// The result of a record whose messages Kafka refuses for good.
    fn undelivered(&self, item: &I, error: Error) -> Outcome<Self::Abort>;
    /// Writes a dead letter.
    ///
    /// # Errors
    /// It could not be written; the loop ends.
    fn dead_letter(&self, item: &I, dead_letter: &DeadLetter) -> Result<()>;
    /// Runs between records: signal handlers and the host's periodic work; `now` as above.
    ///
    /// # Errors
    /// The host asks to stop.
    fn poll_interrupts(&self, now: u64) -> Result<(), Self::Abort>;
    /// Converts an error into the host's form.
    fn fail(&self, error: Error) -> Self::Abort;
}
