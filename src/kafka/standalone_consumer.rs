//! A consumer without a group, used by admin calls and by the gateway's feed.
//!
//! The crate's `BaseConsumer` reads only what it is assigned, and librdkafka refuses `assign()` without a `group.id`.
//! With one it looks for the coordinator of the group, for which a user may have no permission.

use std::sync::Arc;

use rdkafka::types::RDKafkaType;

use super::client::{Client, Conf, EventQueue};
use super::embedded;
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

/// The client, its error queue and its isolation level.
pub(crate) struct StandaloneConsumer {
    pub client: Client,
    /// Receives the client's errors.
    pub error_queue: EventQueue,
    /// True for `isolation.level=read_committed`.
    pub read_committed: bool,
}

/// Creates the client, which connects in the background. `overrides` take precedence over the configuration.
///
/// # Errors
/// Configuration: properties librdkafka rejects.
pub(crate) fn start(
    config: &Arc<BrokerConfig>,
    overrides: &[(&str, &str)],
) -> Result<StandaloneConsumer> {
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
    Ok(StandaloneConsumer {
        error_queue: EventQueue::main(&client),
        client,
        read_committed: isolation.as_deref() != Some("read_uncommitted"),
    })
}
