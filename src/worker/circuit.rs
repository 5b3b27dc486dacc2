//! Circuits of subscriptions in the loop: what is paused, and the log lines.

use std::time::Instant;

use super::{deferred_signals, DeliveryMode, Handler, Outcome, Source, Worker, SLICE};
use crate::circuit::{Gate, Transition};
use crate::dispatch::Subscription;
use crate::kafka::consumer::records::{Attempt, Handle};
use crate::log::Level;
use crate::process;

impl<S: Source, H: Handler<S::Id>> Worker<'_, S, H> {
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
            self.source.keep_alive();
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
}

fn log(level: Level, line: String) {
    process::current().log.write(level, line);
}
