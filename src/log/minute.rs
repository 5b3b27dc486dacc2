//! Limits a log line to one per minute, for refusals that clients or senders can cause at any rate.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Level, Log};

const INTERVAL: Duration = Duration::from_secs(60);

/// The limit of one log line.
#[derive(Debug, Default)]
pub(crate) struct MinuteLog(Mutex<LastLine>);

#[derive(Debug, Default)]
struct LastLine {
    at: Option<Instant>,
    /// Warnings since then that were not logged.
    suppressed: u64,
}

impl MinuteLog {
    /// Logs a warning, unless the last one is less than a minute old.
    pub fn warn(&self, log: &Log, text: impl FnOnce() -> String) {
        if let Some(suppressed) = self.suppressed_if_due(Instant::now()) {
            let mut text = text();
            if suppressed > 0 {
                text = format!("{text} ({suppressed} more since the last such line)");
            }
            log.write(Level::Warning, text);
        }
    }

    /// The number of warnings that were not logged, if a line is due.
    fn suppressed_if_due(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock();
        if last
            .at
            .is_some_and(|at| now.saturating_duration_since(at) < INTERVAL)
        {
            last.suppressed += 1;
            return None;
        }
        last.at = Some(now);
        Some(std::mem::take(&mut last.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_minute_is_due() {
        let log = MinuteLog::default();
        let start = Instant::now();
        assert_eq!(log.suppressed_if_due(start), Some(0));
        assert_eq!(log.suppressed_if_due(start + Duration::from_secs(59)), None);
        assert_eq!(
            log.suppressed_if_due(start + Duration::from_secs(60)),
            Some(1)
        );
        assert_eq!(log.suppressed_if_due(start + Duration::from_secs(61)), None);
    }
}
