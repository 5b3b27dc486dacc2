//! Exports the metrics of a process: the HTTP port of `--metrics`, a text file for the node exporter, a heartbeat file
//! for probes, and systemd's notifications. The loops of the process drive them.
//!
//! Exporters belong to one process: a forked child inherits neither the port nor the files.

mod listener;
mod supervisor;
mod textfile;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::config::MonitorConfig;
use crate::error::{Kind, Result};
use crate::gateway::GATEWAYS;
use crate::kafka::producer::pool::PRODUCERS;
use crate::metrics::{self, snapshot, Collector, WATCH};
use crate::runtime::{self, PerProcess};
use crate::worker::consumers::CONSUMERS;
use listener::Listener;
use supervisor::{Heartbeat, Notify};
use textfile::Textfile;

pub static MONITORING: PerProcess<Monitoring> = PerProcess::new();

/// Lets the metrics contain producers, consumers and gateways. Called once.
pub fn install() {
    static SOURCES: [&dyn Collector; 3] = [&&PRODUCERS, &&CONSUMERS, &&GATEWAYS];
    metrics::install(&SOURCES);
}

/// The exporters of one process and fork generation.
#[derive(Default)]
pub struct Monitoring {
    /// Metrics are exported: by the listener or the text file.
    exported: AtomicBool,
    /// When the export settings were last checked at the end of a request, in ms.
    last_export_check: AtomicU64,
    listener: Mutex<Option<Listener>>,
    heartbeat: Mutex<Option<Heartbeat>>,
    textfile: Mutex<Option<Textfile>>,
    notify: Mutex<Option<Notify>>,
}

impl Monitoring {
    /// Starts the exporters that the configuration of a long-running process enables. Exporters that already run are
    /// kept.
    ///
    /// # Errors
    /// Configuration: an invalid address or file. A port that is in use is only logged as a warning.
    pub fn start(&self, config: &MonitorConfig) -> Result<()> {
        let ms = u64::try_from(config.liveness.as_millis()).unwrap_or(u64::MAX);
        WATCH.current().timeout_ms.store(ms, Ordering::Relaxed);
        if let Some(address) = &config.listen {
            if self.listener.lock().is_none() {
                match self.serve(address) {
                    // Several workers may share a configuration: a worker without a metrics port still runs.
                    Err(error) if error.kind() == Kind::Connection => {
                        runtime::warn(error.message());
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
            textfile.loop_tick(now, &|| snapshot(None));
        }
    }

    /// The process ends: closes the port and notifies systemd. Idempotent.
    pub fn stop(&self) {
        let listener = self.listener.lock().take();
        if let Some(listener) = listener {
            listener.stop();
        }
        WATCH.current().main_loop.stop();
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
            textfile.request_ended(now, &|| snapshot(None));
        }
    }

    /// The process ends: writes its final values to the text file. Idempotent.
    pub fn finish(&self) {
        let textfile = self.textfile.lock().take();
        if let Some(textfile) = textfile {
            textfile.finish(&snapshot(None));
        }
    }
}
