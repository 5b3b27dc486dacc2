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
    /// When it was logged.
    pub at: SystemTime,
    /// More about it, by name.
    pub context: Vec<(&'static str, String)>,
    /// Logged by librdkafka.
    pub from_librdkafka: bool,
}

/// The most lines kept for a host that never comes; the oldest go first, and those for debugging before others.
const MAX_LINES: usize = 500;
/// A line that was said is not said again for this long.
const FOLD_WINDOW: Duration = Duration::from_secs(60);
/// So many different lines are remembered for folding.
const MAX_RECENT: usize = 64;
/// The most lines that are said once; further ones are said each time.
const MAX_ONCE: usize = 1000;
/// A longer line is cut, in bytes.
const MAX_LINE_BYTES: usize = 8192;

/// A line that was said, and is counted from then on.
struct RecentLine {
    line: Line,
    since: Instant,
    times: u64,
}

impl RecentLine {
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
struct LogState {
    waiting: VecDeque<Line>,
    dropped: u64,
    recent: VecDeque<RecentLine>,
    once: HashSet<String>,
    secrets: Secrets,
}

impl LogState {
    fn push(&mut self, line: Line) {
        self.waiting.push_back(line);
        if self.waiting.len() > MAX_LINES {
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
    state: Mutex<LogState>,
    /// Something waits; read without the lock after every message.
    waiting: AtomicBool,
}

impl Log {
    /// Adds a line, unless the same one was said within the last minute: then it is counted.
    pub fn say(&self, level: Level, text: impl Into<String>) {
        self.add(level, &text.into(), Vec::new(), false);
    }

    /// Adds a line of librdkafka.
    pub fn say_from_librdkafka(
        &self,
        level: Level,
        text: &str,
        context: Vec<(&'static str, String)>,
    ) {
        self.add(level, text, context, true);
    }

    fn add(
        &self,
        level: Level,
        text: &str,
        context: Vec<(&'static str, String)>,
        from_librdkafka: bool,
    ) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let mut text = state.secrets.clean(text).into_owned();
        if text.len() > MAX_LINE_BYTES {
            let end = (0..=MAX_LINE_BYTES)
                .rev()
                .find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        let line = Line {
            level,
            text,
            at: SystemTime::now(),
            context,
            from_librdkafka,
        };
        let place = state
            .recent
            .iter()
            .position(|recent| recent.line.text == line.text);
        if let Some(recent) = place.and_then(|place| state.recent.get_mut(place)) {
            if now.duration_since(recent.since) < FOLD_WINDOW {
                recent.times += 1;
                return;
            }
            // Logged with the number of those that came before it, and then counted again.
            let repeated = recent.repeated();
            recent.since = now;
            state.push(repeated.unwrap_or(line));
        } else {
            if state.recent.len() == MAX_RECENT {
                // What is forgotten is no longer counted: what was counted is said now.
                let repeated = state
                    .recent
                    .pop_front()
                    .and_then(|mut recent| recent.repeated());
                if let Some(line) = repeated {
                    state.push(line);
                }
            }
            state.recent.push_back(RecentLine {
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
        state.once.len() >= MAX_ONCE || state.once.insert(text.to_owned())
    }

    /// Keeps a secret out of every line from now on.
    pub fn add_secret(&self, secret: &str) {
        self.state.lock().secrets.remember(secret);
    }

    /// The text without secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        self.state.lock().secrets.clean(text).into_owned()
    }

    /// Takes all waiting lines, oldest first, and says what was repeated in a minute that is over.
    pub fn drain(&self) -> Vec<Line> {
        self.drain_at(Instant::now(), false)
    }

    /// The same at the end of the process: what was repeated until now is said too.
    pub fn drain_final(&self) -> Vec<Line> {
        self.drain_at(Instant::now(), true)
    }

    fn drain_at(&self, now: Instant, is_last: bool) -> Vec<Line> {
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
                        "{dropped} line(s) were dropped: more than {MAX_LINES} waited to be written."
                    ),
                    at: SystemTime::now(),
                    context: Vec::new(),
                    from_librdkafka: false,
                },
            );
        }
        for recent in &mut state.recent {
            if recent.times > 0 && (is_last || now.duration_since(recent.since) >= FOLD_WINDOW) {
                recent.since = now;
                lines.extend(recent.repeated());
            }
        }
        lines
    }

    /// True where lines wait; cheap enough to ask after every message.
    #[inline]
    pub fn has_pending(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }
}
