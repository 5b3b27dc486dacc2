//! The consumer loop: fetch, route, call, commit, until a stop condition holds.
//!
//! It knows the host only as a [`Handler`], and its consumer as a [`Source`], so that a model tests it without Kafka.

mod callback;
pub mod consumers;
mod host;
mod modes;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::dead_letter::DeadLetter;
use crate::dispatch::{Route, Style, Subscription, Subscriptions};
use crate::envelope::Scanned;
use crate::error::{Error, Result};
use crate::kafka::consumer::records::{Attempt, Handle};
use crate::kafka::transaction::Transactions;
use crate::metrics::number::{SingleWriterCounter, Timing};
use crate::retry::CircuitPolicy;
use crate::runtime;
use crate::runtime::clock::coarse_ms;
use crate::topic::TopicMap;

pub use callback::refused_dead_letter;
pub use host::{
    defer_signal, deferred_signals, holds_signals, take_deferred_signal, Handler, Limits, Outcome,
    Reason, Source, StopSignal,
};
pub use modes::PendingDeadLetters;

/// Counters of the loop; its thread writes them, any thread may read them.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Records whose callback returned, and dead letters.
    pub handled: SingleWriterCounter,
    /// Callback failures.
    pub failures: SingleWriterCounter,
    /// Records without a matching subscription.
    pub skipped: SingleWriterCounter,
    /// Records whose channel belongs to another topic.
    pub mismatched: SingleWriterCounter,
    /// Failed attempts that are followed by a retry.
    pub retries: SingleWriterCounter,
    /// Records written as dead letters.
    pub dead_lettered: SingleWriterCounter,
    /// Records dropped by at-most-once.
    pub dropped: SingleWriterCounter,
    /// Transactions committed.
    pub transactions: SingleWriterCounter,
    /// Transactions aborted.
    pub aborted: SingleWriterCounter,
    /// Durations of callbacks and batches, and the liveness of the loop.
    pub timing: Timing,
}

impl WorkerCounters {
    /// Starts again at 0: a forked child has counters of its own.
    pub fn reset(&self) {
        for total in [
            &self.handled,
            &self.failures,
            &self.skipped,
            &self.mismatched,
            &self.retries,
            &self.dead_lettered,
            &self.dropped,
            &self.transactions,
            &self.aborted,
        ] {
            total.set(0);
        }
        self.timing.reset();
    }
}

pub fn log_isolation(error: &Error) {
    runtime::warn(format!(
            "The records since the last commit are read again one by one, to dead-letter the one whose result Kafka \
             refuses: {error}"
        ));
}

fn count(number: &SingleWriterCounter) {
    number.add(1);
}

fn add(number: &SingleWriterCounter, more: u64) {
    number.add(more);
}

/// Delivery guarantee of a consumer.
pub enum DeliveryMode<'a> {
    /// Offsets are committed after the records were handled.
    AtLeastOnce,
    /// Offsets are committed before the records are handled.
    AtMostOnce,
    /// Offsets are committed in the transaction that holds the results.
    ExactlyOnce(&'a dyn Transactions),
}

/// While idle, signal handlers run this often.
const SLICE: Duration = Duration::from_millis(100);
/// Time that stopping may add to the running callback.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(4);

/// The loop and its collaborators.
pub struct Worker<'a, S: Source, H: Handler<S::Id>> {
    pub source: &'a S,
    pub handler: &'a H,
    /// Routing table; may change while a callback runs.
    pub subscriptions: &'a RefCell<Subscriptions<H::Callback>>,
    /// The rule from channels to topics.
    pub topics: &'a TopicMap,
    pub delivery: DeliveryMode<'a>,
    /// Stop conditions.
    pub limits: Limits,
    /// Stop requests.
    pub stop: &'a StopSignal,
    pub counters: &'a WorkerCounters,
    /// Dead letters of transactions that were aborted.
    pub pending_dead_letters: PendingDeadLetters,
    /// When a subscription is paused because its callback fails for every record.
    pub circuit: CircuitPolicy,
}

enum Step<I, A> {
    /// This many records were handled or dead-lettered.
    Handled(u64),
    /// The record was skipped.
    Passed,
    /// A record of a transaction failed: the transaction must be aborted. The time, if its subscription is paused
    /// until then.
    Failed(Handle<I>, Outcome<A>, Option<Instant>),
}

impl<S: Source, H: Handler<S::Id>> Worker<'_, S, H> {
    /// Runs until a stop is requested, a limit is reached, or an error occurs. In every case the handled records are
    /// committed; records that were fetched and not handled are not.
    ///
    /// # Errors
    /// An error of the host, or one of ours in the host's form.
    pub fn run(&self) -> Result<(u64, Reason), H::Abort> {
        let mut handled = 0;
        loop {
            let ended = self.run_until(&mut handled);
            if let Ok(Reason::Signal) = ended {
                crate::runtime::clock::begin_shutdown();
            }
            let committed = self.source.commit_now(SHUTDOWN_GRACE);
            let reason = ended?;
            match committed {
                // Only a signal leaves the isolated records to the next worker.
                Err(error) if error.is_permanent() => {
                    log_isolation(&error);
                    if reason != Reason::Signal {
                        continue;
                    }
                }
                other => other.map_err(|error| self.handler.fail(error))?,
            }
            return Ok((handled, reason));
        }
    }

    fn run_until(&self, handled: &mut u64) -> Result<Reason, H::Abort> {
        loop {
            if let Some(reason) = self.between_records(*handled)? {
                return Ok(reason);
            }
            if let DeliveryMode::ExactlyOnce(transactions) = self.delivery {
                if !self.prepare(transactions, handled)? {
                    continue;
                }
            }
            if self.source.has_records() {
                self.keep_alive(self.counters.timing.liveness.last_tick())?;
            } else {
                if self.limits.when_empty && (self.source.is_at_end() || self.source.has_no_more())
                {
                    return Ok(Reason::Empty);
                }
                let wait = self.limits.wait.min(SLICE);
                let came = self.source.fetch(wait, self.capacity(*handled));
                if came > 0 {
                    self.counters.timing.batch_fetched(came);
                }
                self.source.serve_events(self.handler)?;
            }
            let ended = match self.delivery {
                DeliveryMode::AtLeastOnce => self.handle_fetched(handled)?,
                DeliveryMode::AtMostOnce => self.handle_at_most_once(handled)?,
                DeliveryMode::ExactlyOnce(transactions) => {
                    self.transaction(transactions, handled)?
                }
            };
            self.counters.timing.batch_done();
            if let Some(reason) = ended {
                return Ok(reason);
            }
        }
    }

    /// Handles the fetched records one by one.
    fn handle_fetched(&self, handled: &mut u64) -> Result<Option<Reason>, H::Abort> {
        self.counters.timing.interrupted();
        while let Some(item) = self.source.next() {
            if !self.settle_before(&item)? {
                if let Some(reason) = self.between_records(*handled)? {
                    return Ok(Some(reason));
                }
                continue;
            }
            // Counted when it was handled first.
            let again = item.was_handled;
            let hold = self.stop.hold();
            let step = self.step(&item, self.limits.remaining(*handled))?;
            drop(hold);
            if let Step::Handled(count) = step {
                let count = if again { 0 } else { count };
                *handled += count;
                add(&self.counters.handled, count);
                if let Some(reason) = self.between_records(*handled)? {
                    return Ok(Some(reason));
                }
                self.keep_alive(self.counters.timing.liveness.last_tick())?;
            }
        }
        Ok(None)
    }

    /// Keeps the membership alive while records are handled, and releases partitions that other members wait for.
    #[inline]
    fn keep_alive(&self, now: u64) -> Result<(), H::Abort> {
        self.source.keep_alive(now);
        self.source.serve_events(self.handler)
    }

    /// Runs between two records; `Some` is the reason to stop.
    fn between_records(&self, handled: u64) -> Result<Option<Reason>, H::Abort> {
        let now = self.poll_interrupts()?;
        if let Some(error) = self.source.take_fatal_error() {
            return Err(self.handler.fail(error));
        }
        match self.source.commit_if_due(now) {
            Err(error) if error.is_permanent() => log_isolation(&error),
            other => other.map_err(|error| self.handler.fail(error))?,
        }
        Ok(self.stop_reason(handled))
    }

    /// Runs the host's interrupts and records a loop tick; the current time.
    #[inline]
    fn poll_interrupts(&self) -> Result<u64, H::Abort> {
        let now = coarse_ms();
        self.counters.timing.liveness.loop_tick(now);
        self.handler.poll_interrupts(now)?;
        Ok(now)
    }

    /// The reason to stop now, if there is one.
    fn stop_reason(&self, handled: u64) -> Option<Reason> {
        let reason = self.stop.reason().or_else(|| self.limits.reached(handled));
        // A record with a refused result would stop every worker after this one at the same place.
        if reason != Some(Reason::Signal) && self.has_to_isolate() {
            return None;
        }
        // A callback that removes the last subscription stops the loop, too.
        reason.or_else(|| {
            self.subscriptions
                .borrow()
                .is_empty()
                .then_some(Reason::Requested)
        })
    }

    /// How many records to fetch. At-most-once commits all of them, so it fetches no more than it will handle, and only
    /// one while a circuit is open.
    fn capacity(&self, handled: u64) -> usize {
        let capacity = match self.delivery {
            DeliveryMode::AtMostOnce if self.subscriptions.borrow().has_open_circuit() => 1,
            DeliveryMode::AtMostOnce => self.limits.remaining(handled),
            _ => u64::MAX,
        };
        usize::try_from(capacity)
            .unwrap_or(usize::MAX)
            .min(self.limits.batch)
    }

    fn step(&self, item: &Handle<S::Id>, capacity: u64) -> Result<Step<S::Id, H::Abort>, H::Abort> {
        if let Some(dead_letter) = self
            .pending_dead_letters
            .dead_letter(item)
            .or_else(|| self.handler.retries_exhausted(item))
        {
            return self.dead_letter(item, &dead_letter);
        }
        if let Some(error) = self.pending_dead_letters.take_refusal(item) {
            return match self.handler.undelivered(item, error) {
                // Nothing of this record was sent in the open transaction.
                Outcome::DeadLetter(dead_letter) => {
                    count(&self.counters.failures);
                    self.dead_letter(item, &dead_letter)
                }
                outcome => self.apply_outcome(item, outcome, None),
            };
        }
        let route = self
            .subscriptions
            .borrow()
            .route(self.topics, &item.topic, S::value(item));
        if let Route::To(subscription, _) = &route {
            if self.is_paused(subscription, item)? {
                return Ok(Step::Passed);
            }
        }
        match route {
            Route::To(subscription, _) if subscription.style == Style::Batch => {
                if !self.handler.wants(item) {
                    return self.apply_outcome(item, Outcome::Skipped, None);
                }
                self.batch(item.clone(), &subscription, capacity)
            }
            Route::To(subscription, envelope) => {
                self.counters.timing.callback_started();
                let outcome = self.handler.handle(&subscription, item, envelope.as_ref());
                self.counters.timing.callback_finished();
                match self.confirm(item, outcome)? {
                    Some(outcome) => self.apply_outcome(item, outcome, Some(&subscription)),
                    None => Ok(Step::Passed),
                }
            }
            Route::Mismatch(envelope) => {
                count(&self.counters.mismatched);
                self.log_mismatch(item, &envelope);
                self.source.complete(item);
                Ok(Step::Passed)
            }
            Route::Unclaimed => {
                count(&self.counters.skipped);
                self.source.complete(item);
                Ok(Step::Passed)
            }
            Route::NotAnEnvelope(_) if matches!(self.delivery, DeliveryMode::AtMostOnce) => {
                self.apply_outcome(item, Outcome::Dropped { permanent: true }, None)
            }
            Route::NotAnEnvelope(reason) => {
                count(&self.counters.failures);
                self.dead_letter(item, &self.handler.not_an_envelope(&reason))
            }
        }
    }

    /// Applies the result of a callback to its record, and to the circuit of its subscription.
    fn apply_outcome(
        &self,
        item: &Handle<S::Id>,
        outcome: Outcome<H::Abort>,
        subscription: Option<&Subscription<H::Callback>>,
    ) -> Result<Step<S::Id, H::Abort>, H::Abort> {
        if let Some(subscription) = subscription {
            self.update_circuit(subscription, item, &outcome);
        }
        match outcome {
            Outcome::Handled => {
                self.source.complete(item);
                return Ok(Step::Handled(1));
            }
            Outcome::Skipped => {
                count(&self.counters.skipped);
                self.source.complete(item);
                return Ok(Step::Passed);
            }
            Outcome::Exiting(abort) => return Err(abort),
            Outcome::Interrupted(_) => {}
            _ => count(&self.counters.failures),
        }
        self.counters.timing.interrupted();
        if let DeliveryMode::ExactlyOnce(_) = self.delivery {
            let paused = subscription.and_then(|one| one.circuit.open_until());
            return Ok(Step::Failed(item.clone(), outcome, paused));
        }
        match outcome {
            Outcome::Retry(wait) => {
                count(&self.counters.retries);
                self.source.schedule_retry(item, Attempt::Counted, wait);
                Ok(Step::Handled(0))
            }
            Outcome::Transient(wait) => {
                count(&self.counters.retries);
                self.source.schedule_retry(item, Attempt::Transient, wait);
                Ok(Step::Handled(0))
            }
            Outcome::DeadLetter(dead_letter) => self.dead_letter(item, &dead_letter),
            Outcome::Dropped { .. } => {
                count(&self.counters.dropped);
                self.source.complete(item);
                Ok(Step::Handled(0))
            }
            Outcome::Stop(abort) => self.end_at(item, Attempt::Counted, abort),
            Outcome::Interrupted(abort) => self.end_at(item, Attempt::NotMade, abort),
            Outcome::Handled | Outcome::Skipped | Outcome::Exiting(_) => Ok(Step::Passed),
        }
    }

    /// The loop ends at a record that was not handled.
    fn end_at(
        &self,
        item: &Handle<S::Id>,
        attempt: Attempt,
        abort: H::Abort,
    ) -> Result<Step<S::Id, H::Abort>, H::Abort> {
        if matches!(self.delivery, DeliveryMode::AtMostOnce) {
            count(&self.counters.dropped);
            self.source.complete(item);
        } else {
            self.source.requeue(item, attempt);
        }
        Err(abort)
    }

    /// Writes a dead letter; the offset is committed once Kafka has acknowledged it.
    fn dead_letter(
        &self,
        item: &Handle<S::Id>,
        dead_letter: &DeadLetter,
    ) -> Result<Step<S::Id, H::Abort>, H::Abort> {
        self.counters.timing.interrupted();
        if let Err(error) = self.handler.dead_letter(item, dead_letter) {
            if let DeliveryMode::ExactlyOnce(transactions) = self.delivery {
                if transactions.has_failed() {
                    let again = Outcome::Retry(Duration::ZERO);
                    return Ok(Step::Failed(item.clone(), again, None));
                }
            }
            self.source.requeue(item, Attempt::Counted);
            return Err(self.handler.fail(error));
        }
        if let DeliveryMode::ExactlyOnce(_) = self.delivery {
            // Counted once its transaction is committed.
            self.pending_dead_letters.wrote(item, dead_letter);
        } else if self.is_dead_letter_acknowledged(item)? {
            count(&self.counters.dead_lettered);
        } else {
            return Ok(Step::Passed);
        }
        self.source.complete(item);
        Ok(Step::Handled(1))
    }

    fn log_mismatch(&self, item: &Handle<S::Id>, envelope: &Scanned<'_>) {
        let channel = envelope.channel.as_deref().unwrap_or_default();
        let right = self
            .topics
            .topic_for(channel)
            .unwrap_or_else(|error| error.message().to_owned());
        runtime::warn(format!(
                "Skipped records of topic \"{}\" whose channel \"{channel}\" belongs to topic \"{right}\" \
                 (topic_mismatch).",
                item.topic
            ));
    }
}
