//! What is written to the log, and how it looks.

use super::application::top;
use super::keys::{with_env, Setting};
use super::reader::SettingsReader;
use super::sources::{ArrayLayer, LayerOrigin, Sources};
use super::{Environment, Value};
use crate::error::Result;
use crate::log::{Format, Level};

const LOG_LEVEL: Setting = with_env("log_level", "REALTIME_LOG_LEVEL");
const LOG_FORMAT: Setting = with_env("log_format", "REALTIME_LOG_FORMAT");

/// The settings of the log; the same for all brokers of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogConfig {
    /// The least serious level that is written; `None` where nobody has set it.
    pub level: Option<Level>,
    /// How a line looks on standard error.
    pub format: Format,
}

impl LogConfig {
    /// Reads them from `configure()`'s array, else from the environment.
    ///
    /// # Errors
    /// Configuration: no such level, no such format.
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

    /// Whether a line is written. Unless a level is set: what librdkafka says is written whole, because it speaks of details only
    /// where its own property `debug` asks for them; of ours everything but debugging.
    #[must_use]
    pub fn takes(&self, level: Level, from_librdkafka: bool) -> bool {
        match self.level {
            Some(least) => level <= least,
            None => from_librdkafka || level < Level::Debug,
        }
    }
}

/// The secrets in an array of settings: what stands under a secret name.
#[must_use]
pub fn secrets_in(value: &Value) -> Vec<String> {
    fn walk(value: &Value, is_secret: bool, found: &mut Vec<String>) {
        match value {
            Value::Str(text) if is_secret => {
                found.push(text.clone());
                // `secrets` may be several in one text.
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
