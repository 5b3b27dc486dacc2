//! Retries, and partitions that are paused because they ran too far past a record that waits for one.
#![allow(unsafe_code)]

use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::message::Record;
use super::records::Attempt;
use super::Consumer;
use crate::clock::coarse_ms;
use crate::config::Delivery;
use crate::kafka::client::TopicPartitionList;

/// A consumer whose callbacks take long still polls this often: otherwise the group revokes its partitions after
/// `max.poll.interval.ms`, and a rebalance of other members waits for it.
const POLL_INTERVAL_MS: u64 = 1000;

impl Consumer {
    /// The record is handed out again after `wait`, and later records of its key wait behind it.
    pub fn schedule_retry(&self, record: &Record, attempt: Attempt, wait: Duration) {
        let mut state = self.state.borrow_mut();
        state
            .records
            .schedule_retry(record.id, attempt, Instant::now(), wait);
    }

    /// Resumes partitions that need not be held back any more.
    pub(super) fn resume_partitions(&self) {
        let released = self.state.borrow_mut().records.release(self.retry_bounds());
        if !released.is_empty() {
            self.fetches_actively();
            let list = TopicPartitionList::of(&released);
            // SAFETY: a live client; the list is ours.
            unsafe { sys::bindings::rd_kafka_resume_partitions(self.client, list.raw()) };
        }
    }

    /// How long to wait for new records, in ms for librdkafka: not past the time when a retry is due.
    pub(super) fn until_due(&self, wait: Duration) -> i32 {
        let due = self.state.borrow().records.next_retry();
        let due = due.map(|due| due.saturating_duration_since(Instant::now()));
        let wait = due.map_or(wait, |due| wait.min(due));
        // Rounded up: with 0 the last millisecond would be spent polling.
        i32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
    }

    /// Polls if it has not for a while, although there are records to hand out.
    pub fn keep_alive(&self) {
        let now = coarse_ms();
        if now.saturating_sub(self.polled.get()) < POLL_INTERVAL_MS
            // No record joins a batch whose commit is pending.
            || self.state.borrow().pre_commit.is_some()
        {
            return;
        }
        self.polled.set(now);
        self.retry_pending();
        if let Some(next) = self.poll_message(0) {
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
        self.state.borrow().records.queued_for_retry()
    }

    /// Records whose last attempt failed transiently, and for how long the first of them has failed.
    #[must_use]
    pub fn transient_failures(&self) -> (usize, Duration) {
        let (count, since) = self.state.borrow().records.transient_failures();
        (count, since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// Partitions paused because they ran too far ahead.
    #[must_use]
    pub fn held_back(&self) -> usize {
        let state = self.state.borrow();
        let partitions = state.records.partitions();
        partitions.filter(|partition| partition.held_back).count()
    }
}
