//! The layers a setting is read from: arrays, then INI settings, then environment variables.

use super::keys::{canonical, Setting, BROKERS, CONSUMER_CONFIG, PRODUCER_CONFIG};
use super::value::{named_brokers, wrong, Value};
use super::Environment;
use crate::error::Result;
use std::borrow::Cow;

/// An array of settings and its origin, for errors.
pub(super) struct ArrayLayer<'a> {
    pub map: &'a [(String, Value)],
    pub origin: LayerOrigin<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum LayerOrigin<'a> {
    Constructor,
    /// `realtime.brokers.<name>`
    Broker(&'a str),
    /// The top level of `realtime`, for all brokers.
    Top,
    /// The array given to the Gateway.
    GatewayConstructor,
    /// `realtime.gateway`
    Gateway,
}

impl LayerOrigin<'_> {
    /// The name of the array in errors.
    pub fn array(self) -> String {
        match self {
            Self::Constructor => "the array given to the Broker".to_owned(),
            Self::Broker(name) => format!("realtime.brokers.{name}"),
            Self::Top => "realtime".to_owned(),
            Self::GatewayConstructor => "the array given to the Gateway".to_owned(),
            Self::Gateway => "realtime.gateway".to_owned(),
        }
    }

    /// The name of a key in errors.
    pub fn key(self, key: &str) -> String {
        match self {
            Self::Constructor | Self::GatewayConstructor => format!("'{key}' in {}", self.array()),
            _ => format!("{}.{key}", self.array()),
        }
    }
}

/// A configured value and its place.
pub(super) struct Found<'a> {
    pub value: Cow<'a, Value>,
    pub place: String,
    /// Index of the layer; 0 is the most specific.
    pub layer: usize,
}

/// The layers, most specific first.
pub(super) struct Sources<'a> {
    pub arrays: Vec<ArrayLayer<'a>>,
    pub env: &'a dyn Environment,
}

impl<'a> Sources<'a> {
    /// The value of the first layer that sets `setting` by its key, an alias, or an equivalent property.
    pub fn find(&self, setting: &Setting) -> Option<Found<'a>> {
        self.find_from(setting, 0)
    }

    /// Like [`Self::find`], without the first `skip` layers.
    pub fn find_from(&self, setting: &Setting, skip: usize) -> Option<Found<'a>> {
        let (ini, env) = (self.arrays.len(), self.arrays.len() + 1);
        self.in_arrays(setting, skip)
            .or_else(|| {
                let wanted = setting.ini && ini >= skip;
                let text = self.env.ini(setting.key).filter(|_| wanted)?;
                from_text(text, ini, || {
                    format!("the INI setting toporia_realtime.{}", setting.key)
                })
            })
            .or_else(|| {
                let name = setting.env.filter(|_| env >= skip)?;
                from_text(self.env.var(name)?, env, || env_place(name))
            })
    }

    fn in_arrays(&self, setting: &Setting, skip: usize) -> Option<Found<'a>> {
        for (number, layer) in self.arrays.iter().enumerate().skip(skip) {
            let found = |value, place| Found {
                value: Cow::Borrowed(value),
                place,
                layer: number,
            };
            for key in std::iter::once(&setting.key).chain(setting.aliases) {
                if let Some(value) = set_member(layer.map, key) {
                    let elsewhere = setting.key == BROKERS.key
                        && (no_addresses(value)
                            || (matches!(layer.origin, LayerOrigin::Top)
                                && named_brokers(value).is_some()));
                    if !elsewhere {
                        return Some(found(value, layer.origin.key(key)));
                    }
                }
            }
            for (config, wanted) in [
                (PRODUCER_CONFIG.key, setting.producer),
                (CONSUMER_CONFIG.key, setting.consumer),
            ] {
                let Some(map) = set_member(layer.map, config).and_then(Value::as_map) else {
                    continue;
                };
                let hit = map
                    .iter()
                    .find(|(k, v)| wanted.contains(&canonical(k)) && !v.is_unset());
                if let Some((key, value)) = hit {
                    return Some(found(value, layer.origin.key(&format!("{config}.{key}"))));
                }
            }
        }
        None
    }

    /// The members of the map `setting` merged over all arrays: for each name the most specific layer wins.
    pub fn merged(&self, setting: &Setting) -> Result<Vec<(&'a str, Found<'a>)>> {
        let mut members: Vec<(&str, Found<'_>)> = Vec::new();
        for (number, layer) in self.arrays.iter().enumerate() {
            let Some(value) = set_member(layer.map, setting.key) else {
                continue;
            };
            let place = layer.origin.key(setting.key);
            let map = value
                .as_map()
                .ok_or_else(|| wrong(&place, "an array of names and values", value))?;
            for (name, value) in map.iter().filter(|(_, v)| !v.is_unset()) {
                if members.iter().all(|(n, _)| n != name) {
                    let found = Found {
                        value: Cow::Borrowed(value),
                        place: layer.origin.key(&format!("{}.{name}", setting.key)),
                        layer: number,
                    };
                    members.push((name, found));
                }
            }
        }
        Ok(members)
    }
}

fn env_place(name: &str) -> String {
    format!("the environment variable {name}")
}

fn set_member<'a>(map: &'a [(String, Value)], key: &str) -> Option<&'a Value> {
    let (_, value) = map.iter().find(|(k, _)| k == key)?;
    (!value.is_unset()).then_some(value)
}

fn from_text<'a>(text: String, layer: usize, place: impl Fn() -> String) -> Option<Found<'a>> {
    let value = Value::Str(text);
    (!value.is_unset()).then(|| Found {
        value: Cow::Owned(value),
        place: place(),
        layer,
    })
}

/// True for a list without an address, which counts as unset: the result of `explode(',', '')`.
fn no_addresses(value: &Value) -> bool {
    match value {
        Value::List(items) => items.iter().all(Value::is_unset),
        _ => false,
    }
}
