//! Tests of the settings of a process: monitoring, log, secrets.

use std::path::PathBuf;
use std::time::Duration;

use super::super::*;
use super::{env, json};
use crate::config::{secrets_in, LogConfig};
use crate::error::{Kind, Result};
use crate::log::{Format, Level};

fn monitor(configured: &str, variables: &[(&str, &str)]) -> Result<MonitorConfig> {
    let configured = json(configured);
    let env = env(variables);
    MonitorConfig::resolve(&Layers {
        constructor: None,
        configured: Some(&configured),
        env: &env,
    })
}

#[test]
fn monitoring_is_off_by_default() {
    let config = monitor("{}", &[]).unwrap();
    assert_eq!(config.listen, None);
    assert_eq!(config.textfile, None);
    assert_eq!(config.heartbeat, None);
    assert_eq!(config.liveness, Duration::from_secs(60));
}

#[test]
fn the_array_overrides_the_environment() {
    let variables = [
        ("REALTIME_METRICS", "127.0.0.1:1"),
        ("REALTIME_METRICS_TEXTFILE", "/a"),
        ("REALTIME_HEARTBEAT_FILE", "/b"),
        ("REALTIME_LIVENESS_TIMEOUT_MS", "5000"),
    ];
    let config = monitor(r#"{"metrics":"127.0.0.1:2"}"#, &variables).unwrap();
    assert_eq!(config.listen.as_deref(), Some("127.0.0.1:2"));
    assert_eq!(config.textfile, Some(PathBuf::from("/a")));
    assert_eq!(config.heartbeat, Some(PathBuf::from("/b")));
    assert_eq!(config.liveness, Duration::from_secs(5));
}

#[test]
fn the_metrics_flag_of_toporia_is_not_an_address() {
    for configured in [
        r#"{"metrics":true}"#,
        r#"{"metrics":{"enabled":true}}"#,
        r#"{"metrics":"off"}"#,
        r#"{"metrics":""}"#,
    ] {
        assert_eq!(monitor(configured, &[]).unwrap().listen, None);
    }
}

#[test]
fn invalid_values_are_refused() {
    for (configured, word) in [
        (r#"{"metrics_textfile":"relative"}"#, "absolute"),
        (r#"{"liveness_timeout_ms":5}"#, "liveness_timeout_ms"),
        (r#"{"metrcis":"a:1"}"#, "metrics"),
    ] {
        let error = monitor(configured, &[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Configuration);
        assert!(error.message().contains(word), "{error}");
    }
}

#[test]
fn monitoring_settings_are_refused_inside_a_broker() {
    let none = env(&[]);
    let resolve = |configured: &str| {
        let configured = json(configured);
        BrokerConfig::resolve(
            None,
            &Layers {
                constructor: None,
                configured: Some(&configured),
                env: &none,
            },
        )
    };
    let broker = |setting: &str| format!(r#"{{"brokers":{{"kafka":{{{setting}}}}}}}"#);
    for setting in [
        r#""metrics":"127.0.0.1:9400""#,
        r#""heartbeat_file":"/a""#,
        r#""liveness_timeout_ms":1000"#,
    ] {
        let error = resolve(&broker(setting)).unwrap_err();
        assert!(error.message().contains("whole process"), "{error}");
    }
    assert!(resolve(&broker(r#""metrics":true"#)).is_ok());
}

#[test]
fn log_settings_of_the_array_override_the_environment() {
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
