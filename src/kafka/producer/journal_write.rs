//! `spool_when: always`: each message is written to disk before it is sent, and removed after its acknowledgement.

use super::record::ProducerRecord;
use super::Producer;
use crate::error::Result;
use crate::spool::{Journal, Spool};

impl Producer {
    #[inline]
    fn journal(&self) -> Option<(&Journal, &Spool)> {
        self.in_flight.journal.as_ref().zip(self.spool.as_ref())
    }

    /// Writes the message to the journal before it is sent.
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

    /// Removes a message that librdkafka did not accept.
    #[cold]
    pub(super) fn journal_cancel(&self, sequence: u64) {
        if let Some((journal, _)) = self.journal() {
            journal.cancel(sequence);
        }
        self.in_flight.complete(sequence);
    }

    /// Records acknowledgements; `now` also deletes files that were written recently.
    pub(super) fn prune_journal(&self, now: bool) {
        if let Some((journal, spool)) = self.journal() {
            journal.prune(spool, now);
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
