//! The metrics registry of one process: snapshots for a scrape, liveness and readiness, and the exporters that its
//! loops drive.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;

use super::catalog as c;
use super::consumers::Consumers;
use super::gateways::{self, Gateways};
use super::heartbeat::Heartbeat;
use super::listener::Listener;
use super::liveness::Liveness;
use super::notify::Notify;
use super::producers::{self, ProducerCounters};
use super::snapshot::{labels, Snapshot};
use super::textfile::Textfile;
use crate::config::{MonitorConfig, DEFAULT_LIVENESS_TIMEOUT};
use crate::error::{Kind, Result};
use crate::gateway::hub::Hub;
use crate::log::Level;
use crate::process;

static HOST_VERSION: OnceLock<String> = OnceLock::new();

/// Sets the PHP version for `realtime_build_info`. Only the first call has an effect.
pub fn set_host_version(version: &str) {
    let _ = HOST_VERSION.set(version.to_owned());
}

/// The metrics of one process and fork generation.
#[derive(Default)]
pub struct Registry {
    pub consumers: Consumers,
    pub gateways: Gateways,
    pub producers: ProducerCounters,
    /// The main loop of a command without a consumer.
    pub main_loop: Liveness,
    /// ms; 0 for [`DEFAULT_LIVENESS_TIMEOUT`].
    liveness_timeout_ms: AtomicU64,
    /// Metrics are exported: by the listener or the text file.
    exported: AtomicBool,
    /// When the export settings were last checked at the end of a request, in ms.
    last_export_check: AtomicU64,
    listener: Mutex<Option<Listener>>,
    heartbeat: Mutex<Option<Heartbeat>>,
    textfile: Mutex<Option<Textfile>>,
    notify: Mutex<Option<Notify>>,
}

impl Registry {
    /// Starts the exporters that the configuration of a long-running process enables. Exporters that already run are
    /// kept.
    ///
    /// # Errors
    /// Configuration: an invalid address or file. A port that is in use is only logged as a warning.
    pub fn start_monitoring(&self, config: &MonitorConfig) -> Result<()> {
        let ms = u64::try_from(config.liveness.as_millis()).unwrap_or(u64::MAX);
        self.liveness_timeout_ms.store(ms, Ordering::Relaxed);
        if let Some(address) = &config.listen {
            if self.listener.lock().is_none() {
                match self.serve(address) {
                    // Several workers may share a configuration: a worker without a metrics port still runs.
                    Err(error) if error.kind() == Kind::Connection => {
                        process::current()
                            .log
                            .write(Level::Warning, error.message());
                    }
                    other => drop(other?),
                }
            }
        }
        if let Some(path) = &config.heartbeat {
            let mut heartbeat = self.heartbeat.lock();
            if heartbeat.is_none() {
                *heartbeat = Some(Heartbeat::new(path)?);
            }
        }
        self.enable_textfile(config);
        Ok(())
    }

    /// Listens on this address instead of the previous one and returns the bound address.
    ///
    /// # Errors
    /// Configuration: an invalid address. Connection: the port is in use.
    pub fn serve(&self, address: &str) -> Result<String> {
        let mut listener = self.listener.lock();
        // The new address may have the same port.
        if let Some(old) = listener.take() {
            old.stop();
        }
        let new = Listener::start(address)?;
        let bound = new.address().to_string();
        *listener = Some(new);
        self.exported.store(true, Ordering::Relaxed);
        Ok(bound)
    }

    /// The bound address, if the listener runs.
    #[must_use]
    pub fn listen_address(&self) -> Option<String> {
        let listener = self.listener.lock();
        listener.as_ref().map(|one| one.address().to_string())
    }

    /// Updates this heartbeat file from now on.
    ///
    /// # Errors
    /// Configuration: an unusable path.
    pub fn set_heartbeat_file(&self, path: &std::path::Path) -> Result<()> {
        *self.heartbeat.lock() = Some(Heartbeat::new(path)?);
        Ok(())
    }

    /// Enables the text file for the node exporter, if configured.
    pub fn enable_textfile(&self, config: &MonitorConfig) {
        let Some(directory) = &config.textfile else {
            return;
        };
        let mut textfile = self.textfile.lock();
        if textfile
            .as_ref()
            .is_none_or(|one| one.directory() != directory)
        {
            *textfile = Some(Textfile::new(directory));
        }
        self.exported.store(true, Ordering::Relaxed);
    }

    /// True if an exporter runs, so that values that must be collected in advance (such as lag) are needed.
    #[inline]
    #[must_use]
    pub fn is_exported(&self) -> bool {
        self.exported.load(Ordering::Relaxed)
    }

    /// True if a producer, consumer or gateway was used in this process.
    #[must_use]
    pub fn has_activity(&self) -> bool {
        let process = process::current();
        process.producers.count() > 0
            || process.counters.produced.load(Ordering::Relaxed) > 0
            || self.consumers.any()
            || self.gateways.any()
    }

    /// Records an iteration of a loop, on its own thread, and updates heartbeat file, systemd and text file when they
    /// are due. For systemd: whether the service is ready, and its status line.
    pub fn loop_tick(&self, now: u64, ready: bool, status: &dyn Fn() -> String) {
        if let Some(heartbeat) = &mut *self.heartbeat.lock() {
            heartbeat.loop_tick(now);
        }
        let mut notify = self.notify.lock();
        notify
            .get_or_insert_with(Notify::from_environment)
            .loop_tick(now, ready, status);
        if let Some(textfile) = &mut *self.textfile.lock() {
            textfile.loop_tick(now, &|| self.snapshot(None));
        }
    }

    /// The process ends: closes the port and notifies systemd. Idempotent.
    pub fn stop(&self) {
        let listener = self.listener.lock().take();
        if let Some(listener) = listener {
            listener.stop();
        }
        self.main_loop.stop();
        if let Some(notify) = &mut *self.notify.lock() {
            notify.stopping();
        }
    }

    /// True at most once a second, so that short requests do not read the settings each time.
    #[must_use]
    pub fn is_export_due(&self, now: u64) -> bool {
        let last = self.last_export_check.load(Ordering::Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= 1000;
        if due {
            self.last_export_check.store(now, Ordering::Relaxed);
        }
        due
    }

    /// A request has ended in a process that serves more requests: writes the text file at most once a second.
    pub fn request_ended(&self, now: u64) {
        if let Some(textfile) = &mut *self.textfile.lock() {
            textfile.request_ended(now, &|| self.snapshot(None));
        }
    }

    /// The process ends: writes its final values to the text file. Idempotent.
    pub fn finish(&self) {
        let textfile = self.textfile.lock().take();
        if let Some(textfile) = textfile {
            textfile.finish(&self.snapshot(None));
        }
    }

    /// A loop without an iteration for longer than this is stuck.
    #[must_use]
    pub fn liveness_timeout(&self) -> Duration {
        match self.liveness_timeout_ms.load(Ordering::Relaxed) {
            0 => DEFAULT_LIVENESS_TIMEOUT,
            ms => Duration::from_millis(ms),
        }
    }

    /// `Err` describes the loops that are stuck.
    pub fn live(&self) -> Result<(), String> {
        let bound = self.liveness_timeout();
        let mut stuck = self.consumers.stuck(bound);
        stuck.extend(self.main_loop.read().stuck("the command", bound));
        if stuck.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{} (liveness_timeout_ms is {}).",
            stuck.join("; "),
            bound.as_millis()
        ))
    }

    /// `Ok` if all gateways are ready and all consumers are connected. `hub`: check this gateway only.
    pub fn ready(&self, hub: Option<&Hub>) -> Result<(), String> {
        match hub {
            Some(hub) => gateways::ready(hub)?,
            None => {
                for hub in self.gateways.active() {
                    gateways::ready(&hub)?;
                }
            }
        }
        match self.consumers.not_ready() {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }

    /// The current values; with `hub`, the values of that gateway only.
    #[must_use]
    pub fn snapshot(&self, hub: Option<&Hub>) -> Snapshot {
        let mut all = Snapshot::default();
        producers::collect(process::current(), &mut all);
        self.consumers.collect(&mut all);
        match hub {
            Some(hub) => gateways::collect(hub, &mut all),
            None => self.gateways.collect(&mut all),
        }
        let versions = labels(&[
            ("version", env!("CARGO_PKG_VERSION")),
            ("php", HOST_VERSION.get().map_or("", String::as_str)),
            ("librdkafka", &crate::kafka::client::version()),
        ]);
        all.gauge(&c::BUILD_INFO, versions, 1.0);
        let live = u64::from(self.live().is_ok());
        all.gauge_of(&c::PROCESS_LIVE, Vec::new(), live);
        super::process::collect(&mut all);
        all
    }
}
