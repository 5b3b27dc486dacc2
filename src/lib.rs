//! toporia_realtime: real-time messaging through Kafka for PHP applications.
//!
//! ```text
//! php          the binding: the only module that uses PHP
//! gateway      the WebSocket server, compatible with Pusher clients
//! worker       the consume loop, generic over the source of records and their handler
//! dispatch     selects the subscription of a record
//! kafka        librdkafka: producers, consumer, transactions, admin client, embedded broker
//! metrics      counters, exporters, liveness
//! spool        undelivered messages on disk
//! message      a message and its bytes          loop_guard   drops unchanged re-broadcasts
//! encryption   end-to-end encrypted channels    retry        retry delays and circuit breaker
//! config       typed, validated settings        topic        channels, topics, patterns
//! envelope     the JSON of a record             process      state of one process and fork generation
//! ids, clock, log, error
//! ```
//!
//! Everything outside `php` builds and tests without PHP (`--no-default-features`).
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
