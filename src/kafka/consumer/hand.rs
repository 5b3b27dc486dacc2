//! The records in hand: fetched in batches, handed out one by one, given back when they are handled.
#![allow(unsafe_code)]

use std::rc::Rc;
use std::time::Duration;

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::offsets::Partition;
use super::state::{Raw, State};
use super::Consumer;
use crate::kafka::native;
use crate::kafka::producer::delivery::{self, Header};
use crate::topic::TopicFilter;

/// A record in hand. Valid until it is done or put back.
#[derive(Clone)]
pub struct Record {
    raw: Raw,
    pub(super) slot: usize,
    /// Its topic.
    pub topic: Rc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// 1 for the first try.
    pub attempt: u32,
}

impl Record {
    /// Value; `None` for a tombstone.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        // SAFETY: the message is alive while the record is in hand.
        unsafe { slice((*self.raw).payload.cast(), (*self.raw).len) }
    }

    /// Key; `None` for no key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: as above.
        unsafe { slice((*self.raw).key.cast(), (*self.raw).key_len) }
    }

    /// Headers in order.
    #[must_use]
    pub fn headers(&self) -> Vec<Header> {
        // SAFETY: as above.
        unsafe { delivery::headers(self.raw) }
    }

    /// Timestamp in ms; -1 where there is none.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        // SAFETY: as above.
        unsafe { sys::rd_kafka_message_timestamp(self.raw, std::ptr::null_mut()) }
    }
}

unsafe fn slice<'a>(pointer: *const u8, length: usize) -> Option<&'a [u8]> {
    (!pointer.is_null()).then(|| std::slice::from_raw_parts(pointer, length))
}

impl Consumer {
    /// Fetches up to `most` records, waiting at most `wait` for the first. What is in hand already comes first.
    pub fn fetch(&self, wait: Duration, most: usize) {
        self.refresh_missing();
        self.look_for_kafka();
        if !self.state.borrow().hand.is_empty() {
            return;
        }
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: messages handed out by librdkafka are ours until destroyed; callbacks run in here only note events.
        unsafe {
            // Waiting for a whole batch would cost latency: wait for one, then take what is there.
            let first = sys::rd_kafka_consumer_poll(self.client, wait);
            if first.is_null() {
                return;
            }
            let mut state = self.state.borrow_mut();
            state.hand.push_back(first);
            if self.sees_ends {
                self.take_one_by_one(&mut state, most);
            } else {
                self.take_at_once(&mut state, most);
            }
        }
    }

    /// What is there already, by librdkafka's batch call: a third of the cost of asking for each.
    unsafe fn take_at_once(&self, state: &mut State, most: usize) {
        let mut batch: [Raw; 256] = [std::ptr::null_mut(); 256];
        while state.hand.len() < most {
            let room = (most - state.hand.len()).min(batch.len());
            let count = sys::bindings::rd_kafka_consume_batch_queue(
                self.queue,
                0,
                batch.as_mut_ptr(),
                room,
            );
            let count = usize::try_from(count).unwrap_or(0);
            state.hand.extend(&batch[..count]);
            if count < room {
                break;
            }
        }
    }

    /// Where the ends of partitions are reported, the batch call counts such a report as a record, and after a pause or a
    /// rebalance it would go on one record too far.
    unsafe fn take_one_by_one(&self, state: &mut State, most: usize) {
        while state.hand.len() < most {
            let next = sys::rd_kafka_consumer_poll(self.client, 0);
            if next.is_null() {
                break;
            }
            state.hand.push_back(next);
        }
    }

    /// Takes the next record in hand; errors and ends of partitions among them are dealt with on the way.
    pub fn next(&self) -> Option<Record> {
        loop {
            let mut state = self.state.borrow_mut();
            let raw = state.hand.pop_front()?;
            // SAFETY: in hand, so alive.
            let message = unsafe { &*raw };
            let slot = Self::slot(&mut state, message);
            if message.err != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                // SAFETY: destroyed once, here.
                unsafe {
                    self.on_message_error(&mut state, raw, slot);
                    sys::rd_kafka_message_destroy(raw);
                }
                continue;
            }
            self.heard_from_kafka();
            let Some(slot) = slot else {
                // Fetched before its partition was taken away: its new owner handles it.
                // SAFETY: destroyed once, here.
                unsafe { sys::rd_kafka_message_destroy(raw) };
                continue;
            };
            state.current.push((raw, slot));
            let attempt = 1 + state
                .attempts
                .get(&(slot, message.offset))
                .copied()
                .unwrap_or(0);
            let Some(partition) = state.partitions[slot].as_mut() else {
                continue;
            };
            partition.came(message.offset);
            let record = Record {
                raw,
                slot,
                topic: Rc::clone(&partition.topic),
                partition: message.partition,
                offset: message.offset,
                attempt,
            };
            self.stats.consumed.set(self.stats.consumed.get() + 1);
            self.stats
                .bytes
                .set(self.stats.bytes.get() + (message.len + message.key_len) as u64);
            return Some(record);
        }
    }

    /// The slot of a message's partition, where it is assigned to us.
    #[inline]
    fn slot(state: &mut State, message: &sys::rd_kafka_message_t) -> Option<usize> {
        if let Some((topic, partition, slot)) = state.recent {
            if topic == message.rkt && partition == message.partition {
                return Some(slot);
            }
        }
        if message.rkt.is_null() {
            return None;
        }
        // SAFETY: a message's topic handle lives as long as the message.
        let name = unsafe { native::text(sys::rd_kafka_topic_name(message.rkt)) };
        let slot = *state.index.get(&(Rc::from(name), message.partition))?;
        state.recent = Some((message.rkt, message.partition, slot));
        Some(slot)
    }

    /// The record was handled, or nobody wants it: its offset may be committed.
    #[inline]
    pub fn done(&self, record: &Record) {
        self.give_back(record, |partition| {
            partition.passed(record.offset);
        });
    }

    /// The record was handed to somebody who acknowledges it later.
    pub fn taken(&self, record: &Record) {
        self.give_back(record, |partition| partition.taken(record.offset));
    }

    /// The record was acknowledged by hand; false where it is not open (any more).
    pub fn acknowledge(&self, topic: &str, number: i32, offset: i64) -> bool {
        let mut state = self.state.borrow_mut();
        let slot = state.index.get(&(Rc::from(topic), number)).copied();
        slot.and_then(|slot| state.partitions[slot].as_mut())
            .is_some_and(|partition| partition.handled(offset))
    }

    /// True while the record was handed out and not acknowledged.
    pub fn is_open(&self, topic: &str, number: i32, offset: i64) -> bool {
        let mut state = self.state.borrow_mut();
        state
            .find(topic, number)
            .is_some_and(|partition| partition.is_open(offset))
    }

    fn give_back(&self, record: &Record, note: impl FnOnce(&mut Partition)) {
        let mut state = self.state.borrow_mut();
        if let Some(place) = state.current.iter().position(|(raw, _)| *raw == record.raw) {
            state.current.swap_remove(place);
            // SAFETY: it was in hand, and is not any more.
            unsafe { sys::rd_kafka_message_destroy(record.raw) };
            if let Some(partition) = state.partitions[record.slot].as_mut() {
                note(partition);
            }
            if !state.attempts.is_empty() {
                state.attempts.remove(&(record.slot, record.offset));
            }
        }
    }

    /// The record was not handled: it comes again next, as another attempt if `failed`.
    pub fn put_back(&self, record: &Record, failed: bool) {
        let mut state = self.state.borrow_mut();
        if let Some(place) = state.current.iter().position(|(raw, _)| *raw == record.raw) {
            state.current.swap_remove(place);
            state.hand.push_front(record.raw);
            if failed {
                *state
                    .attempts
                    .entry((record.slot, record.offset))
                    .or_insert(0) += 1;
            }
        }
    }

    /// Whatever is still out (a fatal error skipped the rest of the loop) counts as not handled.
    pub fn put_back_all(&self) {
        let mut state = self.state.borrow_mut();
        while let Some((raw, _)) = state.current.pop() {
            state.hand.push_front(raw);
        }
    }

    /// True where records are in hand.
    #[must_use]
    pub fn has_records(&self) -> bool {
        !self.state.borrow().hand.is_empty()
    }

    /// # Safety
    /// `raw` must be alive.
    unsafe fn on_message_error(&self, state: &mut State, raw: Raw, slot: Option<usize>) {
        let message = &*raw;
        let topic = if message.rkt.is_null() {
            String::new()
        } else {
            native::text(sys::rd_kafka_topic_name(message.rkt))
        };
        let reason = native::text(sys::rd_kafka_message_errstr(raw));
        match message.err {
            Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                self.heard_from_kafka();
                if let Some(partition) = slot.and_then(|slot| state.partitions[slot].as_mut()) {
                    partition.ended(message.offset);
                }
            }
            Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC => {
                self.heard_from_kafka();
                if state.filters.contains(&TopicFilter::Exact(topic.clone())) {
                    state.late.insert(topic.clone());
                    state.waiting_for.insert(topic);
                }
            }
            code => self.complain(state, code, &reason, &topic),
        }
    }

    pub(super) fn complain(&self, state: &mut State, code: Code, reason: &str, topic: &str) {
        state.last_error = Some(reason.to_owned());
        match code {
            Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN => self.connected.set(false),
            Code::RD_KAFKA_RESP_ERR__AUTHENTICATION
            | Code::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_INVALID_GROUP_ID
            | Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION
            | Code::RD_KAFKA_RESP_ERR__FATAL => {
                let place = if topic.is_empty() {
                    String::new()
                } else {
                    format!(", topic \"{topic}\"")
                };
                let doing = format!(
                    "Kafka at {} refuses consumer group \"{}\"{place}",
                    self.config.brokers, self.config.consumer_group
                );
                state.refused = Some(native::to_error(code, &doing, reason, &self.config.brokers));
            }
            _ => {}
        }
    }
}
