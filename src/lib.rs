//! toporia_realtime: real-time messaging through Kafka for PHP applications.
//!
//! ```text
//! php          the binding: the only module that uses PHP
//! monitoring   exports metrics: port, text file, heartbeat, systemd
//! gateway      the WebSocket server, compatible with Pusher clients
//! worker       the consume loop, generic over the host's callbacks
//! dead_letter  where records go whose handling failed, and writing them
//! publish      the rules that hold for everything sent
//! dispatch     selects the subscription of a record
//! kafka        librdkafka: producers, consumer, transactions, admin client, embedded broker
//! spool        undelivered messages on disk
//! loop_guard   drops unchanged re-broadcasts
//! retry        delays before the next attempt, and pauses of a subscription whose callback fails for every record
//! message      a message and its bytes, a record to send
//! envelope     the JSON of a record
//! metrics      counters, their catalog and text, liveness
//! runtime      the state of one process and fork generation, its end, its clock, fibers
//! config       typed, validated settings
//! encryption   end-to-end encrypted channels
//! topic        channels, topics, patterns
//! http         requests and responses of a server
//! ids, log, error
//! ```
//!
//! A module uses modules below it only, except for the uses listed in `tests.rs`.
//!
//! Everything outside `php` builds and tests without PHP (`--no-default-features`).
#![deny(unsafe_code)]

pub mod config;
pub mod dead_letter;
pub mod dispatch;
pub mod encryption;
pub mod envelope;
pub mod error;
pub mod gateway;
pub mod http;
pub mod ids;
pub mod kafka;
pub mod log;
pub mod loop_guard;
pub mod message;
pub mod metrics;
pub mod monitoring;
#[cfg(feature = "extension")]
pub mod php;
pub mod publish;
pub mod retry;
pub mod runtime;
pub mod spool;
pub mod topic;
pub mod worker;

#[cfg(test)]
mod tests;
