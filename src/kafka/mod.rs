//! Everything that speaks to Kafka through librdkafka.
//!
//! `producer` and `consumer` are the two kinds of client, `standalone_consumer` one without a group, `native` the wrappers
//! around the C API they share, `embedded` the development broker, `dead_letter` the form of a record that could not be handled,
//! `transaction` what makes a consumer and a producer one.

pub mod admin;
pub mod client;
pub mod consumer;
pub mod dead_letter;
pub mod embedded;
pub mod producer;
pub(crate) mod standalone_consumer;
pub mod transaction;
