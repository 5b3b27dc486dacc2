//! The records in hand: fetched in batches, handed  one by one, given back when they are handled.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::offsets::Partition;
use super::state::{InFlight, Raw, State};
use super::Consumer;
use crate::clock::coarse_ms;
use crate::kafka::client;
use crate::kafka::producer::delivery::{self, Header};

/// A record in hand. Valid until it is done or put back.
#[derive(Clone)]
pub struct Record {
    pub(super) raw: Raw,
    pub(super) slot: usize,
    /// Its topic.
    pub topic: Rc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// 1 for the first try.
    pub attempt: u32,
    /// The tries until its callback last crashed, by `exit` or a fatal error; 0 where it never did.
    pub crashes: u32,
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
    /// Fetches up to `most` records, waiting at most `wait` for the first; how many last_fetch. What is in hand already comes first.
    pub fn fetch(&self, wait: Duration, most: usize) -> usize {
        self.retry_pending();
        self.refresh_missing();
        self.probe_broker();
        self.resume_partitions();
        if !self.state.borrow().hand.is_empty() {
            return 0;
        }
        self.polled.set(coarse_ms());
        let wait = self.until_due(wait);
        // SAFETY: messages handed out by librdkafka are ours until destroyed; callbacks run in here only note events.
        unsafe {
            // Waiting for a whole batch would cost latency: wait for one, then take what is there.
            let first = sys::rd_kafka_consumer_poll(self.client, wait);
            if first.is_null() {
                return 0;
            }
            self.last_fetch.set(Instant::now());
            let mut state = self.state.borrow_mut();
            state.hand.push_back(first);
            if self.reports_eof {
                self.fetch_one_by_one(&mut state, most);
            } else {
                self.fetch_batch(&mut state, most);
            }
            let is_record = |raw: &&Raw| (***raw).err == Code::RD_KAFKA_RESP_ERR_NO_ERROR;
            state.hand.iter().filter(is_record).count()
        }
    }

    /// What is there already, by librdkafka's batch call: a third of the cost of asking for each.
    unsafe fn fetch_batch(&self, state: &mut State, most: usize) {
        let mut batch: [Raw; 256] = [std::ptr::null_mut(); 256];
        self.events.in_batch.store(true, Ordering::Release);
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
        self.events.in_batch.store(false, Ordering::Release);
    }

    /// Where the ends of partitions are reported, the batch call counts such a report as a record, and after a pause or a
    /// rebalance it would go on one record too far.
    unsafe fn fetch_one_by_one(&self, state: &mut State, most: usize) {
        while state.hand.len() < most {
            let next = sys::rd_kafka_consumer_poll(self.client, 0);
            if next.is_null() {
                break;
            }
            state.hand.push_back(next);
        }
    }

    /// Takes the next record: one that waits for another try first, where it is due. Errors and ends of partitions are dealt with
    /// on the way.
    pub fn next(&self) -> Option<Record> {
        loop {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let due = if state.parked.is_empty() {
                None
            } else {
                state.parked.take_due(Instant::now())
            };
            let (raw, lane) = match due {
                Some((lane, raw)) => (raw, Some(lane)),
                None => (state.hand.pop_front()?, None),
            };
            // SAFETY: in hand, so alive.
            let message = unsafe { &*raw };
            let slot = Self::slot(state, message);
            if message.err != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                // SAFETY: destroyed once, here.
                unsafe {
                    self.on_message_error(state, raw, slot);
                    sys::rd_kafka_message_destroy(raw);
                }
                continue;
            }
            self.broker_answered();
            let is_wanted = |slot: &usize| {
                let partition = state.partitions[*slot].as_ref();
                partition.is_some_and(|one| one.rewind_to().is_none())
            };
            let Some(slot) = slot.filter(is_wanted) else {
                // Fetched before its partition was taken away, where its new owner handles it, or before it is rewound.
                // SAFETY: destroyed once, here.
                unsafe { sys::rd_kafka_message_destroy(raw) };
                continue;
            };
            if lane.is_none() && self.must_wait(state, raw, slot) {
                continue;
            }
            let is_first = lane.is_none();
            state.current.push(InFlight { raw, slot, lane });
            let record = state.record(raw, slot)?;
            if is_first {
                if let Some(partition) = state.partitions[slot].as_mut() {
                    partition.last_fetch(message.offset);
                }
                self.count_consumed(raw);
            }
            return Some(record);
        }
    }

    /// The slot of a message's partition, where it is assigned to us.
    #[inline]
    pub(super) fn slot(state: &mut State, message: &sys::rd_kafka_message_t) -> Option<usize> {
        if let Some((topic, partition, slot)) = state.recent {
            if topic == message.rkt && partition == message.partition {
                return Some(slot);
            }
        }
        if message.rkt.is_null() {
            return None;
        }
        // SAFETY: a message's topic handle lives as long as the message.
        let name = unsafe { client::text(sys::rd_kafka_topic_name(message.rkt)) };
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
        let Some(out) = state.take_out(record.raw) else {
            return;
        };
        // SAFETY: it was in hand, and is not any more.
        unsafe { sys::rd_kafka_message_destroy(record.raw) };
        if let Some(partition) = state.partitions[record.slot].as_mut() {
            if out.lane.is_some() {
                partition.handled(record.offset);
            } else {
                note(partition);
            }
        }
        if let Some(lane) = out.lane {
            state.parked.advance(&lane, Instant::now());
        }
        if !state.attempts.is_empty() {
            state.attempts.remove(&(record.slot, record.offset));
        }
    }

    /// The record was not handled: it comes again next, as another attempt if `failed`.
    pub fn requeue(&self, record: &Record, failed: bool) {
        let mut state = self.state.borrow_mut();
        if let Some(out) = state.take_out(record.raw) {
            state.back(out);
            if failed {
                state.failed(record.slot, record.offset);
            }
        }
    }

    /// Whatever is still out (a fatal error skipped the rest of the loop) counts as not handled.
    pub fn requeue_all(&self) {
        let mut state = self.state.borrow_mut();
        while let Some(out) = state.current.pop() {
            state.back(out);
        }
    }

    /// The callback of this record is about to die, or has: it counts as a try, and the group is told with the next commit.
    pub fn crashed(&self, record: &Record) {
        let mut state = self.state.borrow_mut();
        if let Some(partition) = state.partitions[record.slot].as_mut() {
            partition.crashed(record.offset, record.attempt);
        }
        // They are among the tries that were just noted.
        state.attempts.remove(&(record.slot, record.offset));
    }

    /// True where something before this record waits for another try: a commit cannot pass it.
    #[must_use]
    pub fn is_blocked(&self, record: &Record) -> bool {
        let state = self.state.borrow();
        let partition = state.partitions[record.slot].as_ref();
        partition.is_some_and(|partition| partition.waits_before(record.offset))
    }

    /// What is being handled at this moment.
    #[must_use]
    pub fn in_flight(&self) -> Vec<Record> {
        let state = self.state.borrow();
        let out = state.current.iter();
        out.filter_map(|out| state.record(out.raw, out.slot))
            .collect()
    }

    /// Gives up everything that was fetched and not handed over; how many records that were, and of which topics.
    pub fn discard_fetched(&self) -> (u64, Vec<String>) {
        let mut state = self.state.borrow_mut();
        let hand = std::mem::take(&mut state.hand);
        let mut records = 0;
        let mut topics = BTreeSet::new();
        for raw in hand {
            // SAFETY: in hand, so alive; destroyed once, here.
            unsafe {
                if (*raw).err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                    records += 1;
                    topics.insert(client::text(sys::rd_kafka_topic_name((*raw).rkt)));
                }
                sys::rd_kafka_message_destroy(raw);
            }
        }
        (records, topics.into_iter().collect())
    }

    /// True where there is something to hand over.
    #[must_use]
    pub fn has_records(&self) -> bool {
        let state = self.state.borrow();
        let is_due = |due| due <= Instant::now();
        !state.hand.is_empty() || state.parked.next_due().is_some_and(is_due)
    }
}
