//! Tests of folding, bounds and redaction.

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
