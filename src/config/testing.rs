//! For tests of other modules: a configuration from a few settings, without environment variables or INI settings.

use std::sync::Arc;

use super::{BrokerConfig, Environment, Layers, Value};

struct EmptyEnvironment;

impl Environment for EmptyEnvironment {
    fn raw_var(&self, _: &str) -> Option<String> {
        None
    }

    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn warn_of_comment(&self, _: &str) {}

    fn ini(&self, _: &str) -> Option<String> {
        None
    }
}

/// The configuration of a broker constructed with these settings.
///
/// # Panics
///
/// If the settings are invalid.
pub fn config(settings: &[(&str, Value)]) -> Arc<BrokerConfig> {
    let map = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    let layers = Layers {
        constructor: Some(&Value::Map(map)),
        configured: None,
        env: &EmptyEnvironment,
    };
    Arc::new(BrokerConfig::resolve(None, &layers).expect("a valid configuration"))
}
