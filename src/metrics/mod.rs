//! Metrics of this process: numbers, their catalog, and what a scrape reads.
//!
//! ```text
//! catalog      the table of all metrics          snapshot    their values at one moment
//! exposition   Prometheus text formats           number      single-writer counters
//! timing       duration of callbacks             liveness    age of a loop's last tick
//! registry     the sources, /metrics and /ready, values of the operating system
//! gateway_counters
//! ```
//!
//! The hot path only increments counters; sums are computed by the scrape. The sources are producers, consumers and
//! gateways, which implement [`Collector`]; `monitoring` exports the values.

pub mod catalog;
pub mod exposition;
pub mod gateway_counters;
pub mod liveness;
pub mod number;
mod registry;
pub mod snapshot;
pub mod timing;

pub use registry::{
    handle_request, has_activity, install, live, ready, set_versions, snapshot, Collector, WATCH,
};
