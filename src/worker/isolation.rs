//! Isolated records: after Kafka refused a result for good, the records since the last commit are handled again one by
//! one, each until its results are acknowledged. The record with the refused result is dead-lettered.

use super::{
    deferred_signals, log_isolation, DeliveryMode, Handler, Outcome, Reason, Source, Worker, SLICE,
};
use crate::error::{Error, Result};
use crate::kafka::consumer::records::{Attempt, Handle};

impl<S: Source, H: Handler<S::Id>> Worker<'_, S, H> {
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
            self.keep_alive()?;
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
