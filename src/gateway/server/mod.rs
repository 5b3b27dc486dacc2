//! Accepts connections within limits, and answers requests: the WebSocket handshake, event streams, the HTTP API,
//! `/up` and the operations endpoints.
//!
//! Every response other than 101 closes the connection, so a second request on it is never read.

pub mod api;
mod connection_limit;
pub mod event_stream;
pub mod handshake;
mod handshake_limit;
pub mod listener;
pub mod origin;
pub(in crate::gateway) mod ports;
pub mod proxy;
pub mod signature;
pub(in crate::gateway) mod sys;
