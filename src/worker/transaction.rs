//! Exactly once: the messages that the callbacks send and the offsets of the handled records are one transaction.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{
    add, count, deferred_signals, DeadLetter, Handler, Item, Outcome, Reason, Source, Step, Worker,
    SLICE,
};
use crate::error::{Error, Result};
use crate::log::Level;
use crate::process;

/// Pause after a transaction that Kafka did not commit.
const ABORT_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 100 });

/// Outcome of a transaction.
#[derive(Debug)]
pub enum TransactionOutcome {
    /// Kafka has committed it.
    Committed,
    /// Kafka has aborted it, and the consumer reads again from where it began.
    Aborted(Error),
}

/// The transactions of a consumer.
pub trait Transactions {
    /// Obtains the transactional.id, which aborts the open transaction of an earlier worker: until then the offsets of
    /// the group cannot be read.
    ///
    /// # Errors
    /// A permanent error of Kafka. `Ok(false)`: Kafka has not answered yet.
    fn prepare(&self) -> Result<bool>;
    /// Begins a transaction; waits only briefly for Kafka.
    ///
    /// # Errors
    /// A permanent error of Kafka: another worker has fenced this one. `Ok(false)`: Kafka has not answered yet.
    fn begin(&self) -> Result<bool>;
    /// Commits it with the offsets of everything handled since it began.
    ///
    /// # Errors
    /// A permanent error of Kafka.
    fn commit(&self) -> Result<TransactionOutcome>;
    /// Aborts it; the consumer returns to where it began.
    ///
    /// # Errors
    /// A permanent error of Kafka.
    fn abort(&self) -> Result<()>;
    /// Maximum duration of a transaction.
    fn bound(&self) -> Duration;
}

/// Dead letters of records in aborted transactions: they are written in the next transaction.
#[derive(Debug, Default)]
pub struct PendingDeadLetters {
    given_up: RefCell<HashMap<(String, i32, i64), DeadLetter>>,
    /// Records whose dead letter is in the open transaction.
    written: RefCell<Vec<(String, i32, i64)>>,
}

impl PendingDeadLetters {
    /// The dead letter of a record that was given up, which completes the record.
    pub(super) fn dead_letter<I: Item>(&self, item: &I) -> Option<DeadLetter> {
        if self.given_up.borrow().is_empty() {
            return None;
        }
        let place = item.place();
        let dead_letter = self.given_up.borrow().get(&place).cloned()?;
        self.written.borrow_mut().push(place);
        Some(dead_letter)
    }

    /// True for a record that was given up.
    pub(super) fn has<I: Item>(&self, item: &I) -> bool {
        let given_up = self.given_up.borrow();
        !given_up.is_empty() && given_up.contains_key(&item.place())
    }

    fn give_up<I: Item>(&self, item: &I, dead_letter: DeadLetter) {
        self.given_up.borrow_mut().insert(item.place(), dead_letter);
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
    /// Handles fetched records, for up to a third of the transaction's timeout, and commits them with the messages
    /// sent.
    pub(super) fn transaction(
        &self,
        transactions: &dyn Transactions,
        handled: &mut u64,
    ) -> Result<Option<Reason>, H::Abort> {
        if !self.source.has_records() {
            return Ok(None);
        }
        // The host's signal handlers may end the process: they run after the transaction.
        let hold = self.stop.hold();
        if !transactions
            .begin()
            .map_err(|error| self.handler.fail(error))?
        {
            return Ok(None);
        }
        let (mut done, mut stop_reason) = (0, None);
        let began = Instant::now();
        self.counters.timing.interrupted();
        while let Some(item) = self.source.next() {
            let remaining = self.limits.remaining(*handled + done);
            let step = match self.step(item, remaining) {
                Ok(step) => step,
                Err(abort) => {
                    // The caller needs the first error.
                    drop(transactions.abort());
                    count(&self.counters.aborted);
                    return Err(abort);
                }
            };
            match step {
                Step::Handled(count) => done += count,
                Step::Passed => {}
                Step::Failed(item, outcome) => {
                    drop(hold);
                    return self.abort_transaction(transactions, &item, outcome);
                }
            }
            self.poll_interrupts().inspect_err(|_| {
                drop(transactions.abort());
                count(&self.counters.aborted);
            })?;
            stop_reason = self.stop_reason(*handled + done);
            if stop_reason.is_some()
                || deferred_signals() != 0
                || began.elapsed() >= transactions.bound()
            {
                break;
            }
        }
        let ending = transactions
            .commit()
            .map_err(|error| self.handler.fail(error))?;
        drop(hold);
        self.pending_dead_letters
            .close(matches!(ending, TransactionOutcome::Committed));
        match ending {
            TransactionOutcome::Committed => {
                *handled += done;
                add(&self.counters.handled, done);
                count(&self.counters.transactions);
                Ok(stop_reason)
            }
            TransactionOutcome::Aborted(error) => {
                count(&self.counters.aborted);
                process::current().log.write(
                    Level::Warning,
                    format!("Transaction aborted, its records are read again: {error}"),
                );
                self.wait(ABORT_PAUSE)
            }
        }
    }

    /// A record failed: the transaction is aborted, and its records are retried after a wait.
    fn abort_transaction(
        &self,
        transactions: &dyn Transactions,
        item: &S::Item,
        outcome: Outcome<H::Abort>,
    ) -> Result<Option<Reason>, H::Abort> {
        count(&self.counters.aborted);
        self.pending_dead_letters.close(false);
        let failed = !matches!(outcome, Outcome::Interrupted(_));
        self.source.requeue(item, failed);
        let wait = match outcome {
            Outcome::Retry(wait) => {
                count(&self.counters.retries);
                wait
            }
            Outcome::DeadLetter(dead_letter) => {
                self.pending_dead_letters.give_up(item, dead_letter);
                Duration::ZERO
            }
            Outcome::Stop(abort) | Outcome::Interrupted(abort) | Outcome::Exiting(abort) => {
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

    /// Waits before the retry, as a member of the group.
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
