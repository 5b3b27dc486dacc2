//! Everything this process can be asked about: one registry for producer, consumer, gateway and the process itself.
//!
//! ```text
//! catalog     the table of all metrics           snapshot   their values at one moment      text       as Prometheus reads them
//! number      counters with a single writer      timing     how long callbacks take         pulse      whether a loop comes round
//! consumers gateways producers process           what there is to gather                    answer     /metrics, /live, /ready, /up
//! registry    all of it, for one process
//! listener    the port of its own                textfile   for the node exporter           heartbeat notify    for probes and systemd
//! ```
//!
//! Nothing is added up on the hot path: a scrape reads what is counted anyway. One registry belongs to one process: a forked child
//! begins a new one, and inherits neither the port nor the files.

pub mod catalog;
pub mod consumers;
#[cfg(test)]
mod consumers_tests;
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
mod textfile;
pub mod timing;

pub use endpoints::handle_request;
pub use listener::after_fork_in_child;
pub use registry::{set_host_version, Registry, DEFAULT_LIVENESS_TIMEOUT};
