//! Lines for the host's log, from any thread: kept here until the host's own thread comes to fetch them.
//!
//! librdkafka speaks from its own threads, where no PHP function may be called. Repeated lines are folded, so that a broker
//! that stays away for an hour is a handful of lines.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How serious a line is, as PSR-3 names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something was lost or refused.
    Error,
    /// Something to look at.
    Warning,
    /// Said once, for information.
    Notice,
    /// Only interesting while searching for a fault.
    Debug,
}

impl Level {
    /// PSR-3's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Debug => "debug",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How serious.
    pub level: Level,
    /// What happened.
    pub text: String,
}

/// The most lines kept for a host that never comes; the oldest go first.
const MOST_LINES: usize = 500;
/// A line that was said is not said again for this long.
const FOLD: Duration = Duration::from_secs(60);
/// So many different lines are remembered for folding.
const REMEMBERED: usize = 64;

#[derive(Default)]
struct State {
    waiting: VecDeque<Line>,
    said: VecDeque<(String, Instant, u64)>,
    once: HashSet<String>,
}

/// The waiting lines of one process.
#[derive(Default)]
pub struct Log {
    state: Mutex<State>,
}

impl Log {
    /// Adds a line, unless the same one was said within the last minute.
    pub fn say(&self, level: Level, text: impl Into<String>) {
        let text = text.into();
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(entry) = state.said.iter_mut().find(|entry| entry.0 == text) {
            if now.duration_since(entry.1) < FOLD {
                entry.2 += 1;
                return;
            }
            let again = std::mem::take(&mut entry.2);
            entry.1 = now;
            let line = if again > 0 {
                format!("{text} (and {again} more times since)")
            } else {
                text
            };
            state.waiting.push_back(Line { level, text: line });
        } else {
            if state.said.len() == REMEMBERED {
                state.said.pop_front();
            }
            state.said.push_back((text.clone(), now, 0));
            state.waiting.push_back(Line { level, text });
        }
        if state.waiting.len() > MOST_LINES {
            state.waiting.pop_front();
        }
    }

    /// Adds a line that a process says once: something about its configuration, which each request would find again.
    pub fn say_once(&self, level: Level, text: &str) {
        if self.state.lock().once.insert(text.to_owned()) {
            self.say(level, text);
        }
    }

    /// Takes all waiting lines, oldest first.
    pub fn take(&self) -> Vec<Line> {
        self.state.lock().waiting.drain(..).collect()
    }

    /// True where nothing waits; cheap enough to ask after every batch.
    pub fn is_empty(&self) -> bool {
        self.state.lock().waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, Log};

    #[test]
    fn the_same_line_is_said_once_a_minute() {
        let log = Log::default();
        for _ in 0..3 {
            log.say(Level::Warning, "broker away");
        }
        log.say(Level::Error, "other");
        let lines: Vec<String> = log.take().into_iter().map(|line| line.text).collect();
        assert_eq!(lines, ["broker away", "other"]);
        assert!(log.is_empty());
    }

    #[test]
    fn what_is_said_once_is_not_said_again() {
        let log = Log::default();
        log.say_once(Level::Warning, "acks");
        assert_eq!(log.take().len(), 1);
        log.say_once(Level::Warning, "acks");
        assert!(log.is_empty());
    }

    #[test]
    fn a_host_that_never_comes_costs_bounded_memory() {
        let log = Log::default();
        for n in 0..10_000 {
            log.say(Level::Warning, format!("line {n}"));
        }
        let lines = log.take();
        assert_eq!(lines.len(), super::MOST_LINES);
        assert_eq!(
            lines.last().map(|line| line.text.as_str()),
            Some("line 9999")
        );
    }
}
