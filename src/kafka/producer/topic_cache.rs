//! The topic handles of a producer, and the room where messages wait until their topic exists.
//!
//! A topic of `topic_mapping` has to be created by us before librdkafka asks for it, because asking makes the broker create it
//! with its own number of partitions. Until then its messages wait here, in order; `broadcast()` does not.
#![allow(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::ProducerRecord;
use crate::config::BrokerConfig;
use crate::kafka::client;
use crate::spool::SpoolRecord;

/// Handles kept at most; about 10 KB each in librdkafka, the least recently used goes first.
const MAX_HANDLES: usize = 1000;

/// Whether messages may be handed to librdkafka yet.
#[derive(Clone, Copy)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// It has to be looked up or created first.
    Unknown,
    /// It was looked for at this time, does not exist and may not be created.
    Missing(Instant),
}

/// One topic handle.
pub struct CachedTopic {
    handle: *mut sys::rd_kafka_topic_t,
    name: Box<str>,
    pub number: u32,
    pub readiness: Readiness,
    used: u64,
}

impl CachedTopic {
    fn release(self) {
        if !self.handle.is_null() {
            // SAFETY: ours; messages in the queue keep their own reference.
            unsafe { sys::rd_kafka_topic_destroy(self.handle) };
        }
    }
}

/// All handles of one client.
pub struct TopicCache {
    client: *mut sys::rd_kafka_t,
    config: Arc<BrokerConfig>,
    index: HashMap<Box<str>, usize>,
    handles: Vec<CachedTopic>,
    numbers: HashMap<Box<str>, u32>,
    names: Vec<Box<str>>,
    last: usize,
    clock: u64,
}

impl TopicCache {
    /// A topic that was found missing is looked for again after this time.
    pub const FORGET_MISSING: Duration = Duration::from_secs(5);

    pub fn new(client: *mut sys::rd_kafka_t, config: &Arc<BrokerConfig>) -> Self {
        Self {
            client,
            config: Arc::clone(config),
            index: HashMap::new(),
            handles: Vec::new(),
            numbers: HashMap::new(),
            names: Vec::new(),
            last: 0,
            clock: 0,
        }
    }

    /// The handle of a topic, made on first use.
    #[inline]
    pub fn get(&mut self, name: &str) -> &mut CachedTopic {
        self.clock += 1;
        let again = self
            .handles
            .get(self.last)
            .is_some_and(|last| &*last.name == name);
        if !again {
            self.last = match self.index.get(name) {
                Some(&slot) => slot,
                None => self.open(name),
            };
        }
        let topic = &mut self.handles[self.last];
        topic.used = self.clock;
        topic
    }

    #[cold]
    fn open(&mut self, name: &str) -> usize {
        let topic = CachedTopic {
            handle: std::ptr::null_mut(),
            name: name.into(),
            number: self.number(name),
            readiness: self.first_readiness(name),
            used: self.clock,
        };
        let slot = if self.handles.len() < MAX_HANDLES {
            self.handles.push(topic);
            self.handles.len() - 1
        } else {
            let slot = self.least_used();
            let old = std::mem::replace(&mut self.handles[slot], topic);
            self.index.remove(&old.name);
            old.release();
            slot
        };
        self.index.insert(name.into(), slot);
        slot
    }

    fn least_used(&self) -> usize {
        (0..self.handles.len())
            .min_by_key(|&slot| self.handles[slot].used)
            .unwrap_or(0)
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }

    fn first_readiness(&self, name: &str) -> Readiness {
        if !self.config.auto_create_topics || self.is_ours_to_create(name) {
            Readiness::Unknown
        } else {
            Readiness::Ready
        }
    }

    /// Topics of `topic_mapping` and dead letters; others the broker creates by itself.
    fn is_ours_to_create(&self, name: &str) -> bool {
        self.config.topics.spec_for_topic(name).is_some()
            || name
                .strip_prefix(self.config.dlq_prefix.as_str())
                .is_some_and(|rest| rest.starts_with('.'))
    }

    /// A topic librdkafka knows of already: asking for it creates nothing that would not be created anyway.
    pub fn any_ready(&self) -> Option<&str> {
        let ready = self.handles.iter().find(|topic| !topic.handle.is_null());
        ready.map(|topic| &*topic.name)
    }

    /// The name behind a number.
    pub fn name(&self, number: u32) -> String {
        self.names
            .get(number as usize)
            .map_or_else(String::new, ToString::to_string)
    }

    /// librdkafka's handle. Made only once the topic is ready: with it librdkafka begins to ask the brokers for the topic, and
    /// they create it as they like.
    #[inline]
    pub fn handle(&mut self, name: &str) -> *mut sys::rd_kafka_topic_t {
        let client = self.client;
        let topic = self.get(name);
        if topic.handle.is_null() {
            let c_name = client::c_string(name);
            // SAFETY: a live client; the default topic configuration is the client's.
            topic.handle = unsafe {
                sys::bindings::rd_kafka_topic_new(client, c_name.as_ptr(), std::ptr::null_mut())
            };
        }
        topic.handle
    }

    /// Notes what was found out about a topic.
    pub fn set_readiness(&mut self, name: &str, readiness: Readiness) {
        self.get(name).readiness = readiness;
    }

    /// Drops all handles.
    pub fn clear(&mut self) {
        self.index.clear();
        self.last = 0;
        for topic in self.handles.drain(..) {
            topic.release();
        }
    }
}

/// A message that waits for its topic.
pub struct PendingMessage {
    pub record: SpoolRecord,
    pub sequence: u64,
}

/// Messages whose topic is being looked up or created, per topic and in order.
#[derive(Default)]
pub struct PendingTopicQueue {
    messages: HashMap<String, VecDeque<PendingMessage>>,
    count: usize,
    /// Those that have to leave undelivered: the client closes.
    pub drained: Vec<PendingMessage>,
}

impl PendingTopicQueue {
    /// Lets a message in; false where the room is full.
    pub fn push(&mut self, message: &ProducerRecord<'_>, sequence: u64, limit: usize) -> bool {
        if self.count >= limit {
            return false;
        }
        self.count += 1;
        let record = message.record("");
        self.messages
            .entry(message.topic.to_owned())
            .or_default()
            .push_back(PendingMessage { record, sequence });
        true
    }

    /// Some topic that is waited for.
    pub fn next_topic(&self) -> Option<String> {
        self.messages.keys().next().cloned()
    }

    /// All guests of a topic, in order.
    pub fn take(&mut self, topic: &str) -> VecDeque<PendingMessage> {
        let messages = self.messages.remove(topic).unwrap_or_default();
        self.count -= messages.len();
        messages
    }

    /// Moves everybody to `drained`.
    pub fn drain(&mut self) {
        for (_, messages) in self.messages.drain() {
            self.drained.extend(messages);
        }
        self.count = 0;
    }
}
