//! The host's side of the loop: its callbacks, and their results.

use std::rc::Rc;
use std::time::Duration;

use crate::dead_letter::DeadLetter;
use crate::dispatch::Subscription;
use crate::envelope::Scanned;
use crate::error::{Error, Result};
use crate::kafka::consumer::assignment::RebalanceListener;
use crate::kafka::consumer::records::Handle;

/// The result of a callback for its record.
#[derive(Debug)]
pub enum Outcome<A> {
    /// The callback returned.
    Handled,
    /// The record is a replay for another group.
    Skipped,
    /// The callback failed: retry after this time.
    Retry(Duration),
    /// The callback failed because something that it needs is unavailable: retry after this time, without counting the
    /// attempt.
    Transient(Duration),
    /// The callback failed, and the record is given up.
    DeadLetter(DeadLetter),
    /// The callback failed, and delivery is at-most-once. `permanent`: as in [`DeadLetter`].
    Dropped { permanent: bool },
    /// The host asks to stop; the record was not handled.
    Stop(A),
    /// The callback was cut off from outside, by the destruction of its Fiber or by a stop signal: the record was not
    /// handled, and the attempt does not count.
    Interrupted(A),
    /// The process is ending inside the callback; the handler has recorded the crash.
    Exiting(A),
}

impl<A> Outcome<A> {
    /// True where the callback may fail with other records for the same reason.
    pub(super) const fn is_failure_of_callback(&self) -> bool {
        match self {
            Self::Retry(_) | Self::Transient(_) => true,
            Self::DeadLetter(letter) => !letter.permanent,
            Self::Dropped { permanent } => !*permanent,
            Self::Handled
            | Self::Skipped
            | Self::Stop(_)
            | Self::Interrupted(_)
            | Self::Exiting(_) => false,
        }
    }
}

/// The host's callbacks.
pub trait Handler<I>: RebalanceListener {
    /// Type of a subscription's callback.
    type Callback;
    /// Calls the callback with one record.
    fn handle(
        &self,
        subscription: &Rc<Subscription<Self::Callback>>,
        item: &Handle<I>,
        envelope: Option<&Scanned<'_>>,
    ) -> Outcome<Self::Abort>;
    /// Calls the callback with a batch: the number of records handled before one failed, and the result of that one.
    fn handle_batch(
        &self,
        subscription: &Rc<Subscription<Self::Callback>>,
        items: &[Handle<I>],
    ) -> (usize, Outcome<Self::Abort>);
    /// False for a replay that another group asked for.
    fn wants(&self, item: &Handle<I>) -> bool;
    /// The dead letter of a record whose callbacks ended the process too often.
    fn retries_exhausted(&self, item: &Handle<I>) -> Option<DeadLetter>;
    /// The dead letter of a record of a channel topic that is not an envelope.
    fn not_an_envelope(&self, reason: &Error) -> DeadLetter;
    /// The result of a record whose messages Kafka refuses for good.
    fn undelivered(&self, item: &Handle<I>, error: Error) -> Outcome<Self::Abort>;
    /// Writes a dead letter.
    ///
    /// # Errors
    /// It could not be written; the loop ends.
    fn dead_letter(&self, item: &Handle<I>, dead_letter: &DeadLetter) -> Result<()>;
    /// Runs between records: signal handlers and the host's periodic work; `now` as above.
    ///
    /// # Errors
    /// The host asks to stop.
    fn poll_interrupts(&self, now: u64) -> Result<(), Self::Abort>;
    /// Converts an error into the host's form.
    fn fail(&self, error: Error) -> Self::Abort;
}
