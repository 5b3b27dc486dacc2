//! One WebSocket connection: reads and handles its messages, queues and writes its frames.
//!
//! ```text
//! serve        the connection's task: reads, writes, timeouts
//!  ├ client        carries out messages: subscriptions, client events, sign-in
//!  ├ recover       replays and positions of a client that reconnects
//!  └ writer        queue → one vectored write; positions
//! socket       the connection as the hub sees it: id, send queue, subscriptions
//! ```

mod client;
mod recover;
mod serve;
mod socket;
#[cfg(test)]
mod tests;
mod writer;

pub use serve::{refuse, serve, Input};
pub use socket::{EnqueueResult, QueuedFrame, Socket, WriteBatch};
pub use writer::CLOSED;
