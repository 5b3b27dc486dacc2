//! Replacement of a client: a new one takes over the messages of its predecessor.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::delivery::Undelivered;
use super::topic_cache::PendingMessage;
use super::{poller, Producer};
use crate::error::Result;

impl Producer {
    /// The client that has taken over this one's messages, if it has been replaced.
    pub(super) fn successor(&self) -> Option<Arc<Self>> {
        self.successor.lock().clone()
    }

    /// Holds back the messages of this client until `predecessor` has handed over its own.
    pub(super) fn start_behind(&self, predecessor: &Arc<Self>) {
        *self.predecessor.lock() = Some(Arc::clone(predecessor));
        self.held.store(true, Ordering::Release);
        poller::wake(self);
    }

    /// Takes over messages of its predecessor: they are sent before its own, in the given order. False if this client
    /// does not hold back its own messages.
    pub(super) fn take_over(&self, reports: &[Undelivered]) -> Result<bool> {
        let mut topics = self.topics.lock();
        if !self.held.load(Ordering::Acquire) {
            return Ok(false);
        }
        let mut messages = Vec::with_capacity(reports.len());
        for report in reports {
            let record = &report.record;
            let number = topics.get(&record.topic).number;
            let sequence = self.in_flight.track(&record.id, number);
            let outgoing = record.outgoing();
            self.journal_write(&outgoing, sequence)?;
            messages.push(PendingMessage {
                record: record.clone(),
                sequence,
            });
        }
        self.pending.lock().prepend(messages);
        Ok(true)
    }
}
