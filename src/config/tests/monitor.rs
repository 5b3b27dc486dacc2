//! Tests of what watches a process.

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
fn nothing_watches_unless_it_is_asked_to() {
    let config = monitor("{}", &[]).unwrap();
    assert_eq!(config.listen, None);
    assert_eq!(config.textfile, None);
    assert_eq!(config.heartbeat, None);
    assert_eq!(config.liveness, Duration::from_secs(60));
}

#[test]
fn the_array_comes_before_the_environment() {
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
fn the_flag_of_toporias_brokers_is_no_address() {
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
fn what_cannot_be_is_refused() {
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
fn it_is_set_for_the_process_not_for_a_broker() {
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
