//! At most once: what was fetched is committed before it is handled, and what fails is gone.

use std::time::Duration;

use super::{add, Handler, Reason, Source, Step, Worker};
use crate::kafka::consumer::PreCommit;
use crate::log::Level;
use crate::process;

/// How long to wait for the answer to a commit before looking at everything else again: who wants to stop, who gets which partition.
const TIMEOUT: Duration = Duration::from_millis(500);

impl<S: Source, H: Handler<S::Item>> Worker<'_, S, H> {
    /// Commits what is in hand and handles all of it, also where somebody asks to stop meanwhile: nobody else gets it any more.
    pub(super) fn handle_at_most_once(
        &self,
        handled: &mut u64,
    ) -> Result<Option<Reason>, H::Abort> {
        if !self.source.has_records() {
            return Ok(None);
        }
        match self.source.pre_commit(TIMEOUT) {
            PreCommit::Committed => {}
            PreCommit::Refused => {
                self.drop_batch("their offsets could not be committed");
                return Ok(None);
            }
            PreCommit::Unanswered => {
                // Whether the group has the offsets is not known: what is in hand waits, and nothing else is fetched.
                if self.stop_reason(*handled).is_some() {
                    self.drop_batch(
                        "Kafka has not answered the commit of their offsets before the end",
                    );
                }
                return Ok(None);
            }
        }
        self.counters.timing.interrupted();
        while let Some(item) = self.source.next() {
            if let Step::Handled(count) = self.step(item, self.limits.remaining(*handled))? {
                *handled += count;
                add(&self.counters.handled, count);
                self.poll_interrupts()?;
            }
        }
        Ok(None)
    }

    fn drop_batch(&self, why: &str) {
        let (dropped, topics) = self.source.discard_fetched();
        add(&self.counters.dropped, dropped);
        process::current().log.say(
            Level::Warning,
            format!(
                "{dropped} record(s) of {} were dropped: {why}, and delivery is at-most-once. \
                 Where the commit did not arrive, the partition's next owner reads them.",
                topics.join(", ")
            ),
        );
    }
}
