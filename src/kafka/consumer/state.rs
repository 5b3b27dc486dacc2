//! What a consumer knows while it runs: its partitions, the records in hand, what Kafka complained about.
#![allow(unsafe_code)]

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::fetch::Record;
use super::offsets::Partition;
use super::pre_commit::PendingPreCommit;
use super::retry_queue::{KeyQueue, RetryQueue};
use crate::error::Error;
use crate::kafka::client;
use crate::topic::TopicFilter;

pub(super) type Raw = *mut sys::rd_kafka_message_t;

/// A record that somebody is handling.
pub(super) struct InFlight {
    pub raw: Raw,
    pub slot: usize,
    /// Where it waited, if it failed before or had to wait for one that did.
    pub lane: Option<KeyQueue>,
}

/// What changes while consuming. Borrowed for moments only, never while host code runs.
#[derive(Default)]
pub(super) struct State {
    pub partitions: Vec<Option<Partition>>,
    pub index: HashMap<(Rc<str>, i32), usize>,
    /// Fetched, in order.
    pub hand: VecDeque<Raw>,
    /// Being handled.
    pub current: Vec<InFlight>,
    /// Failed, or behind one that did.
    pub parked: RetryQueue<Raw>,
    /// Of partitions that are held back.
    pub held_back: VecDeque<Raw>,
    pub recent: Option<(*mut sys::rd_kafka_topic_t, i32, usize)>,
    /// Failures of records that are still to be handled.
    pub attempts: HashMap<(usize, i64), u32>,
    pub seeks: HashMap<(String, i32), i64>,
    pub assigning: bool,
    /// Paused in the callback of an assignment, before it took effect.
    pub pauses: Vec<(String, i32)>,
    pub waiting_for: BTreeSet<String>,
    pub late: HashSet<String>,
    /// What was written beside their offsets could not be read yet.
    pub metadata_unread: Vec<(String, i32)>,
    pub known_topics: Option<HashSet<String>>,
    pub filters: Vec<TopicFilter>,
    pub last_error: Option<String>,
    pub refused: Option<Error>,
    /// The number of the commit whose answer is waited for.
    pub commit_under_way: Option<usize>,
    /// How many commits were sent.
    pub commits: usize,
    /// The commit ahead of what is in hand.
    pub ahead: Option<PendingPreCommit>,
    pub subscriptions: String,
    pub conflict: bool,
}

impl State {
    pub fn add(&mut self, topic: &str, number: i32, committed: i64) -> &mut Partition {
        let name: Rc<str> = self
            .partitions
            .iter()
            .flatten()
            .find(|partition| &*partition.topic == topic)
            .map_or_else(|| Rc::from(topic), |partition| Rc::clone(&partition.topic));
        let partition = Partition::new(Rc::clone(&name), number, committed);
        let free = self.partitions.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.partitions.push(None);
            self.partitions.len() - 1
        });
        self.index.insert((name, number), slot);
        self.recent = None;
        self.partitions[slot].insert(partition)
    }

    pub fn remove(&mut self, topic: &str, number: i32) {
        self.drop_from_hand(topic, number);
        if let Some(slot) = self.index.remove(&(Rc::from(topic), number)) {
            self.drop_parked(slot);
            self.attempts.retain(|(other, _), _| *other != slot);
            self.partitions[slot] = None;
        }
        self.recent = None;
    }

    pub fn find(&mut self, topic: &str, number: i32) -> Option<&mut Partition> {
        let slot = self.slot_of(topic, number)?;
        self.partitions[slot].as_mut()
    }

    pub fn slot_of(&self, topic: &str, number: i32) -> Option<usize> {
        self.index.get(&(Rc::from(topic), number)).copied()
    }

    pub fn is_late(&self, topic: &str) -> bool {
        let unknown = |known: &HashSet<String>| !known.contains(topic);
        self.late.contains(topic) || self.known_topics.as_ref().is_some_and(unknown)
    }

    /// Keeps a record of a partition that is held back. One that was handed over and put back comes after later ones, and goes
    /// before them.
    pub fn hold(&mut self, raw: Raw) {
        // SAFETY: in hand or held_back, so alive.
        let place = |raw: Raw| unsafe { ((*raw).rkt, (*raw).partition, (*raw).offset) };
        let (topic, partition, offset) = place(raw);
        let later = self.held_back.iter().position(|&other| {
            let other = place(other);
            (other.0, other.1) == (topic, partition) && other.2 > offset
        });
        match later {
            Some(later) => self.held_back.insert(later, raw),
            None => self.held_back.push_back(raw),
        }
    }

    /// Gives back the records of a partition that were fetched and never tried; the offset of the first.
    pub fn drop_from_hand(&mut self, topic: &str, number: i32) -> Option<i64> {
        let mut first = None;
        for list in [&mut self.held_back, &mut self.hand] {
            list.retain(|&raw| {
                // SAFETY: in hand, so alive; destroyed once, when it leaves.
                unsafe {
                    let here = (*raw).partition == number
                        && !(*raw).rkt.is_null()
                        && client::text(sys::rd_kafka_topic_name((*raw).rkt)) == topic;
                    if here {
                        if (*raw).err == Code::RD_KAFKA_RESP_ERR_NO_ERROR && first.is_none() {
                            first = Some((*raw).offset);
                        }
                        sys::rd_kafka_message_destroy(raw);
                    }
                    !here
                }
            });
        }
        first
    }

    /// Gives back everything of a partition: it is read again from somewhere else.
    pub fn drop_everything(&mut self, topic: &str, number: i32) {
        self.drop_from_hand(topic, number);
        if let Some(slot) = self.slot_of(topic, number) {
            self.drop_parked(slot);
        }
    }

    /// Gives back the records of a partition that wait for another try.
    pub fn drop_parked(&mut self, slot: usize) {
        for raw in self.parked.remove(|other| other == slot) {
            // SAFETY: parked, so alive; destroyed once, here.
            unsafe { sys::rd_kafka_message_destroy(raw) };
        }
    }

    /// Everything that has to be given back before the client can end.
    pub fn take_all(&mut self) -> Vec<Raw> {
        let mut all: Vec<Raw> = self.current.drain(..).map(|out| out.raw).collect();
        all.extend(self.parked.remove(|_| true));
        all.extend(self.held_back.drain(..));
        all.extend(self.hand.drain(..));
        all
    }
}

/// Records on their way through: in hand, being handled, waiting for another try.
impl State {
    /// A record as the worker sees it.
    pub fn record(&self, raw: Raw, slot: usize) -> Option<Record> {
        // SAFETY: whoever asks has it in hand, so it is alive.
        let message = unsafe { &*raw };
        let partition = self.partitions[slot].as_ref()?;
        let failures = if self.attempts.is_empty() {
            None
        } else {
            self.attempts.get(&(slot, message.offset)).copied()
        };
        let crashes = partition.crashes(message.offset);
        Some(Record {
            raw,
            slot,
            topic: Rc::clone(&partition.topic),
            partition: message.partition,
            offset: message.offset,
            attempt: 1 + failures.unwrap_or(0) + crashes,
            crashes,
        })
    }

    /// Takes a record out of the hands of whoever handles it.
    #[inline]
    pub fn take_out(&mut self, raw: Raw) -> Option<InFlight> {
        let place = self.current.iter().position(|out| out.raw == raw)?;
        Some(self.current.swap_remove(place))
    }

    /// A record that was not handled comes again next.
    pub fn back(&mut self, out: InFlight) {
        match out.lane {
            Some(lane) => self.parked.park(lane, out.raw, Instant::now()),
            None => self.hand.push_front(out.raw),
        }
    }

    /// A record failed once more.
    pub fn failed(&mut self, slot: usize, offset: i64) {
        *self.attempts.entry((slot, offset)).or_insert(0) += 1;
    }
}
