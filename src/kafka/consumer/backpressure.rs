//! Records that wait for another try, and what is held back meanwhile: partitions that ran too far ahead of them are paused,
//! while polling goes on.
#![allow(unsafe_code)]

use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::fetch::Record;
use super::retry_queue::KeyQueue;
use super::state::{Raw, State};
use super::Consumer;
use crate::clock::coarse_ms;
use crate::kafka::client::{self, TopicPartitionList};

/// A consumer that hands records over for long still polls this often: otherwise the group gives its partitions away after
/// `max.poll.interval.ms`, and a rebalance of others waits for it.
const POLL_INTERVAL_MS: u64 = 1000;

impl Consumer {
    /// The record failed: it comes again after `wait`, and with it what comes after it with the same key.
    pub fn park(&self, record: &Record, wait: Duration) {
        let mut state = self.state.borrow_mut();
        let Some(out) = state.take_out(record.raw) else {
            return;
        };
        state.failed(record.slot, record.offset);
        let lane = out.lane.unwrap_or_else(|| {
            if let Some(partition) = state.partitions[record.slot].as_mut() {
                partition.taken(record.offset);
            }
            KeyQueue::of(record.slot, record.key(), record.offset)
        });
        state.parked.park(lane, record.raw, Instant::now() + wait);
    }

    /// A fetched record that cannot be handed over yet: behind a failed one of its key, or past the bounds.
    pub(super) fn must_wait(&self, state: &mut State, raw: Raw, slot: usize) -> bool {
        if state.parked.is_empty() && state.held_back.is_empty() {
            return false;
        }
        let Some(partition) = state.partitions[slot].as_ref() else {
            return false;
        };
        if partition.held_back || self.is_too_far(state, slot) {
            self.hold_back(state, raw, slot);
            return true;
        }
        // SAFETY: in hand, so alive.
        let (key, offset) = unsafe {
            let message = &*raw;
            let key = (!message.key.is_null())
                .then(|| std::slice::from_raw_parts(message.key.cast::<u8>(), message.key_len));
            (key, message.offset)
        };
        let Some(key) = key else {
            return false;
        };
        let lane = KeyQueue::of(slot, Some(key), offset);
        if !state.parked.has(&lane) {
            return false;
        }
        if let Some(partition) = state.partitions[slot].as_mut() {
            partition.last_fetch(offset);
            partition.taken(offset);
        }
        self.count_consumed(raw);
        state.parked.follow(&lane, raw);
        true
    }

    /// True where no more of this partition may be handed over before something that waits is done.
    fn is_too_far(&self, state: &State, slot: usize) -> bool {
        let ahead = state.partitions[slot]
            .as_ref()
            .map_or(0, super::offsets::Partition::ahead);
        state.parked.waiting() >= self.config.retry_max_parked
            || ahead >= self.config.retry_max_ahead
    }

    fn hold_back(&self, state: &mut State, raw: Raw, slot: usize) {
        state.hold(raw);
        let Some(partition) = state.partitions[slot].as_mut() else {
            return;
        };
        if !partition.held_back {
            partition.held_back = true;
            let mut list = TopicPartitionList::new();
            list.add(&partition.topic, partition.number, client::INVALID_OFFSET);
            // SAFETY: a live client; the list is ours.
            unsafe { sys::bindings::rd_kafka_pause_partitions(self.client, list.raw()) };
        }
    }

    /// TopicPartitionList that were held back and need not be any more go on.
    pub(super) fn resume_partitions(&self) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let held = (0..state.partitions.len()).filter(|&slot| {
            let partition = state.partitions[slot].as_ref();
            partition.is_some_and(|partition| partition.held_back) && !self.is_too_far(state, slot)
        });
        let free: Vec<usize> = held.collect();
        for slot in free {
            let Some(partition) = state.partitions[slot].as_mut() else {
                continue;
            };
            partition.held_back = false;
            let (topic, number, paused) = (
                partition.topic.to_string(),
                partition.number,
                partition.paused,
            );
            let mut rest = std::collections::VecDeque::new();
            for raw in std::mem::take(&mut state.held_back).into_iter().rev() {
                // SAFETY: held_back, so alive.
                let message = unsafe { &*raw };
                if Self::slot(state, message) == Some(slot) {
                    state.hand.push_front(raw);
                } else {
                    rest.push_front(raw);
                }
            }
            state.held_back = rest;
            if !paused {
                let mut list = TopicPartitionList::new();
                list.add(&topic, number, client::INVALID_OFFSET);
                // SAFETY: a live client; the list is ours.
                unsafe { sys::bindings::rd_kafka_resume_partitions(self.client, list.raw()) };
            }
        }
    }

    /// How long to wait for new records: not past the time when one that waits is due. In ms, for librdkafka.
    pub(super) fn until_due(&self, wait: Duration) -> i32 {
        let due = self.state.borrow().parked.next_due();
        let due = due.map(|due| due.saturating_duration_since(Instant::now()));
        let wait = due.map_or(wait, |due| wait.min(due));
        // Rounded up: with 0 the last millisecond would be spent asking.
        i32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
    }

    /// Polls if it has not for a while, though there is enough to hand over.
    pub fn keep_alive(&self) {
        let now = coarse_ms();
        if now.saturating_sub(self.polled.get()) < POLL_INTERVAL_MS
            // Nothing joins records whose commit is on its way.
            || self.state.borrow().ahead.is_some()
        {
            return;
        }
        self.polled.set(now);
        self.retry_pending();
        // SAFETY: a message handed out by librdkafka is ours until destroyed; callbacks run in here only note events.
        let next = unsafe { sys::rd_kafka_consumer_poll(self.client, 0) };
        if !next.is_null() {
            self.state.borrow_mut().hand.push_back(next);
        }
    }

    #[inline]
    pub(super) fn count_consumed(&self, raw: Raw) {
        // SAFETY: in hand, so alive.
        let message = unsafe { &*raw };
        self.stats.consumed.add(1);
        self.stats.bytes.add((message.len + message.key_len) as u64);
    }

    /// Records that wait for another try, or behind one that does.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.state.borrow().parked.waiting()
    }

    /// TopicPartitionList paused because they ran too far ahead.
    #[must_use]
    pub fn held_back(&self) -> usize {
        let state = self.state.borrow();
        let partitions = state.partitions.iter().flatten();
        partitions.filter(|partition| partition.held_back).count()
    }
}
