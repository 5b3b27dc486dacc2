//! The WebSocket gateway: delivers events from Kafka to clients of the Pusher protocol. It uses no PHP.
//!
//! ```text
//! Gateway          starts and stops all of it (run)
//! server           accepts connections within limits; requests: handshake, HTTP API, /up, /metrics
//!  └ session          one task per socket: frames in, send queue out, liveness
//!     └ hub              channels and their subscribers, presence members, cached events
//!        ├ protocol         frames, signatures, close codes: no sockets
//!        ├ limits           rates, and warnings about limits
//!        └ backend          traits that the hub needs: Cluster (other gateways), History (missed events)
//!
//! bootstrap        connects a hub to Kafka
//!  ├ feed             reads every partition of the topic prefix into the hub
//!  ├ cluster          the other gateways: presence, client events, webhooks, admin requests
//!  └ replay           positions, replay buffer, replays
//! ```

pub mod api_client;
pub mod backend;
pub mod bootstrap;
pub mod broadcast;
pub mod cluster;
pub mod feed;
pub mod hub;
pub mod limits;
pub mod protocol;
pub mod replay;
mod run;
pub mod server;
pub mod session;
pub mod testing;
#[cfg(test)]
mod tests;

pub use run::{Backends, Gateway, Stats, GATEWAYS};
pub use server::ports::check_addresses;
