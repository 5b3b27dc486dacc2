//! `spool_when: always`: each message is on disk before it is sent, and goes from there once it is acknowledged.

use super::send::Outgoing;
use super::Producer;
use crate::error::Result;
use crate::spool::{Journal, Spool};

impl Producer {
    #[inline]
    fn journal(&self) -> Option<(&Journal, &Spool)> {
        self.flight.journal.as_ref().zip(self.spool.as_ref())
    }

    /// Writes the message down before it is sent.
    #[inline]
    pub(super) fn write_down(&self, message: &Outgoing<'_>, sequence: u64) -> Result<()> {
        let Some((journal, spool)) = self.journal() else {
            return Ok(());
        };
        let written = journal.write(spool, sequence, &message.record("not sent"));
        if written.is_err() {
            self.flight.settle(sequence);
        }
        written
    }

    /// It was not accepted after all.
    #[cold]
    pub(super) fn take_back(&self, sequence: u64) {
        if let Some((journal, _)) = self.journal() {
            journal.cancel(sequence);
        }
        self.flight.settle(sequence);
    }

    /// Notes what is acknowledged; with `now` files that are not needed go at once.
    pub(super) fn tidy_journal(&self, now: bool) {
        if let Some((journal, spool)) = self.journal() {
            journal.tidy(spool, now);
        }
    }

    /// The client is closed: a replay has the rest.
    pub(super) fn release_journal(&self) {
        if let Some((journal, spool)) = self.journal() {
            journal.release(spool);
        }
    }

    /// True while there is something to note.
    pub(super) fn keeps_journal(&self) -> bool {
        self.journal().is_some_and(|(journal, _)| journal.is_busy())
    }
}
