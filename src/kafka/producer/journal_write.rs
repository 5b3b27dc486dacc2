//! Messages are written to disk before they are sent, and removed after their acknowledgement: all of them with
//! `spool_when: always`, and with any spool those that a process serving requests sends while Kafka may be away.

use std::sync::atomic::Ordering;

use super::Producer;
use crate::clock;
use crate::error::Result;
use crate::log::Level;
use crate::message::ProducerRecord;
use crate::process;
use crate::spool::{Journal, Spool};

/// Kafka is taken as reachable for this long after the acknowledgements of a request.
const TRUST_MS: u64 = 1000;

impl Producer {
    #[inline]
    fn journal(&self) -> Option<(&Journal, &Spool)> {
        self.in_flight.journal.as_ref().zip(self.spool.as_ref())
    }

    /// Writes the message to the journal before it is sent. Without `spool_when: always` only while Kafka may be away,
    /// and a message that cannot be written is sent anyway.
    #[inline]
    pub(super) fn journal_write(&self, message: &ProducerRecord<'_>, sequence: u64) -> Result<()> {
        match self.journal() {
            Some((journal, spool)) => self.write_to(journal, spool, message, sequence),
            None => Ok(()),
        }
    }

    #[inline(never)]
    fn write_to(
        &self,
        journal: &Journal,
        spool: &Spool,
        message: &ProducerRecord<'_>,
        sequence: u64,
    ) -> Result<()> {
        if !self.config.spool_always && self.has_just_delivered() {
            return Ok(());
        }
        let written = journal.write(spool, sequence, message);
        match written {
            Err(error) if !self.config.spool_always => {
                process::current()
                    .log
                    .write(Level::Warning, error.message());
                Ok(())
            }
            Err(error) => {
                self.in_flight.complete(sequence);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// True if Kafka acknowledged the messages of a request within the last second.
    fn has_just_delivered(&self) -> bool {
        let age = clock::coarse_ms().saturating_sub(self.delivered_at.load(Ordering::Relaxed));
        age < TRUST_MS && !self.is_suspended()
    }

    /// Removes a message that librdkafka did not accept.
    #[cold]
    pub(super) fn journal_cancel(&self, sequence: u64) {
        if let Some((journal, _)) = self.journal() {
            journal.cancel(sequence);
        }
        self.in_flight.complete(sequence);
    }

    /// Records acknowledgements; `end` also deletes the file that is kept for the next message.
    pub(super) fn prune_journal(&self, end: bool) {
        if let Some((journal, spool)) = self.journal() {
            journal.prune(spool, end);
        }
    }

    /// Leaves the remaining messages to a replay, because the client is closed.
    pub(super) fn close_journal(&self) {
        if let Some((journal, spool)) = self.journal() {
            journal.close(spool);
        }
    }

    pub(super) fn is_journal_busy(&self) -> bool {
        self.journal().is_some_and(|(journal, _)| journal.is_busy())
    }
}
