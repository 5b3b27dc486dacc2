//! Commits: the offsets of handled records, once everything that their callbacks sent is acknowledged.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::assignment::Assignment;
use super::partitions::CommitMetadata;
use super::rebalance::{TopicPartition, SHORT_TIMEOUT, TIMEOUT};
use super::records::{AssignedRecords, Ends};
use super::status::Stats;
use crate::config::Delivery;
use crate::error::Result;
use crate::kafka::client::{self, EventQueue};
use crate::kafka::producer::pool::PRODUCERS;
use crate::runtime;
use crate::runtime::clock::{bounded, coarse_ms};

/// Maximum wait of a periodic commit for acknowledgements; after that the next one includes its offsets.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_millis(500);

/// The commits of a consumer.
pub struct Commits {
    assignment: Rc<Assignment>,
    stats: Arc<Stats>,
    pub(super) queue: EventQueue,
    /// Time of the last periodic commit.
    last: Cell<u64>,
    responses: RefCell<Responses>,
    /// The hash that goes into the metadata of commits.
    subscriptions: RefCell<String>,
    has_conflict: Cell<bool>,
    /// Partitions whose commit metadata could not be read yet.
    unread: RefCell<Vec<TopicPartition>>,
}

impl Commits {
    pub(super) fn new(assignment: &Rc<Assignment>, stats: &Arc<Stats>) -> Self {
        Self {
            assignment: Rc::clone(assignment),
            stats: Arc::clone(stats),
            queue: EventQueue::new(&assignment.client),
            last: Cell::new(coarse_ms()),
            responses: RefCell::default(),
            subscriptions: RefCell::default(),
            has_conflict: Cell::new(false),
            unread: RefCell::default(),
        }
    }

    pub(super) fn set_subscriptions(&self, hash: String) {
        self.subscriptions.replace(hash);
    }

    /// Commits if `auto.commit.interval.ms` has passed, without waiting for Kafka's response; `now` is that of
    /// [`coarse_ms`].
    ///
    /// # Errors
    /// Delivery: a message sent by a callback was not delivered; nothing is committed.
    pub fn commit_if_due(&self, now: u64) -> Result<()> {
        let interval = self.assignment.config.commit_interval_ms;
        if !self.commits_afterwards() || now.saturating_sub(self.last.get()) < interval {
            return Ok(());
        }
        self.last.set(now);
        if self.awaits_response() {
            return Ok(());
        }
        self.request_now()
    }

    /// Requests a commit after an acknowledgement by the application.
    ///
    /// # Errors
    /// See [`Commits::commit_if_due`].
    pub fn commit_soon(&self) -> Result<()> {
        if self.awaits_response() {
            return Ok(());
        }
        self.last.set(coarse_ms());
        self.request_now()
    }

    fn request_now(&self) -> Result<()> {
        self.request(Instant::now() + ACKNOWLEDGEMENT_TIMEOUT)
            .map(drop)
    }

    fn awaits_response(&self) -> bool {
        self.read_response(Duration::ZERO);
        self.is_pending()
    }

    /// Commits everything handled and waits for Kafka's response, `bound` at most.
    ///
    /// # Errors
    /// Delivery: a message sent by a callback was not delivered; nothing is committed.
    pub fn commit_now(&self, bound: Duration) -> Result<()> {
        if self.assignment.client.is_inherited() || !self.commits_afterwards() {
            return Ok(());
        }
        self.commit(bound)
    }

    /// Reports crash counts to the group, without the progress since the last transaction.
    ///
    /// # Errors
    /// See [`Commits::commit_now`].
    pub fn commit_crash_counts(&self, bound: Duration) -> Result<()> {
        self.assignment.records(AssignedRecords::rewind);
        self.commit(bound)
    }

    /// True for at-least-once: at-most-once commits before, exactly-once in its transactions.
    #[inline]
    fn commits_afterwards(&self) -> bool {
        self.assignment.config.delivery == Delivery::AtLeastOnce
    }

    /// The offsets for a transaction: of everything handled since the last one.
    pub fn offsets(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for commit in self.assignment.records(|all| all.assigned.committable()) {
            let place = (&*commit.topic, commit.partition, commit.offset);
            self.add_offset(&mut list, place, commit.crashes);
        }
        list
    }

    fn add_offset(
        &self,
        list: &mut TopicPartitionList,
        (topic, partition, offset): (&str, i32, i64),
        crashes: Vec<(i64, i64, u32)>,
    ) {
        let metadata = CommitMetadata {
            subscriptions: self.subscriptions.borrow().clone(),
            crashes,
        };
        let mut element = list.add_partition(topic, partition);
        // Refused for a negative offset only: the partition is not committed then.
        let _ = element.set_offset(Offset::Offset(offset));
        element.set_metadata(metadata.text());
    }

    /// Kafka has committed the transaction with these offsets.
    pub fn committed_with(&self, offsets: &TopicPartitionList) {
        self.assignment.records(|all| {
            let number = all.assigned.next_commit();
            for entry in client::entries(offsets) {
                let (partition, offset) = (entry.partition, entry.offset);
                all.assigned
                    .committed(&entry.topic, partition, offset, number);
            }
        });
        self.stats.committed();
    }

    /// Commits the offsets after everything fetched, before any of it is handled, and waits for the response for
    /// `bound`. Without a response, call it again: one such commit is pending at a time, as an earlier commit that
    /// arrives later would move the group back.
    pub fn pre_commit(&self, bound: Duration) -> PreCommit {
        let until = Instant::now() + bounded(bound);
        let ends = self.assignment.records(AssignedRecords::ends_of_fetched);
        if ends.is_empty() {
            return PreCommit::Committed;
        }
        self.await_pre_commit(until);
        let answered = self.responses.borrow_mut().take_completed();
        match answered {
            // Partitions revoked since need no commit any more.
            Some(earlier) if earlier.covers(&ends) => return earlier.outcome(),
            // Its records were discarded.
            Some(_) | None => {}
        }
        if self.has_pre_commit() {
            return PreCommit::Pending;
        }
        let mut list = TopicPartitionList::new();
        for ((topic, number), end) in &ends {
            self.add_offset(&mut list, (&**topic, *number, *end), Vec::new());
        }
        let Some(number) = self.ask(&list) else {
            return PreCommit::Refused;
        };
        self.responses.borrow_mut().pre_commit = Some(PendingPreCommit::new(number, ends));
        self.await_pre_commit(until);
        let completed = self.responses.borrow_mut().take_completed();
        completed.map_or(PreCommit::Pending, |response| response.outcome())
    }

    /// True while the commit of a batch has no response that [`Commits::pre_commit`] has returned.
    pub(super) fn has_pre_commit(&self) -> bool {
        self.responses.borrow().pre_commit.is_some()
    }

    fn await_pre_commit(&self, until: Instant) {
        let is_waiting = || {
            let responses = self.responses.borrow();
            let pre_commit = responses.pre_commit.as_ref();
            pre_commit.is_some_and(PendingPreCommit::is_pending)
        };
        while is_waiting() && Instant::now() < until {
            self.read_response(until.saturating_duration_since(Instant::now()));
        }
    }

    fn commit(&self, bound: Duration) -> Result<()> {
        let until = Instant::now() + bounded(bound);
        self.await_response(until);
        if self.request(until)? {
            self.await_response(until);
        }
        self.responses.borrow_mut().pending = None;
        Ok(())
    }

    /// Sends the request; false where there is nothing to commit or acknowledgements are missing.
    fn request(&self, until: Instant) -> Result<bool> {
        // The list is made first: messages sent from here on belong to records that are not in it.
        let list = self.offsets();
        let is_empty = list.count() == 0;
        // Without offsets there is no reason to wait.
        let until = if is_empty { Instant::now() } else { until };
        // After a failure the records since the last commit are read again: one by one if Kafka refuses a message for
        // good.
        let acknowledged = PRODUCERS.current().callback_results(until);
        let acknowledged =
            acknowledged.inspect_err(|error| self.assignment.read_again(error.is_permanent()))?;
        Ok(acknowledged && !is_empty && self.ask(&list).is_some())
    }

    /// Sends a commit; the number that its response carries.
    fn ask(&self, list: &TopicPartitionList) -> Option<usize> {
        let number = self.assignment.records(|all| all.assigned.next_commit());
        let sent = self.assignment.client.commit(list, &self.queue, number);
        let sent = sent.is_ok().then_some(number);
        if sent.is_none() {
            self.stats.commit_failures.add(1);
        }
        self.responses.borrow_mut().pending = sent;
        sent
    }

    fn is_pending(&self) -> bool {
        self.responses.borrow().pending.is_some()
    }

    /// Waits for the response to the pending commit, if there is one.
    fn await_response(&self, until: Instant) {
        while self.is_pending() && Instant::now() < until {
            self.read_response(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Reads the next response to a commit request, waiting at most `wait` for it.
    fn read_response(&self, wait: Duration) {
        let Some(response) = self.queue.poll(wait) else {
            return;
        };
        let mut code = response.error().map_or(Code::NoError, |(code, _)| code);
        let number = response.tag();
        if code == Code::NoError {
            for entry in response.partitions() {
                // The response has an error only where all of its partitions have one.
                if entry.error == Code::NoError {
                    let (partition, offset) = (entry.partition, entry.offset);
                    self.assignment.records(|all| {
                        all.assigned
                            .committed(&entry.topic, partition, offset, number);
                    });
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
            let text = format!("commit: {}", client::describe(code));
            self.stats.set_last_error(text);
        }
        self.responses.borrow_mut().add(number, accepted);
    }

    /// The group's offsets of partitions (negative where it has none) with their metadata.
    pub(super) fn of_group(&self, names: &[TopicPartition]) -> Vec<(i64, CommitMetadata)> {
        self.query(names, TIMEOUT).unwrap_or_else(|| {
            self.unread.borrow_mut().extend_from_slice(names);
            vec![(-1, CommitMetadata::default()); names.len()]
        })
    }

    fn query(
        &self,
        names: &[TopicPartition],
        bound: Duration,
    ) -> Option<Vec<(i64, CommitMetadata)>> {
        let entries = self.assignment.committed(names, bound)?;
        let read = entries.iter().map(|entry| {
            let metadata = CommitMetadata::read(&entry.metadata);
            self.check_subscriptions(&metadata);
            (entry.offset, metadata)
        });
        Some(read.collect())
    }

    /// Reads the metadata of previous owners again, where Kafka did not answer at the assignment.
    pub(super) fn read_metadata_again(&self) {
        if self.unread.borrow().is_empty() {
            return;
        }
        let is_ours = |(topic, number): &TopicPartition| {
            let slot = self
                .assignment
                .records(|all| all.assigned.slot_of(topic, *number));
            slot.is_some()
        };
        self.unread.borrow_mut().retain(is_ours);
        let unread = self.unread.borrow().clone();
        if unread.is_empty() {
            return;
        }
        let Some(read) = self.query(&unread, SHORT_TIMEOUT) else {
            return;
        };
        self.unread.borrow_mut().clear();
        self.assignment.records(|all| {
            for ((topic, number), (_, metadata)) in unread.iter().zip(&read) {
                if let Some(partition) = all.assigned.find(topic, *number) {
                    partition.restore_crash_counts(&metadata.crashes);
                }
            }
        });
    }

    fn check_subscriptions(&self, theirs: &CommitMetadata) {
        let is_same = theirs.subscriptions == *self.subscriptions.borrow();
        if theirs.subscriptions.is_empty() || is_same || self.has_conflict.replace(true) {
            return;
        }
        runtime::warn(format!(
            "Consumer group \"{}\" has members that subscribe different channels on the same topic: a member skips \
             records of its partitions that it did not subscribe, and no other member reads them. Give every \
             member the same channels, or each set of channels its own group. (After a change of \
             channels this is logged once.)",
            self.assignment.config.consumer_group
        ));
    }

    /// True where a member with other subscriptions committed to a partition of this consumer.
    #[must_use]
    pub fn has_conflict(&self) -> bool {
        self.has_conflict.get()
    }
}

/// The commits whose responses are awaited, by their numbers.
#[derive(Default)]
struct Responses {
    /// The commit whose response is pending.
    pending: Option<usize>,
    pre_commit: Option<PendingPreCommit>,
}

impl Responses {
    fn add(&mut self, number: usize, accepted: bool) {
        if self.pending == Some(number) {
            self.pending = None;
        }
        if let Some(pre_commit) = &mut self.pre_commit {
            pre_commit.answer(number, accepted);
        }
    }

    /// The pre-commit, if it is complete.
    fn take_completed(&mut self) -> Option<PendingPreCommit> {
        self.pre_commit
            .take_if(|pre_commit| !pre_commit.is_pending())
    }
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

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn ends(list: &[(&str, i32, i64)]) -> Ends {
        let place = |(topic, number, end): &(&str, i32, i64)| ((Rc::from(*topic), *number), *end);
        list.iter().map(place).collect()
    }

    #[test]
    fn a_response_belongs_to_the_commit_with_its_number() {
        let (first, second) = (1, 2);
        let mut responses = Responses {
            pending: Some(second),
            ..Responses::default()
        };
        responses.pre_commit = Some(PendingPreCommit::new(second, ends(&[("t", 0, 7)])));

        responses.add(first, true);
        assert_eq!(responses.pending, Some(second));
        assert!(responses.take_completed().is_none());

        responses.add(second, false);
        assert_eq!(responses.pending, None);
        let outcome = responses
            .take_completed()
            .map(|pre_commit| pre_commit.outcome());
        assert_eq!(outcome, Some(PreCommit::Refused));
        assert!(responses.pre_commit.is_none());
    }

    #[test]
    fn revoked_partitions_need_no_other_commit() {
        let pre_commit = PendingPreCommit::new(1, ends(&[("t", 0, 7), ("t", 1, 3)]));
        assert!(pre_commit.covers(&ends(&[("t", 1, 3)])));
        assert!(!pre_commit.covers(&ends(&[("t", 1, 4)])));
        assert!(!pre_commit.covers(&ends(&[("t", 1, 3), ("u", 1, 3)])));
    }
}
