//! Limits a log line to one per minute, for refusals that clients or senders can cause at any rate.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::log::Level;

const INTERVAL: Duration = Duration::from_secs(60);

/// The limit of one log line.
#[derive(Debug, Default)]
pub(super) struct MinuteLog(Mutex<Option<Instant>>);

impl MinuteLog {
    /// Logs a warning, unless the last one is less than a minute old.
    pub fn warn(&self, text: impl FnOnce() -> String) {
        if self.is_due(Instant::now()) {
            crate::process::current().log.say(Level::Warning, text());
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_minute_is_due() {
        let log = MinuteLog::default();
        let start = Instant::now();
        assert!(log.is_due(start));
        assert!(!log.is_due(start + Duration::from_secs(59)));
        assert!(log.is_due(start + Duration::from_secs(60)));
        assert!(!log.is_due(start + Duration::from_secs(61)));
    }
}
