//! librdkafka's callbacks note what happened, and the consumer's own loop processes it: no host code runs inside a
//! callback.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::Consumer;
use super::State;
use crate::error::Error;
use crate::kafka::client::{
    self, AssignedPartitions, Conf, ConsumerEvents, KafkaMessage, NativeClient,
};
use crate::topic::TopicFilter;

/// A rebalance or an error.
pub enum Event {
    /// The group assigns these partitions and waits until they are taken.
    Assign(AssignedPartitions),
    /// The group revokes these partitions and waits until they are released.
    Revoke(AssignedPartitions),
    /// A client-wide error, such as all brokers being down or a refused password.
    Error(Code, String),
}

/// The state of the callbacks.
#[derive(Default)]
pub struct Events {
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

// Errors that Kafka reports in messages and events: missing topics, and errors that end a consumer.

impl Consumer {
    /// An error or the end of a partition, delivered as a message.
    pub(super) fn on_message_error(
        &self,
        state: &mut State,
        message: &KafkaMessage,
        slot: Option<usize>,
    ) {
        let topic = message.topic();
        let reason = message.error_text();
        match message.code() {
            Code::PartitionEOF => {
                if let Some(partition) = slot.and_then(|slot| state.records.at(slot)) {
                    partition.reached_end(message.offset());
                }
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic => {
                if state.filters.contains(&TopicFilter::Exact(topic.clone())) {
                    state.late.insert(topic.clone());
                    state.waiting_for.insert(topic);
                }
            }
            code => self.on_error(state, code, &reason, &topic),
        }
    }

    pub(super) fn on_error(&self, state: &mut State, code: Code, reason: &str, topic: &str) {
        if let Some(reason) = crate::kafka::oauth::TOKENS.current().missing(&self.client) {
            // Not refused by Kafka: the token is requested again.
            state.last_error = Some(format!("no OAUTHBEARER token: {reason}"));
            self.stats.reachability.on_error(code);
            return;
        }
        state.last_error = Some(reason.to_owned());
        self.stats.reachability.on_error(code);
        let repeated = client::describe(Code::IllegalSASLState);
        match code {
            // Authenticated again within a second: the client reconnects.
            Code::Authentication if reason.contains(&repeated) => {}
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::GroupAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::InconsistentGroupProtocol
            | Code::InvalidTopic
            | Code::AutoOffsetReset
            | Code::UnsupportedFeature
            | Code::Fatal => {
                let place = if topic.is_empty() {
                    String::new()
                } else {
                    format!(", topic \"{topic}\"")
                };
                let doing = format!(
                    "Kafka at {} refuses consumer group \"{}\"{place}",
                    self.config.brokers, self.config.consumer_group
                );
                state.fatal_error = Some(if is_unsupported(code, reason) {
                    let error = error(&doing);
                    state.last_error = Some(error.message().to_owned());
                    error
                } else {
                    client::to_error(code, &doing, reason, &self.config.brokers)
                });
            }
            _ => {}
        }
    }
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
