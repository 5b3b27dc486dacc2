//! The settings of a process: metrics listener, text file, heartbeat file, liveness timeout; log level and format.

use std::path::PathBuf;
use std::time::Duration;

use super::application::{check_top, top};
use super::keys::{self as k, with_env, Setting};
use super::sources::{ArrayLayer, LayerOrigin, SettingsReader};
use super::{Environment, Layers, Value};
use crate::error::{Error, Result};
use crate::log::{Format, Level};

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
        let textfile = path(&k::METRICS_TEXTFILE)?;
        if textfile.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err(Error::configuration(
                "metrics_textfile (REALTIME_METRICS_TEXTFILE) must be an absolute path: requests and commands have \
                 different working directories.",
            ));
        }
        let ms = u64::try_from(DEFAULT_LIVENESS_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        let ms = reader.count(&k::LIVENESS_TIMEOUT_MS, ms, (100, 86_400_000), "ms")?;
        Ok(Self {
            listen: listen(&reader),
            textfile,
            heartbeat: path(&k::HEARTBEAT_FILE)?,
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
    let found = reader.sources.find(&k::METRICS)?;
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
                        is_secret || super::is_secret(name) || name.contains("master_key");
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
