//! What a gateway answers over HTTP: the WebSocket handshake, event streams, the HTTP API, `/up` and the operations
//! endpoints.
//!
//! Every response other than 101 closes the connection, so a second request on it is never read.

pub mod api;
pub mod event_stream;
pub mod handshake;
pub mod origin;
pub mod proxy;
pub mod signature;
