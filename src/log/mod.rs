//! Lines for the host's log, from any thread: kept here until the host's own thread comes to fetch them.
//!
//! librdkafka speaks from its own threads, where no PHP function may be called. Repeated lines are folded, so that a broker
//! that stays away for an hour is a handful of lines; how often one was repeated is said when its minute is over, or at the end.

mod format;
mod level;
mod redact;

#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

pub use format::{iso, line as formatted, Format};
pub use level::Level;
use redact::Secrets;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How serious.
    pub level: Level,
    /// What happened; without secrets.
    pub text: String,
    /// When it was said.
    pub at: SystemTime,
    /// More about it, by name.
    pub context: Vec<(&'static str, String)>,
    /// Said by librdkafka.
    pub of_client: bool,
}

/// The most lines kept for a host that never comes; the oldest go first, and those for debugging before others.
const MOST_LINES: usize = 500;
/// A line that was said is not said again for this long.
const FOLD: Duration = Duration::from_secs(60);
/// So many different lines are remembered for folding.
const REMEMBERED: usize = 64;
/// The most lines that are said once; further ones are said each time.
const MOST_ONCE: usize = 1000;
/// A longer line is cut, in bytes.
const LONGEST: usize = 8192;

/// A line that was said, and is counted from then on.
struct Said {
    line: Line,
    since: Instant,
    times: u64,
}

impl Said {
    /// How often it was repeated, as a line; counted anew.
    fn repeated(&mut self) -> Option<Line> {
        let times = std::mem::take(&mut self.times);
        (times > 0).then(|| {
            let mut line = self.line.clone();
            line.text = format!("{} (and {times} more times since)", line.text);
            line.at = SystemTime::now();
            line
        })
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Line>,
    dropped: u64,
    said: VecDeque<Said>,
    once: HashSet<String>,
    secrets: Secrets,
}

impl State {
    fn push(&mut self, line: Line) {
        self.waiting.push_back(line);
        if self.waiting.len() > MOST_LINES {
            let place = self
                .waiting
                .iter()
                .position(|line| line.level > Level::Warning);
            self.waiting.remove(place.unwrap_or(0));
            self.dropped += 1;
        }
    }
}

/// The waiting lines of one process.
#[derive(Default)]
pub struct Log {
    state: Mutex<State>,
    /// Something waits; read without the lock after every message.
    waiting: AtomicBool,
}

impl Log {
    /// Adds a line, unless the same one was said within the last minute: then it is counted.
    pub fn say(&self, level: Level, text: impl Into<String>) {
        self.add(level, &text.into(), Vec::new(), false);
    }

    /// Adds a line of librdkafka.
    pub fn say_of_client(&self, level: Level, text: &str, context: Vec<(&'static str, String)>) {
        self.add(level, text, context, true);
    }

    fn add(&self, level: Level, text: &str, context: Vec<(&'static str, String)>, of_client: bool) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let mut text = state.secrets.clean(text).into_owned();
        if text.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        let line = Line {
            level,
            text,
            at: SystemTime::now(),
            context,
            of_client,
        };
        let place = state
            .said
            .iter()
            .position(|said| said.line.text == line.text);
        if let Some(said) = place.and_then(|place| state.said.get_mut(place)) {
            if now.duration_since(said.since) < FOLD {
                said.times += 1;
                return;
            }
            // Said with the number of those that came before it, and then counted again.
            let repeated = said.repeated();
            said.since = now;
            state.push(repeated.unwrap_or(line));
        } else {
            if state.said.len() == REMEMBERED {
                // What is forgotten is no longer counted: what was counted is said now.
                let repeated = state.said.pop_front().and_then(|mut said| said.repeated());
                if let Some(line) = repeated {
                    state.push(line);
                }
            }
            state.said.push_back(Said {
                line: line.clone(),
                since: now,
                times: 0,
            });
            state.push(line);
        }
        self.waiting.store(true, Ordering::Release);
    }

    /// Adds a line that a process says once: something about its configuration, which each request would find again.
    pub fn say_once(&self, level: Level, text: &str) {
        if self.is_first(text) {
            self.say(level, text);
        }
    }

    /// True the first time it is asked about this text.
    pub fn is_first(&self, text: &str) -> bool {
        let mut state = self.state.lock();
        state.once.len() >= MOST_ONCE || state.once.insert(text.to_owned())
    }

    /// Keeps a secret out of every line from now on.
    pub fn hide(&self, secret: &str) {
        self.state.lock().secrets.remember(secret);
    }

    /// The text without secrets.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        self.state.lock().secrets.clean(text).into_owned()
    }

    /// Takes all waiting lines, oldest first, and says what was repeated in a minute that is over.
    pub fn take(&self) -> Vec<Line> {
        self.take_at(Instant::now(), false)
    }

    /// The same at the end of the process: what was repeated until now is said too.
    pub fn take_last(&self) -> Vec<Line> {
        self.take_at(Instant::now(), true)
    }

    fn take_at(&self, now: Instant, is_last: bool) -> Vec<Line> {
        let mut state = self.state.lock();
        self.waiting.store(false, Ordering::Release);
        let mut lines: Vec<Line> = state.waiting.drain(..).collect();
        let dropped = std::mem::take(&mut state.dropped);
        if dropped > 0 {
            lines.insert(
                0,
                Line {
                    level: Level::Warning,
                    text: format!(
                        "{dropped} line(s) were dropped: more than {MOST_LINES} waited to be written."
                    ),
                    at: SystemTime::now(),
                    context: Vec::new(),
                    of_client: false,
                },
            );
        }
        for said in &mut state.said {
            if said.times > 0 && (is_last || now.duration_since(said.since) >= FOLD) {
                said.since = now;
                lines.extend(said.repeated());
            }
        }
        lines
    }

    /// True where lines wait; cheap enough to ask after every message.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }
}
