//! Fetching records in batches and handing them out one by one.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::message::{FetchedMessage, Record};
use super::partition::Partition;
use super::records::{Attempt, Next, RetryBounds};
use super::Consumer;
use super::State;
use crate::config::Delivery;
use crate::kafka::client::partitions_of;
use crate::message::Message;
use crate::runtime::clock::coarse_ms;

/// A consumer whose callbacks take long still polls this often: otherwise the group revokes its partitions after
/// `max.poll.interval.ms`, and a rebalance of other members waits for it.
const POLL_INTERVAL_MS: u64 = 1000;

impl Consumer {
    /// Fetches up to `max` records, waiting at most `wait` for the first; the number of records fetched. Fetches
    /// nothing while earlier records have not been handed out.
    pub fn fetch(&self, wait: Duration, max: usize) -> usize {
        self.retry_pending();
        self.refresh_missing();
        self.probe_broker();
        self.resume_partitions();
        self.report_wait(coarse_ms());
        if self.state.borrow().records.fetched_count() > 0 {
            return 0;
        }
        self.polled.set(coarse_ms());
        let earlier = self.state.borrow_mut().records.begin_batch(max);
        if earlier > 0 {
            return earlier;
        }
        let wait = self.until_due(wait);
        // Waiting for a whole batch would cost latency: wait for one record, then take what is there.
        let Some(first) = self.client.poll_message(wait) else {
            self.fetch_wait.lengthen(|| self.partition_count());
            return 0;
        };
        self.ends.fetched();
        self.fetch_wait.shorten();
        let mut state = self.state.borrow_mut();
        state.records.push_fetched(FetchedMessage::Kafka(first));
        if self.ends.reports_eof {
            self.fetch_one_by_one(&mut state, max);
        } else {
            self.fetch_batch(&mut state, max);
        }
        state.records.fetched_records()
    }

    /// Messages that are there already, by librdkafka's batch call: a third of the cost of asking for each.
    fn fetch_batch(&self, state: &mut State, max: usize) {
        self.events.in_batch.store(true, Ordering::Release);
        let room = max.saturating_sub(state.records.fetched_count());
        let records = &mut state.records;
        self.queue.consume_available(room, |next| {
            records.push_fetched(FetchedMessage::Kafka(next));
        });
        self.events.in_batch.store(false, Ordering::Release);
    }

    /// With reports of ends the batch call counts such a report as a record, and after a pause or a rebalance it would
    /// return one record too many.
    fn fetch_one_by_one(&self, state: &mut State, max: usize) {
        while state.records.fetched_count() < max {
            let Some(next) = self.client.poll_message(Duration::ZERO) else {
                break;
            };
            state.records.push_fetched(FetchedMessage::Kafka(next));
        }
    }

    /// Hands out the next record: a due retry first. Errors and ends of partitions are processed on the way.
    pub fn next(&self) -> Option<Record> {
        loop {
            let mut state = self.state.borrow_mut();
            let next = state.records.next(self.retry_bounds(), Instant::now);
            let pauses = state.records.take_pauses();
            if !pauses.is_empty() {
                self.client.set_paused(partitions_of(&pauses), true);
            }
            match next {
                Next::Empty => return None,
                Next::Event(FetchedMessage::Kafka(message), slot) => {
                    self.on_message_error(&mut state, &message, slot);
                }
                Next::Event(FetchedMessage::Rejected(_), _) => {}
                Next::Record(handle) => {
                    self.stats.consumed.set(state.records.consumed);
                    self.stats.bytes.set(state.records.consumed_bytes);
                    return Some(handle);
                }
            }
        }
    }

    /// How far a partition may run past a record that waits for its retry.
    fn retry_bounds(&self) -> RetryBounds {
        RetryBounds {
            queued: self.config.retry_max_parked,
            ahead: self.config.retry_max_ahead,
        }
    }

    /// The record has its result, or is skipped: its offset may be committed.
    #[inline]
    pub fn complete(&self, record: &Record) {
        let mut state = self.state.borrow_mut();
        state.records.complete(record.id, Instant::now);
    }

    /// The record was returned by `poll()`: it is complete when the application acknowledges it.
    pub fn await_ack(&self, record: &Record) {
        let mut state = self.state.borrow_mut();
        state.records.await_ack(record.id, Instant::now);
    }

    /// The application acknowledged a record; false where it is not in progress.
    pub fn acknowledge(&self, topic: &str, number: i32, offset: i64) -> bool {
        let mut state = self.state.borrow_mut();
        state
            .records
            .acknowledge(topic, number, offset, Instant::now())
    }

    /// The application rejected a message that `poll()` returned: it is handed out again after `wait`.
    pub fn reject(&self, message: &Rc<Message>, attempt: Attempt, wait: Duration) {
        let message = FetchedMessage::Rejected(Rc::clone(message));
        let mut state = self.state.borrow_mut();
        state.records.reject(message, attempt, Instant::now(), wait);
    }

    /// True while a rejected record waits for its retry.
    pub fn waits_for_retry(&self, topic: &str, number: i32, offset: i64) -> bool {
        let state = self.state.borrow();
        state.records.waits_for_retry(topic, number, offset)
    }

    /// True while a record was handed out and has no result.
    pub fn is_in_progress(&self, topic: &str, number: i32, offset: i64) -> bool {
        self.partition(topic, number, |partition| partition.is_in_progress(offset))
    }

    /// True for a record in progress that is handed out alone.
    pub fn is_isolated(&self, topic: &str, number: i32, offset: i64) -> bool {
        self.partition(topic, number, |partition| partition.is_isolated(offset))
    }

    /// True for an isolated record that was acknowledged before.
    pub fn was_handled(&self, topic: &str, number: i32, offset: i64) -> bool {
        self.partition(topic, number, |partition| partition.was_handled(offset))
    }

    /// True where everything taken is committed.
    pub fn is_committed(&self) -> bool {
        let state = self.state.borrow();
        let committed = !state.records.assigned.all().any(Partition::has_uncommitted);
        committed
    }

    fn partition(&self, topic: &str, number: i32, is: impl FnOnce(&Partition) -> bool) -> bool {
        let mut state = self.state.borrow_mut();
        let partition = state.records.assigned.find(topic, number);
        partition.is_some_and(|partition| is(partition))
    }

    /// The record was not handled: it is handed out again next.
    pub fn requeue(&self, record: &Record, attempt: Attempt) {
        let mut state = self.state.borrow_mut();
        state.records.requeue(record.id, attempt, Instant::now());
    }

    /// Every record in flight was not handled: a fatal error skipped the rest of the loop.
    pub fn requeue_all(&self) {
        self.state.borrow_mut().records.requeue_all(Instant::now());
    }

    /// The process ends in the callback of this record: the attempt counts, and the next commit reports it.
    pub fn crashed(&self, record: &Record) {
        let mut state = self.state.borrow_mut();
        state
            .records
            .crashed(record.slot, record.offset, record.counted_attempt());
    }

    /// True where an earlier record has no result: a commit cannot pass it.
    #[must_use]
    pub fn is_blocked(&self, record: &Record) -> bool {
        let mut state = self.state.borrow_mut();
        let partition = state.records.assigned.at(record.slot);
        partition.is_some_and(|partition| partition.waits_before(record.offset))
    }

    /// The records in flight.
    #[must_use]
    pub fn in_flight(&self) -> Vec<Record> {
        self.state.borrow().records.in_flight()
    }

    /// Drops everything that is fetched and was not handed out: how many records, and of which topics.
    pub fn discard_fetched(&self) -> (u64, Vec<String>) {
        self.state.borrow_mut().records.discard_fetched()
    }

    /// True where isolated records are still to be read.
    #[must_use]
    pub fn has_isolated(&self) -> bool {
        self.state.borrow().records.assigned.has_isolated()
    }

    /// True where a record can be handed out.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.state.borrow().records.has_records(Instant::now)
    }

    /// The record is handed out again after `wait`, and later records of its key wait behind it.
    pub fn schedule_retry(&self, record: &Record, attempt: Attempt, wait: Duration) {
        let mut state = self.state.borrow_mut();
        state
            .records
            .schedule_retry(record.id, attempt, Instant::now(), wait);
    }

    /// Resumes partitions that need not be held back any more.
    fn resume_partitions(&self) {
        let released = self.state.borrow_mut().records.release(self.retry_bounds());
        if !released.is_empty() {
            self.fetch_wait.shorten();
            self.client.set_paused(partitions_of(&released), false);
        }
    }

    /// How long to wait for new records: not past the time when a retry is due.
    fn until_due(&self, wait: Duration) -> Duration {
        let due = self.state.borrow().records.retries.queue.next_due();
        let due = due.map(|due| due.saturating_duration_since(Instant::now()));
        let wait = due.map_or(wait, |due| wait.min(due));
        // Rounded up for librdkafka: with 0 ms the last millisecond would be spent polling.
        Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
    }

    /// Polls if it has not for a while, although there are records to hand out; `now` is the time of `coarse_ms()`.
    #[inline]
    pub fn keep_alive(&self, now: u64) {
        if now.saturating_sub(self.polled.get()) >= POLL_INTERVAL_MS {
            self.poll_again(now);
        }
    }

    #[cold]
    fn poll_again(&self, now: u64) {
        // No record joins a batch whose commit is pending.
        if self.state.borrow().pre_commit.is_some() {
            return;
        }
        self.polled.set(now);
        self.retry_pending();
        if let Some(next) = self.client.poll_message(Duration::ZERO) {
            let next = FetchedMessage::Kafka(next);
            let records = &mut self.state.borrow_mut().records;
            // No record joins a batch that is committed before it is handled.
            if self.config.delivery == Delivery::AtMostOnce {
                records.push_next_batch(next);
            } else {
                records.push_fetched(next);
            }
        }
    }

    /// Records that wait for a retry, or behind one that does.
    #[must_use]
    pub fn queued_for_retry(&self) -> usize {
        self.state.borrow().records.retries.queue.len()
    }

    /// Records whose last attempt failed transiently, and for how long the first of them has failed.
    #[must_use]
    pub fn transient_failures(&self) -> (usize, Duration) {
        let (count, since) = self.state.borrow().records.retries.transient_failures();
        (count, since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// Partitions paused because they ran too far ahead.
    #[must_use]
    pub fn held_back(&self) -> usize {
        let state = self.state.borrow();
        let partitions = state.records.assigned.all();
        partitions.filter(|partition| partition.held_back).count()
    }
}
