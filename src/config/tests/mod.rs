//! Shared by the tests of the configuration: an environment, and arrays written as JSON.

mod application;
mod gateway;
mod process;
mod properties;
mod settings;

use super::*;
use crate::error::Kind;
use std::collections::HashMap;
use std::sync::Arc;

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
