//! A member of a consumer group: fetches records in batches, hands them out one by one, and knows which were handled.
//!
//! Everything takes `&self`, because a callback may call back into the same broker, and no borrow is held while it runs. Records
//! not handled yet stay in here, never on the stack: a PHP fatal error jumps over the stack, and librdkafka waits for ever
//! for a client whose messages were not given back.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::delivery::{self, Header};
use super::native::{self, Conf, Partitions};
use super::offsets::Partition;
use super::rebalance::{Event, Events};
use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::process;
use crate::topic::TopicFilter;

pub(super) type Raw = *mut sys::rd_kafka_message_t;

/// Totals of one consumer.
#[derive(Default)]
pub struct Stats {
    /// Records fetched and handed out.
    pub consumed: Cell<u64>,
    /// Their keys and values in bytes.
    pub bytes: Cell<u64>,
    /// Commits Kafka accepted.
    pub commits: Cell<u64>,
    /// Commits it refused.
    pub commit_failures: Cell<u64>,
    /// Times the group's partitions were dealt anew.
    pub rebalances: Cell<u64>,
}

/// What changes while consuming. Borrowed for moments only, never while host code runs.
#[derive(Default)]
pub(super) struct State {
    pub partitions: Vec<Option<Partition>>,
    pub index: HashMap<(Rc<str>, i32), usize>,
    pub hand: VecDeque<Raw>,
    pub current: Vec<(Raw, usize)>,
    pub recent: Option<(*mut sys::rd_kafka_topic_t, i32, usize)>,
    attempts: HashMap<(usize, i64), u32>,
    pub seeks: HashMap<(String, i32), i64>,
    pub assigning: bool,
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

/// The consumer.
pub struct Consumer {
    pub(super) client: *mut sys::rd_kafka_t,
    queue: *mut sys::rd_kafka_queue_t,
    pub(super) commits: *mut sys::rd_kafka_queue_t,
    pub(super) config: Arc<BrokerConfig>,
    generation: u32,
    events: Box<Events>,
    pub(super) state: RefCell<State>,
    /// Totals.
    pub stats: Stats,
    pub(super) reads_from_end: bool,
    pub(super) last_commit: Cell<Instant>,
    pub(super) failed_before: Cell<u64>,
    refreshed: Cell<Instant>,
    connected: Cell<bool>,
    connected_at: Cell<Option<Instant>>,
    closed: Cell<bool>,
}

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
    /// Makes the client. Connects when [`Consumer::subscribe`] is called.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take.
    pub fn start(config: &Arc<BrokerConfig>, patterns: bool) -> Result<Self> {
        let mut properties = config.consumer_properties();
        super::embedded::resolve(config, &mut properties)?;
        let refresh = "topic.metadata.refresh.interval.ms";
        if !patterns && config.consumer_overrides.get(refresh).is_none() {
            // A missing topic is looked for every second; with patterns that would mean listing all topics of the cluster.
            properties.retain(|(name, _)| name != refresh);
            properties.push((refresh.to_owned(), "1000".to_owned()));
        }
        let reads_from_end = properties.iter().any(|(name, value)| {
            name == "auto.offset.reset" && matches!(value.as_str(), "latest" | "largest" | "end")
        });
        let mut conf = Conf::new(&properties, "consumer_config")?;
        let events = Box::<Events>::default();
        events.attach(&mut conf);
        let client = conf.into_client(sys::bindings::rd_kafka_type_t::RD_KAFKA_CONSUMER)?;
        // SAFETY: a live client; both queues are returned in `close`.
        let (queue, commits) = unsafe {
            sys::rd_kafka_poll_set_consumer(client);
            (
                sys::rd_kafka_queue_get_consumer(client),
                sys::rd_kafka_queue_new(client),
            )
        };
        Ok(Self {
            client,
            queue,
            commits,
            config: Arc::clone(config),
            generation: process::generation(),
            events,
            state: RefCell::default(),
            stats: Stats::default(),
            reads_from_end,
            last_commit: Cell::new(Instant::now()),
            failed_before: Cell::new(0),
            refreshed: Cell::new(Instant::now()),
            connected: Cell::new(false),
            connected_at: Cell::new(None),
            closed: Cell::new(false),
        })
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &Arc<BrokerConfig> {
        &self.config
    }

    /// True in a forked child: the client belongs to the parent.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.generation != process::generation()
    }

    /// True once a broker answered and not all have gone since.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.get()
    }

    pub(super) fn heard_from_kafka(&self) {
        if !self.connected.get() {
            self.connected.set(true);
        }
        if self.connected_at.get().is_none() {
            self.connected_at.set(Some(Instant::now()));
        }
    }

    /// When a broker first answered.
    #[must_use]
    pub fn connected_at(&self) -> Option<Instant> {
        self.connected_at.get()
    }

    /// The last thing Kafka complained about.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.state.borrow().last_error.clone()
    }

    /// Subscribed topics that do not exist yet.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<String> {
        self.state.borrow().waiting_for.iter().cloned().collect()
    }

    /// Subscribes to these topics, replacing what was subscribed before. `subscriptions` is the hash that goes into the
    /// metadata of commits.
    ///
    /// # Errors
    /// Configuration: a topic name or pattern librdkafka does not take.
    pub fn subscribe(&self, filters: Vec<TopicFilter>, subscriptions: String) -> Result<()> {
        let mut list = Partitions::new();
        for filter in &filters {
            let (TopicFilter::Exact(name) | TopicFilter::Regex(name)) = filter;
            list.add(name, -1, native::INVALID_OFFSET);
        }
        {
            let mut state = self.state.borrow_mut();
            state.subscriptions = subscriptions;
            if state.filters == filters {
                return Ok(());
            }
            state.waiting_for.clear();
            state.filters = filters;
        }
        self.remember_topics();
        // SAFETY: a live client; the list is copied.
        let code = unsafe { sys::rd_kafka_subscribe(self.client, list.raw()) };
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        Err(native::to_error(
            code,
            "Kafka's client cannot subscribe",
            "",
            &self.config.brokers,
        ))
    }

    /// Fetches up to `most` records, waiting at most `wait` for the first. What is in hand already comes first.
    pub fn fetch(&self, wait: Duration, most: usize) {
        self.refresh_missing();
        if !self.state.borrow().hand.is_empty() {
            return;
        }
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let mut batch: [Raw; 256] = [std::ptr::null_mut(); 256];
        // SAFETY: messages handed out by librdkafka are ours until destroyed; callbacks run in here only note events.
        unsafe {
            // Waiting for a whole batch would cost latency: wait for one, then take what is there.
            let first = sys::rd_kafka_consumer_poll(self.client, wait);
            if first.is_null() {
                return;
            }
            let mut state = self.state.borrow_mut();
            state.hand.push_back(first);
            let mut missing = most.saturating_sub(1);
            while missing > 0 {
                let count = sys::bindings::rd_kafka_consume_batch_queue(
                    self.queue,
                    0,
                    batch.as_mut_ptr(),
                    missing.min(batch.len()),
                );
                let count = usize::try_from(count).unwrap_or(0);
                state.hand.extend(&batch[..count]);
                if count < batch.len() {
                    break;
                }
                missing -= count;
            }
        }
    }

    /// The next rebalance or error to deal with, if any.
    pub(super) fn next_event(&self) -> Option<Event> {
        self.events.next()
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
                    partition.at_end = true;
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

    /// What Kafka refuses for good, once.
    pub fn refused(&self) -> Option<Error> {
        self.state.borrow_mut().refused.take()
    }

    /// Finishes in order: commits nothing (see [`Consumer::commit_now`]), leaves the group, ends the threads. Bounded by about
    /// three seconds. Idempotent; does nothing in a forked child.
    pub fn close(&self) {
        if self.is_inherited() || self.closed.replace(true) {
            return;
        }
        self.events.closing.store(true, Ordering::Release);
        let mut state = self.state.borrow_mut();
        let out = std::mem::take(&mut state.current);
        state.hand.extend(out.into_iter().map(|(raw, _)| raw));
        // SAFETY: messages first, then the group, then the queues, then the client; each once.
        unsafe {
            for raw in state.hand.drain(..) {
                sys::rd_kafka_message_destroy(raw);
            }
            while let Some(event) = self.events.next() {
                if let Event::Assign(list) | Event::Revoke(list) = event {
                    super::rebalance::unassign(self.client, list.raw());
                }
            }
            let farewell = sys::rd_kafka_queue_new(self.client);
            native::take_error(sys::bindings::rd_kafka_consumer_close_queue(
                self.client,
                farewell,
            ));
            let until = Instant::now() + Duration::from_secs(3);
            while sys::bindings::rd_kafka_consumer_closed(self.client) == 0
                && Instant::now() < until
            {
                sys::bindings::rd_kafka_queue_poll_callback(farewell, 50);
            }
            sys::rd_kafka_queue_destroy(farewell);
            sys::rd_kafka_queue_destroy(self.queue);
            sys::rd_kafka_queue_destroy(self.commits);
            sys::bindings::rd_kafka_destroy_flags(self.client, NO_CONSUMER_CLOSE);
        }
    }

    /// True after [`Consumer::close`].
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// With patterns the periodic refresh is slow; a missing exact topic is still looked for every second.
    fn refresh_missing(&self) {
        let due = self.refreshed.get().elapsed() >= Duration::from_secs(1);
        if !due {
            return;
        }
        self.refreshed.set(Instant::now());
        let wanted = {
            let state = self.state.borrow();
            !state.waiting_for.is_empty()
                && state
                    .filters
                    .iter()
                    .any(|filter| matches!(filter, TopicFilter::Regex(_)))
        };
        if wanted {
            // A full list makes librdkafka look at its subscription again.
            drop(self.topics(Duration::from_millis(200)));
        }
    }
}

/// `RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE`: we have closed it ourselves, within a bound.
const NO_CONSUMER_CLOSE: i32 = 8;

impl Drop for Consumer {
    fn drop(&mut self) {
        self.close();
    }
}
