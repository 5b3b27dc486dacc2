//! Folding, bounds, and what is said at the end.

use std::time::{Duration, Instant};

use super::{Level, Line, Log, FOLD, MOST_LINES};

fn texts(lines: Vec<Line>) -> Vec<String> {
    lines.into_iter().map(|line| line.text).collect()
}

#[test]
fn the_same_line_is_said_once_a_minute() {
    let log = Log::default();
    assert!(!log.is_waiting());
    for _ in 0..3 {
        log.say(Level::Warning, "broker away");
    }
    log.say(Level::Error, "other");
    assert!(log.is_waiting());
    assert_eq!(texts(log.take()), ["broker away", "other"]);
    assert!(!log.is_waiting());
}

#[test]
fn how_often_it_was_repeated_is_said_when_the_minute_is_over() {
    let log = Log::default();
    for _ in 0..3 {
        log.say(Level::Warning, "broker away");
    }
    assert_eq!(texts(log.take()), ["broker away"]);
    let later = Instant::now() + FOLD + Duration::from_secs(1);
    assert_eq!(
        texts(log.take_at(later, false)),
        ["broker away (and 2 more times since)"]
    );
    assert!(texts(log.take_at(later, false)).is_empty());
}

#[test]
fn how_often_it_was_repeated_is_said_at_the_end() {
    let log = Log::default();
    log.say(Level::Error, "broker away");
    log.say(Level::Error, "broker away");
    log.take();
    let last = log.take_last();
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].level, Level::Error);
    assert_eq!(last[0].text, "broker away (and 1 more times since)");
    assert!(log.take_last().is_empty());
}

#[test]
fn what_is_forgotten_for_others_is_said_before() {
    let log = Log::default();
    log.say(Level::Warning, "first");
    log.say(Level::Warning, "first");
    for n in 0..super::REMEMBERED {
        log.say(Level::Warning, format!("line {n}"));
    }
    let lines = texts(log.take());
    assert!(lines.contains(&"first (and 1 more times since)".to_owned()));
}

#[test]
fn what_is_said_once_is_not_said_again() {
    let log = Log::default();
    log.say_once(Level::Warning, "acks");
    assert_eq!(log.take().len(), 1);
    log.say_once(Level::Warning, "acks");
    assert!(log.take_last().is_empty());
}

#[test]
fn a_host_that_never_comes_costs_bounded_memory() {
    let log = Log::default();
    for n in 0..10_000 {
        log.say(Level::Warning, format!("line {n}"));
    }
    let lines = texts(log.take());
    assert_eq!(lines.len(), MOST_LINES + 1);
    assert_eq!(
        lines[0],
        "9500 line(s) were dropped: more than 500 waited to be written."
    );
    assert_eq!(lines.last().map(String::as_str), Some("line 9999"));
}

#[test]
fn a_flood_of_debugging_drops_no_error() {
    let log = Log::default();
    log.say(Level::Error, "lost");
    for n in 0..10_000 {
        log.say(Level::Debug, format!("line {n}"));
    }
    assert!(texts(log.take()).contains(&"lost".to_owned()));
}

#[test]
fn no_line_has_a_secret_in_it_and_none_is_endless() {
    let log = Log::default();
    log.hide("s3cret-of-ours");
    log.say(Level::Error, "refused s3cret-of-ours, sasl.password=other");
    log.say(Level::Error, "ü".repeat(10_000));
    let lines = texts(log.take());
    assert_eq!(lines[0], "refused ***, sasl.password=***");
    assert!(lines[1].len() <= super::LONGEST + 3 && lines[1].ends_with('…'));
}
