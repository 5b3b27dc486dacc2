//! Everything that talks to Kafka through librdkafka.
//!
//! `client` has safe functions for the C API, and alone calls it. `producer` and `consumer` are the two kinds of
//! client, `standalone_consumer` is a consumer without a group, `transaction` combines a consumer and a producer,
//! `admin` serves admin calls. `embedded` is the development broker, `oauth` has the tokens of SASL OAUTHBEARER.

pub mod admin;
pub mod client;
pub mod consumer;
pub mod embedded;
pub mod oauth;
pub mod producer;
pub(crate) mod standalone_consumer;
pub mod transaction;
