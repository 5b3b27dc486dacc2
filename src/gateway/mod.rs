//! The WebSocket gateway: Kafka's last hop, to browsers that speak the Pusher protocol. No PHP in it.
//!
//! ```text
//! Gateway       starts and stops all of it
//! listener      accepts, within limits ── http        requests: handshake, HTTP API, /up, /metrics
//!  └ connection     one task a socket: frames in, queue out, liveness
//!     └ hub             channels and who listens; presence; caches
//!        ├ protocol         names, frames, signatures, close codes: no sockets
//!        └ seam             what it asks of the rest: other gateways (Cluster), what was missed (History)
//! ```

pub mod broadcast;
pub mod client;
pub mod cluster;
pub mod connection;
pub mod counters;
pub mod http;
pub mod hub;
pub mod listener;
pub mod presence;
pub mod protocol;
pub mod question;
mod run;
pub mod seam;
pub mod settings;
mod sys;
#[cfg(test)]
mod tests;

pub use run::{Gateway, Parts, Stats};
pub mod feed;
pub mod recovery;
#[cfg(test)]
mod tests_kafka;
