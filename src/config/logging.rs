//! Log settings: level and format.

use super::application::top;
use super::keys::{with_env, Setting};
use super::reader::SettingsReader;
use super::sources::{ArrayLayer, LayerOrigin, Sources};
use super::{Environment, Value};
use crate::error::Result;
use crate::log::{Format, Level};

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
        let reader = SettingsReader {
            sources: Sources {
                arrays: vec![ArrayLayer {
                    map: top(configured)?,
                    origin: LayerOrigin::Top,
                }],
                env,
            },
            notes: Vec::new(),
            warnings: Vec::new(),
        };
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
