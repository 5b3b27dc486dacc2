//! Rebalances and errors. librdkafka's callbacks note what happened, and the consumer's own loop processes it: no host
//! code runs inside a callback.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::commit::CommitMetadata;
use super::Consumer;
use super::State;
use crate::error::{Error, Result};
use crate::kafka::client::{
    self, partitions_of, AssignedPartitions, Conf, ConsumerEvents, KafkaMessage, NativeClient,
};
use crate::log::Level;
use crate::runtime;
use crate::topic::TopicFilter;

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

impl Consumer {
    /// Processes everything that librdkafka's callbacks noted.
    ///
    /// # Errors
    /// The listener's.
    pub fn serve_events<W: RebalanceListener>(&self, listener: &W) -> Result<(), W::Abort> {
        while let Some(event) = self.events.next() {
            match event {
                Event::Assign(list) => self.assign(list, listener)?,
                Event::Revoke(list) => self.revoke(&list, listener)?,
                Event::Error(code, reason) => {
                    self.on_error(&mut self.state.borrow_mut(), code, &reason, "");
                }
            }
        }
        Ok(())
    }

    fn assign<W: RebalanceListener>(
        &self,
        mut list: AssignedPartitions,
        listener: &W,
    ) -> Result<(), W::Abort> {
        self.fetch_wait.shorten();
        self.stats.rebalances.add(1);
        let names = list.names();
        let response = self.query_committed(&names, TIMEOUT);
        if response.is_none() {
            self.state
                .borrow_mut()
                .metadata_unread
                .extend(names.iter().cloned());
        }
        let unknown = || vec![(-1, CommitMetadata::default()); names.len()];
        let committed = response.unwrap_or_else(unknown);
        {
            let mut state = self.state.borrow_mut();
            state.assigning = true;
            state.seeks.clear();
            state.pauses.clear();
            for ((topic, number), (offset, metadata)) in names.iter().zip(&committed) {
                state.waiting_for.remove(topic);
                self.check_subscriptions(&mut state, metadata);
                state
                    .records
                    .assigned
                    .add(topic, *number, *offset)
                    .restore_crash_counts(&metadata.crashes);
                if *offset < 0 && self.ends.reads_from_end && state.is_late(topic) {
                    // The topic appeared after subscribing: every record in it is new.
                    let beginning = OFFSET_BEGINNING;
                    state.seeks.insert((topic.clone(), *number), beginning);
                }
            }
        }
        self.ends.fetched();
        let outcome = listener.assigned(&names);
        if self.is_inherited() {
            // A child forked in the hook: the client has no threads here, and would wait for them for ever.
            return outcome;
        }
        {
            let mut state = self.state.borrow_mut();
            state.assigning = false;
            for ((topic, number), offset) in state.seeks.drain() {
                list.set_offset(&topic, number, offset);
            }
        }
        self.on_assign_error(self.client.assign(&list));
        let pauses = std::mem::take(&mut self.state.borrow_mut().pauses);
        for (topic, number) in pauses {
            self.set_paused(Some(&topic), Some(number), true);
        }
        outcome
    }

    fn revoke<W: RebalanceListener>(
        &self,
        list: &AssignedPartitions,
        listener: &W,
    ) -> Result<(), W::Abort> {
        self.stats.rebalances.add(1);
        let names = list.names();
        let is_lost = self.client.has_lost_assignment();
        if !is_lost {
            // Records that are not acknowledged in time are read again by the new owner.
            let _ = self.commit_now(Duration::from_secs(3));
        }
        let outcome = listener.revoked(&names, is_lost);
        if self.is_inherited() {
            return outcome;
        }
        {
            let mut state = self.state.borrow_mut();
            for (topic, number) in &names {
                state.records.remove(topic, *number);
            }
        }
        if self.connected_at.get().is_some() {
            // The time to be assigned something starts again here.
            self.connected_at.set(Some(Instant::now()));
        }
        self.on_assign_error(self.client.unassign(list));
        outcome
    }

    fn on_assign_error(&self, refused: Option<String>) {
        if let Some(reason) = refused {
            runtime::current().log.write(
                Level::Warning,
                format!(
                    "Kafka consumer group \"{}\": {reason}",
                    self.config.consumer_group
                ),
            );
            self.state.borrow_mut().last_error = Some(reason);
        }
    }

    /// Reads the commit metadata of previous owners again, where Kafka did not answer at the assignment.
    pub(super) fn reread_metadata(&self) {
        let metadata_unread: Vec<TopicPartition> = {
            let state = self.state.borrow();
            let ours = |(topic, number): &&TopicPartition| {
                state.records.assigned.slot_of(topic, *number).is_some()
            };
            state.metadata_unread.iter().filter(ours).cloned().collect()
        };
        if metadata_unread.is_empty() {
            self.state.borrow_mut().metadata_unread.clear();
            return;
        }
        let Some(read) = self.query_committed(&metadata_unread, SHORT_TIMEOUT) else {
            return;
        };
        let mut state = self.state.borrow_mut();
        state.metadata_unread.clear();
        for ((topic, number), (_, metadata)) in metadata_unread.iter().zip(&read) {
            self.check_subscriptions(&mut state, metadata);
            if let Some(partition) = state.records.assigned.find(topic, *number) {
                partition.restore_crash_counts(&metadata.crashes);
            }
        }
    }

    /// The group's offsets (-1 where it has none) with their metadata; `None` where Kafka does not answer in time.
    pub(super) fn query_committed(
        &self,
        partitions: &[TopicPartition],
        bound: Duration,
    ) -> Option<Vec<(i64, CommitMetadata)>> {
        let bound = crate::runtime::clock::bounded(bound);
        let entries = self
            .client
            .committed(partitions_of(partitions), bound)
            .ok()?;
        if entries.iter().any(|entry| entry.error != Code::NoError) {
            return None;
        }
        let read = entries.iter().map(|entry| {
            let metadata = CommitMetadata::read(&entry.metadata);
            (entry.offset.max(-1), metadata)
        });
        Some(read.collect())
    }

    fn check_subscriptions(&self, state: &mut State, theirs: &CommitMetadata) {
        if theirs.subscriptions.is_empty()
            || theirs.subscriptions == state.subscriptions
            || state.conflict
        {
            return;
        }
        state.conflict = true;
        runtime::current().log.write(
            Level::Warning,
            format!(
                "Consumer group \"{}\" has members that subscribe different channels on the same topic: a member skips \
                 records of its partitions that it did not subscribe, and no other member reads them. Give every \
                 member the same channels, or each set of channels its own group. (After a change of \
                 channels this is logged once.)",
                self.config.consumer_group
            ),
        );
    }

    /// True where a member with other subscriptions committed to a partition of this consumer.
    #[must_use]
    pub fn has_conflict(&self) -> bool {
        self.state.borrow().conflict
    }

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
                if let Some(partition) = slot.and_then(|slot| state.records.assigned.at(slot)) {
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

    fn on_error(&self, state: &mut State, code: Code, reason: &str, topic: &str) {
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

/// True if an error says that the brokers do not support the protocol.
fn is_unsupported(code: Code, reason: &str) -> bool {
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
fn error(doing: &str) -> Error {
    Error::configuration(format!(
        "{doing}: the brokers do not support group.protocol=consumer (KIP-848), or have it disabled. Remove \
         \"group.protocol\" from consumer_config to use the classic protocol, or use Kafka 4.0 or later with \
         \"consumer\" in group.coordinator.rebalance.protocols."
    ))
}
