//! Metrics of this process: numbers, their catalog, and what a scrape reads.
//!
//! ```text
//! catalog    the table of all metrics, and the gateway's counters
//! number     counters, histograms, durations and liveness that one thread writes
//! snapshot   the values of all metrics at one moment, and Prometheus' text formats
//! ```
//!
//! Here: the sources of this process's metrics, values of the operating system, liveness and readiness, and the answers
//! of the HTTP endpoints for them. The hot path only increments counters; sums are computed by the scrape. The sources
//! are producers, consumers and gateways, which implement [`Collector`]; `monitoring` exports the values.

pub mod catalog;
pub mod number;
pub mod snapshot;

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use self::catalog as c;
use self::number::Liveness;
use self::snapshot::{exposition, labels, ExpositionFormat, SampleValue, Snapshot};
use crate::config::DEFAULT_LIVENESS_TIMEOUT;
use crate::http::Response;
use crate::runtime::{self, PerProcess};

/// A source of metrics.
pub trait Collector: Sync {
    /// Names the kind of source: a single gateway takes the place of all gateways.
    fn source(&self) -> &'static str;

    /// Adds its values to the snapshot.
    fn collect(&self, into: &mut Snapshot);

    /// True if it is, or was, in use in this process.
    fn is_active(&self) -> bool {
        true
    }

    /// The reason why it is not ready, if it is not.
    ///
    /// # Errors
    /// That reason.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    /// A description of each loop that is stuck for longer than `bound`.
    fn stuck(&self, bound: Duration) -> Vec<String> {
        let _ = bound;
        Vec::new()
    }
}

impl<T: Collector + Default + Send + Sync> Collector for &'static PerProcess<T> {
    fn source(&self) -> &'static str {
        self.current().source()
    }

    fn collect(&self, into: &mut Snapshot) {
        self.current().collect(into);
    }

    fn is_active(&self) -> bool {
        self.current().is_active()
    }

    fn ready(&self) -> Result<(), String> {
        self.current().ready()
    }

    fn stuck(&self, bound: Duration) -> Vec<String> {
        self.current().stuck(bound)
    }
}

static SOURCES: OnceLock<&'static [&'static dyn Collector]> = OnceLock::new();
static VERSIONS: OnceLock<(String, String)> = OnceLock::new();

/// Sets what is collected. Only the first call has an effect.
pub fn install(sources: &'static [&'static dyn Collector]) {
    let _ = SOURCES.set(sources);
}

/// Sets the versions of PHP and librdkafka for `realtime_build_info`. Only the first call has an effect.
pub fn set_versions(host: &str, librdkafka: &str) {
    let _ = VERSIONS.set((host.to_owned(), librdkafka.to_owned()));
}

/// The liveness of the process itself.
#[derive(Default)]
pub struct Watch {
    /// The main loop of a command without a consumer.
    pub main_loop: Liveness,
    /// ms; 0 for [`DEFAULT_LIVENESS_TIMEOUT`].
    pub(crate) timeout_ms: AtomicU64,
}

pub static WATCH: PerProcess<Watch> = PerProcess::new();

impl Watch {
    /// A loop without an iteration for longer than this is stuck.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        match self.timeout_ms.load(Ordering::Relaxed) {
            0 => DEFAULT_LIVENESS_TIMEOUT,
            ms => Duration::from_millis(ms),
        }
    }
}

/// The sources, with `one` in the place of those of its kind.
fn sources(one: Option<&dyn Collector>) -> impl Iterator<Item = &dyn Collector> {
    let installed = SOURCES.get().copied().unwrap_or_default().iter();
    installed.map(move |known| match one {
        Some(one) if one.source() == known.source() => one,
        _ => *known,
    })
}

/// True if a producer, consumer or gateway was used in this process.
#[must_use]
pub fn has_activity() -> bool {
    runtime::current().counters.produced.load(Ordering::Relaxed) > 0
        || sources(None).any(Collector::is_active)
}

/// `Err` describes the loops that are stuck.
///
/// # Errors
/// That description.
pub fn live() -> Result<(), String> {
    let watch = WATCH.current();
    let bound = watch.timeout();
    let mut stuck: Vec<String> = sources(None).flat_map(|one| one.stuck(bound)).collect();
    stuck.extend(watch.main_loop.read().stuck("the command", bound));
    if stuck.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} (liveness_timeout_ms is {}).",
        stuck.join("; "),
        bound.as_millis()
    ))
}

/// `Ok` if all sources are ready; of the gateways only `gateway`, if one is given.
///
/// # Errors
/// The reason.
pub fn ready(gateway: Option<&dyn Collector>) -> Result<(), String> {
    sources(gateway).try_for_each(Collector::ready)
}

/// The current values; of the gateways only those of `gateway`, if one is given.
#[must_use]
pub fn snapshot(gateway: Option<&dyn Collector>) -> Snapshot {
    let mut all = Snapshot::default();
    for one in sources(gateway) {
        one.collect(&mut all);
    }
    let (host, librdkafka) = VERSIONS
        .get()
        .map_or(("", ""), |(host, library)| (host, library));
    let versions = labels(&[
        ("version", env!("CARGO_PKG_VERSION")),
        ("php", host),
        ("librdkafka", librdkafka),
    ]);
    all.gauge(&c::BUILD_INFO, versions, 1.0);
    all.gauge_of(&c::PROCESS_LIVE, Vec::new(), u64::from(live().is_ok()));
    add_process_values(&mut all);
    all
}

/// Handles a request. `accept`: the `Accept` header; `gateway`: the one that owns the port, if a gateway does.
#[must_use]
pub fn handle_request(
    method: &str,
    path: &str,
    accept: Option<&str>,
    gateway: Option<&dyn Collector>,
) -> Response {
    let known = matches!(path, "/up" | "/live" | "/ready" | "/metrics");
    if known && !matches!(method, "GET" | "HEAD") {
        return Response::text(405, "Only GET and HEAD are allowed.\n");
    }
    match path {
        "/up" => Response::text(200, "OK\n"),
        "/live" => match live() {
            Ok(()) => Response::text(200, "live\n"),
            Err(why) => Response::text(503, format!("not live: {why}\n")),
        },
        "/ready" => match ready(gateway) {
            Ok(()) => Response::text(200, "ready\n"),
            Err(why) => Response::text(503, format!("not ready: {why}\n")),
        },
        "/metrics" => {
            let format = ExpositionFormat::accepted(accept);
            Response {
                kind: format.media_type(),
                ..Response::text(200, exposition(snapshot(gateway), format))
            }
        }
        _ => Response::text(
            404,
            "Not found. Available: /metrics, /live, /ready and /up.\n",
        ),
    }
}

/// Adds the values from `/proc` and `getrusage`; values that cannot be read are left out.
fn add_process_values(into: &mut Snapshot) {
    if let Some(bytes) = resident() {
        into.gauge_of(&c::RESIDENT, Vec::new(), bytes);
    }
    if let Some(began) = start_time() {
        into.gauge(&c::START_TIME, Vec::new(), began);
    }
    if let Some(family) = into.family(c::CPU.name) {
        let value = SampleValue::Number(processor_time());
        family.samples.insert(Vec::new(), value);
    }
}

// SAFETY: as the C library has it; it takes and returns numbers.
#[allow(unsafe_code)]
unsafe extern "C" {
    safe fn sysconf(name: libc::c_int) -> libc::c_long;
}

fn system_constant(name: i32) -> Option<u64> {
    u64::try_from(sysconf(name)).ok()
}

fn resident() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let resident: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(resident * system_constant(libc::_SC_PAGESIZE)?)
}

/// Start of the process as Unix time, in seconds.
#[allow(clippy::cast_precision_loss)]
fn start_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program name is in parentheses and may itself contain spaces and parentheses.
    let fields = stat.rsplit_once(") ")?.1;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot: u64 = boot.trim().parse().ok()?;
    Some(boot as f64 + ticks as f64 / system_constant(libc::_SC_CLK_TCK)? as f64)
}

/// User and system CPU time, in seconds.
#[allow(clippy::cast_precision_loss, unsafe_code)]
fn processor_time() -> f64 {
    // SAFETY: getrusage fills the struct; all zeros is a valid value of rusage.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    [usage.ru_utime, usage.ru_stime]
        .iter()
        .map(|time| time.tv_sec as f64 + time.tv_usec as f64 / 1e6)
        .sum()
}

#[cfg(test)]
mod tests {

    #[test]
    fn memory_start_time_and_cpu_time_are_plausible() {
        assert!(super::resident().unwrap_or(0) > 100_000);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0.0, |now| now.as_secs_f64());
        let began = super::start_time().unwrap_or(0.0);
        assert!(began < now + 2.0 && began > now - 86_400.0, "{began} {now}");
        assert!(super::processor_time() >= 0.0);
    }
}
