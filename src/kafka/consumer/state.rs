//! What a consumer knows while it runs: its partitions, the records in hand, what Kafka complained about.
#![allow(unsafe_code)]

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::offsets::Partition;
use crate::error::Error;
use crate::kafka::native;
use crate::topic::TopicFilter;

pub(super) type Raw = *mut sys::rd_kafka_message_t;

/// What changes while consuming. Borrowed for moments only, never while host code runs.
#[derive(Default)]
pub(super) struct State {
    pub partitions: Vec<Option<Partition>>,
    pub index: HashMap<(Rc<str>, i32), usize>,
    pub hand: VecDeque<Raw>,
    pub current: Vec<(Raw, usize)>,
    pub recent: Option<(*mut sys::rd_kafka_topic_t, i32, usize)>,
    pub attempts: HashMap<(usize, i64), u32>,
    pub seeks: HashMap<(String, i32), i64>,
    pub assigning: bool,
    /// Paused in the callback of an assignment, before it took effect.
    pub pauses: Vec<(String, i32)>,
    pub waiting_for: BTreeSet<String>,
    pub late: HashSet<String>,
    pub known_topics: Option<HashSet<String>>,
    pub filters: Vec<TopicFilter>,
    pub last_error: Option<String>,
    pub refused: Option<Error>,
    pub commit_under_way: bool,
    pub subscriptions: String,
    pub conflict: bool,
}

impl State {
    pub fn add(&mut self, topic: &str, number: i32, committed: i64) {
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
        self.partitions[slot] = Some(partition);
        self.index.insert((name, number), slot);
        self.recent = None;
    }

    pub fn remove(&mut self, topic: &str, number: i32) {
        self.drop_from_hand(topic, number);
        if let Some(slot) = self.index.remove(&(Rc::from(topic), number)) {
            self.partitions[slot] = None;
        }
        self.recent = None;
    }

    pub fn find(&mut self, topic: &str, number: i32) -> Option<&mut Partition> {
        let slot = *self.index.get(&(Rc::from(topic), number))?;
        self.partitions[slot].as_mut()
    }

    pub fn is_late(&self, topic: &str) -> bool {
        let unknown = |known: &HashSet<String>| !known.contains(topic);
        self.late.contains(topic) || self.known_topics.as_ref().is_some_and(unknown)
    }

    /// Gives back the records of a partition that nobody has handled yet; the offset of the first.
    pub fn drop_from_hand(&mut self, topic: &str, number: i32) -> Option<i64> {
        let mut first = None;
        self.hand.retain(|&raw| {
            // SAFETY: in hand, so alive; destroyed once, when it leaves.
            unsafe {
                let here = (*raw).partition == number
                    && !(*raw).rkt.is_null()
                    && native::text(sys::rd_kafka_topic_name((*raw).rkt)) == topic;
                if here {
                    if (*raw).err == Code::RD_KAFKA_RESP_ERR_NO_ERROR && first.is_none() {
                        first = Some((*raw).offset);
                    }
                    sys::rd_kafka_message_destroy(raw);
                }
                !here
            }
        });
        first
    }
}
