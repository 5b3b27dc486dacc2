//! Metrics of this process: one registry for producers, consumers, gateways and the process itself.
//!
//! ```text
//! catalog      the table of all metrics          snapshot    their values at one moment     exposition  Prometheus
//! text formats number       single-writer counters            timing      duration of callbacks          liveness
//! age of a loop's last tick consumers gateways producers process           collectors, one for each source
//! registry     the metrics of one process        endpoints   /metrics, /live, /ready, /up   listener    the HTTP port
//! of --metrics textfile     node exporter output              heartbeat   a file for probes              notify
//! sd_notify for systemd
//! ```
//!
//! The hot path only increments counters; sums are computed by the scrape. A registry belongs to one process: a forked
//! child creates its own and inherits neither the port nor the files.

pub mod catalog;
pub mod consumers;
mod endpoints;
pub mod exposition;
pub mod gateways;
mod heartbeat;
mod listener;
pub mod liveness;
mod notify;
pub mod number;
mod process;
pub mod producers;
mod registry;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod textfile;
pub mod timing;

pub use endpoints::handle_request;
pub use listener::after_fork_in_child;
pub use registry::{set_host_version, Registry};
