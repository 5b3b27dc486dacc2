//! The WebSocket gateway: delivers events from Kafka to clients of the Pusher protocol. It uses no PHP.
//!
//! ```text
//! Gateway          starts and stops all of it (run)
//! listener         accepts connections within the limits (handshake_limit, connection_limit, ports)
//!  ├ http             requests: handshake, HTTP API, /up, /metrics
//!  └ connection       one task per socket: frames in, send queue out, liveness
//!     └ hub              channels and their subscribers, cached events
//!        ├ presence         members of presence channels
//!        ├ protocol         frames, signatures, close codes: no sockets
//!        └ backend          traits that the hub needs: Cluster (other gateways), History (missed events)
//!
//! bootstrap        connects a hub to Kafka
//!  ├ feed             reads every partition of the topic prefix into the hub
//!  ├ cluster          the other gateways: presence, client events, webhooks, admin requests
//!  └ recovery         positions, replay buffer, replays
//! ```

pub mod admin_api;
pub mod api_client;
pub mod backend;
mod backlog_pacer;
pub mod bootstrap;
pub mod broadcast;
pub mod cluster;
pub mod connection;
mod connection_limit;
pub mod feed;
mod handshake_limit;
pub mod http;
pub mod hub;
mod limit_warnings;
pub mod listener;
pub mod metrics;
mod ports;
pub mod presence;
pub mod protocol;
pub mod recovery;
mod run;
mod sys;
#[cfg(test)]
mod tests;

pub use run::{Backends, Gateway, Stats};
