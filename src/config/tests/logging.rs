//! Tests of log settings and of secret settings.

use super::{env, json};
use crate::config::{secrets_in, LogConfig};
use crate::error::Kind;
use crate::log::{Format, Level};

#[test]
fn the_array_overrides_the_environment() {
    let env = env(&[
        ("REALTIME_LOG_LEVEL", "debug"),
        ("REALTIME_LOG_FORMAT", "json"),
    ]);
    let set = json(r#"{"log_level":"Warn"}"#);
    let config = LogConfig::resolve(Some(&set), &env).expect("valid");
    assert_eq!(config.level, Some(Level::Warning));
    assert_eq!(config.format, Format::Json);
    let config = LogConfig::resolve(None, &env).expect("valid");
    assert_eq!(config.level, Some(Level::Debug));
}

#[test]
fn an_unknown_level_is_refused() {
    let error =
        LogConfig::resolve(Some(&json(r#"{"log_level":"loud"}"#)), &env(&[])).expect_err("refused");
    assert_eq!(error.kind(), Kind::Configuration);
    assert!(error.message().contains("realtime.log_level"));
    let error =
        LogConfig::resolve(None, &env(&[("REALTIME_LOG_FORMAT", "xml")])).expect_err("refused");
    assert!(error.message().contains("REALTIME_LOG_FORMAT"));
}

#[test]
fn a_level_includes_more_severe_levels() {
    let warning = LogConfig {
        level: Some(Level::Warning),
        ..LogConfig::default()
    };
    assert!(warning.takes(Level::Error, false) && warning.takes(Level::Warning, true));
    assert!(!warning.takes(Level::Notice, true));
    let unset = LogConfig::default();
    assert!(unset.takes(Level::Info, false) && !unset.takes(Level::Debug, false));
    assert!(
        unset.takes(Level::Debug, true),
        "its property debug asks for it"
    );
}

#[test]
fn secrets_are_found_by_their_names() {
    let array = json(
        r#"{"brokers":{"kafka":{"security":{"username":"shop","password":"one"},
            "producer_config":{"ssl.key.password":"two"}}},
            "gateway":{"secrets":"three,four"},"outbox":{"dsn":"five","password":"six"},
            "encryption_master_key":"seven"}"#,
    );
    assert_eq!(
        secrets_in(&array),
        ["one", "two", "three,four", "three", "four", "six", "seven"]
    );
}
