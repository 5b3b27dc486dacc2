//! Settings with type, range and default, and the layers that they are read from: arrays, then INI settings, then
//! environment variables.

use std::borrow::Cow;

use super::keys::{canonical, ignored, Setting};
use super::{keys as k, named_brokers, wrong, Environment, Value};
use crate::error::{Error, Result};

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
                    let elsewhere = setting.key == k::BROKERS.key
                        && (no_addresses(value)
                            || (matches!(layer.origin, LayerOrigin::Top)
                                && named_brokers(value).is_some()));
                    if !elsewhere {
                        return Some(found(value, layer.origin.key(key)));
                    }
                }
            }
            for (config, wanted) in [
                (k::PRODUCER_CONFIG.key, setting.producer),
                (k::CONSUMER_CONFIG.key, setting.consumer),
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

    /// One line for each known key of the arrays that is ignored.
    pub fn ignored_keys(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for layer in &self.arrays {
            for (key, _) in layer.map {
                if let Some(why) = ignored(key) {
                    notes.push(format!("{} is ignored: {why}.", layer.origin.key(key)));
                }
            }
        }
        notes
    }

    /// Refuses monitoring settings inside a broker: they apply to the whole process.
    pub fn refuse_misplaced(&self) -> Result<()> {
        let own = [
            k::METRICS,
            k::METRICS_TEXTFILE,
            k::HEARTBEAT_FILE,
            k::LIVENESS_TIMEOUT_MS,
        ];
        let is_top = |layer: &&ArrayLayer<'_>| matches!(layer.origin, LayerOrigin::Top);
        for layer in self.arrays.iter().filter(|layer| !is_top(layer)) {
            for (key, value) in layer.map {
                // Toporia's own brokers have a flag of this name.
                let is_flag = key == k::METRICS.key
                    && !matches!(value, Value::Str(text) if text.contains(':'));
                if own.iter().any(|setting| setting.key == key) && !is_flag && !value.is_unset() {
                    return Err(Error::configuration(format!(
                        "{} applies to the whole process: set realtime.{key} at the top of config/realtime.php, or \
                         its environment variable.",
                        layer.origin.key(key)
                    )));
                }
            }
        }
        Ok(())
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

/// Reads settings, and collects notes and warnings about them.
pub(super) struct SettingsReader<'a> {
    pub sources: Sources<'a>,
    /// Debug lines: settings that were ignored or translated.
    pub notes: Vec<String>,
    /// Warnings, logged once per process.
    pub warnings: Vec<String>,
}

impl<'a> SettingsReader<'a> {
    pub fn new(arrays: Vec<ArrayLayer<'a>>, env: &'a dyn Environment) -> Self {
        Self {
            sources: Sources { arrays, env },
            notes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn read<T>(
        &self,
        setting: &Setting,
        default: T,
        convert: impl FnOnce(&Found<'_>) -> Result<T>,
    ) -> Result<T> {
        match self.sources.find(setting) {
            Some(found) => convert(&found),
            None => Ok(default),
        }
    }

    pub fn text(&self, setting: &Setting, default: &str) -> Result<String> {
        Ok(self.text_at(setting, default)?.0)
    }

    /// The text, and its place as named in errors.
    pub fn text_at(&self, setting: &Setting, default: &str) -> Result<(String, String)> {
        let fallback = (default.to_owned(), setting.key.to_owned());
        self.read(setting, fallback, |f| {
            Ok((f.value.text(&f.place)?, f.place.clone()))
        })
    }

    pub fn optional_text(&self, setting: &Setting) -> Result<Option<String>> {
        self.read(setting, None, |f| f.value.text(&f.place).map(Some))
    }

    /// A host name or address; an IPv6 address may have brackets.
    #[allow(clippy::needless_pass_by_value)] // as the readers of other types
    pub fn host(&self, setting: &Setting, default: String) -> Result<String> {
        let (host, place) = self.text_at(setting, &default)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(&host);
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if bare.is_empty()
            || !bare.chars().all(named)
            || (bare.contains(':') && bare.parse::<std::net::Ipv6Addr>().is_err())
        {
            return Err(wrong(
                &place,
                "an address or a host name, without a port (127.0.0.1, 0.0.0.0, ::)",
                &Value::from(host.as_str()),
            ));
        }
        Ok(bare.to_owned())
    }

    /// A path with a leading slash and without a trailing one; empty for none.
    #[allow(clippy::needless_pass_by_value)] // as the readers of other types
    pub fn path_prefix(&self, setting: &Setting, default: String) -> Result<String> {
        let (path, place) = self.text_at(setting, &default)?;
        let bare = path.trim_matches('/');
        if bare.is_empty() {
            return Ok(String::new());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '/');
        if bare.contains("//") || !bare.chars().all(plain) {
            return Err(wrong(
                &place,
                "a path of letters, digits, - _ . ~ and /, such as /realtime",
                &Value::from(path.as_str()),
            ));
        }
        Ok(format!("/{bare}"))
    }

    pub fn listen(&self, setting: &Setting, default: Option<String>) -> Result<Option<String>> {
        let Some(found) = self.sources.find(setting) else {
            return Ok(default);
        };
        let expected = "'host:port', or 'off'";
        let text = match found.value.as_ref() {
            Value::Bool(false) => return Ok(None),
            Value::Str(text) => text.trim(),
            other => return Err(wrong(&found.place, expected, other)),
        };
        if matches!(text.to_ascii_lowercase().as_str(), "off" | "false") {
            return Ok(None);
        }
        let fits = text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok()
        });
        if !fits {
            return Err(wrong(&found.place, expected, &found.value));
        }
        Ok(Some(text.to_owned()))
    }

    /// A list, or a comma-separated string; empty entries are ignored.
    pub fn list(&self, setting: &Setting) -> Result<Option<Vec<String>>> {
        let Some(found) = self.sources.find(setting) else {
            return Ok(None);
        };
        let wanted = "a list, or a comma-separated string";
        let all: Vec<String> = match found.value.as_ref() {
            Value::List(items) => items
                .iter()
                .map(|item| match item {
                    Value::Null => Ok(String::new()),
                    Value::Str(_) | Value::Int(_) => item.text(&found.place),
                    other => Err(wrong(&found.place, wanted, other)),
                })
                .collect::<Result<_>>()?,
            Value::Str(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
            other => return Err(wrong(&found.place, wanted, other)),
        };
        Ok(Some(
            all.into_iter().filter(|one| !one.is_empty()).collect(),
        ))
    }

    pub fn flag(&self, setting: &Setting, default: bool) -> Result<bool> {
        self.read(setting, default, |f| f.value.flag(&f.place))
    }

    /// A count or a time that cannot be negative.
    pub fn count(
        &self,
        setting: &Setting,
        default: u64,
        range: (i64, i64),
        unit: &str,
    ) -> Result<u64> {
        self.read(setting, default, |f| {
            Ok(f.value.int(&f.place, range, unit)?.unsigned_abs())
        })
    }

    pub fn optional_int(
        &self,
        setting: &Setting,
        range: (i64, i64),
        unit: &str,
    ) -> Result<Option<i64>> {
        self.read(setting, None, |f| {
            f.value.int(&f.place, range, unit).map(Some)
        })
    }

    /// One of several words, case-insensitive; `_` is accepted for `-`.
    pub fn choice<T: Copy>(
        &self,
        setting: &Setting,
        choices: &[(&str, T)],
        default: T,
    ) -> Result<T> {
        self.read(setting, default, |f| {
            let word = f
                .value
                .property(&f.place)?
                .to_ascii_lowercase()
                .replace('_', "-");
            let names: Vec<String> = choices.iter().map(|(n, _)| format!("'{n}'")).collect();
            choices
                .iter()
                .find(|(name, _)| *name == word)
                .map(|(_, choice)| *choice)
                .ok_or_else(|| wrong(&f.place, &names.join(", "), &f.value))
        })
    }
}
