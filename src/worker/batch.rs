//! Batches of records for one callback: which records go into a batch, and the result of each when one of them fails.

use std::rc::Rc;

use super::{add, count, DeliveryMode, Handler, Outcome, Source, Step, Worker};
use crate::dispatch::{Route, Subscription};
use crate::kafka::consumer::records::{Attempt, Handle};

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
}
