//! At most once: fetched records are committed before they are handled, and a failed record is dropped.

use std::time::Duration;

use super::{add, Handler, Reason, Source, Step, Worker};
use crate::kafka::consumer::PreCommit;
use crate::log::Level;
use crate::process;

/// Maximum wait for the response to a commit before the loop checks stop requests and rebalances again.
const TIMEOUT: Duration = Duration::from_millis(500);

impl<S: Source, H: Handler<S::Id>> Worker<'_, S, H> {
    /// Commits the fetched records and handles all of them, also after a stop request: no other member reads them any
    /// more.
    pub(super) fn handle_at_most_once(
        &self,
        handled: &mut u64,
    ) -> Result<Option<Reason>, H::Abort> {
        if !self.source.has_records() {
            return Ok(None);
        }
        // The host's signal handlers may end the process: they run after the batch.
        let _hold = self.stop.hold();
        match self.source.pre_commit(TIMEOUT) {
            PreCommit::Committed => {}
            PreCommit::Refused => {
                self.drop_batch("the commit of their offsets failed");
                return Ok(None);
            }
            PreCommit::Pending => {
                // It is unknown whether the group has the offsets: the fetched records wait, and nothing else is
                // fetched.
                if self.stop_reason(*handled).is_some() {
                    self.drop_batch(
                        "Kafka did not answer the commit of their offsets before the stop",
                    );
                }
                return Ok(None);
            }
        }
        self.counters.timing.interrupted();
        while let Some(item) = self.source.next() {
            if let Step::Handled(count) = self.step(&item, self.limits.remaining(*handled))? {
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
        process::current().log.write(
            Level::Warning,
            format!(
                "{dropped} record(s) of {} were dropped: {why}, and delivery is at-most-once. \
                 Where the commit did not arrive, the partition's next owner reads them.",
                topics.join(", ")
            ),
        );
    }
}
