//! Commits: the offsets of handled records, once everything that their callbacks sent is acknowledged.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::records::Ends;
use super::Consumer;
use crate::config::Delivery;
use crate::error::{Error, Result};
use crate::kafka::client;
use crate::kafka::producer::pool::PRODUCERS;
use crate::runtime::clock::coarse_ms;

/// Maximum wait of a periodic commit for acknowledgements; after that the next one includes its offsets.
const TIMEOUT: Duration = Duration::from_millis(500);

impl Consumer {
    /// Commits if `auto.commit.interval.ms` has passed, without waiting for Kafka's response; `now` is that of
    /// [`coarse_ms`].
    ///
    /// # Errors
    /// Delivery: a message sent by a callback was not delivered; nothing is committed.
    pub fn commit_if_due(&self, now: u64) -> Result<()> {
        if !self.commits_afterwards() {
            return Ok(());
        }
        if now.saturating_sub(self.last_commit.get()) < self.config.commit_interval_ms {
            return Ok(());
        }
        self.last_commit.set(now);
        self.read_responses(Duration::ZERO);
        if self.state.borrow().pending_commit.is_some() {
            return Ok(());
        }
        self.request(Instant::now() + TIMEOUT).map(drop)
    }

    /// Requests a commit after an acknowledgement by the application.
    ///
    /// # Errors
    /// See [`Consumer::commit_if_due`].
    pub fn commit_soon(&self) -> Result<()> {
        self.read_responses(Duration::ZERO);
        if self.state.borrow().pending_commit.is_some() {
            return Ok(());
        }
        self.last_commit.set(coarse_ms());
        self.request(Instant::now() + TIMEOUT).map(drop)
    }

    /// Commits everything handled and waits for Kafka's response, `bound` at most.
    ///
    /// # Errors
    /// Delivery: a message sent by a callback was not delivered; nothing is committed.
    pub fn commit_now(&self, bound: Duration) -> Result<()> {
        if self.is_inherited() || !self.commits_afterwards() {
            return Ok(());
        }
        self.commit(bound)
    }

    /// Reports crash counts to the group, without the progress since the last transaction.
    ///
    /// # Errors
    /// See [`Consumer::commit_now`].
    pub fn commit_crash_counts(&self, bound: Duration) -> Result<()> {
        self.state.borrow_mut().records.rewind();
        self.commit(bound)
    }

    /// True for at-least-once: at-most-once commits before, exactly-once in its transactions.
    #[inline]
    fn commits_afterwards(&self) -> bool {
        self.config.delivery == Delivery::AtLeastOnce
    }

    /// The offsets for a transaction: of everything handled since the last one.
    pub fn offsets(&self) -> TopicPartitionList {
        let state = self.state.borrow();
        let mut list = TopicPartitionList::new();
        for commit in state.records.assigned.committable() {
            let metadata = CommitMetadata {
                subscriptions: state.subscriptions.clone(),
                crashes: commit.crashes,
            };
            let place = (&*commit.topic, commit.partition, commit.offset);
            add_offset(&mut list, place, &metadata);
        }
        list
    }

    /// Kafka has committed the transaction with these offsets.
    pub fn committed_with(&self, offsets: &TopicPartitionList) {
        let mut state = self.state.borrow_mut();
        let number = state.records.assigned.next_commit();
        for entry in client::entries(offsets) {
            let (partition, offset) = (entry.partition, entry.offset);
            state
                .records
                .assigned
                .committed(&entry.topic, partition, offset, number);
        }
        self.stats.committed();
    }

    /// Commits the offsets after everything fetched, before any of it is handled, and waits for the response for
    /// `bound`. Without a response, call it again: one such commit is pending at a time, as an earlier commit that
    /// arrives later would move the group back.
    pub fn pre_commit(&self, bound: Duration) -> PreCommit {
        let until = Instant::now() + crate::runtime::clock::bounded(bound);
        let ends = self.state.borrow_mut().records.ends_of_fetched();
        if ends.is_empty() {
            return PreCommit::Committed;
        }
        self.await_pre_commit(until);
        let last = self.state.borrow_mut().take_completed();
        match last {
            // Partitions revoked since need no commit any more.
            Some(last) if last.covers(&ends) => return last.outcome(),
            // Its records were discarded.
            Some(_) | None => {}
        }
        if self.state.borrow().pre_commit.is_some() {
            return PreCommit::Pending;
        }
        let Some(number) = self.ask(&self.list_of(&ends)) else {
            return PreCommit::Refused;
        };
        self.state.borrow_mut().pre_commit = Some(PendingPreCommit::new(number, ends));
        self.await_pre_commit(until);
        let completed = self.state.borrow_mut().take_completed();
        completed.map_or(PreCommit::Pending, |response| response.outcome())
    }

    fn list_of(&self, ends: &Ends) -> TopicPartitionList {
        let metadata = CommitMetadata {
            subscriptions: self.state.borrow().subscriptions.clone(),
            crashes: Vec::new(),
        };
        let mut list = TopicPartitionList::new();
        for ((topic, number), end) in ends {
            add_offset(&mut list, (&**topic, *number, *end), &metadata);
        }
        list
    }

    fn await_pre_commit(&self, until: Instant) {
        let is_waiting = || {
            let state = self.state.borrow();
            state
                .pre_commit
                .as_ref()
                .is_some_and(PendingPreCommit::is_pending)
        };
        while is_waiting() && Instant::now() < until {
            self.read_responses(until.saturating_duration_since(Instant::now()));
        }
    }

    fn commit(&self, bound: Duration) -> Result<()> {
        let until = Instant::now() + crate::runtime::clock::bounded(bound);
        self.await_response(until);
        if self.request(until)? {
            self.await_response(until);
        }
        self.state.borrow_mut().pending_commit = None;
        Ok(())
    }

    /// Sends the request; false where there is nothing to commit or acknowledgements are missing.
    fn request(&self, until: Instant) -> Result<bool> {
        let list = self.offsets();
        // Without offsets there is no reason to wait.
        let until = if list.count() == 0 {
            Instant::now()
        } else {
            until
        };
        // The list is made first: messages sent from here on belong to records that are not in it.
        if !self.deliveries_acknowledged(until)? || list.count() == 0 {
            return Ok(false);
        }
        Ok(self.ask(&list).is_some())
    }

    /// Sends a commit; the number that its response carries.
    fn ask(&self, list: &TopicPartitionList) -> Option<usize> {
        let number = self.state.borrow_mut().records.assigned.next_commit();
        let sent = self.client.commit(list, &self.commits, number);
        let sent = sent.is_ok().then_some(number);
        if sent.is_none() {
            self.stats.commit_failures.add(1);
        }
        self.state.borrow_mut().pending_commit = sent;
        sent
    }

    /// Waits until everything that the callbacks sent is acknowledged. After a failure the records since the last
    /// commit are read again: one by one if Kafka refuses a message for good.
    fn deliveries_acknowledged(&self, until: Instant) -> Result<bool> {
        Self::callback_results(until).inspect_err(|error| {
            self.read_again(error.is_permanent());
        })
    }

    /// Waits until everything that the callbacks sent is acknowledged; false if that takes longer.
    ///
    /// # Errors
    /// Delivery, naming the messages that were not delivered.
    pub fn callback_results(until: Instant) -> Result<bool> {
        let failures = &PRODUCERS.current().callback_failures;
        let clients = PRODUCERS.current().all();
        let unacknowledged: Vec<_> = clients
            .iter()
            .filter(|client| client.tracks_callback_sends())
            .collect();
        let mut delivered = true;
        for client in &unacknowledged {
            delivered &= client.wait_for_delivery(until);
        }
        if failures.is_empty() {
            if delivered {
                for client in unacknowledged {
                    client.clear_callback_sends();
                }
            }
            return Ok(delivered);
        }
        let (failed, _) = failures.take();
        for client in unacknowledged {
            for message in &failed {
                client.failures.remove(&message.id);
            }
            client.clear_callback_sends();
        }
        Err(Error::undelivered(
            "A message sent by a callback was not delivered: its records are not committed and are read again.",
            failed,
        ))
    }

    /// Waits for the response to the pending commit, if there is one.
    fn await_response(&self, until: Instant) {
        while self.state.borrow().pending_commit.is_some() && Instant::now() < until {
            self.read_responses(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Reads the next response to a commit request, waiting at most `wait` for it.
    fn read_responses(&self, wait: Duration) {
        let Some(response) = self.commits.poll(wait) else {
            return;
        };
        let mut code = response.error().map_or(Code::NoError, |(code, _)| code);
        let number = response.tag();
        let mut state = self.state.borrow_mut();
        if code == Code::NoError {
            for entry in response.partitions() {
                // The response has an error only where all of its partitions have one.
                if entry.error == Code::NoError {
                    let (partition, offset) = (entry.partition, entry.offset);
                    state
                        .records
                        .assigned
                        .committed(&entry.topic, partition, offset, number);
                } else {
                    code = entry.error;
                }
            }
        }
        let accepted = code == Code::NoError;
        if accepted {
            self.stats.committed();
        } else {
            self.stats.commit_failures.add(1);
            state.last_error = Some(format!("commit: {}", client::describe(code)));
        }
        state.on_commit_response(number, accepted);
    }
}

fn add_offset(
    list: &mut TopicPartitionList,
    (topic, partition, offset): (&str, i32, i64),
    metadata: &CommitMetadata,
) {
    let mut element = list.add_partition(topic, partition);
    // Refused for a negative offset only: the partition is not committed then.
    let _ = element.set_offset(Offset::Offset(offset));
    element.set_metadata(metadata.text());
}

// Pre-commits of at-most-once: which response belongs to which request.

/// Outcome of a pre-commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreCommit {
    /// Kafka has the offsets: the fetched records may be handled, and no other member reads them.
    Committed,
    /// Kafka refused the offsets of some partitions: their next owner may read the records.
    Refused,
    /// There is no response yet.
    Pending,
}

/// A pre-commit that was sent.
#[derive(Debug)]
pub(super) struct PendingPreCommit {
    number: usize,
    ends: Ends,
    accepted: Option<bool>,
}

impl PendingPreCommit {
    pub const fn new(number: usize, ends: Ends) -> Self {
        Self {
            number,
            ends,
            accepted: None,
        }
    }

    pub const fn is_pending(&self) -> bool {
        self.accepted.is_none()
    }

    /// Takes the response to the request with this number.
    pub fn answer(&mut self, number: usize, accepted: bool) {
        if self.number == number {
            self.accepted = Some(accepted);
        }
    }

    /// True where it covers all of these offsets.
    pub fn covers(&self, ends: &Ends) -> bool {
        ends.iter()
            .all(|(place, end)| self.ends.get(place) == Some(end))
    }

    pub const fn outcome(&self) -> PreCommit {
        match self.accepted {
            Some(true) => PreCommit::Committed,
            Some(false) => PreCommit::Refused,
            None => PreCommit::Pending,
        }
    }
}

// The metadata that a member writes beside its committed offsets: JSON of a few bytes.

/// Subscriptions of the member, and crash counts of the records that follow the offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitMetadata {
    /// A hash of the member's subscriptions: members of one group that read a shared topic should have the same.
    #[serde(rename = "s", default, skip_serializing_if = "String::is_empty")]
    pub subscriptions: String,
    /// Records at or after the committed offset whose callbacks ended the process by `exit` or a fatal error: first
    /// offset, number of records in a row, attempts.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub crashes: Vec<(i64, i64, u32)>,
}

impl CommitMetadata {
    /// Reads the metadata of another member; anything of another format is empty metadata.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// The text for a commit.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::State;
    use super::*;

    fn ends(list: &[(&str, i32, i64)]) -> Ends {
        let place = |(topic, number, end): &(&str, i32, i64)| ((Rc::from(*topic), *number), *end);
        list.iter().map(place).collect()
    }

    #[test]
    fn a_response_belongs_to_the_commit_with_its_number() {
        let mut state = State::default();
        let first = state.records.assigned.next_commit();
        state.pending_commit = Some(first);
        let second = state.records.assigned.next_commit();
        state.pending_commit = Some(second);
        state.pre_commit = Some(PendingPreCommit::new(second, ends(&[("t", 0, 7)])));

        state.on_commit_response(first, true);
        assert_eq!(state.pending_commit, Some(second));
        assert!(state.take_completed().is_none());

        state.on_commit_response(second, false);
        assert_eq!(state.pending_commit, None);
        let outcome = state
            .take_completed()
            .map(|pre_commit| pre_commit.outcome());
        assert_eq!(outcome, Some(PreCommit::Refused));
        assert!(state.pre_commit.is_none());
    }

    #[test]
    fn revoked_partitions_need_no_other_commit() {
        let pre_commit = PendingPreCommit::new(1, ends(&[("t", 0, 7), ("t", 1, 3)]));
        assert!(pre_commit.covers(&ends(&[("t", 1, 3)])));
        assert!(!pre_commit.covers(&ends(&[("t", 1, 4)])));
        assert!(!pre_commit.covers(&ends(&[("t", 1, 3), ("u", 1, 3)])));
    }
}

#[cfg(test)]
mod metadata_tests {
    use super::CommitMetadata;

    #[test]
    fn metadata_of_other_clients_is_ignored() {
        let ours = CommitMetadata {
            subscriptions: "ab".into(),
            crashes: vec![(7, 2, 1)],
        };
        assert_eq!(CommitMetadata::read(ours.text().as_bytes()), ours);
        assert_eq!(CommitMetadata::read(b"rdkafka"), CommitMetadata::default());
        assert_eq!(CommitMetadata::default().text(), "{}");
    }
}
