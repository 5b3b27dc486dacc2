//! The topic handles of a producer, and the queue of messages whose topic is being looked up or created.
//!
//! A topic of `topic_mapping` must be created before librdkafka requests its metadata, because that makes the broker
//! create it with its own number of partitions. Until then its messages wait in the queue, in order; `broadcast()` does
//! not wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::topic_gate::TopicGate;
use crate::config::BrokerConfig;
use crate::kafka::client::{Client, TopicHandle};
use crate::message::ProducerRecord;
use crate::spool::SpoolRecord;

/// Maximum number of handles; each takes about 10 KB in librdkafka.
const MAX_HANDLES: usize = if cfg!(test) { 100 } else { 10_000 };
/// Of so many handles in a row the least recently used is dropped: the cost does not depend on the number of handles.
const EVICTION_SAMPLE: usize = 16;
/// Topics that may wait for their first outcome at the same time. Each handle makes a metadata request of its own,
/// which also creates the topic, and Kafka creates one after the other. librdkafka gives up a topic that is unknown
/// `topic.metadata.propagation.max.ms` after the handle was created, however long its first request waited.
const MAX_OPENING: usize = 50;

/// State of a topic: can its messages be passed to librdkafka?
#[derive(Clone, Copy)]
pub enum Readiness {
    Ready,
    /// Must be looked up or created first.
    Unknown,
    /// Waits until fewer new topics are being opened, see [`MAX_OPENING`].
    Queued,
    /// Found missing at this time, and may not be created.
    Missing(Instant),
}

/// How far a topic is, also after its handle was dropped.
#[derive(Clone, Copy, PartialEq)]
enum Opening {
    New,
    Queued,
    Opened,
}

pub struct CachedTopic {
    /// With a handle, librdkafka requests metadata, and brokers auto-create the topic: made once the topic is ready.
    handle: Option<TopicHandle>,
    name: Box<str>,
    pub number: u32,
    pub readiness: Readiness,
    used: u64,
}

/// All topics of one client.
pub struct TopicCache {
    client: Client,
    config: Arc<BrokerConfig>,
    index: HashMap<Box<str>, usize>,
    handles: Vec<CachedTopic>,
    numbers: HashMap<Box<str>, u32>,
    names: Vec<Box<str>>,
    /// By topic number.
    progress: Vec<Opening>,
    /// Numbers of the topics that wait for their first outcome.
    opening: Vec<u32>,
    /// Numbers of the topics that wait for that, in the order of their first messages.
    queued: VecDeque<u32>,
    /// A first message was not sent for another reason than its topic: waiting for others does not help.
    opens_all: bool,
    /// The partitioner, for clients that hold back messages behind the first one of a partition.
    partitioner: Option<String>,
    /// By topic number, as librdkafka keeps a topic as long as there are messages for it.
    gates: Vec<Option<Arc<TopicGate>>>,
    last: usize,
    /// The slot at which the search for the next handle to drop begins.
    hand: usize,
    clock: u64,
}

impl TopicCache {
    /// A missing topic is looked up again after this time.
    pub const FORGET_MISSING: Duration = Duration::from_secs(5);

    pub fn new(client: &Client, config: &Arc<BrokerConfig>, partitioner: Option<String>) -> Self {
        Self {
            client: client.clone(),
            config: Arc::clone(config),
            index: HashMap::new(),
            handles: Vec::new(),
            numbers: HashMap::new(),
            names: Vec::new(),
            progress: Vec::new(),
            opening: Vec::new(),
            queued: VecDeque::new(),
            opens_all: false,
            partitioner,
            gates: Vec::new(),
            last: 0,
            hand: 0,
            clock: 0,
        }
    }

    /// The entry of a topic, created on first use.
    #[inline]
    pub fn get(&mut self, name: &str) -> &mut CachedTopic {
        self.clock += 1;
        let again = self
            .handles
            .get(self.last)
            .is_some_and(|last| &*last.name == name);
        if !again {
            self.last = self.find(name);
        }
        let topic = &mut self.handles[self.last];
        topic.used = self.clock;
        topic
    }

    #[inline(never)]
    fn find(&mut self, name: &str) -> usize {
        match self.index.get(name) {
            Some(&slot) => slot,
            None => self.open(name),
        }
    }

    #[cold]
    fn open(&mut self, name: &str) -> usize {
        let number = self.number(name);
        let topic = CachedTopic {
            handle: None,
            name: name.into(),
            number,
            readiness: self.first_readiness(name, number),
            used: self.clock,
        };
        let slot = if self.handles.len() < MAX_HANDLES {
            self.handles.push(topic);
            self.handles.len() - 1
        } else {
            let slot = self.least_used();
            let old = std::mem::replace(&mut self.handles[slot], topic);
            self.index.remove(&old.name);
            slot
        };
        self.index.insert(name.into(), slot);
        slot
    }

    fn least_used(&mut self) -> usize {
        let begin = self.hand;
        self.hand = (begin + EVICTION_SAMPLE) % self.handles.len();
        (begin..begin + EVICTION_SAMPLE)
            .map(|place| place % self.handles.len())
            .min_by_key(|&slot| self.handles[slot].used)
            .unwrap_or(0)
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.into());
        self.progress.push(Opening::New);
        self.gates.push(None);
        self.numbers.insert(name.into(), number);
        number
    }

    fn first_readiness(&mut self, name: &str, number: u32) -> Readiness {
        if !self.config.auto_create_topics || self.is_ours_to_create(name) {
            return Readiness::Unknown;
        }
        let place = number as usize;
        if self.progress[place] == Opening::New && !(self.queued.is_empty() && self.may_open()) {
            self.progress[place] = Opening::Queued;
            self.queued.push_back(number);
        }
        if self.progress[place] == Opening::Queued {
            Readiness::Queued
        } else {
            Readiness::Ready
        }
    }

    /// True if another new topic may be opened.
    fn may_open(&mut self) -> bool {
        if self.opening.len() >= MAX_OPENING {
            let gates = &self.gates;
            let opens_all = &mut self.opens_all;
            self.opening.retain(|number| {
                gates[*number as usize].as_ref().is_some_and(|gate| {
                    if gate.has_answer() {
                        *opens_all = gate.has_failed();
                    }
                    gate.awaits_first()
                })
            });
        }
        self.opens_all || self.opening.len() < MAX_OPENING
    }

    /// The next topic that waited for others and may be opened now.
    pub fn next_to_open(&mut self) -> Option<String> {
        if self.queued.is_empty() || !self.may_open() {
            return None;
        }
        let number = self.queued.pop_front()?;
        let name = self.name(number);
        self.progress[number as usize] = Opening::Opened;
        self.opening.push(number);
        self.set_readiness(&name, Readiness::Ready);
        Some(name)
    }

    /// Number of topics that wait for others.
    pub fn queued(&self) -> usize {
        self.queued.len()
    }

    /// True for a topic that waits for others.
    pub fn is_queued(&self, name: &str) -> bool {
        let number = self.numbers.get(name);
        number.is_some_and(|&number| self.progress[number as usize] == Opening::Queued)
    }

    /// Topics of `topic_mapping` and dead-letter topics; others are left to the broker's auto-creation.
    fn is_ours_to_create(&self, name: &str) -> bool {
        self.config.topics.spec_for_topic(name).is_some()
            || name
                .strip_prefix(self.config.dlq_prefix.as_str())
                .is_some_and(|rest| rest.starts_with('.'))
    }

    /// A topic librdkafka already knows, so that requesting its metadata creates nothing new.
    pub fn any_ready(&self) -> Option<&str> {
        let ready = self.handles.iter().find(|topic| topic.handle.is_some());
        ready.map(|topic| &*topic.name)
    }

    /// The name of a topic number.
    pub fn name(&self, number: u32) -> String {
        self.names
            .get(number as usize)
            .map_or_else(String::new, ToString::to_string)
    }

    /// The handle of a topic, and its gate if this client has gates; `None`: librdkafka rejects the name.
    #[inline]
    pub fn outlet(&mut self, name: &str) -> Option<(&TopicHandle, Option<&TopicGate>)> {
        self.get(name);
        self.last_outlet()
    }

    /// Handle and gate of the topic that [`TopicCache::get`] has returned last.
    #[inline]
    pub fn last_outlet(&mut self) -> Option<(&TopicHandle, Option<&TopicGate>)> {
        if self.handles[self.last].handle.is_none() {
            self.open_handle();
        }
        let topic = &self.handles[self.last];
        let gate = self.gates[topic.number as usize].as_deref();
        Some((topic.handle.as_ref()?, gate))
    }

    #[cold]
    fn open_handle(&mut self) {
        let topic = &self.handles[self.last];
        let (name, number) = (topic.name.clone(), topic.number);
        if let Some(partitioner) = &self.partitioner {
            let gate = &mut self.gates[number as usize];
            if gate.is_none() {
                *gate = TopicGate::new(partitioner);
            }
            if self.progress[number as usize] == Opening::New {
                self.progress[number as usize] = Opening::Opened;
                self.opening.push(number);
            }
        }
        let handle = match &self.gates[number as usize] {
            Some(gate) => gate.open_topic(&self.client, &name),
            None => TopicHandle::new(&self.client, &name),
        };
        self.handles[self.last].handle = handle;
    }

    pub fn set_readiness(&mut self, name: &str, readiness: Readiness) {
        self.get(name).readiness = readiness;
    }
}

/// A message whose topic is being looked up or created.
pub struct PendingMessage {
    pub record: SpoolRecord,
    pub sequence: u64,
}

/// Limit of the waiting messages in bytes, in addition to librdkafka's queue.
const MAX_PENDING_BYTES: usize = 512 << 20;

/// Messages whose topic is being looked up or created, per topic and in order.
#[derive(Default)]
pub struct PendingTopicQueue {
    messages: HashMap<String, VecDeque<PendingMessage>>,
    count: usize,
    bytes: usize,
    /// Messages to report as undelivered, because the client is closing.
    pub drained: Vec<PendingMessage>,
}

impl PendingTopicQueue {
    /// Adds a message; false if the queue is full.
    pub fn push(&mut self, message: &ProducerRecord<'_>, sequence: u64, limit: usize) -> bool {
        if self.count >= limit || self.bytes >= MAX_PENDING_BYTES {
            return false;
        }
        self.count += 1;
        let record = SpoolRecord::of(message, "");
        self.bytes += record.size();
        self.messages
            .entry(message.topic.to_owned())
            .or_default()
            .push_back(PendingMessage { record, sequence });
        true
    }

    /// Adds a message behind the others of its topic.
    pub fn append(&mut self, message: PendingMessage) {
        self.count += 1;
        self.bytes += message.record.size();
        let topic = message.record.topic.clone();
        self.messages.entry(topic).or_default().push_back(message);
    }

    /// True if no message waits.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds messages in front of those that wait already, whatever their number.
    pub fn prepend(&mut self, messages: Vec<PendingMessage>) {
        self.count += messages.len();
        for message in messages.into_iter().rev() {
            self.bytes += message.record.size();
            self.messages
                .entry(message.record.topic.clone())
                .or_default()
                .push_front(message);
        }
    }

    /// All topics with waiting messages.
    pub fn topics(&self) -> Vec<String> {
        self.messages.keys().cloned().collect()
    }

    /// Any such topic with waiting messages.
    pub fn next_topic(&self, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
        self.messages.keys().find(|topic| is_wanted(topic)).cloned()
    }

    /// Removes all messages of a topic, in order.
    pub fn take(&mut self, topic: &str) -> VecDeque<PendingMessage> {
        let messages = self.messages.remove(topic).unwrap_or_default();
        self.count -= messages.len();
        let bytes: usize = messages.iter().map(|one| one.record.size()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        messages
    }

    /// Moves all messages to `drained`.
    pub fn drain(&mut self) {
        for (_, messages) in self.messages.drain() {
            self.drained.extend(messages);
        }
        self.count = 0;
        self.bytes = 0;
    }
}
