//! Rebalances and errors. librdkafka's callbacks note what happened, and the consumer's own loop processes it: no host
//! code runs inside a callback.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;

use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::kafka::client::{self, AssignedPartitions, Conf, ConsumerEvents, NativeClient};

/// A rebalance or an error.
pub(super) enum Event {
    /// The group assigns these partitions and waits until they are taken.
    Assign(AssignedPartitions),
    /// The group revokes these partitions and waits until they are released.
    Revoke(AssignedPartitions),
    /// A client-wide error, such as all brokers being down or a refused password.
    Error(Code, String),
}

/// The state of the callbacks.
#[derive(Default)]
pub(super) struct Events {
    waiting: Mutex<VecDeque<Event>>,
    /// While closing, revocations are answered immediately: the loop runs no more.
    pub closing: AtomicBool,
    /// Set while records are taken by the batch call. It loses a record where a callback calls `rd_kafka_yield`: it
    /// takes the record out of the queue, sees the request, and returns. It never waits here, so there is no need to
    /// interrupt it.
    pub in_batch: AtomicBool,
}

impl Events {
    /// Notes an event and interrupts the running poll, which would wait for its full timeout otherwise.
    fn note(&self, client: &NativeClient, event: Event) {
        self.waiting.lock().push_back(event);
        if !self.in_batch.load(Ordering::Acquire) {
            client.end_poll();
        }
    }

    /// True where an assignment or revocation waits to be processed.
    pub fn has_rebalance(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting
            .iter()
            .any(|event| matches!(event, Event::Assign(_) | Event::Revoke(_)))
    }

    /// The oldest event.
    #[inline]
    pub fn next(&self) -> Option<Event> {
        self.waiting.lock().pop_front()
    }
}

impl ConsumerEvents for Events {
    fn on_rebalance(&self, client: &NativeClient, is_assigned: bool, list: AssignedPartitions) {
        if self.closing.load(Ordering::Acquire) {
            client.unassign(&list);
            return;
        }
        let event = if is_assigned {
            Event::Assign(list)
        } else {
            Event::Revoke(list)
        };
        self.note(client, event);
    }

    fn on_error(&self, client: &NativeClient, code: Code, reason: String) {
        self.note(client, Event::Error(code, reason));
    }

    fn on_debug_line(&self, line: &str) {
        if let Some((code, reason)) = detect(line) {
            // Noted by a thread of librdkafka; the next poll processes it.
            self.waiting.lock().push_back(Event::Error(code, reason));
        }
    }
}

/// A partition of a topic.
pub type TopicPartition = (String, i32);

/// Callbacks of the host for rebalances.
pub trait RebalanceListener {
    /// The host's reason to stop.
    type Abort;
    /// Partitions were assigned. Reading has not begun, so this is the place to seek.
    ///
    /// # Errors
    /// The host asks to stop; the partitions stay assigned.
    fn assigned(&self, partitions: &[TopicPartition]) -> Result<(), Self::Abort>;
    /// Partitions are revoked. `lost`: they belong to other members already.
    ///
    /// # Errors
    /// The host asks to stop; the partitions are revoked nevertheless.
    fn revoked(&self, partitions: &[TopicPartition], lost: bool) -> Result<(), Self::Abort>;
}

/// librdkafka's offset for the beginning of a partition.
pub(super) const OFFSET_BEGINNING: i64 = -2;
/// Maximum wait for Kafka between two records.
pub(super) const SHORT_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum wait for metadata or committed offsets.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);

/// An embedded broker lets a restarting group wait for the session of the previous member, even if that has left:
/// sessions are short there, unless the application configures them. False where it does.
pub(super) fn shorten_session_timeout(
    config: &BrokerConfig,
    properties: &mut Vec<(String, String)>,
) -> bool {
    let mut changed = false;
    let by_broker = properties
        .iter()
        .any(|(name, value)| name == "group.protocol" && value == "consumer");
    for (name, value) in [
        ("session.timeout.ms", "1500"),
        ("heartbeat.interval.ms", "500"),
        ("fetch.wait.max.ms", "10"),
    ] {
        if by_broker && name != "fetch.wait.max.ms" {
            // Set by the broker for this protocol; librdkafka refuses the properties.
            continue;
        }
        if config.consumer_overrides.get(name).is_none() {
            properties.retain(|(known, _)| known != name);
            properties.push((name.to_owned(), value.to_owned()));
            changed = true;
        }
    }
    changed
}

/// The end of librdkafka's debug line.
const NOT_SUPPORTED: &str = "ConsumerGroupHeartbeatRequest not supported by broker";

/// Installs the detection if `properties` select the protocol.
///
/// # Errors
/// Configuration: librdkafka refuses the debug context.
///
/// librdkafka queries a coordinator that does not support `group.protocol=consumer` (KIP-848) forever and reports
/// nothing except a debug line. A consumer with this protocol therefore enables the debug context `cgrp`, drops its
/// lines unless the application asked for them, and turns this one into an error.
pub(super) fn watch<E: ConsumerEvents>(
    properties: &[(String, String)],
    conf: &mut Conf,
) -> Result<()> {
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
fn detect(line: &str) -> Option<(Code, String)> {
    let found = line.ends_with(NOT_SUPPORTED);
    found.then(|| (Code::UnsupportedFeature, NOT_SUPPORTED.to_owned()))
}

/// True for an error that ends the consumer: the client does not try again, or in vain.
pub(super) fn is_refusal(code: Code, reason: &str) -> bool {
    match code {
        // Authenticated again within a second: the client reconnects.
        Code::Authentication => !reason.contains(&client::describe(Code::IllegalSASLState)),
        _ => matches!(
            code,
            Code::SaslAuthenticationFailed
                | Code::GroupAuthorizationFailed
                | Code::TopicAuthorizationFailed
                | Code::InvalidGroupId
                | Code::InvalidSessionTimeout
                | Code::InconsistentGroupProtocol
                | Code::InvalidTopic
                | Code::AutoOffsetReset
                | Code::UnsupportedFeature
                | Code::Fatal
        ),
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
pub(super) fn unsupported(doing: &str) -> Error {
    Error::configuration(format!(
        "{doing}: the brokers do not support group.protocol=consumer (KIP-848), or have it disabled. Remove \
         \"group.protocol\" from consumer_config to use the classic protocol, or use Kafka 4.0 or later with \
         \"consumer\" in group.coordinator.rebalance.protocols."
    ))
}
