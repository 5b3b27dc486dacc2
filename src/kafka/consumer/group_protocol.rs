//! Detects brokers that do not support `group.protocol=consumer` (KIP-848).
//!
//! librdkafka queries such a coordinator forever and reports nothing except a debug line. A consumer with this
//! protocol therefore enables the debug context `cgrp`, drops its lines unless the application asked for them, and
//! turns this one into an error.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;

use super::rebalance::Events;
use crate::error::Error;
use crate::kafka::client::{self, Conf};

/// The end of librdkafka's debug line.
const NOT_SUPPORTED: &str = "ConsumerGroupHeartbeatRequest not supported by broker";
/// syslog's severity of a debug line.
const DEBUG: c_int = 7;

/// Installs the detection if `properties` select the protocol.
///
/// # Errors
/// Configuration: librdkafka refuses the debug context.
pub(super) fn watch(properties: &[(String, String)], conf: &mut Conf) -> crate::error::Result<()> {
    let value = |name: &str| properties.iter().find(|(known, _)| known == name);
    if value("group.protocol").is_none_or(|(_, protocol)| protocol != "consumer") {
        return Ok(());
    }
    let callback = if let Some((_, contexts)) = value("debug") {
        conf.set("debug", &format!("{contexts},cgrp"), "consumer_config")?;
        on_log::<true>
    } else {
        conf.set("debug", "cgrp", "consumer_config")?;
        on_log::<false>
    };
    // SAFETY: the conf is ours; the callback is a static function.
    unsafe { sys::rd_kafka_conf_set_log_cb(conf.raw(), Some(callback)) };
    Ok(())
}

/// `PASSES_DEBUG`: the application asked for debug lines.
unsafe extern "C" fn on_log<const PASSES_DEBUG: bool>(
    client: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    detect(client, level, line);
    if PASSES_DEBUG || level < DEBUG {
        client::on_log(client, level, facility, line);
    }
}

unsafe fn detect(client: *const sys::rd_kafka_t, level: c_int, line: *const c_char) {
    if level < DEBUG || client.is_null() || !client::text(line).ends_with(NOT_SUPPORTED) {
        return;
    }
    let events = sys::bindings::rd_kafka_opaque(client).cast::<Events>();
    if let Some(events) = events.as_ref() {
        events.add_error(Code::UnsupportedFeature, NOT_SUPPORTED.to_owned());
    }
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
