//! Shared by the tests of the configuration: an environment, and arrays written as JSON.

mod application;
mod properties;
mod settings;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::gateway_settings::Settings;
use super::*;
use crate::error::Kind;
use crate::log::{Format, Level};

/// Environment variables by name; INI settings as `ini:name`.
#[derive(Default)]
pub(super) struct Env(HashMap<String, String>);

impl Environment for Env {
    fn raw_var(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
    fn variables(&self) -> Vec<(String, String)> {
        self.0.clone().into_iter().collect()
    }
    fn warn_of_comment(&self, _: &str) {}
    fn ini(&self, name: &str) -> Option<String> {
        self.0.get(&format!("ini:{name}")).cloned()
    }
}

pub(super) fn env(pairs: &[(&str, &str)]) -> Env {
    let own = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    Env(pairs.iter().map(own).collect())
}

/// A configuration as JSON; keeps the order of keys.
pub(super) fn json(text: &str) -> Value {
    struct Ordered(Value);
    impl<'de> serde::de::Deserialize<'de> for Ordered {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            d.deserialize_any(Visit).map(Ordered)
        }
    }
    struct Visit;
    impl<'de> serde::de::Visitor<'de> for Visit {
        type Value = Value;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("JSON")
        }
        fn visit_unit<E>(self) -> Result<Value, E> {
            Ok(Value::Null)
        }
        fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
            Ok(Value::Bool(v))
        }
        fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
            Ok(Value::Int(v))
        }
        fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
            Ok(Value::Int(i64::try_from(v).unwrap_or(i64::MAX)))
        }
        fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
            Ok(Value::Float(v))
        }
        fn visit_str<E>(self, v: &str) -> Result<Value, E> {
            Ok(Value::from(v))
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut a: A) -> Result<Value, A::Error> {
            let mut items = Vec::new();
            while let Some(Ordered(item)) = a.next_element()? {
                items.push(item);
            }
            Ok(Value::List(items))
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut a: A) -> Result<Value, A::Error> {
            let mut members = Vec::new();
            while let Some((key, Ordered(value))) = a.next_entry()? {
                members.push((key, value));
            }
            Ok(Value::Map(members))
        }
    }
    serde_json::from_str::<Ordered>(text).unwrap().0
}

/// Resolves a broker from a constructor's array alone.
pub(super) fn from(text: &str) -> crate::error::Result<BrokerConfig> {
    with(text, &[])
}

pub(super) fn with(text: &str, variables: &[(&str, &str)]) -> crate::error::Result<BrokerConfig> {
    let mut constructor = json(text);
    let env = env(variables);
    remove_comments(&mut constructor, "", &env);
    let layers = Layers {
        constructor: Some(&constructor),
        configured: None,
        env: &env,
    };
    BrokerConfig::resolve(None, &layers)
}

pub(super) fn refused(text: &str, says: &[&str]) {
    let error = from(text).map(|c| format!("{c:?}")).expect_err(text);
    assert_eq!(error.kind(), Kind::Configuration, "{text}");
    for part in says {
        assert!(error.message().contains(part), "{text}: {error}");
    }
}

/// For tests of other modules: the configuration of a broker constructed with these settings.
///
/// # Panics
/// If the settings are invalid.
pub fn config(settings: &[(&str, Value)]) -> Arc<BrokerConfig> {
    let own = |(key, value): &(&str, Value)| ((*key).to_owned(), value.clone());
    let layers = Layers {
        constructor: Some(&Value::Map(settings.iter().map(own).collect())),
        configured: None,
        env: &Env::default(),
    };
    Arc::new(BrokerConfig::resolve(None, &layers).expect("a valid configuration"))
}

/// 32 bytes in base64.
const MASTER: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn gateway(
    configured: &str,
    given: &str,
    variables: &[(&str, &str)],
) -> crate::error::Result<GatewayConfig> {
    let (configured, given) = (json(configured), json(given));
    let layers = Layers {
        constructor: Some(&given),
        configured: Some(&configured),
        env: &env(variables),
    };
    GatewayConfig::resolve(&layers)
}

fn gateway_refused(result: crate::error::Result<GatewayConfig>, parts: &[&str]) {
    let error = result.map(|c| format!("{:?}", c.settings)).unwrap_err();
    assert_eq!(error.kind(), Kind::Configuration);
    for part in parts {
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn defaults_have_no_secret() {
    let settings = gateway("{}", "{}", &[]).unwrap().settings;
    assert_eq!(
        format!("{settings:?}"),
        format!("{:?}", Settings::default())
    );
    assert!(settings.validate().is_err());
}

#[test]
fn the_constructor_overrides_the_configuration_which_overrides_the_environment() {
    let variables = [
        ("REALTIME_GATEWAY_HOST", "10.0.0.1"),
        ("REALTIME_GATEWAY_PORT", "7001"),
        ("REALTIME_APP_ID", "shop"),
        ("REALTIME_APP_KEY", "k1"),
        ("REALTIME_APP_SECRET", "one, two"),
        (
            "REALTIME_ALLOWED_ORIGINS",
            "https://a.example,https://b.example",
        ),
        ("REALTIME_OPS_LISTEN", "off"),
        ("REALTIME_ENCRYPTION_MASTER_KEY", MASTER),
    ];
    let s = gateway("{}", "{}", &variables).unwrap().settings;
    assert_eq!((s.host.as_str(), s.port), ("10.0.0.1", 7001));
    assert_eq!((s.app_id.as_str(), s.key.as_str()), ("shop", "k1"));
    assert_eq!(s.secrets, ["one", "two"]);
    assert_eq!(
        s.allowed_origins,
        ["https://a.example", "https://b.example"]
    );
    assert_eq!(s.ops_listen, None);
    assert!(s.encryption_master_key.is_some());
    let configured =
        r#"{"gateway":{"host":"::1","port":"8001","secret":"s","public_channels":[]}}"#;
    let c = gateway(configured, r#"{"port":9001,"broker":"orders"}"#, &variables).unwrap();
    let s = c.settings;
    assert_eq!((s.host.as_str(), s.port), ("::1", 9001));
    assert_eq!(s.secrets, ["s"]);
    assert!(
        !s.is_public("public.news"),
        "an empty list makes nothing public"
    );
    assert_eq!(c.broker_name.as_deref(), Some("orders"));
    let c = gateway("{}", r#"{"broker":{"brokers":"a:1"}}"#, &[]).unwrap();
    assert!(c.broker_name.is_none() && c.broker.unwrap().get("brokers").is_some());
}

#[test]
fn numbers_lists_and_durations_are_converted() {
    let given = r#"{"max_queue":"2M","activity_timeout_ms":15000,"ws_channels":"order.*, public.**",
        "api_listen":"127.0.0.1:7000","require_origin":"yes","messages_per_second":5,"public_by_mark":true}"#;
    let s = gateway("{}", given, &[]).unwrap().settings;
    assert_eq!(s.max_queue, 2 << 20);
    assert_eq!(s.activity_timeout, Duration::from_secs(15));
    assert!(s.serves("order.1") && s.serves("public.a.b") && !s.serves("user.1"));
    assert_eq!(s.api_listen.as_deref(), Some("127.0.0.1:7000"));
    assert!(s.require_origin && s.public_by_mark);
    assert_eq!(s.messages_per_second, 5);
}

#[test]
fn errors_name_the_setting_and_never_show_secrets() {
    for (given, parts) in [
        (
            r#"{"allowed_origin":"x"}"#,
            &["'allowed_origins'", "array given to the Gateway"][..],
        ),
        (r#"{"port":70000}"#, &["'port'", "65535"]),
        (r#"{"host":"127.0.0.1:6001"}"#, &["without a port"]),
        (r#"{"ops_listen":"6002"}"#, &["'host:port', or 'off'"]),
        (r#"{"activity_timeout_ms":0}"#, &["1000"]),
        (r#"{"public_channels":["a\u0007b"]}"#, &["public_channels"]),
        (r#"{"secrets":{"a":"b"}}"#, &["secrets"]),
        (
            r#"{"heartbeat_ms":2000,"node_timeout_ms":3000}"#,
            &["node_timeout_ms", "three heartbeats"],
        ),
        (r#""x""#, &["array of settings"]),
    ] {
        gateway_refused(gateway("{}", given, &[]), parts);
    }
    gateway_refused(
        gateway(r#"{"gateway":{"recovry":true}}"#, "{}", &[]),
        &["realtime.gateway", "'recovery'"],
    );
    let wrong_key = r#"{"encryption_master_key":"hunter2"}"#;
    gateway_refused(
        gateway("{}", wrong_key, &[]),
        &["32 bytes in base64", "openssl rand -base64 32"],
    );
    let error = gateway("{}", wrong_key, &[]).map(|_| ()).unwrap_err();
    assert!(!error.message().contains("hunter2"), "{error}");
}

#[test]
fn the_master_key_is_read_from_every_layer() {
    assert!(from("{}").unwrap().encryption.is_none());
    let here = format!(r#"{{"encryption_master_key":"{MASTER}"}}"#);
    assert!(from(&here).unwrap().encryption.is_some());
    let variable = [("REALTIME_ENCRYPTION_MASTER_KEY", MASTER)];
    assert!(with("{}", &variable).unwrap().encryption.is_some());
    let configured = json(&format!(r#"{{"gateway":{here}}}"#));
    let layers = Layers {
        constructor: None,
        configured: Some(&configured),
        env: &env(&[]),
    };
    let config = BrokerConfig::resolve(None, &layers).unwrap();
    assert!(config.encryption.is_some());
    assert!(
        !format!("{config:?}").contains("MDEyMzQ1"),
        "never in a log"
    );
    let top = gateway(&here, "{}", &[]).unwrap().settings;
    assert!(top.encryption_master_key.is_some());
}

fn monitor(configured: &str, variables: &[(&str, &str)]) -> crate::error::Result<MonitorConfig> {
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

#[test]
fn a_trailing_comment_is_removed() {
    for (name, value, expected) in [
        (
            "KAFKA_BROKERS",
            "localhost:9092 # local",
            Some("localhost:9092"),
        ),
        ("KAFKA_BROKERS", "a:1,b:2\t#x", Some("a:1,b:2")),
        ("KAFKA_BROKERS", "# not set", Some("")),
        ("KAFKA_BROKERS", "\"a:1\" # quoted", Some("a:1")),
        ("KAFKA_BROKERS", "'a:1'  #quoted", Some("a:1")),
        ("KAFKA_SASL_PASSWORD", "hunter2 # secret", Some("hunter2")),
        ("KAFKA_SASL_PASSWORD", "# none", Some("")),
    ] {
        let clean = without_comment(name, value);
        assert_eq!(clean.as_deref(), expected, "{name}={value}");
    }
}

#[test]
fn values_without_a_comment_are_unchanged() {
    for (name, value) in [
        ("KAFKA_BROKERS", "localhost:9092"),
        ("KAFKA_TOPIC_PREFIX", "a#b"),
        ("KAFKA_SASL_PASSWORD", "hunter #2"),
        ("KAFKA_SASL_PASSWORD", "#hunter"),
        ("REALTIME_ENCRYPTION_MASTER_KEY", "abc #def="),
        ("APP_NAME", "\"my # shop\""),
        ("APP_NAME", ""),
    ] {
        assert_eq!(without_comment(name, value), None, "{name}={value}");
    }
}
