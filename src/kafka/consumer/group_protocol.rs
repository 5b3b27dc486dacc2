//! Detects brokers that do not support `group.protocol=consumer` (KIP-848).
//!
//! librdkafka queries such a coordinator forever and reports nothing except a debug line. A consumer with this
//! protocol therefore enables the debug context `cgrp`, drops its lines unless the application asked for them, and
//! turns this one into an error.

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::error::Error;
use crate::kafka::client::{self, Conf, ConsumerEvents};

/// The end of librdkafka's debug line.
const NOT_SUPPORTED: &str = "ConsumerGroupHeartbeatRequest not supported by broker";

/// Installs the detection if `properties` select the protocol.
///
/// # Errors
/// Configuration: librdkafka refuses the debug context.
pub(super) fn watch<E: ConsumerEvents>(
    properties: &[(String, String)],
    conf: &mut Conf,
) -> crate::error::Result<()> {
    let value = |name: &str| properties.iter().find(|(known, _)| known == name);
    if value("group.protocol").is_none_or(|(_, protocol)| protocol != "consumer") {
        return Ok(());
    }
    let contexts = value("debug").map(|(_, contexts)| contexts.as_str());
    let ours = contexts.map_or_else(|| "cgrp".to_owned(), |theirs| format!("{theirs},cgrp"));
    conf.set("debug", &ours, "consumer_config")?;
    conf.watch_debug_lines::<E>(contexts.is_some());
    Ok(())
}

/// The error that a debug line reports, if it does.
pub(super) fn detect(line: &str) -> Option<(Code, String)> {
    let found = line.ends_with(NOT_SUPPORTED);
    found.then(|| (Code::UnsupportedFeature, NOT_SUPPORTED.to_owned()))
}

/// True if an error says that the brokers do not support the protocol.
pub(super) fn is_unsupported(code: Code, reason: &str) -> bool {
    match code {
        Code::UnsupportedFeature => reason == NOT_SUPPORTED,
        // Brokers that know the request, but have the protocol disabled.
        Code::Fatal => {
            let unsupported = client::describe(Code::UnsupportedVersion);
            reason.contains("ConsumerGroupHeartbeat") && reason.contains(&unsupported)
        }
        _ => false,
    }
}

/// The error for [`is_unsupported`]. `doing`: who refuses whom.
pub(super) fn error(doing: &str) -> Error {
    Error::configuration(format!(
        "{doing}: the brokers do not support group.protocol=consumer (KIP-848), or have it disabled. Remove \
         \"group.protocol\" from consumer_config to use the classic protocol, or use Kafka 4.0 or later with \
         \"consumer\" in group.coordinator.rebalance.protocols."
    ))
}
