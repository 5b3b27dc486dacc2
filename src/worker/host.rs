//! What the loop works on: a source of records on one side, the host's callbacks on the other.

use std::rc::Rc;
use std::time::Duration;

use crate::dispatch::Subscription;
use crate::envelope::Scanned;
use crate::error::{Error, Result};
use crate::kafka::consumer::assignment::RebalanceListener;
use crate::kafka::consumer::PreCommit;

/// One record of a source.
pub trait Item: Clone {
    /// Its topic.
    fn topic(&self) -> &str;
    /// Its value; `None` for a tombstone.
    fn value(&self) -> Option<&[u8]>;
    /// True where the two come from one partition.
    fn same_partition(&self, other: &Self) -> bool;
    /// Topic, partition and offset.
    fn place(&self) -> (String, i32, i64);
    /// How often its callback has crashed.
    fn crashes(&self) -> u32;
}

/// Where records come from.
pub trait Source {
    /// Its records.
    type Item: Item;
    /// Fetches up to `most`, waiting at most `wait` for the first; how many came.
    fn fetch(&self, wait: Duration, most: usize) -> usize;
    /// True where there is something to hand over: fetched, or waiting for another try that is due.
    fn has_records(&self) -> bool;
    /// The next record.
    fn next(&self) -> Option<Self::Item>;
    /// It was handled, or nobody wants it.
    fn done(&self, item: &Self::Item);
    /// It was not handled and comes again, as another attempt where `failed`.
    fn requeue(&self, item: &Self::Item, failed: bool);
    /// It failed and comes again after `wait`, and what has its key after it.
    fn park(&self, item: &Self::Item, wait: Duration);
    /// Keeps the membership alive while there is much to hand over; cheap.
    fn keep_alive(&self);
    /// TopicPartitionList that come and go.
    ///
    /// # Errors
    /// The watcher wants to stop.
    fn serve_events<W: RebalanceListener>(&self, watcher: &W) -> Result<(), W::Abort>;
    /// Commits if it is time to; `now` is that of [`crate::clock::coarse_ms`].
    ///
    /// # Errors
    /// Delivery: what a callback sent was not delivered.
    fn commit_if_due(&self, now: u64) -> Result<()>;
    /// Commits and waits for the answer.
    ///
    /// # Errors
    /// Delivery: what a callback sent was not delivered.
    fn commit_now(&self, bound: Duration) -> Result<()>;
    /// Commits everything in hand before it is handled. Where there is no answer within `bound`, what is in hand waits for it:
    /// call it again.
    fn pre_commit(&self, bound: Duration) -> PreCommit;
    /// Gives up everything in hand: how many records that were, and of which topics.
    fn discard_fetched(&self) -> (u64, Vec<String>);
    /// What Kafka refuses for good.
    fn refused(&self) -> Option<Error>;
    /// Everything assigned is read to its end.
    fn is_at_end(&self) -> bool;
    /// Nothing is assigned, and nothing is going to be: the topics do not exist, or the group has dealt without us.
    fn nothing_to_come(&self) -> bool;
}

/// Why a record becomes a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Class of the exception.
    pub class: String,
    /// Its message.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// What a callback made of a record.
#[derive(Debug)]
pub enum Outcome<A> {
    /// It returned.
    Handled,
    /// It was not for this group.
    Skipped,
    /// It failed: again after this time.
    Retry(Duration),
    /// It failed, and another try would not help.
    DeadLetter(DeadLetter),
    /// It failed, and there are no other tries.
    Dropped,
    /// The host wants to stop; the record was not handled.
    Stop(A),
    /// The process is ending inside the callback; the host has seen to the record.
    Exiting(A),
}

/// The host's side.
pub trait Handler<I>: RebalanceListener {
    /// What a subscription carries.
    type Callback;
    /// Handles one record.
    fn handle(
        &self,
        subscription: &Rc<Subscription<Self::Callback>>,
        item: &I,
        envelope: Option<&Scanned<'_>>,
    ) -> Outcome<Self::Abort>;
    /// Handles a list of records: how many of them were handled before one failed, and what becomes of that one.
    fn handle_batch(
        &self,
        subscription: &Rc<Subscription<Self::Callback>>,
        items: &[I],
    ) -> (usize, Outcome<Self::Abort>);
    /// False for a record that another group asked to have again.
    fn wants(&self, item: &I) -> bool;
    /// Why a record is given up before it is handed over: its callbacks have crashed too often.
    fn retries_exhausted(&self, item: &I) -> Option<DeadLetter>;
    /// Why a record of a channel topic that is not an envelope is given up.
    fn not_an_envelope(&self, reason: &Error) -> DeadLetter;
    /// Keeps a record as a dead letter.
    ///
    /// # Errors
    /// It could not be kept; the loop ends.
    fn dead_letter(&self, item: &I, letter: &DeadLetter) -> Result<()>;
    /// Between records: lets the host run its signal handlers and its own regular work; `now` as above.
    ///
    /// # Errors
    /// The host wants to stop.
    fn poll_interrupts(&self, now: u64) -> Result<(), Self::Abort>;
    /// Turns an error of ours into the host's.
    fn fail(&self, error: Error) -> Self::Abort;
}
