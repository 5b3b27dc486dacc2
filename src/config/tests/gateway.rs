//! Tests of the gateway's settings: layers, accepted values, and secrets that are never shown.

use std::time::Duration;

use super::super::{GatewayConfig, Layers};
use super::{env, from, json, with};
use crate::config::gateway_settings::Settings;
use crate::error::{Kind, Result};

/// 32 bytes in base64.
const MASTER: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn gateway(configured: &str, given: &str, variables: &[(&str, &str)]) -> Result<GatewayConfig> {
    let (configured, given) = (json(configured), json(given));
    let layers = Layers {
        constructor: Some(&given),
        configured: Some(&configured),
        env: &env(variables),
    };
    GatewayConfig::resolve(&layers)
}

fn says(result: Result<GatewayConfig>, parts: &[&str]) {
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
        says(gateway("{}", given, &[]), parts);
    }
    says(
        gateway(r#"{"gateway":{"recovry":true}}"#, "{}", &[]),
        &["realtime.gateway", "'recovery'"],
    );
    let wrong_key = r#"{"encryption_master_key":"hunter2"}"#;
    says(
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
    let config = super::super::BrokerConfig::resolve(None, &layers).unwrap();
    assert!(config.encryption.is_some());
    assert!(
        !format!("{config:?}").contains("MDEyMzQ1"),
        "never in a log"
    );
    let top = gateway(&here, "{}", &[]).unwrap().settings;
    assert!(top.encryption_master_key.is_some());
}
