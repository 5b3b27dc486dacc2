//! Monitoring settings: metrics listener, text file, heartbeat file, liveness timeout.

use std::path::PathBuf;
use std::time::Duration;

use super::application::{check_top, top};
use super::keys as k;
use super::reader::SettingsReader;
use super::sources::{ArrayLayer, LayerOrigin, Sources};
use super::value::Value;
use super::Layers;
use crate::error::{Error, Result};

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
        let sources = Sources {
            arrays: vec![ArrayLayer {
                map,
                origin: LayerOrigin::Top,
            }],
            env: layers.env,
        };
        let reader = SettingsReader {
            sources,
            notes: Vec::new(),
            warnings: Vec::new(),
        };
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

/// Toporia's own configuration has a flag or an array of this name, which is not an address.
fn listen(reader: &SettingsReader<'_>) -> Option<String> {
    let found = reader.sources.find(&k::METRICS)?;
    match found.value.as_ref() {
        Value::Str(text) if matches!(text.trim(), "off" | "false" | "0" | "true" | "1") => None,
        Value::Str(text) => Some(text.trim().to_owned()),
        _ => None,
    }
}
