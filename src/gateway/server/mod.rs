//! Accepts connections within limits, and answers requests: the WebSocket handshake, event streams, the HTTP API,
//! `/up` and the operations endpoints.
//!
//! Every response other than 101 closes the connection, so a second request on it is never read.

pub mod api;
pub mod event_stream;
pub mod handshake;
mod limits;
pub mod listener;
pub(in crate::gateway) mod ports;
pub mod proxy;
pub(in crate::gateway) mod sys;
