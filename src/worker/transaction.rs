//! Exactly once: what the callbacks send and the offsets of what they handled are one transaction.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{add, count, DeadLetter, Handler, Item, Outcome, Reason, Source, Step, Worker, SLICE};
use crate::error::{Error, Result};
use crate::log::Level;
use crate::process;

/// Pause after a transaction that Kafka did not commit.
const ABORT_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 100 });

/// How a transaction ended.
#[derive(Debug)]
pub enum TransactionOutcome {
    /// Kafka has all of it.
    Committed,
    /// Kafka has nothing of it, and the consumer reads on where it began.
    Aborted(Error),
}

/// The transactions of a consumer.
pub trait Transactions {
    /// Takes its name in Kafka, which ends what a worker before it left open: until then the offsets of the group cannot be read.
    ///
    /// # Errors
    /// Kafka refuses for good. `Ok(false)`: Kafka does not answer yet.
    fn prepare(&self) -> Result<bool>;
    /// Begins one. Waits for Kafka no longer than a moment.
    ///
    /// # Errors
    /// Kafka refuses for good: another worker has taken this one's place. `Ok(false)`: Kafka does not answer yet.
    fn begin(&self) -> Result<bool>;
    /// Ends it with the offsets of everything handled since it began.
    ///
    /// # Errors
    /// Kafka refuses for good.
    fn commit(&self) -> Result<TransactionOutcome>;
    /// Takes it back; the consumer goes back to where it began.
    ///
    /// # Errors
    /// Kafka refuses for good.
    fn abort(&self) -> Result<()>;
    /// The longest one should be open.
    fn bound(&self) -> Duration;
}

/// Records that were given up in a transaction which had to be taken back: dead letters of the next one that is not.
#[derive(Debug, Default)]
pub struct PendingDeadLetters {
    given_up: RefCell<HashMap<(String, i32, i64), DeadLetter>>,
    /// Those whose letter is in the transaction that is open.
    written: RefCell<Vec<(String, i32, i64)>>,
}

impl PendingDeadLetters {
    /// The letter of a given_up record, which is handled with it.
    pub(super) fn letter<I: Item>(&self, item: &I) -> Option<DeadLetter> {
        if self.given_up.borrow().is_empty() {
            return None;
        }
        let place = item.place();
        let letter = self.given_up.borrow().get(&place).cloned()?;
        self.written.borrow_mut().push(place);
        Some(letter)
    }

    /// True for a given_up record.
    pub(super) fn has<I: Item>(&self, item: &I) -> bool {
        let given_up = self.given_up.borrow();
        !given_up.is_empty() && given_up.contains_key(&item.place())
    }

    fn give_up<I: Item>(&self, item: &I, letter: DeadLetter) {
        self.given_up.borrow_mut().insert(item.place(), letter);
    }

    fn close(&self, committed: bool) {
        for place in self.written.borrow_mut().drain(..) {
            if committed {
                self.given_up.borrow_mut().remove(&place);
            }
        }
    }
}

impl<S: Source, H: Handler<S::Item>> Worker<'_, S, H> {
    /// Handles what is in hand, up to a third of the transaction's timeout, and commits it with what was sent.
    pub(super) fn transaction(
        &self,
        transactions: &dyn Transactions,
        handled: &mut u64,
    ) -> Result<Option<Reason>, H::Abort> {
        if !self.source.has_records() {
            return Ok(None);
        }
        if !transactions
            .begin()
            .map_err(|error| self.handler.fail(error))?
        {
            return Ok(None);
        }
        let (mut done, mut asked) = (0, None);
        let began = Instant::now();
        self.counters.timing.interrupted();
        while let Some(item) = self.source.next() {
            let remaining = self.limits.remaining(*handled + done);
            let step = match self.step(item, remaining) {
                Ok(step) => step,
                Err(abort) => {
                    // The first trouble is what the caller has to hear of.
                    drop(transactions.abort());
                    count(&self.counters.aborted);
                    return Err(abort);
                }
            };
            match step {
                Step::Handled(count) => done += count,
                Step::Passed => {}
                Step::Failed(item, outcome) => {
                    return self.abort_transaction(transactions, &item, outcome);
                }
            }
            self.poll_interrupts().inspect_err(|_| {
                drop(transactions.abort());
                count(&self.counters.aborted);
            })?;
            asked = self.stop_reason(*handled + done);
            if asked.is_some() || began.elapsed() >= transactions.bound() {
                break;
            }
        }
        let ending = transactions
            .commit()
            .map_err(|error| self.handler.fail(error))?;
        self.pending_dead_letters
            .close(matches!(ending, TransactionOutcome::Committed));
        match ending {
            TransactionOutcome::Committed => {
                *handled += done;
                add(&self.counters.handled, done);
                count(&self.counters.transactions);
                Ok(asked)
            }
            TransactionOutcome::Aborted(error) => {
                count(&self.counters.aborted);
                process::current().log.say(
                    Level::Warning,
                    format!("Transaction taken back, its records come again: {error}"),
                );
                self.wait(ABORT_PAUSE)
            }
        }
    }

    /// A record failed: everything since the transaction began is taken back and comes again after a while.
    fn abort_transaction(
        &self,
        transactions: &dyn Transactions,
        item: &S::Item,
        outcome: Outcome<H::Abort>,
    ) -> Result<Option<Reason>, H::Abort> {
        count(&self.counters.aborted);
        self.pending_dead_letters.close(false);
        self.source.requeue(item, true);
        let wait = match outcome {
            Outcome::Retry(wait) => {
                count(&self.counters.retries);
                wait
            }
            Outcome::DeadLetter(letter) => {
                self.pending_dead_letters.give_up(item, letter);
                Duration::ZERO
            }
            Outcome::Stop(abort) | Outcome::Exiting(abort) => {
                drop(transactions.abort());
                return Err(abort);
            }
            Outcome::Handled | Outcome::Skipped | Outcome::Dropped => Duration::ZERO,
        };
        transactions
            .abort()
            .map_err(|error| self.handler.fail(error))?;
        self.wait(wait)
    }

    /// Waits before the next try, as a member of its group.
    fn wait(&self, wait: Duration) -> Result<Option<Reason>, H::Abort> {
        let until = Instant::now() + wait;
        loop {
            self.poll_interrupts()?;
            if let Some(reason) = self.stop.reason() {
                return Ok(Some(reason));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(left.min(SLICE));
            self.keep_alive()?;
        }
    }
}
