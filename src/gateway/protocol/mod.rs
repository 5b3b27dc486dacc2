//! The Pusher Channels protocol, versions 5 to 7: frames, signatures, close codes. Without sockets and
//! Kafka.

pub mod auth;
pub mod close;
pub mod frame;
pub mod incoming;
pub mod socket_id;

pub use close::Close;
pub use socket_id::SocketId;

pub use crate::topic::socket_channel::{is_reserved_event, ChannelKind, Name};
