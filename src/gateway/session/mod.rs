//! One WebSocket connection: reads and handles its messages, queues and writes its frames.
//!
//! ```text
//! serve        the connection's task: reads, writes, timeouts
//!  ├ decoder       bytes → messages
//!  ├ client        message → action, and carries it out: client events, sign-in
//!  ├ subscribe     subscriptions and their checks
//!  ├ recover       replays and positions
//!  ├ tokens        recovery tokens until the client subscribes
//!  ├ writer        queue → one vectored write; positions
//!  ├ event_stream  frames → server-sent events
//!  └ limits        rate limits
//! socket       the connection as the hub sees it: id, send queue, subscriptions
//! ```

pub mod client;
pub mod decoder;
pub mod event_stream;
pub mod limits;
mod recover;
mod serve;
mod socket;
mod subscribe;
#[cfg(test)]
mod tests;
mod tokens;
mod writer;

pub use serve::{refuse, serve, Input};
pub use socket::{EnqueueResult, QueuedFrame, Socket, WriteBatch};

use bytes::Bytes;

use super::protocol::frame;

/// `pusher:subscription_error` on a channel: 401 for a bad signature, 403 for a channel that is not allowed, other
/// 4xx for limits.
#[must_use]
pub fn subscription_error(channel: &str, status: u16, error: &str) -> Bytes {
    let kind = match status {
        401 => "AuthError",
        403 => "Forbidden",
        _ => "LimitReached",
    };
    let mut data = format!("{{\"type\":\"{kind}\",\"error\":").into_bytes();
    frame::quote_into(&mut data, error.as_bytes());
    data.extend_from_slice(format!(",\"status\":{status}}}").as_bytes());
    frame::event("pusher:subscription_error", channel, Some(&data), None)
}
