//! Around the callback: batches of records and the result of each when one of them fails, paused subscriptions, and
//! isolated records.
//!
//! After Kafka refused a result for good, the records since the last commit are handled again one by one, each until
//! its results are acknowledged. The record with the refused result is dead-lettered.

use std::rc::Rc;
use std::time::Instant;

use super::{
    add, count, deferred_signals, log_isolation, DeliveryMode, Handler, Outcome, Reason, Source,
    Step, Worker, SLICE,
};
use crate::dispatch::{Route, Subscription};
use crate::error::{Error, Result};
use crate::kafka::consumer::records::{Attempt, Handle};
use crate::log::Level;
use crate::retry::{Gate, Transition};
use crate::runtime;
use crate::runtime::clock::coarse_ms;

impl<S: Source, H: Handler<S::Id>> Worker<'_, S, H> {
    /// Gathers fetched records of the same subscription. Of a partition only the records up to the first one of
    /// another subscription are taken, so that the partition keeps its order.
    pub(super) fn batch(
        &self,
        first: Handle<S::Id>,
        subscription: &Rc<Subscription<H::Callback>>,
        capacity: u64,
    ) -> Result<Step<S::Id, H::Abort>, H::Abort> {
        let is_single = first.crashes > 0 || first.isolated || subscription.circuit.is_open();
        let most = usize::try_from(capacity)
            .unwrap_or(usize::MAX)
            .min(if is_single { 1 } else { self.limits.batch });
        let mut list = vec![first];
        let mut others: Vec<Handle<S::Id>> = Vec::new();
        while list.len() < most {
            let Some(item) = self.source.next() else {
                break;
            };
            // A record that crashed the process is delivered alone; after the last attempt it is dead-lettered.
            let blocked = item.crashes > 0
                || item.isolated
                || self.pending_dead_letters.has(&item)
                || others.iter().any(|other| other.slot == item.slot);
            let ours = !blocked && {
                let subscriptions = self.subscriptions.borrow();
                let route = subscriptions.route(self.topics, &item.topic, S::value(&item));
                matches!(route, Route::To(theirs, _) if Rc::ptr_eq(&theirs, subscription))
            };
            if ours && !self.handler.wants(&item) {
                self.apply_outcome(&item, Outcome::Skipped, None)?;
            } else if ours {
                list.push(item);
            } else {
                others.push(item);
            }
        }
        for item in others.iter().rev() {
            self.source.requeue(item, Attempt::NotMade);
        }
        self.counters.timing.callback_started();
        let (done, outcome) = self.handler.handle_batch(subscription, &list);
        self.counters.timing.callback_finished();
        if let Outcome::Exiting(abort) = outcome {
            return Err(abort);
        }
        let Some(outcome) = self.confirm(&list[0], outcome)? else {
            return Ok(Step::Passed);
        };
        let done = match outcome {
            Outcome::Handled => list.len(),
            _ => done.min(list.len() - 1),
        };
        for item in &list[..done] {
            self.source.complete(item);
        }
        if done > 0 {
            self.update_circuit(subscription, &list[0], &Outcome::Handled);
        }
        let Some((failed, rest)) = list[done..].split_first() else {
            return Ok(Step::Handled(done as u64));
        };
        if matches!(self.delivery, DeliveryMode::AtMostOnce) {
            // The batch had its one attempt.
            for item in rest {
                count(&self.counters.dropped);
                self.source.complete(item);
            }
        } else {
            for item in rest.iter().rev() {
                self.source.requeue(item, Attempt::NotMade);
            }
        }
        match self.apply_outcome(failed, outcome, Some(subscription)) {
            Ok(Step::Handled(more)) => Ok(Step::Handled(done as u64 + more)),
            Err(abort) => {
                add(&self.counters.handled, done as u64);
                Err(abort)
            }
            other => other,
        }
    }

    /// True where the record's subscription is paused: the record is handed out again after the pause, and later
    /// records of its key wait behind it.
    ///
    /// In a transaction no record may be passed over, so the loop has already waited before this call. With
    /// at-most-once it waits here: the offset of the record is committed, and no other member reads it.
    pub(super) fn is_paused(
        &self,
        subscription: &Subscription<H::Callback>,
        item: &Handle<S::Id>,
    ) -> Result<bool, H::Abort> {
        let now = || self.source.now();
        if let Gate::Open(until) = subscription.circuit.gate(now) {
            match self.delivery {
                DeliveryMode::AtLeastOnce => {
                    let wait = until.saturating_duration_since(now());
                    self.source.schedule_retry(item, Attempt::NotMade, wait);
                    return Ok(true);
                }
                DeliveryMode::AtMostOnce => self.wait_with_batch(until)?,
                DeliveryMode::ExactlyOnce(_) => {}
            }
        }
        if let Gate::Probe { is_first: true } = subscription.circuit.gate(now) {
            let name = subscription.name();
            log(
                Level::Notice,
                format!("Subscription \"{name}\" tries one record (circuit half-open)."),
            );
        }
        Ok(false)
    }

    /// Waits while committed records are in flight. A stop or a rebalance ends the wait: they are handled first.
    fn wait_with_batch(&self, until: Instant) -> Result<(), H::Abort> {
        loop {
            self.poll_interrupts()?;
            let left = until.saturating_duration_since(self.source.now());
            let is_asked = self.stop.reason().is_some() || deferred_signals() != 0;
            if left.is_zero() || is_asked || self.source.is_rebalancing() {
                return Ok(());
            }
            self.source.sleep(left.min(SLICE));
            self.source.keep_alive(coarse_ms());
        }
    }

    /// True where the transaction has failed, so that callbacks fail because they cannot send. Not asked for other
    /// outcomes: a forked child, which ends here, must not touch the client of its parent.
    fn has_failed_to_send(&self) -> bool {
        match self.delivery {
            DeliveryMode::ExactlyOnce(transactions) => transactions.has_failed(),
            _ => false,
        }
    }

    /// Reports the result of a callback to the circuit of its subscription.
    pub(super) fn update_circuit(
        &self,
        subscription: &Subscription<H::Callback>,
        item: &Handle<S::Id>,
        outcome: &Outcome<H::Abort>,
    ) {
        let name = subscription.name();
        let transition = match outcome {
            Outcome::Handled => subscription.circuit.succeeded(|| self.source.now()),
            failed if failed.is_failure_of_callback() && !self.has_failed_to_send() => subscription
                .circuit
                .failed(&item.place(), &self.circuit, self.source.now()),
            _ => return,
        };
        match transition {
            Transition::None => {}
            Transition::Opened(wait) => log(
                Level::Warning,
                format!(
                    "Subscription \"{name}\" is paused for {} ms, then it tries one record: its callback failed at \
                     least {} times in a row, for different records (circuit open).",
                    wait.as_millis(),
                    self.circuit.failures
                ),
            ),
            Transition::Closed(time) => log(
                Level::Notice,
                format!(
                    "Subscription \"{name}\" continues: a record was handled after {:.1} s (circuit closed).",
                    time.as_secs_f64()
                ),
            ),
        }
    }

    /// True where the results of this record are awaited before the next one. In a transaction its commit does that.
    fn awaits_results(&self, item: &Handle<S::Id>) -> bool {
        matches!(self.delivery, DeliveryMode::AtLeastOnce) && item.isolated
    }

    /// True where isolated records are still to be handled.
    pub(super) fn has_to_isolate(&self) -> bool {
        !matches!(self.delivery, DeliveryMode::AtMostOnce) && self.source.has_isolated()
    }

    /// Waits for what was sent before an isolated record, so that what is refused from here on belongs to it. False:
    /// the record is not handled now, because earlier ones are read again, or because the worker stops.
    pub(super) fn settle_before(&self, item: &Handle<S::Id>) -> Result<bool, H::Abort> {
        if !self.awaits_results(item) {
            return Ok(true);
        }
        match self.await_results(item)? {
            None => Ok(false),
            Some(Ok(())) => Ok(true),
            Some(Err(error)) => {
                self.source.requeue(item, Attempt::NotMade);
                self.source.read_again(error.is_permanent());
                if error.is_permanent() {
                    log_isolation(&error);
                    return Ok(false);
                }
                Err(self.handler.fail(error))
            }
        }
    }

    /// The outcome of an isolated record, once Kafka has acknowledged or refused what its callback sent. `None`: the
    /// worker stops first, and the record is left to the next one.
    pub(super) fn confirm(
        &self,
        item: &Handle<S::Id>,
        outcome: Outcome<H::Abort>,
    ) -> Result<Option<Outcome<H::Abort>>, H::Abort> {
        if !self.awaits_results(item) || matches!(outcome, Outcome::Stop(_) | Outcome::Exiting(_)) {
            return Ok(Some(outcome));
        }
        let Some(results) = self.await_results(item)? else {
            return Ok(None);
        };
        match (outcome, results) {
            (Outcome::Handled, Err(error)) if error.is_permanent() => {
                Ok(Some(self.handler.undelivered(item, error)))
            }
            (Outcome::Handled, Err(error)) => {
                self.source.requeue(item, Attempt::NotMade);
                Err(self.handler.fail(error))
            }
            // The results of an attempt that failed do not count.
            (outcome, _) => Ok(Some(outcome)),
        }
    }

    /// True once the dead letter of an isolated record is acknowledged; false where the worker stops first.
    pub(super) fn is_dead_letter_acknowledged(
        &self,
        item: &Handle<S::Id>,
    ) -> Result<bool, H::Abort> {
        if !self.awaits_results(item) {
            return Ok(true);
        }
        match self.await_results(item)? {
            None => Ok(false),
            Some(Ok(())) => Ok(true),
            Some(Err(error)) => {
                self.source.requeue(item, Attempt::NotMade);
                Err(self
                    .handler
                    .fail(refused_dead_letter(&item.place(), &error)))
            }
        }
    }

    /// Waits for the results of an isolated record, as a member of the group. `None`: a signal asks to stop.
    fn await_results(&self, item: &Handle<S::Id>) -> Result<Option<Result<()>>, H::Abort> {
        loop {
            match self.source.results(SLICE) {
                Ok(true) => return Ok(Some(Ok(()))),
                Ok(false) => {}
                Err(error) => return Ok(Some(Err(error))),
            }
            self.poll_interrupts()?;
            if self.stop.reason() == Some(Reason::Signal) || deferred_signals() != 0 {
                self.source.requeue(item, Attempt::NotMade);
                return Ok(None);
            }
            self.keep_alive(coarse_ms())?;
        }
    }
}

/// The error that ends the worker where the dead-letter topic refuses a dead letter for good.
pub fn refused_dead_letter(place: &(String, i32, i64), error: &Error) -> Error {
    let (topic, partition, offset) = place;
    let reason = error.failed().first().map_or_else(
        || error.message().to_owned(),
        |failed| format!("topic \"{}\": {}", failed.topic, failed.reason),
    );
    Error::delivery(
        format!(
            "The dead letter of the record in topic \"{topic}\" partition {partition} offset {offset} was not \
             delivered ({reason}), so the offset of the record is not committed. Change the configuration of the \
             dead-letter topic, or choose another one (dlq_prefix)."
        ),
        error.failed().to_vec(),
    )
}

fn log(level: Level, line: String) {
    runtime::current().log.write(level, line);
}
