//! Reports what a consumer without partitions is waiting for: a wait that lasts is logged, and shown as the last error.

use std::time::Duration;

use super::Consumer;
use crate::clock::coarse_ms;
use crate::log::Level;
use crate::process;

/// A wait is reported after this time.
const REPORT_AFTER: Duration = Duration::from_secs(10);

impl Consumer {
    /// Called by each fetch: logs a warning once the consumer has had no partitions for [`REPORT_AFTER`], and again if
    /// the reason changes.
    pub(super) fn report_wait(&self) {
        self.report_wait_at(coarse_ms());
    }

    pub(super) fn report_wait_at(&self, now: u64) {
        if !self.is_unassigned() {
            if self.waiting_since.replace(0) != 0 {
                self.state.borrow_mut().wait = None;
            }
            return;
        }
        let since = self.waiting_since.get();
        if since == 0 {
            self.waiting_since.set(now.max(1));
            return;
        }
        let waited = now.saturating_sub(since);
        if u128::from(waited) < REPORT_AFTER.as_millis() {
            return;
        }
        let reason = self.wait_reason();
        let mut state = self.state.borrow_mut();
        if state.wait.as_ref() == Some(&reason) {
            return;
        }
        let line = format!("{reason} (for {} s).", waited / 1000);
        state.wait = Some(reason);
        drop(state);
        process::current().log.write(Level::Warning, line);
    }

    fn wait_reason(&self) -> String {
        let group = &self.config.consumer_group;
        let brokers = &self.config.brokers;
        let state = self.state.borrow();
        let detail = state.last_error.as_ref();
        let detail = detail.map_or_else(String::new, |error| format!("; last error: {error}"));
        if !self.is_connected() {
            return format!(
                "Consumer group \"{group}\" is waiting for Kafka at {brokers}, which does not answer{detail}"
            );
        }
        if !state.waiting_for.is_empty() {
            let topics: Vec<&str> = state.waiting_for.iter().map(String::as_str).collect();
            return format!(
                "Consumer group \"{group}\" is waiting for topics that do not exist: {}",
                topics.join(", ")
            );
        }
        format!(
            "Consumer group \"{group}\" is waiting for partitions: no subscribed topic exists, the group has more \
             members than partitions, or its coordinator does not answer{detail}"
        )
    }
}
