//! HTTP in front of the sockets: requests read within bounds, the handshake, the HTTP API, `/up`, and what operators read.
//!
//! Every answer that is not a 101 closes the connection, so no request is ever read behind another.

pub mod api;
pub mod handshake;
pub mod ops;
pub mod origin;
pub mod proxy;
pub mod request;
pub mod respond;
pub mod signature;
