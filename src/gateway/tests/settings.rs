//! Defaults and validation of settings.

use crate::config::gateway_settings::Settings;

fn valid() -> Settings {
    Settings {
        app_id: "app".into(),
        key: "key".into(),
        secrets: vec!["4f9c1d7a20b86e35f1a7c9d2e4b60837".into()],
        ..Settings::default()
    }
}

#[test]
fn missing_and_weak_secrets_are_rejected() {
    assert!(valid().validate().is_ok());
    let weak = [
        "",
        "short",
        &"a".repeat(64),
        "0123456789abcdef0123456789abcdef",
        &"x".repeat(31),
    ];
    for secret in weak {
        let settings = Settings {
            secrets: vec![secret.into()],
            ..valid()
        };
        assert!(settings.validate().is_err(), "{secret}");
        // Also behind a strong first secret.
        let settings = Settings {
            secrets: vec![valid().secrets[0].clone(), secret.into()],
            ..valid()
        };
        assert!(settings.validate().is_err(), "{secret}");
    }
    assert!(Settings {
        secrets: vec![],
        ..valid()
    }
    .validate()
    .is_err());
    assert!(Settings {
        key: String::new(),
        ..valid()
    }
    .validate()
    .is_err());
    assert!(Settings {
        app_id: "a/b".into(),
        ..valid()
    }
    .validate()
    .is_err());
}

#[test]
fn defaults_are_as_documented() {
    let s = Settings::default();
    assert_eq!(s.host, "127.0.0.1");
    assert_eq!(s.ops_listen.as_deref(), Some("127.0.0.1:6900"));
    assert!(s.is_public("public.news") && !s.is_public("user.1") && !s.public_by_mark);
    assert_eq!(
        (s.max_message, s.max_depth, s.max_queue),
        (16_384, 32, 1_048_576)
    );
    assert!(s.serves("anything"));
}
