//! Everything that talks to Kafka through librdkafka.
//!
//! `client` has safe functions for the C API, and alone calls it. `producer` and `consumer` are the two kinds of
//! client, [`StandaloneConsumer`] is a consumer without a group, `transaction` combines a consumer and a producer,
//! `admin` serves admin calls. `embedded` is the development broker, `oauth` has the tokens of SASL OAUTHBEARER.

pub mod admin;
pub mod client;
pub mod consumer;
pub mod embedded;
pub mod oauth;
pub mod producer;
pub mod transaction;

use std::sync::Arc;

use rdkafka::types::RDKafkaType;

use self::client::{Client, Conf, EventQueue};
use crate::config::BrokerConfig;
use crate::error::Result;

/// Properties of consumer groups, and those that create topics on metadata requests.
pub(in crate::kafka) const EXCLUDED_PROPERTIES: &[&str] = &[
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "allow.auto.create.topics",
];

/// A consumer without a group, used by admin calls and by the gateway's feed: the client, its error queue and its
/// isolation level.
///
/// The crate's `BaseConsumer` reads only what it is assigned, and librdkafka refuses `assign()` without a `group.id`.
/// With one it looks for the coordinator of the group, for which a user may have no permission.
pub(crate) struct StandaloneConsumer {
    pub client: Client,
    /// Receives the client's errors.
    pub error_queue: EventQueue,
    /// True for `isolation.level=read_committed`.
    pub read_committed: bool,
}

impl StandaloneConsumer {
    /// Creates the client, which connects in the background. `overrides` take precedence over the configuration.
    ///
    /// # Errors
    /// Configuration: properties librdkafka rejects.
    pub(crate) fn start(config: &Arc<BrokerConfig>, overrides: &[(&str, &str)]) -> Result<Self> {
        let mut properties = config.consumer_properties();
        properties.retain(|(name, _)| !EXCLUDED_PROPERTIES.contains(&name.as_str()));
        let fixed = [
            // Reading metadata must not create topics.
            ("allow.auto.create.topics", "false"),
            ("enable.partition.eof", "true"),
        ];
        for (name, value) in fixed.iter().chain(overrides) {
            properties.retain(|(known, _)| known != name);
            properties.push(((*name).to_owned(), (*value).to_owned()));
        }
        embedded::resolve(config, &mut properties)?;
        let mut conf = Conf::new(&properties, "consumer_config")?;
        let isolation = conf.get("isolation.level");
        conf.report_events(false);
        let client = conf.into_client(RDKafkaType::RD_KAFKA_CONSUMER)?;
        Ok(Self {
            error_queue: EventQueue::main(&client),
            client,
            read_committed: isolation.as_deref() != Some("read_uncommitted"),
        })
    }
}
