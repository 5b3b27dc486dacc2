//! The WebSocket gateway: delivers events from Kafka to clients of the Pusher protocol. It uses no PHP.
//!
//! ```text
//! Gateway       starts and stops all of it
//! listener      accepts, within limits (handshake_limit, connection_limit) ── http        requests: handshake,
//! HTTP API, /up, /metrics
//!  └ connection     one task a socket: frames in, queue out, liveness
//!     └ hub             channels and who listens; presence; caches
//!        ├ protocol         names, frames, signatures, close codes: no sockets
//!        └ seam             what it asks of the rest: other gateways (Cluster), what was missed (History)
//!
//! wiring        puts the Kafka side around a hub
//!  ├ feed           every partition of the prefix, to the hub
//!  ├ cluster        the other gateways: presence, client events, webhooks, questions
//!  └ recovery       positions, the ring, replays
//! ```

pub mod admin_api;
pub mod api_client;
pub mod backend;
pub mod bootstrap;
#[cfg(test)]
mod bootstrap_tests;
pub mod broadcast;
pub mod cluster;
pub mod connection;
mod connection_limit;
pub mod counters;
pub mod feed;
mod handshake_limit;
pub mod http;
pub mod hub;
pub mod listener;
mod minute_log;
mod ports;
pub mod presence;
pub mod protocol;
pub mod recovery;
mod run;
pub mod settings;
mod sys;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_kafka;

pub use run::{Backends, Gateway, Stats};
