//! One WebSocket connection: what it says is understood here, what it is told waits here.
//!
//! ```text
//! serve       the task: reads, writes, keeps time
//!  ├ decoder      bytes → messages
//!  ├ action       message → what the client wants (pure)
//!  ├ act          does it: subscriptions, client events, sign-in, recovery
//!  ├ recover      replays, positions
//!  ├ writer       queue → one vectored write; positions
//!  └ limits       how often
//! socket      what the others see of it
//! ```

pub mod action;
pub mod decoder;
pub mod limits;
mod recover;
mod serve;
mod session;
mod socket;
mod subscribe;
mod writer;

pub use serve::{refuse, serve};
pub use socket::{EnqueueResult, QueuedFrame, Socket, WriteBatch};

use bytes::Bytes;

use super::protocol::frame;

/// `pusher:subscription_error` on a channel: 401 for a signature, 403 for what is not allowed, 4xx for limits.
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
