//! The loop of a consumer: fetch, route, hand over, note how far it came, until something asks it to stop.
//!
//! It knows Kafka only as a [`Source`] and the host only as a [`Handler`], so that it can be tested with neither.

mod stop;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use stop::{Limits, Reason, StopSignal};

use crate::dispatch::{Route, Style, Subscription, Subscriptions};
use crate::error::{Error, Result};
use crate::kafka::consumer::assignment::Watcher;
use crate::log::Level;
use crate::message::Scanned;
use crate::process;
use crate::topic::TopicMap;

/// One record of a source.
pub trait Item: Clone {
    /// Its topic.
    fn topic(&self) -> &str;
    /// Its value; `None` for a tombstone.
    fn value(&self) -> Option<&[u8]>;
    /// True where the two come from one partition.
    fn is_beside(&self, other: &Self) -> bool;
}

/// Where records come from.
pub trait Source {
    /// Its records.
    type Item: Item;
    /// Fetches up to `most`, waiting at most `wait` for the first.
    fn fetch(&self, wait: Duration, most: usize);
    /// True where fetched records wait.
    fn has_records(&self) -> bool;
    /// The next fetched record.
    fn next(&self) -> Option<Self::Item>;
    /// It was handled, or nobody wants it.
    fn done(&self, item: &Self::Item);
    /// It was not handled and comes again, as another attempt where `failed`.
    fn put_back(&self, item: &Self::Item, failed: bool);
    /// Partitions that come and go.
    ///
    /// # Errors
    /// The watcher wants to stop.
    fn serve_events<W: Watcher>(&self, watcher: &W) -> Result<(), W::Abort>;
    /// Commits if it is time to.
    ///
    /// # Errors
    /// Delivery: what a callback sent was not delivered.
    fn commit_if_due(&self) -> Result<()>;
    /// Commits and waits for the answer.
    ///
    /// # Errors
    /// Delivery: what a callback sent was not delivered.
    fn commit_now(&self, bound: Duration) -> Result<()>;
    /// What Kafka refuses for good.
    fn refused(&self) -> Option<Error>;
    /// Everything assigned is read to its end.
    fn is_at_end(&self) -> bool;
    /// Nothing is assigned, and nothing is going to be: the topics do not exist, or the group has dealt without us.
    fn is_idle_for_good(&self) -> bool;
}

/// The host's side.
pub trait Handler<I>: Watcher {
    /// What a subscription carries.
    type Callback;
    /// Handles one record.
    ///
    /// # Errors
    /// It was not handled; the loop ends.
    fn handle(
        &self,
        subscription: &Rc<Subscription<Self::Callback>>,
        item: &I,
        envelope: Option<&Scanned<'_>>,
    ) -> Result<(), Self::Abort>;
    /// Handles a list of records.
    ///
    /// # Errors
    /// How many of them were handled before one failed; the loop ends.
    fn handle_batch(
        &self,
        subscription: &Rc<Subscription<Self::Callback>>,
        items: &[I],
    ) -> Result<(), (usize, Self::Abort)>;
    /// A record of a channel topic that is not an envelope: kept as a dead letter.
    ///
    /// # Errors
    /// It could not be kept; the loop ends.
    fn reject(&self, item: &I, reason: &Error) -> Result<()>;
    /// Between records: lets the host run its signal handlers and its own regular work.
    ///
    /// # Errors
    /// The host wants to stop.
    fn breathe(&self) -> Result<(), Self::Abort>;
    /// Turns an error of ours into the host's.
    fn fail(&self, error: Error) -> Self::Abort;
}

/// Totals of the loop, shared with the host while it runs.
#[derive(Debug, Default)]
pub struct Tally {
    /// Handed to a callback that returned, and dead-lettered.
    pub handled: Cell<u64>,
    /// Callbacks that failed.
    pub failures: Cell<u64>,
    /// Records nobody subscribed.
    pub skipped: Cell<u64>,
    /// Records whose channel belongs to another topic.
    pub mismatched: Cell<u64>,
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// While idle, the host's signal handlers get their turn this often.
const SLICE: Duration = Duration::from_millis(100);
/// What stopping may add to the callback that is running.
const FAREWELL: Duration = Duration::from_secs(4);

/// The loop with everything it works on.
pub struct Worker<'a, S: Source, H: Handler<S::Item>> {
    /// Where records come from.
    pub source: &'a S,
    /// The host.
    pub handler: &'a H,
    /// Who gets what; may change while a callback runs.
    pub subscriptions: &'a RefCell<Subscriptions<H::Callback>>,
    /// The rule from channels to topics.
    pub topics: &'a TopicMap,
    /// When to stop.
    pub limits: Limits,
    /// Asks it to stop from outside.
    pub stop: &'a StopSignal,
    /// Totals.
    pub tally: &'a Tally,
}

enum Step {
    Handled(u64),
    Passed,
}

impl<S: Source, H: Handler<S::Item>> Worker<'_, S, H> {
    /// Runs until it is asked to stop, a limit is reached, or something fails. What was handled is committed either way, what
    /// was fetched and not handled is not.
    ///
    /// # Errors
    /// The host's own, or one of ours in the host's form.
    pub fn run(&self) -> Result<(u64, Reason), H::Abort> {
        let mut handled = 0;
        let ended = self.run_until(&mut handled);
        if let Ok(Reason::Signal) = ended {
            crate::clock::hurry();
        }
        let committed = self.source.commit_now(FAREWELL);
        let reason = ended?;
        committed.map_err(|error| self.handler.fail(error))?;
        Ok((handled, reason))
    }

    fn run_until(&self, handled: &mut u64) -> Result<Reason, H::Abort> {
        loop {
            if let Some(reason) = self.pause_for_breath(*handled)? {
                return Ok(reason);
            }
            if !self.source.has_records() {
                if self.limits.when_empty
                    && (self.source.is_at_end() || self.source.is_idle_for_good())
                {
                    return Ok(Reason::Empty);
                }
                let wait = self.limits.wait.min(SLICE);
                self.source.fetch(wait, self.limits.batch);
                self.source.serve_events(self.handler)?;
            }
            while let Some(item) = self.source.next() {
                if let Step::Handled(count) = self.step(item, self.limits.remaining(*handled))? {
                    *handled += count;
                    self.tally.handled.set(self.tally.handled.get() + count);
                    if let Some(reason) = self.pause_for_breath(*handled)? {
                        return Ok(reason);
                    }
                }
            }
        }
    }

    /// What happens between two records; `Some` where it is time to stop.
    fn pause_for_breath(&self, handled: u64) -> Result<Option<Reason>, H::Abort> {
        self.handler.breathe()?;
        if let Some(error) = self.source.refused() {
            return Err(self.handler.fail(error));
        }
        self.source
            .commit_if_due()
            .map_err(|error| self.handler.fail(error))?;
        let asked = self.stop.reason().or_else(|| self.limits.reached(handled));
        // A callback that unsubscribes the last channel has asked for the end, too.
        Ok(asked.or_else(|| {
            self.subscriptions
                .borrow()
                .is_empty()
                .then_some(Reason::Asked)
        }))
    }

    fn step(&self, item: S::Item, room: u64) -> Result<Step, H::Abort> {
        let copy = item.clone();
        let route = self
            .subscriptions
            .borrow()
            .route(self.topics, item.topic(), copy.value());
        match route {
            Route::To(subscription, _) if subscription.style == Style::Batch => {
                self.batch(item, &subscription, room)
            }
            Route::To(subscription, envelope) => {
                let outcome = self.handler.handle(&subscription, &item, envelope.as_ref());
                match outcome {
                    Ok(()) => {
                        self.source.done(&item);
                        Ok(Step::Handled(1))
                    }
                    Err(abort) => {
                        count(&self.tally.failures);
                        self.source.put_back(&item, true);
                        Err(abort)
                    }
                }
            }
            Route::Mismatch(envelope) => {
                count(&self.tally.mismatched);
                self.tell_mismatch(&item, &envelope);
                self.source.done(&item);
                Ok(Step::Passed)
            }
            Route::Unclaimed => {
                count(&self.tally.skipped);
                self.source.done(&item);
                Ok(Step::Passed)
            }
            Route::NotAnEnvelope(reason) => {
                count(&self.tally.failures);
                match self.handler.reject(&item, &reason) {
                    Ok(()) => {
                        self.source.done(&item);
                        Ok(Step::Handled(1))
                    }
                    Err(error) => {
                        self.source.put_back(&item, true);
                        Err(self.handler.fail(error))
                    }
                }
            }
        }
    }

    /// Gathers what is in hand for the same subscription. A partition is followed only up to a record that goes elsewhere, so
    /// that its order stays.
    fn batch(
        &self,
        first: S::Item,
        subscription: &Rc<Subscription<H::Callback>>,
        room: u64,
    ) -> Result<Step, H::Abort> {
        let most = usize::try_from(room)
            .unwrap_or(usize::MAX)
            .min(self.limits.batch);
        let mut list = vec![first];
        let mut others: Vec<S::Item> = Vec::new();
        while list.len() < most {
            let Some(item) = self.source.next() else {
                break;
            };
            let blocked = others.iter().any(|other| other.is_beside(&item));
            let ours = !blocked && {
                let subscriptions = self.subscriptions.borrow();
                let route = subscriptions.route(self.topics, item.topic(), item.value());
                matches!(route, Route::To(theirs, _) if Rc::ptr_eq(&theirs, subscription))
            };
            if ours {
                list.push(item);
            } else {
                others.push(item);
            }
        }
        for item in others.iter().rev() {
            self.source.put_back(item, false);
        }
        let handled = match self.handler.handle_batch(subscription, &list) {
            Ok(()) => {
                for item in &list {
                    self.source.done(item);
                }
                return Ok(Step::Handled(list.len() as u64));
            }
            Err((handled, abort)) => (handled.min(list.len() - 1), abort),
        };
        let (done, abort) = handled;
        count(&self.tally.failures);
        for item in &list[..done] {
            self.source.done(item);
        }
        for (place, item) in list.iter().enumerate().skip(done).rev() {
            self.source.put_back(item, place == done);
        }
        self.tally
            .handled
            .set(self.tally.handled.get() + done as u64);
        Err(abort)
    }

    fn tell_mismatch(&self, item: &S::Item, envelope: &Scanned<'_>) {
        let channel = envelope.channel.as_deref().unwrap_or_default();
        let right = self
            .topics
            .topic_for(channel)
            .unwrap_or_else(|error| error.message().to_owned());
        process::current().log.say(
            Level::Warning,
            format!(
                "Skipped records of topic \"{}\" whose channel \"{channel}\" belongs to topic \"{right}\" (topic_mismatch).",
                item.topic()
            ),
        );
    }
}

/// For a source: joined and given nothing for this long counts as nothing to come.
pub const JOIN_PATIENCE: Duration = Duration::from_secs(10);

/// True where `since` is longer ago than [`JOIN_PATIENCE`].
#[must_use]
pub fn waited_long(since: Option<Instant>) -> bool {
    since.is_some_and(|since| since.elapsed() >= JOIN_PATIENCE)
}
