//! The producer clients of a process: one per configuration, at most eight, replaced after a fatal error. Counts their
//! failures, and what is in their spools.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::in_flight::DeliveryFailures;
use super::Producer;
use crate::config::BrokerConfig;
use crate::error::{Error, Kind, Result};
use crate::message::ProducerRecord;
use crate::metrics::snapshot::{labels, Snapshot};
use crate::metrics::{catalog as c, Collector};
use crate::runtime::{self, PerProcess};

/// Applications that share an FPM pool never share a client; with more configurations than this, the least recently
/// used is evicted.
const MAX_PRODUCERS: usize = 8;
/// Clients that are closing in the background, in addition. Each has sockets, pipes and threads, so the caller that
/// needs another one waits until the oldest has closed.
const MAX_CLOSING: usize = 16;
/// Longest wait for that; more than the oldest client needs.
const MAX_CLOSING_WAIT: Duration = Duration::from_secs(3);

/// Batches are divided by this when one was refused as too large.
const BATCH_DIVISOR: usize = 4;
/// The full batch size is tried again after this time, and after twice as long if that is refused once more.
const BATCH_LIMIT_TIME: Duration = Duration::from_secs(60);
const MAX_BATCH_LIMIT_TIME: Duration = Duration::from_secs(3600);
/// Longest wait for the size of a refused batch, which the client's thread knows within milliseconds.
const REFUSED_BATCH_WAIT: Duration = Duration::from_millis(500);

/// Limit of the batch size for a configuration, because a topic refused a larger batch.
struct BatchLimit {
    bytes: usize,
    until: Instant,
    time: Duration,
}

struct PoolEntry {
    key: String,
    producer: Arc<Producer>,
    used: u64,
}

#[derive(Default)]
struct PoolState {
    entries: Vec<PoolEntry>,
    /// Evicted and replaced clients, until their threads have closed them.
    closing: Vec<(Arc<Producer>, JoinHandle<()>)>,
    clock: u64,
}

/// The clients of this process.
pub static PRODUCERS: PerProcess<ProducerPool> = PerProcess::new();

#[derive(Default)]
pub struct ProducerPool {
    state: Mutex<PoolState>,
    /// Messages of callbacks that were not delivered, until the offsets of their records are to be committed. Here
    /// and not in their client, which may have been replaced by then.
    pub(in crate::kafka) callback_failures: DeliveryFailures,
    batch_limits: Mutex<HashMap<String, BatchLimit>>,
    pub counters: ProducerCounters,
    /// Records of spool files that are in failed/ already, although the batch with them has to be sent again.
    pub(super) failed_replays: Mutex<HashSet<(PathBuf, u64)>>,
}

impl ProducerPool {
    /// Waits until everything that callbacks sent is acknowledged; false if that takes longer.
    ///
    /// # Errors
    /// Delivery, naming the messages that were not delivered.
    pub fn callback_results(&self, until: Instant) -> Result<bool> {
        let mut clients = self.all();
        clients.retain(|client| client.tracks_callback_sends());
        let mut delivered = true;
        for client in &clients {
            delivered &= client.wait_for_delivery(until);
        }
        let (failed, count) = self.callback_failures.take();
        if count == 0 && !delivered {
            return Ok(false);
        }
        for client in clients {
            for message in &failed {
                client.failures.remove(&message.id);
            }
            client.clear_callback_sends();
        }
        if count == 0 {
            return Ok(true);
        }
        Err(Error::undelivered(
            "A message sent by a callback was not delivered: its records are not committed and are read again.",
            failed,
        ))
    }

    /// The client for `config`, created on first use. Does not connect by itself.
    ///
    /// # Errors
    /// Configuration: properties librdkafka rejects.
    pub fn get(&self, config: &Arc<BrokerConfig>) -> Result<Arc<Producer>> {
        let key = config.producer_key();
        let mut state = self.state.lock();
        state.clock += 1;
        let now = state.clock;
        if let Some(entry) = state.entries.iter_mut().find(|entry| entry.key == key) {
            entry.used = now;
            if !entry.producer.needs_replacement() {
                if !self.is_limit_over(&entry.producer, &key) {
                    return Ok(Arc::clone(&entry.producer));
                }
                // Nothing is in flight, so a client with full batches can take its place.
                entry.producer.evicted.store(true, Ordering::Release);
            }
            entry.producer.await_refused_batch(REFUSED_BATCH_WAIT);
            let next = Producer::start(Arc::clone(config))?;
            let old = std::mem::replace(&mut entry.producer, Arc::clone(&next));
            if old.is_fatal() {
                next.start_behind(&old);
            }
            // Listed until its messages have been handed over, because a flush may have to wait for them.
            state.close_in_background(old)?;
            return Ok(next);
        }
        let producer = Producer::start(Arc::clone(config))?;
        if state.entries.len() == MAX_PRODUCERS {
            state.evict_least_recently_used()?;
        }
        state.entries.push(PoolEntry {
            key,
            producer: Arc::clone(&producer),
            used: now,
        });
        drop(state);
        self.bound_closing();
        Ok(producer)
    }

    /// Waits while too many clients are closing. Not with the state locked: a client with a fatal error gets another
    /// one while it is closing.
    fn bound_closing(&self) {
        let until = Instant::now() + MAX_CLOSING_WAIT;
        loop {
            let mut state = self.state.lock();
            state.remove_closed();
            let excess = state.closing.len().saturating_sub(MAX_CLOSING);
            for (producer, _) in state.closing.iter().take(excess) {
                producer.hasten();
            }
            drop(state);
            if excess == 0 || Instant::now() >= until {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The limit of the batch size for clients of this configuration.
    pub fn batch_limit(&self, key: &str) -> Option<usize> {
        let limits = self.batch_limits.lock();
        let limit = limits.get(key).filter(|limit| Instant::now() < limit.until);
        limit.map(|limit| limit.bytes)
    }

    /// Limits the batches of later clients of this configuration, because one of `refused` bytes was too large.
    pub(super) fn limit_batches(&self, key: &str, refused: usize) -> usize {
        let mut limits = self.batch_limits.lock();
        let now = Instant::now();
        let known = limits.get(key);
        let time = match known {
            // Refused again after the full size was tried.
            Some(limit) if now >= limit.until => (limit.time * 2).min(MAX_BATCH_LIMIT_TIME),
            Some(limit) => limit.time,
            None => BATCH_LIMIT_TIME,
        };
        let bytes = (refused / BATCH_DIVISOR).max(1);
        let limit = BatchLimit {
            bytes,
            until: now + time,
            time,
        };
        limits.insert(key.to_owned(), limit);
        bytes
    }

    /// True if the client's limit has ended and it can be replaced without anyone noticing.
    fn is_limit_over(&self, producer: &Producer, key: &str) -> bool {
        producer.is_batch_limited()
            && producer.waiting() == 0
            && !producer.tracks_callback_sends()
            && self.batch_limit(key).is_none()
    }

    /// Sends through `producer`, or through the client that replaces it; returns the one that accepted the message.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub fn send(
        &self,
        producer: &Arc<Producer>,
        record: &ProducerRecord<'_>,
    ) -> Result<Arc<Producer>> {
        match producer.send(record) {
            Ok(()) => Ok(Arc::clone(producer)),
            Err(error) => self.send_by_successor(producer, record, error),
        }
    }

    /// Sends a message that `producer` did not accept through the client that replaces it; returns that client.
    ///
    /// # Errors
    /// The error of `producer` if it is not replaced, else as [`Producer::send`].
    #[cold]
    pub fn send_by_successor(
        &self,
        producer: &Arc<Producer>,
        record: &ProducerRecord<'_>,
        error: Error,
    ) -> Result<Arc<Producer>> {
        if !producer.needs_replacement() || producer.transactional {
            return Err(error);
        }
        let next = self.get(producer.config())?;
        if producer.tracks_callback_sends() {
            next.track_callback_sends();
        }
        next.send(record).map(|()| next)
    }

    /// All clients, including those being closed.
    pub fn all(&self) -> Vec<Arc<Producer>> {
        let mut state = self.state.lock();
        state.remove_closed();
        let entries = state.entries.iter().map(|entry| &entry.producer);
        let closing = state.closing.iter().map(|(producer, _)| producer);
        entries.chain(closing).map(Arc::clone).collect()
    }

    /// The number of clients, without those being closed.
    pub fn count(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Sends, spools or reports what is queued, because a signal ends the process. The clients stay open.
    pub fn drain(&self, started: Instant, unreachable: Duration) {
        // Again, because a client with a fatal error hands its messages to another one.
        for _ in 0..2 {
            for producer in self.all() {
                producer.drain(started + unreachable);
            }
        }
    }

    /// Closes all clients; each has its own `shutdown_flush_ms`, counted from the start of this call.
    pub fn close(&self) {
        let started = Instant::now();
        // A client with a fatal error creates another one for its unsent messages.
        while self.close_current(started) {}
    }

    fn close_current(&self, started: Instant) -> bool {
        let (entries, closing) = {
            let mut state = self.state.lock();
            (
                std::mem::take(&mut state.entries),
                std::mem::take(&mut state.closing),
            )
        };
        let any = !entries.is_empty() || !closing.is_empty();
        for entry in entries {
            let bound = Duration::from_millis(entry.producer.config().shutdown_flush_ms);
            entry.producer.close_since(started, started + bound);
            entry.producer.add_counts_to_process();
        }
        for (producer, thread) in closing {
            if thread.join().is_err() {
                runtime::error(
                    "The thread closing a replaced Kafka client panicked; messages may not have been reported.",
                );
            }
            producer.add_counts_to_process();
        }
        any
    }

    /// Messages and bytes in the spools of all clients.
    pub fn spooled(&self) -> (u64, u64) {
        self.counters.spooled(&self.all())
    }
}

impl Collector for ProducerPool {
    fn source(&self) -> &'static str {
        "producers"
    }

    fn is_active(&self) -> bool {
        self.count() > 0
    }

    fn collect(&self, into: &mut Snapshot) {
        let clients = self.all();
        let counters = &runtime::current().counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (sent, bytes) = clients
            .iter()
            .map(|client| client.sent())
            .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        let counts = &self.counters;
        for (metric, value) in [
            (c::PRODUCER_MESSAGES, read(&counters.produced) + sent),
            (c::PRODUCER_BYTES, read(&counters.produced_bytes) + bytes),
            (c::PRODUCER_DELIVERED, read(&counters.delivered)),
            (c::PRODUCER_QUEUE_FULL, read(&counts.queue_full)),
            (c::PRODUCER_LOOP_DROPPED, read(&counters.loop_dropped)),
        ] {
            into.count(metric.name, Vec::new(), value);
        }
        for (kind, count) in counts.failures() {
            let label = labels(&[("kind", kind_name(kind))]);
            into.count(c::PRODUCER_FAILURES.name, label, count);
        }
        let waiting = clients.iter().map(|client| client.waiting()).sum();
        into.gauge_of(&c::PRODUCER_QUEUE, Vec::new(), waiting);
        let lost = clients.iter().any(|client| client.is_unreachable());
        into.gauge_of(&c::PRODUCER_REACHABLE, Vec::new(), u64::from(!lost));
        let count = self.count() as u64;
        into.gauge_of(&c::PRODUCER_CLIENTS, Vec::new(), count);
        let (messages, bytes) = self.spooled();
        into.gauge_of(&c::SPOOL_MESSAGES, Vec::new(), messages);
        into.gauge_of(&c::SPOOL_BYTES, Vec::new(), bytes);
    }
}

impl PoolState {
    fn remove_closed(&mut self) {
        self.closing.retain(|(producer, thread)| {
            let gone = thread.is_finished();
            if gone {
                producer.add_counts_to_process();
            }
            !gone
        });
    }

    /// Evicts the least recently used client. Its messages keep their time limit, but the request does not wait for
    /// them.
    fn evict_least_recently_used(&mut self) -> Result<()> {
        let Some(oldest) = (0..self.entries.len()).min_by_key(|&n| self.entries[n].used) else {
            return Ok(());
        };
        let producer = self.entries.swap_remove(oldest).producer;
        producer.evicted.store(true, Ordering::Release);
        self.close_in_background(producer)
    }

    /// Closes a client in a thread of its own; a client created before a fork belongs to the parent.
    fn close_in_background(&mut self, producer: Arc<Producer>) -> Result<()> {
        if producer.is_inherited() {
            producer.add_counts_to_process();
            return Ok(());
        }
        let closing = Arc::clone(&producer);
        let thread = runtime::spawn("rt-closing", move || {
            let bound = Duration::from_millis(closing.config().shutdown_flush_ms);
            closing.close(Instant::now() + bound);
        })?;
        self.remove_closed();
        self.closing.push((producer, thread));
        Ok(())
    }
}

/// Reading the size of a spool opens its files, so the value is cached for this long.
const SPOOL_READ_INTERVAL: Duration = Duration::from_secs(1);

/// Delivery failures, refused messages and spool usage.
#[derive(Default)]
pub struct ProducerCounters {
    /// By the position of the kind in [`Kind::ALL`].
    failures: [AtomicU64; Kind::ALL.len()],
    /// Messages refused because the queue stayed full.
    pub queue_full: AtomicU64,
    spool: Mutex<Option<(Instant, u64, u64)>>,
}

/// The value of the label `kind`.
#[must_use]
pub const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Configuration => "configuration",
        Kind::InvalidChannel => "invalid_channel",
        Kind::Encoding => "encoding",
        Kind::Connection => "connection",
        Kind::QueueFull => "queue_full",
        Kind::Delivery => "delivery",
        Kind::MessageTooLarge => "message_too_large",
        Kind::UnknownTopic => "unknown_topic",
        Kind::HopLimit => "hop_limit",
    }
}

/// The kinds of delivery failures; the other kinds are raised before a message is queued.
const DELIVERY_KINDS: &[Kind] = &[
    Kind::Configuration,
    Kind::InvalidChannel,
    Kind::Encoding,
    Kind::Connection,
    Kind::QueueFull,
    Kind::Delivery,
    Kind::MessageTooLarge,
    Kind::UnknownTopic,
];

impl ProducerCounters {
    /// Counts a message that was not delivered.
    pub fn failed(&self, kind: Kind) {
        if let Some(place) = Kind::ALL.iter().position(|known| *known == kind) {
            self.failures[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Delivery failures by kind.
    pub fn failures(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        DELIVERY_KINDS.iter().map(|kind| {
            let place = Kind::ALL.iter().position(|known| known == kind);
            let count = place.map_or(0, |place| self.failures[place].load(Ordering::Relaxed));
            (*kind, count)
        })
    }

    /// Messages and bytes in the spools of all producers of the process; a shared spool is counted once.
    pub(super) fn spooled(&self, clients: &[Arc<Producer>]) -> (u64, u64) {
        let mut known = self.spool.lock();
        if let Some((_, messages, bytes)) =
            known.filter(|(at, ..)| at.elapsed() < SPOOL_READ_INTERVAL)
        {
            return (messages, bytes);
        }
        let mut spools: BTreeMap<PathBuf, (u64, u64)> = BTreeMap::new();
        for client in clients {
            if let Some(spool) = client.spool() {
                spools
                    .entry(spool.directory().to_owned())
                    .or_insert_with(|| (spool.records_waiting(), spool.bytes()));
            }
        }
        let all = spools.values();
        let (messages, bytes) = all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        *known = Some((Instant::now(), messages, bytes));
        (messages, bytes)
    }
}
