//! At most once: what was fetched is committed before it is handled, and what fails is gone.

use std::time::Duration;

use super::{add, Handler, Reason, Source, Step, Worker};
use crate::log::Level;
use crate::process;

/// How long a commit may take before the records it is for are given up.
const PATIENCE: Duration = Duration::from_secs(5);

impl<S: Source, H: Handler<S::Item>> Worker<'_, S, H> {
    /// Commits what is in hand and handles all of it, also where somebody asks to stop meanwhile: nobody else gets it any more.
    pub(super) fn hand_at_most_once(&self, handled: &mut u64) -> Result<Option<Reason>, H::Abort> {
        if !self.source.has_records() {
            return Ok(None);
        }
        if !self.source.commit_ahead(PATIENCE) {
            let (dropped, topics) = self.source.drop_hand();
            add(&self.tally.dropped, dropped);
            process::current().log.say(
                Level::Warning,
                format!(
                    "{dropped} record(s) of {} were dropped: their offsets could not be committed, and delivery is at-most-once. \
                     Where the commit did not arrive, the partition's next owner reads them.",
                    topics.join(", ")
                ),
            );
            return Ok(None);
        }
        while let Some(item) = self.source.next() {
            if let Step::Handled(count) = self.step(item, self.limits.remaining(*handled))? {
                *handled += count;
                add(&self.tally.handled, count);
                self.breathe()?;
            }
        }
        Ok(None)
    }
}
