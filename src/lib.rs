//! toporia_realtime: the way PHP applications talk in real time, through Kafka.
//!
//! ```text
//! php/          the binding: the only place that knows PHP
//!  ├ gateway    the WebSocket server: sockets in front, Kafka behind
//!  └ worker     the loop of a consumer, generic over where records come from and who handles them
//!     └ dispatch    which callback gets a record
//!        └ kafka        librdkafka: producer clients, the consumer, topics, the embedded broker
//!           ├ spool         messages Kafka did not take, on disk
//!           ├ message, loop_guard, sealed    a message with its bytes, the one in hand, what is encrypted
//!           ├ metrics       what the process can be asked about, and who watches it
//!           └ envelope, topic, ids, config, error, log, clock, process    what everything stands on
//! ```
//!
//! Dependencies point down only. Everything outside `php` builds and tests without PHP (`--no-default-features`).
#![deny(unsafe_code)]

pub mod clock;
pub mod config;
pub mod dispatch;
pub mod encryption;
pub mod envelope;
pub mod error;
pub mod gateway;
pub mod ids;
pub mod kafka;
pub mod log;
pub mod loop_guard;
pub mod message;
pub mod metrics;
#[cfg(feature = "extension")]
pub mod php;
pub mod process;
pub mod retry;
pub mod spool;
pub mod topic;
pub mod worker;
