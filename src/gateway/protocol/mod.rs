//! The Pusher Channels protocol, versions 5 to 7: channel names, frames, signatures, close codes. Without sockets and
//! Kafka.

pub mod auth;
pub mod channel;
pub mod close;
pub mod encryption;
pub mod frame;
pub mod incoming;
pub mod socket_id;

pub use channel::{ChannelKind, Name};
pub use close::Close;
pub use socket_id::SocketId;

/// True for event names reserved for the server: `pusher:`, `pusher_internal:` and `realtime:`.
#[must_use]
pub fn is_reserved_event(event: &str) -> bool {
    ["pusher:", "pusher_internal:", "realtime:"]
        .iter()
        .any(|prefix| event.starts_with(prefix))
}
