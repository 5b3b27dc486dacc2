//! What the loop needs of its consumer.
//!
//! The only real implementation is [`Consumer`]. It is a trait for the model in `tests/commit_model`, which runs this
//! loop through thousands of sequences of lost responses, refused results, rebalances and kills, with simulated time:
//! no broker fails on request at each of these points, or as fast.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::kafka::consumer::assignment::RebalanceListener;
use crate::kafka::consumer::records::{Attempt, Handle};
use crate::kafka::consumer::{Consumer, MessageId, PreCommit};

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
    fn keep_alive(&self);
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
        self.has_records()
    }

    #[inline]
    fn next(&self) -> Option<Handle<MessageId>> {
        self.next()
    }

    #[inline]
    fn complete(&self, item: &Handle<MessageId>) {
        self.complete(item);
    }

    fn requeue(&self, item: &Handle<MessageId>, attempt: Attempt) {
        self.requeue(item, attempt);
    }

    fn schedule_retry(&self, item: &Handle<MessageId>, attempt: Attempt, wait: Duration) {
        self.schedule_retry(item, attempt, wait);
    }

    fn keep_alive(&self) {
        self.keep_alive();
    }

    fn is_rebalancing(&self) -> bool {
        self.is_rebalancing()
    }

    fn serve_events<W: RebalanceListener>(&self, listener: &W) -> Result<(), W::Abort> {
        self.serve_events(listener)
    }

    fn commit_if_due(&self, now: u64) -> Result<()> {
        self.commit_if_due(now)
    }

    fn commit_now(&self, bound: Duration) -> Result<()> {
        self.commit_now(bound)
    }

    fn results(&self, wait: Duration) -> Result<bool> {
        Self::callback_results(Instant::now() + wait)
    }

    fn read_again(&self, isolated: bool) {
        self.read_again(isolated);
    }

    fn has_isolated(&self) -> bool {
        self.has_isolated()
    }

    fn pre_commit(&self, bound: Duration) -> PreCommit {
        self.pre_commit(bound)
    }

    fn discard_fetched(&self) -> (u64, Vec<String>) {
        self.discard_fetched()
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
