//! Circuits of subscriptions in the loop: what is paused, and the log lines.

use super::{DeliveryMode, Handler, Item, Outcome, Source, Worker};
use crate::circuit::{Gate, Transition};
use crate::dispatch::Subscription;
use crate::kafka::consumer::records::Attempt;
use crate::log::Level;
use crate::process;

impl<S: Source, H: Handler<S::Item>> Worker<'_, S, H> {
    /// True where the record's subscription is paused: the record is handed out again after the pause, and later
    /// records of its key wait behind it.
    ///
    /// In a transaction no record may be passed over, so the loop has already waited before this call.
    pub(super) fn is_paused(
        &self,
        subscription: &Subscription<H::Callback>,
        item: &S::Item,
    ) -> bool {
        match subscription.circuit.gate(|| self.source.now()) {
            Gate::Open(until) if matches!(self.delivery, DeliveryMode::AtLeastOnce) => {
                let wait = until.saturating_duration_since(self.source.now());
                self.source.schedule_retry(item, Attempt::NotMade, wait);
                true
            }
            Gate::Probe { is_first: true } => {
                let name = subscription.name();
                log(
                    Level::Notice,
                    format!("Subscription \"{name}\" tries one record (circuit half-open)."),
                );
                false
            }
            Gate::Closed | Gate::Open(_) | Gate::Probe { .. } => false,
        }
    }

    /// Reports the result of a callback to the circuit of its subscription.
    pub(super) fn update_circuit(
        &self,
        subscription: &Subscription<H::Callback>,
        item: &S::Item,
        outcome: &Outcome<H::Abort>,
    ) {
        let name = subscription.name();
        let transition = match outcome {
            Outcome::Handled => subscription.circuit.succeeded(|| self.source.now()),
            failed if failed.is_failure_of_callback() => {
                subscription
                    .circuit
                    .failed(&item.place(), &self.circuit, self.source.now())
            }
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
