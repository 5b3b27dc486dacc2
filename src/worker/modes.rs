//! Exactly once: the messages that the callbacks send and the offsets of the handled records are one transaction.
//! At most once: fetched records are committed before they are handled, and a failed record is dropped.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::callback::refused_dead_letter;
use super::{add, count, deferred_signals, Handler, Outcome, Reason, Source, Step, Worker, SLICE};
use crate::dead_letter::DeadLetter;
use crate::error::{Error, Kind, Result};
use crate::kafka::consumer::records::{Attempt, Handle};
use crate::kafka::consumer::PreCommit;
use crate::kafka::transaction::{TransactionOutcome, Transactions};
use crate::runtime;
use crate::runtime::clock::coarse_ms;

/// Pause after a transaction that Kafka did not commit.
const ABORT_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 100 });

/// Dead letters of records in aborted transactions: they are written in the next transaction.
#[derive(Debug, Default)]
pub struct PendingDeadLetters {
    given_up: RefCell<HashMap<(String, i32, i64), DeadLetter>>,
    /// Records whose dead letter is in the open transaction.
    written: RefCell<Vec<(String, i32, i64)>>,
    /// Records handled in a transaction to whose commit Kafka did not respond.
    unconfirmed: Cell<Option<u64>>,
    /// Records whose results Kafka refused for good.
    refused: RefCell<HashMap<(String, i32, i64), Error>>,
}

impl PendingDeadLetters {
    /// True if no record has one, as nearly always: the functions below are called for every record.
    #[inline]
    fn is_empty(&self) -> bool {
        self.given_up.borrow().is_empty() && self.refused.borrow().is_empty()
    }

    /// The dead letter of a record that was given up, which completes the record.
    #[inline]
    pub(super) fn dead_letter<I>(&self, item: &Handle<I>) -> Option<DeadLetter> {
        if self.is_empty() {
            return None;
        }
        self.given_up.borrow().get(&item.place()).cloned()
    }

    /// The dead letter of a record is in the open transaction.
    pub(super) fn wrote<I>(&self, item: &Handle<I>, dead_letter: &DeadLetter) {
        self.give_up(item, dead_letter.clone());
        self.written.borrow_mut().push(item.place());
    }

    /// The error of a record whose results Kafka refused for good, once.
    #[inline]
    pub(super) fn take_refusal<I>(&self, item: &Handle<I>) -> Option<Error> {
        if self.is_empty() {
            return None;
        }
        self.refused.borrow_mut().remove(&item.place())
    }

    /// Kafka refused the transaction of this record alone: its results, or its dead letter.
    ///
    /// # Errors
    /// The dead letter is refused for good.
    fn refuse(&self, place: (String, i32, i64), error: Error) -> Result<()> {
        if !self.written.borrow().contains(&place) {
            self.refused.borrow_mut().insert(place, error);
            return Ok(());
        }
        let too_large = error
            .failed()
            .iter()
            .any(|failed| failed.permanent && failed.kind == Kind::MessageTooLarge);
        match self.given_up.borrow_mut().get_mut(&place) {
            Some(dead_letter) if too_large && !dead_letter.headers_only => {
                dead_letter.headers_only = true;
                Ok(())
            }
            _ => Err(refused_dead_letter(&place, &error)),
        }
    }

    /// True for a record that was given up.
    pub(super) fn has<I>(&self, item: &Handle<I>) -> bool {
        let given_up = self.given_up.borrow();
        !given_up.is_empty() && given_up.contains_key(&item.place())
    }

    fn give_up<I>(&self, item: &Handle<I>, dead_letter: DeadLetter) {
        self.given_up.borrow_mut().insert(item.place(), dead_letter);
    }

    /// The transaction has ended; the number of dead letters in it.
    fn close(&self, committed: bool) -> u64 {
        let written = self.written.take();
        if committed {
            let mut given_up = self.given_up.borrow_mut();
            given_up.retain(|place, _| !written.contains(place));
        }
        written.len() as u64
    }
}

impl<S: Source, H: Handler<S::Id>> Worker<'_, S, H> {
    /// Handles fetched records and what else is there, for the time of a transaction, and commits them with the
    /// messages sent.
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
        let mut count_of_records = 0_u64;
        let mut isolated = None;
        let began = Instant::now();
        self.counters.timing.interrupted();
        while let Some(item) = self.next_of_transaction(transactions, began, *handled + done) {
            if item.isolated {
                if count_of_records > 0 {
                    self.source.requeue(&item, Attempt::NotMade);
                    break;
                }
                isolated = Some(item.place());
            }
            count_of_records += 1;
            let remaining = self.limits.remaining(*handled + done);
            let step = match self.step(&item, remaining) {
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
                Step::Failed(
                    item,
                    Outcome::Retry(_) | Outcome::Transient(_) | Outcome::DeadLetter(_),
                    _,
                ) if transactions.has_failed() => {
                    // Not the failure of this record: nothing could be sent any more.
                    self.source.requeue(&item, Attempt::NotMade);
                    break;
                }
                Step::Failed(item, outcome, paused) => {
                    drop(hold);
                    return self.abort_transaction(transactions, &item, outcome, paused);
                }
            }
            let now = self.poll_interrupts().inspect_err(|_| {
                drop(transactions.abort());
                count(&self.counters.aborted);
            })?;
            // Rebalances wait: the partitions are released after the transaction.
            self.source.keep_alive(now);
            stop_reason = self.stop_reason(*handled + done);
            if stop_reason.is_some()
                || isolated.is_some()
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
        if let (TransactionOutcome::Aborted(error), Some(place)) = (&ending, isolated) {
            if error.is_permanent() {
                let refused = self.pending_dead_letters.refuse(place, error.clone());
                refused.map_err(|error| self.handler.fail(error))?;
            }
        }
        match ending {
            TransactionOutcome::Committed => {
                self.on_transaction_ended(true, done, handled);
                Ok(stop_reason)
            }
            TransactionOutcome::Aborted(error) => {
                self.on_transaction_ended(false, done, handled);
                runtime::warn(format!(
                    "Transaction aborted, its records are read again: {error}"
                ));
                self.wait(if error.is_permanent() {
                    Duration::ZERO
                } else {
                    ABORT_PAUSE
                })
            }
            TransactionOutcome::Unknown(error) => {
                self.pending_dead_letters.unconfirmed.set(Some(done));
                runtime::warn(format!(
                    "Kafka did not respond to the commit of a transaction: its records are read again unless it was \
                     executed: {error}"
                ));
                self.wait(ABORT_PAUSE)
            }
        }
    }

    /// Counts a transaction, and forgets the dead letters that it holds where it was committed.
    fn on_transaction_ended(&self, is_committed: bool, done: u64, handled: &mut u64) {
        let dead_letters = self.pending_dead_letters.close(is_committed);
        if is_committed {
            *handled += done;
            add(&self.counters.handled, done);
            add(&self.counters.dead_lettered, dead_letters);
            count(&self.counters.transactions);
        } else {
            count(&self.counters.aborted);
        }
    }

    /// Prepares for the next transaction. False if Kafka has not responded yet, or the transaction before it has just
    /// turned out to be committed or not.
    pub(super) fn prepare(
        &self,
        transactions: &dyn Transactions,
        handled: &mut u64,
    ) -> Result<bool, H::Abort> {
        if !transactions
            .prepare()
            .map_err(|error| self.handler.fail(error))?
        {
            // Stays a member of the group, without processing an assignment: that would query offsets.
            self.source.keep_alive(coarse_ms());
            return Ok(false);
        }
        let Some(is_committed) = transactions.take_late_outcome() else {
            return Ok(true);
        };
        if let Some(done) = self.pending_dead_letters.unconfirmed.take() {
            self.on_transaction_ended(is_committed, done, handled);
        }
        Ok(false)
    }

    /// The next record of the open transaction: fetched already, or what else is there within its time.
    fn next_of_transaction(
        &self,
        transactions: &dyn Transactions,
        began: Instant,
        handled: u64,
    ) -> Option<Handle<S::Id>> {
        let source = self.source;
        if let Some(item) = source.next() {
            return Some(item);
        }
        while began.elapsed() < transactions.duration() {
            if source.is_rebalancing() || source.has_isolated() {
                return None;
            }
            let came = source.fetch(Duration::ZERO, self.capacity(handled));
            if came == 0 {
                return None;
            }
            self.counters.timing.batch_fetched(came);
            // These records are for the next transaction: their partitions may be another member's after this one.
            if source.is_rebalancing() {
                return None;
            }
            if let Some(item) = source.next() {
                return Some(item);
            }
        }
        None
    }

    /// A record failed: the transaction is aborted, and its records are retried after a wait.
    fn abort_transaction(
        &self,
        transactions: &dyn Transactions,
        item: &Handle<S::Id>,
        outcome: Outcome<H::Abort>,
        paused: Option<Instant>,
    ) -> Result<Option<Reason>, H::Abort> {
        count(&self.counters.aborted);
        self.pending_dead_letters.close(false);
        let attempt = match outcome {
            Outcome::Interrupted(_) => Attempt::NotMade,
            Outcome::Transient(_) => Attempt::Transient,
            _ => Attempt::Counted,
        };
        self.source.requeue(item, attempt);
        let wait = match outcome {
            Outcome::Retry(wait) | Outcome::Transient(wait) => {
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
            Outcome::Handled | Outcome::Skipped | Outcome::Dropped { .. } => Duration::ZERO,
        };
        let paused = paused.map(|until| until.saturating_duration_since(self.source.now()));
        let wait = wait.max(paused.unwrap_or_default());
        transactions
            .abort()
            .map_err(|error| self.handler.fail(error))?;
        self.wait(wait)
    }

    /// Waits before the retry, as a member of the group.
    fn wait(&self, wait: Duration) -> Result<Option<Reason>, H::Abort> {
        let until = self.source.now() + wait;
        loop {
            self.poll_interrupts()?;
            if let Some(reason) = self.stop.reason() {
                return Ok(Some(reason));
            }
            let left = until.saturating_duration_since(self.source.now());
            if left.is_zero() {
                return Ok(None);
            }
            self.source.sleep(left.min(SLICE));
            self.keep_alive(coarse_ms())?;
        }
    }
}

/// Maximum wait for the response to a commit before the loop checks stop requests and rebalances again.
const PRE_COMMIT_TIMEOUT: Duration = Duration::from_millis(500);

impl<S: Source, H: Handler<S::Id>> Worker<'_, S, H> {
    /// Commits the fetched records and handles all of them, also after a stop request: no other member reads them any
    /// more.
    pub(super) fn handle_at_most_once(
        &self,
        handled: &mut u64,
    ) -> Result<Option<Reason>, H::Abort> {
        if !self.source.has_records() {
            return Ok(None);
        }
        // The host's signal handlers may end the process: they run after the batch.
        let _hold = self.stop.hold();
        match self.source.pre_commit(PRE_COMMIT_TIMEOUT) {
            PreCommit::Committed => {}
            PreCommit::Refused => {
                self.drop_batch("the commit of their offsets failed");
                return Ok(None);
            }
            PreCommit::Pending => {
                // It is unknown whether the group has the offsets: the fetched records wait, and nothing else is
                // fetched.
                if self.stop_reason(*handled).is_some() {
                    self.drop_batch(
                        "Kafka did not answer the commit of their offsets before the stop",
                    );
                }
                return Ok(None);
            }
        }
        self.counters.timing.interrupted();
        while let Some(item) = self.source.next() {
            if let Step::Handled(count) = self.step(&item, self.limits.remaining(*handled))? {
                *handled += count;
                add(&self.counters.handled, count);
                let now = self.poll_interrupts()?;
                // Rebalances wait: no other member reads these records.
                self.source.keep_alive(now);
            }
        }
        Ok(None)
    }

    fn drop_batch(&self, why: &str) {
        let (dropped, topics) = self.source.discard_fetched();
        add(&self.counters.dropped, dropped);
        runtime::warn(format!(
            "{dropped} record(s) of {} were dropped: {why}, and delivery is at-most-once. \
                 Where the commit did not arrive, the partition's next owner reads them.",
            topics.join(", ")
        ));
    }
}
