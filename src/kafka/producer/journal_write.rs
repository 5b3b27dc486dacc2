//! `spool_when: always`: each message is on disk before it is sent, and goes from there once it is acknowledged.

use super::record::ProducerRecord;
use super::Producer;
use crate::error::Result;
use crate::spool::{Journal, Spool};

impl Producer {
    #[inline]
    fn journal(&self) -> Option<(&Journal, &Spool)> {
        self.in_flight.journal.as_ref().zip(self.spool.as_ref())
    }

    /// Writes the message down before it is sent.
    #[inline]
    pub(super) fn journal_write(&self, message: &ProducerRecord<'_>, sequence: u64) -> Result<()> {
        let Some((journal, spool)) = self.journal() else {
            return Ok(());
        };
        let written = journal.write(spool, sequence, &message.record("not sent"));
        if written.is_err() {
            self.in_flight.complete(sequence);
        }
        written
    }

    /// It was not accepted after all.
    #[cold]
    pub(super) fn journal_cancel(&self, sequence: u64) {
        if let Some((journal, _)) = self.journal() {
            journal.cancel(sequence);
        }
        self.in_flight.complete(sequence);
    }

    /// Notes what is acknowledged; with `now` files that are not needed go at once.
    pub(super) fn prune_journal(&self, now: bool) {
        if let Some((journal, spool)) = self.journal() {
            journal.prune(spool, now);
        }
    }

    /// The client is closed: a replay has the rest.
    pub(super) fn close_journal(&self) {
        if let Some((journal, spool)) = self.journal() {
            journal.close(spool);
        }
    }

    /// True while there is something to note.
    pub(super) fn is_journal_busy(&self) -> bool {
        self.journal().is_some_and(|(journal, _)| journal.is_busy())
    }
}
