//! Rebalances: the consumer's part when partitions are assigned and revoked.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;

use super::commit::CommitMetadata;
use super::rebalance::Event;
use super::Consumer;
use super::State;
use crate::error::Result;
use crate::kafka::client::{partitions_of, AssignedPartitions};
use crate::log::Level;
use crate::runtime;

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
        while let Some(event) = self.next_event() {
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
        self.fetches_actively();
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
                    .add(topic, *number, *offset)
                    .restore_crash_counts(&metadata.crashes);
                if *offset < 0 && self.reads_from_end && state.is_late(topic) {
                    // The topic appeared after subscribing: every record in it is new.
                    let beginning = OFFSET_BEGINNING;
                    state.seeks.insert((topic.clone(), *number), beginning);
                }
            }
        }
        self.last_fetch.set(std::time::Instant::now());
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
            self.connected_at.set(Some(std::time::Instant::now()));
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
            let ours =
                |(topic, number): &&TopicPartition| state.records.slot_of(topic, *number).is_some();
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
            if let Some(partition) = state.records.find(topic, *number) {
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
}
