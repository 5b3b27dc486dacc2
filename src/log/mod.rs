//! Log lines from any thread, buffered until the PHP thread writes them.
//!
//! librdkafka logs from its own threads, where no PHP function may be called. Repeated lines are folded, so that a
//! broker that is down for an hour logs a handful of lines; the number of repetitions is logged at the end of each
//! minute, and at exit.

mod line;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use line::Secrets;
use parking_lot::Mutex;

pub use line::{formatted, iso, names, Format};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub level: Level,
    pub text: String,
    /// When it was logged.
    pub at: SystemTime,
    /// Context fields by name.
    pub context: Vec<(&'static str, String)>,
    /// Logged by librdkafka.
    pub from_librdkafka: bool,
}

/// Maximum number of buffered lines. When full, the oldest line below warning level is dropped first.
const MAX_LINES: usize = 500;
/// A repeated line is not logged again for this long.
const FOLD_WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of distinct lines remembered for folding.
const MAX_RECENT: usize = 64;
/// Maximum number of lines remembered by `write_once`; further lines are logged each time.
const MAX_ONCE: usize = 1000;
/// A longer line is truncated, in bytes.
const MAX_LINE_BYTES: usize = 8192;

/// A logged line and the number of its repetitions since.
struct RecentLine {
    line: Line,
    since: Instant,
    times: u64,
}

impl RecentLine {
    /// A line with the number of repetitions, if any; resets the count.
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

/// The buffered lines of one process.
#[derive(Default)]
pub struct Log {
    state: Mutex<LogState>,
    /// True if lines are buffered; read without the lock after every message.
    waiting: AtomicBool,
}

impl Log {
    /// Adds a line, or counts it if the same line was logged within the last minute.
    pub fn write(&self, level: Level, text: impl Into<String>) {
        self.add(level, &text.into(), Vec::new(), false);
    }

    /// Adds a line logged by librdkafka.
    pub fn write_from_librdkafka(
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
            // Logged with the number of earlier repetitions; the count starts again.
            let repeated = recent.repeated();
            recent.since = now;
            state.push(repeated.unwrap_or(line));
        } else {
            if state.recent.len() == MAX_RECENT {
                // A line that is no longer remembered is no longer counted: log its count now.
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

    /// Adds a line once per process, for example a warning about the configuration that every request would repeat.
    pub fn write_once(&self, level: Level, text: &str) {
        if self.is_first(text) {
            self.write(level, text);
        }
    }

    /// True at the first call with this text.
    pub fn is_first(&self, text: &str) -> bool {
        let mut state = self.state.lock();
        state.once.len() >= MAX_ONCE || state.once.insert(text.to_owned())
    }

    /// Removes a secret from every line from now on.
    pub fn add_secret(&self, secret: &str) {
        self.state.lock().secrets.remember(secret);
    }

    /// The text with secrets replaced.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        self.state.lock().secrets.clean(text).into_owned()
    }

    /// Takes all buffered lines, oldest first, and adds repetition counts whose minute has passed.
    pub fn drain(&self) -> Vec<Line> {
        self.drain_at(Instant::now(), false)
    }

    /// Like [`Self::drain`], at exit: adds all repetition counts.
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
                        "{dropped} line(s) were dropped: the log buffer of {MAX_LINES} lines was full."
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

    /// True if lines are buffered; cheap enough to call after every message.
    #[inline]
    pub fn has_pending(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// The levels of PSR-3, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The system is unusable.
    Emergency,
    /// Action must be taken immediately.
    Alert,
    /// A component has failed.
    Critical,
    /// Messages were lost or an operation failed.
    Error,
    /// Needs attention, but nothing has failed.
    Warning,
    /// Normal but significant event.
    Notice,
    /// Informational, for example a connection that was established.
    Info,
    /// Debug information, not written by default.
    Debug,
}

impl Level {
    /// All levels; the index is syslog's severity.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Info,
        Self::Debug,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::Alert => "alert",
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// syslog's severity, 0 to 7.
    #[must_use]
    pub const fn severity(self) -> i32 {
        self as i32
    }

    /// The level of a syslog severity, as librdkafka uses them; a value out of range is `Debug`.
    #[must_use]
    pub fn of_severity(severity: i32) -> Self {
        let place = usize::try_from(severity).unwrap_or(0);
        Self::ALL.get(place).copied().unwrap_or(Self::Debug)
    }

    /// Parses a name, case-insensitive, including syslog's short names.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        let name = match name.as_str() {
            "emerg" => "emergency",
            "crit" => "critical",
            "err" => "error",
            "warn" => "warning",
            other => other,
        };
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

const INTERVAL: Duration = Duration::from_secs(60);

/// Limits a log line to one per minute, for refusals that clients or senders can cause at any rate.
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
    use std::time::{Duration, Instant};

    use super::{Level, Line, Log, MinuteLog, FOLD_WINDOW, MAX_LINES};

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_repeated_line_is_logged_once_a_minute() {
        let log = Log::default();
        assert!(!log.has_pending());
        for _ in 0..3 {
            log.write(Level::Warning, "broker away");
        }
        log.write(Level::Error, "other");
        assert!(log.has_pending());
        assert_eq!(texts(log.drain()), ["broker away", "other"]);
        assert!(!log.has_pending());
    }

    #[test]
    fn the_repetition_count_is_logged_after_a_minute() {
        let log = Log::default();
        for _ in 0..3 {
            log.write(Level::Warning, "broker away");
        }
        assert_eq!(texts(log.drain()), ["broker away"]);
        let later = Instant::now() + FOLD_WINDOW + Duration::from_secs(1);
        assert_eq!(
            texts(log.drain_at(later, false)),
            ["broker away (and 2 more times since)"]
        );
        assert!(texts(log.drain_at(later, false)).is_empty());
    }

    #[test]
    fn the_repetition_count_is_logged_at_exit() {
        let log = Log::default();
        log.write(Level::Error, "broker away");
        log.write(Level::Error, "broker away");
        log.drain();
        let last = log.drain_final();
        assert_eq!(last.len(), 1);
        assert_eq!(last[0].level, Level::Error);
        assert_eq!(last[0].text, "broker away (and 1 more times since)");
        assert!(log.drain_final().is_empty());
    }

    #[test]
    fn the_count_of_an_evicted_line_is_logged() {
        let log = Log::default();
        log.write(Level::Warning, "first");
        log.write(Level::Warning, "first");
        for n in 0..super::MAX_RECENT {
            log.write(Level::Warning, format!("line {n}"));
        }
        let lines = texts(log.drain());
        assert!(lines.contains(&"first (and 1 more times since)".to_owned()));
    }

    #[test]
    fn say_once_logs_once() {
        let log = Log::default();
        log.write_once(Level::Warning, "acks");
        assert_eq!(log.drain().len(), 1);
        log.write_once(Level::Warning, "acks");
        assert!(log.drain_final().is_empty());
    }

    #[test]
    fn the_buffer_is_bounded() {
        let log = Log::default();
        for n in 0..10_000 {
            log.write(Level::Warning, format!("line {n}"));
        }
        let lines = texts(log.drain());
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert_eq!(
            lines[0],
            "9500 line(s) were dropped: the log buffer of 500 lines was full."
        );
        assert_eq!(lines.last().map(String::as_str), Some("line 9999"));
    }

    #[test]
    fn debug_lines_are_dropped_before_errors() {
        let log = Log::default();
        log.write(Level::Error, "lost");
        for n in 0..10_000 {
            log.write(Level::Debug, format!("line {n}"));
        }
        assert!(texts(log.drain()).contains(&"lost".to_owned()));
    }

    #[test]
    fn lines_are_redacted_and_truncated() {
        let log = Log::default();
        log.add_secret("s3cret-of-ours");
        log.write(Level::Error, "refused s3cret-of-ours, sasl.password=other");
        log.write(Level::Error, "ü".repeat(10_000));
        let lines = texts(log.drain());
        assert_eq!(lines[0], "refused ***, sasl.password=***");
        assert!(lines[1].len() <= super::MAX_LINE_BYTES + 3 && lines[1].ends_with('…'));
    }

    #[test]
    fn levels_convert_to_names_and_severities_and_back() {
        for (severity, level) in (0..).zip(Level::ALL) {
            assert_eq!(level.severity(), severity);
            assert_eq!(Level::of_severity(severity), level);
            assert_eq!(Level::named(level.as_str()), Some(level));
        }
        assert_eq!(Level::of_severity(9), Level::Debug);
        assert_eq!(Level::named(" WARN"), Some(Level::Warning));
        assert_eq!(Level::named("loud"), None);
        assert!(
            Level::Error < Level::Warning,
            "more severe levels order first"
        );
    }

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
