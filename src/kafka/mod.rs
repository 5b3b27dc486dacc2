//! Everything that speaks to Kafka through librdkafka: producer clients, the consumer, topics, the embedded broker.

mod admin;
pub mod assignment;
pub mod clients;
mod commit;
pub mod consumer;
pub mod dead_letter;
pub mod delivery;
pub mod embedded;
mod flight;
pub mod native;
pub mod offsets;
mod poller;
pub mod producer;
mod rebalance;
mod replay;
mod source;
mod topics;
