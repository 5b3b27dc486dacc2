//! The registry of one process: what is gathered for a scrape, whether its loops live, and what its loops keep alive.

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
use crate::config::MonitorConfig;
use crate::error::{Kind, Result};
use crate::gateway::hub::Hub;
use crate::log::Level;
use crate::process;

/// The version of the language that the extension runs in.
static HOST_VERSION: OnceLock<String> = OnceLock::new();

/// Tells which version of its language the host has. Once.
pub fn set_host_version(version: &str) {
    let _ = HOST_VERSION.set(version.to_owned());
}

/// A loop that does not come round for so long is stuck, unless it was set otherwise.
pub const DEFAULT_LIVENESS_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything of one process and fork generation.
#[derive(Default)]
pub struct Registry {
    /// Consumers.
    pub consumers: Consumers,
    /// Gateways.
    pub gateways: Gateways,
    /// Producers.
    pub producers: ProducerCounters,
    /// The loop of a command that has no consumer.
    pub main_loop: Liveness,
    /// ms; 0 for [`DEFAULT_LIVENESS_TIMEOUT`].
    liveness_timeout_ms: AtomicU64,
    /// Somebody looks: a listener, a text file.
    exported: AtomicBool,
    /// When the export settings were last checked at the end of a request, in ms.
    last_export_check: AtomicU64,
    listener: Mutex<Option<Listener>>,
    heartbeat: Mutex<Option<Heartbeat>>,
    textfile: Mutex<Option<Textfile>>,
    notify: Mutex<Option<Notify>>,
}

impl Registry {
    /// What the configuration of a long-running process asks for. What runs already, or was set by hand, stays.
    ///
    /// # Errors
    /// Configuration: an address or a file that cannot be. A port that is taken is only a warning.
    pub fn start_monitoring(&self, config: &MonitorConfig) -> Result<()> {
        let ms = u64::try_from(config.liveness.as_millis()).unwrap_or(u64::MAX);
        self.liveness_timeout_ms.store(ms, Ordering::Relaxed);
        if let Some(address) = &config.listen {
            if self.listener.lock().is_none() {
                match self.serve(address) {
                    // One of several workers with the same configuration: its work is worth more than its figures.
                    Err(error) if error.kind() == Kind::Connection => {
                        process::current().log.say(Level::Warning, error.message());
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

    /// Listens on this address, in place of the one before; the address it got.
    ///
    /// # Errors
    /// Configuration: no address. Connection: the port is taken.
    pub fn serve(&self, address: &str) -> Result<String> {
        let mut listener = self.listener.lock();
        // The port may be the same.
        if let Some(old) = listener.take() {
            old.stop();
        }
        let new = Listener::start(address)?;
        let bound = new.address().to_string();
        *listener = Some(new);
        self.exported.store(true, Ordering::Relaxed);
        Ok(bound)
    }

    /// Where it listens, if it does.
    #[must_use]
    pub fn listen_address(&self) -> Option<String> {
        let listener = self.listener.lock();
        listener.as_ref().map(|one| one.address().to_string())
    }

    /// Touches this file from now on.
    ///
    /// # Errors
    /// Configuration: a file that cannot be.
    pub fn set_heartbeat_file(&self, path: &std::path::Path) -> Result<()> {
        *self.heartbeat.lock() = Some(Heartbeat::new(path)?);
        Ok(())
    }

    /// Writes text for the node exporter, where that is configured.
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

    /// True where somebody looks at the figures that have to be gathered beforehand.
    #[inline]
    #[must_use]
    pub fn is_exported(&self) -> bool {
        self.exported.load(Ordering::Relaxed)
    }

    /// True where this process has done anything worth telling.
    #[must_use]
    pub fn has_activity(&self) -> bool {
        let process = process::current();
        process.producers.count() > 0
            || process.counters.produced.load(Ordering::Relaxed) > 0
            || self.consumers.any()
            || self.gateways.any()
    }

    /// A loop of this process came round, on its own thread: whoever watches it from outside is told. For
    /// systemd: whether the service has started, and a line on how it is.
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

    /// The process ends: the port is closed, systemd is told. Idempotent.
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

    /// True once a second: a request shorter ago would not be written anyway.
    #[must_use]
    pub fn is_export_due(&self, now: u64) -> bool {
        let last = self.last_export_check.load(Ordering::Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= 1000;
        if due {
            self.last_export_check.store(now, Ordering::Relaxed);
        }
        due
    }

    /// A request has ended, and the process serves others: what it did is written, once a second at most.
    pub fn request_ended(&self, now: u64) {
        if let Some(textfile) = &mut *self.textfile.lock() {
            textfile.request_ended(now, &|| self.snapshot(None));
        }
    }

    /// The process has ended: its last figures are kept. Idempotent.
    pub fn finish(&self) {
        let textfile = self.textfile.lock().take();
        if let Some(textfile) = textfile {
            textfile.finish(&self.snapshot(None));
        }
    }

    /// The bound beyond which a loop counts as stuck.
    #[must_use]
    pub fn liveness_timeout(&self) -> Duration {
        match self.liveness_timeout_ms.load(Ordering::Relaxed) {
            0 => DEFAULT_LIVENESS_TIMEOUT,
            ms => Duration::from_millis(ms),
        }
    }

    /// Whether every loop comes round; else which ones do not.
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

    /// Whether the process does what it is for: its gateways are ready and its consumers reach Kafka. `hub`: this gateway.
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

    /// All values now; of the gateways only `hub` where it is given.
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
