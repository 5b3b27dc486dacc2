//! Tests of the monitoring settings.

use super::super::*;
use super::{env, json};
use crate::error::{Kind, Result};
use std::path::PathBuf;
use std::time::Duration;

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
