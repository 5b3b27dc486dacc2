//! The array of config/realtime.php as a whole: the brokers it defines, the default broker, and
//! the addresses of a broker.

use std::path::PathBuf;
use std::time::Duration;

use super::gateway_settings;
use super::keys::{self, nearest, with_env, Setting, BROKERS, TOP_LEVEL};
use super::sources::{ArrayLayer, LayerOrigin, SettingsReader};
use super::{named_brokers, wrong, Environment, Layers, Value, EMBEDDED};
use crate::error::{Error, Result};
use crate::log::{Format, Level};

/// The settings of an application that do not belong to one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationConfig {
    /// The broker used by `broadcast()`.
    pub default_broker: String,
    /// Names of the configured Kafka brokers, in order.
    pub brokers: Vec<String>,
}

/// Reads and validates the settings that do not belong to one broker.
///
/// # Errors
/// [`crate::error::Kind::Configuration`]: an unknown key at the top level, in `gateway` or in a Kafka broker; a wrong
/// type.
pub fn application_config(
    configured: Option<&Value>,
    env: &dyn Environment,
) -> Result<ApplicationConfig> {
    let map = top(configured)?;
    check_top(map)?;
    let named = brokers_of(map);
    for (name, entry) in named {
        if is_kafka(name, entry) {
            let place = LayerOrigin::Broker(name).array();
            let entry = entry
                .as_map()
                .ok_or_else(|| wrong(&place, "an array of settings", entry))?;
            keys::check_broker(entry, &place, "")?;
        }
    }
    Ok(ApplicationConfig {
        default_broker: default_broker(map, env)?,
        brokers: named
            .iter()
            .filter(|(name, entry)| is_kafka(name, entry))
            .map(|(name, _)| name.clone())
            .collect(),
    })
}

fn default_broker(map: &[(String, Value)], env: &dyn Environment) -> Result<String> {
    let configured = map
        .iter()
        .find(|(k, v)| k == "default_broker" && !v.is_unset());
    if let Some((_, value)) = configured {
        return value.text("realtime.default_broker");
    }
    let name = env.var("REALTIME_BROKER").unwrap_or_default();
    let name = name.trim();
    Ok(if name.is_empty() { "kafka" } else { name }.to_owned())
}

pub(super) fn top(configured: Option<&Value>) -> Result<&[(String, Value)]> {
    match configured {
        None | Some(Value::Null) => Ok(&[]),
        Some(value) => value
            .as_map()
            .ok_or_else(|| wrong("The realtime configuration", "an array of settings", value)),
    }
}

pub(super) fn check_top(map: &[(String, Value)]) -> Result<()> {
    keys::check_broker(map, "the realtime configuration", TOP_LEVEL)?;
    match map.iter().find(|(k, v)| k == "gateway" && !v.is_unset()) {
        Some((_, value)) => gateway_settings::check(value, "realtime.gateway"),
        None => Ok(()),
    }
}

fn brokers_of(map: &[(String, Value)]) -> &[(String, Value)] {
    map.iter()
        .find(|(key, _)| key == "brokers")
        .and_then(|(_, value)| named_brokers(value))
        .unwrap_or_default()
}

/// True if an entry of `brokers` is a Kafka broker. Like Toporia's manager, uses the name if the entry has no driver.
fn is_kafka(name: &str, entry: &Value) -> bool {
    match entry.get("driver") {
        Some(Value::Str(driver)) if !driver.trim().is_empty() => is_kafka_driver(driver.trim()),
        _ => !matches!(
            name,
            "redis" | "rabbitmq" | "nats" | "postgres" | "memory" | "null" | "log"
        ),
    }
}

pub(super) fn is_kafka_driver(driver: &str) -> bool {
    matches!(
        driver,
        "kafka" | "kafka-improved" | "kafka-hp" | "rdkafka" | "toporia_realtime"
    )
}

/// The name of the selected broker and its array layers, most specific first.
pub(super) fn select<'a>(
    name: Option<&str>,
    layers: &Layers<'a>,
) -> Result<(String, Vec<ArrayLayer<'a>>)> {
    let map = top(layers.configured)?;
    check_top(map)?;
    let mut arrays = Vec::with_capacity(3);
    let constructor = match layers.constructor {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_map().ok_or_else(|| {
            wrong(
                "The array given to the Broker",
                "an array of settings",
                value,
            )
        })?),
    };
    let mut requested = name.map(str::to_owned);
    if let Some(map) = constructor {
        let origin = LayerOrigin::Constructor;
        keys::check_broker(map, &origin.array(), "broker")?;
        let base = map.iter().find(|(k, v)| k == "broker" && !v.is_unset());
        if let (None, Some((_, value))) = (&requested, base) {
            requested = Some(value.text(&origin.key("broker"))?);
        }
        arrays.push(ArrayLayer { map, origin });
    }
    let named = brokers_of(map);
    let entry = |name: &str| named.iter().find(|(n, _)| n == name);
    let kafka = named.iter().filter(|(n, e)| is_kafka(n, e)).count();
    let wanted = if let Some(name) = requested {
        name
    } else {
        let default = default_broker(map, layers.env)?;
        let usable = entry(&default).is_some_and(|(n, e)| is_kafka(n, e))
            || (named.is_empty() && default == "kafka");
        match named.iter().find(|(n, e)| is_kafka(n, e)) {
            _ if usable => default,
            // With constructor settings, an application whose default broker is Redis can still
            // create a Kafka broker.
            _ if constructor.is_some() => "kafka".to_owned(),
            // The only Kafka broker, unless another default was configured.
            Some((only, _)) if kafka == 1 && default == "kafka" => only.clone(),
            _ => default,
        }
    };
    match entry(&wanted) {
        Some((name, entry)) if is_kafka(name, entry) => {
            let origin = LayerOrigin::Broker(name);
            let place = origin.array();
            let map = entry
                .as_map()
                .ok_or_else(|| wrong(&place, "an array of settings", entry))?;
            keys::check_broker(map, &place, "")?;
            arrays.push(ArrayLayer { map, origin });
        }
        Some((name, _)) => return Err(not_kafka(name, named)),
        None if wanted == "kafka" && (named.is_empty() || constructor.is_some()) => {}
        None => return Err(unknown_broker(&wanted, named)),
    }
    arrays.push(ArrayLayer {
        map,
        origin: LayerOrigin::Top,
    });
    Ok((wanted, arrays))
}

fn kafka_names(entries: &[(String, Value)]) -> String {
    let names: Vec<&str> = entries
        .iter()
        .filter(|(n, e)| is_kafka(n, e))
        .map(|(n, _)| n.as_str())
        .collect();
    if names.is_empty() {
        "none is configured".to_owned()
    } else {
        format!("configured are: {}", names.join(", "))
    }
}

fn not_kafka(name: &str, entries: &[(String, Value)]) -> Error {
    Error::configuration(format!(
        "The broker '{name}' is not a Kafka broker (realtime.brokers.{name}.driver). Name a Kafka broker, or set \
         realtime.default_broker or REALTIME_BROKER to one; {}.",
        kafka_names(entries)
    ))
}

fn unknown_broker(name: &str, entries: &[(String, Value)]) -> Error {
    let names: Vec<&str> = entries.iter().map(|(n, _)| n.as_str()).collect();
    let hint = match nearest(name, &names) {
        Some(near) => format!("Did you mean '{near}'?"),
        None if entries.is_empty() && name.contains(':') => {
            "Addresses go into 'brokers' or KAFKA_BROKERS.".to_owned()
        }
        None if entries.is_empty() => {
            "Without realtime.brokers there is only 'kafka'. Check --broker, realtime.default_broker \
            and REALTIME_BROKER."
                .to_owned()
        }
        None => format!("{}. Check --broker (by default 'kafka'), realtime.default_broker and REALTIME_BROKER.", {
            let names = kafka_names(entries);
            names[..1].to_uppercase() + &names[1..]
        }),
    };
    Error::configuration(format!(
        "No broker is named '{}' in realtime.brokers. {hint}",
        name.escape_debug()
    ))
}

/// Reads addresses from comma-separated text or a list and validates each.
pub(super) fn addresses(reader: &SettingsReader<'_>) -> Result<String> {
    let Some(found) = reader.sources.find(&BROKERS) else {
        return Ok("localhost:9092".to_owned());
    };
    let (value, place) = (found.value.as_ref(), found.place.as_str());
    let expected = "'host:port', a list of them, or 'embedded'";
    let mut all: Vec<String> = Vec::new();
    let mut add = |text: &str| {
        all.extend(
            text.split(',')
                .map(str::trim)
                .filter(|a| !a.is_empty())
                .map(str::to_owned),
        );
    };
    match value {
        Value::Str(text) => add(text),
        Value::List(items) => {
            for item in items.iter().filter(|i| !i.is_unset()) {
                add(&item.text(place)?);
            }
        }
        Value::Map(members) if named_brokers(value).is_none() => {
            for (_, item) in members.iter().filter(|(_, i)| !i.is_unset()) {
                add(&item.text(place)?);
            }
        }
        Value::Map(_) => {
            return Err(Error::configuration(format!(
                "{place} must be {expected}; it is an array with keys. Pass the whole array of config/realtime.php to \
                 Realtime::configure()."
            )))
        }
        other => return Err(wrong(place, expected, other)),
    }
    if all.is_empty() {
        return Ok("localhost:9092".to_owned());
    }
    for address in &all {
        if address == EMBEDDED && all.len() == 1 {
            break;
        }
        if !is_address(address) {
            return Err(wrong(place, expected, &Value::from(address.as_str())));
        }
    }
    Ok(all.join(","))
}

/// Accepts `host`, `host:port` and `[v6]:port`, with or without a `PROTOCOL://` that librdkafka knows.
fn is_address(address: &str) -> bool {
    const PROTOCOLS: [&str; 4] = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
    let (protocol, rest) = address.split_once("://").unwrap_or(("plaintext", address));
    let is_known = PROTOCOLS
        .iter()
        .any(|known| protocol.eq_ignore_ascii_case(known));
    let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or_default())),
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port_fits = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
    let named = host
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%'));
    is_known && port_fits && named && !host.is_empty() && address != EMBEDDED
}

/// Default of `liveness_timeout_ms`: a loop without an iteration for this long is stuck.
pub const DEFAULT_LIVENESS_TIMEOUT: Duration = Duration::from_secs(60);

/// The settings, resolved and validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorConfig {
    /// The address that a long-running process listens on, `host:port` or `host:first-last`.
    pub listen: Option<String>,
    /// The directory of the node exporter's textfile collector.
    pub textfile: Option<PathBuf>,
    /// The heartbeat file that a loop updates.
    pub heartbeat: Option<PathBuf>,
    /// A loop without an iteration for this long is stuck.
    pub liveness: Duration,
}

impl MonitorConfig {
    /// Reads the top level of the application's array, INI settings and environment variables.
    ///
    /// # Errors
    /// Configuration.
    pub fn resolve(layers: &Layers<'_>) -> Result<Self> {
        let map = top(layers.configured)?;
        check_top(map)?;
        let reader = top_reader(map, layers.env);
        let path = |setting| -> Result<Option<PathBuf>> {
            Ok(reader.optional_text(setting)?.map(PathBuf::from))
        };
        let textfile = path(&keys::METRICS_TEXTFILE)?;
        if textfile.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err(Error::configuration(
                "metrics_textfile (REALTIME_METRICS_TEXTFILE) must be an absolute path: requests and commands have \
                 different working directories.",
            ));
        }
        let ms = u64::try_from(DEFAULT_LIVENESS_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        let ms = reader.count(&keys::LIVENESS_TIMEOUT_MS, ms, (100, 86_400_000), "ms")?;
        Ok(Self {
            listen: listen(&reader),
            textfile,
            heartbeat: path(&keys::HEARTBEAT_FILE)?,
            liveness: Duration::from_millis(ms),
        })
    }
}

/// Reads the top level of the application's array, INI settings and environment variables.
fn top_reader<'a>(map: &'a [(String, Value)], env: &'a dyn Environment) -> SettingsReader<'a> {
    let origin = LayerOrigin::Top;
    SettingsReader::new(vec![ArrayLayer { map, origin }], env)
}

/// Toporia's own configuration has a flag or an array of this name, which is not an address.
fn listen(reader: &SettingsReader<'_>) -> Option<String> {
    let found = reader.sources.find(&keys::METRICS)?;
    match found.value.as_ref() {
        Value::Str(text) if matches!(text.trim(), "off" | "false" | "0" | "true" | "1") => None,
        Value::Str(text) => Some(text.trim().to_owned()),
        _ => None,
    }
}

const LOG_LEVEL: Setting = with_env("log_level", "REALTIME_LOG_LEVEL");
const LOG_FORMAT: Setting = with_env("log_format", "REALTIME_LOG_FORMAT");

/// The log settings, the same for all brokers of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogConfig {
    /// The least severe level that is written; `None` if not configured.
    pub level: Option<Level>,
    /// The format on standard error.
    pub format: Format,
}

impl LogConfig {
    /// Reads the array given to `configure()`, then the environment.
    ///
    /// # Errors
    /// Configuration: unknown level or format.
    pub fn resolve(configured: Option<&Value>, env: &dyn Environment) -> Result<Self> {
        let reader = top_reader(top(configured)?, env);
        let mut levels: Vec<(&str, Option<Level>)> = Level::ALL
            .into_iter()
            .map(|level| (level.as_str(), Some(level)))
            .collect();
        levels.push(("warn", Some(Level::Warning)));
        let formats = [("logfmt", Format::Logfmt), ("json", Format::Json)];
        Ok(Self {
            level: reader.choice(&LOG_LEVEL, &levels, None)?,
            format: reader.choice(&LOG_FORMAT, &formats, Format::Logfmt)?,
        })
    }

    /// True if a line is written. Without a configured level, all lines of librdkafka are written, because it only logs
    /// debug lines when its property `debug` is set, and all lines of the extension except debug lines.
    #[must_use]
    pub fn takes(&self, level: Level, from_librdkafka: bool) -> bool {
        match self.level {
            Some(least) => level <= least,
            None => from_librdkafka || level < Level::Debug,
        }
    }
}

/// The secrets in an array of settings: the values under secret names.
#[must_use]
pub fn secrets_in(value: &Value) -> Vec<String> {
    fn walk(value: &Value, is_secret: bool, found: &mut Vec<String>) {
        match value {
            Value::Str(text) if is_secret => {
                found.push(text.clone());
                // `secrets` may be several, comma-separated.
                found.extend(
                    text.split(',')
                        .filter(|part| *part != text)
                        .map(str::to_owned),
                );
            }
            Value::List(list) => list.iter().for_each(|one| walk(one, is_secret, found)),
            Value::Map(map) => {
                for (name, one) in map {
                    let is_secret =
                        is_secret || crate::config::is_secret(name) || name.contains("master_key");
                    walk(one, is_secret, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, false, &mut found);
    found
}
