//! A consumer without a group, used by admin calls and by the gateway's feed.
#![allow(unsafe_code)]

use std::sync::Arc;

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_type_t;

use super::client::{Conf, EventQueue};
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
    /// The owner destroys it, after its queues.
    pub raw: *mut sys::rd_kafka_t,
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
    // SAFETY: the conf is ours.
    unsafe {
        sys::rd_kafka_conf_set_events(conf.raw(), sys::bindings::RD_KAFKA_EVENT_ERROR);
    }
    let raw = conf.into_client(rd_kafka_type_t::RD_KAFKA_CONSUMER)?;
    Ok(StandaloneConsumer {
        raw,
        error_queue: EventQueue::main(raw),
        read_committed: isolation.as_deref() != Some("read_uncommitted"),
    })
}
