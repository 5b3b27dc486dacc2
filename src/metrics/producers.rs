//! Metrics of the producers of a process and of their spools.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::catalog as c;
use super::snapshot::{labels, Snapshot};
use crate::error::Kind;
use crate::process::Process;

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
    pub fn spooled(&self, process: &Process) -> (u64, u64) {
        let mut known = self.spool.lock();
        if let Some((_, messages, bytes)) =
            known.filter(|(at, ..)| at.elapsed() < SPOOL_READ_INTERVAL)
        {
            return (messages, bytes);
        }
        let mut spools: BTreeMap<PathBuf, (u64, u64)> = BTreeMap::new();
        for client in process.producers.all() {
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

/// Adds the metrics of all producers to the snapshot.
pub fn collect(process: &Process, into: &mut Snapshot) {
    let clients = process.producers.all();
    let counters = &process.counters;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (sent, bytes) = clients
        .iter()
        .map(|client| client.sent())
        .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    let counts = &process.metrics.producers;
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
    let count = process.producers.count() as u64;
    into.gauge_of(&c::PRODUCER_CLIENTS, Vec::new(), count);
    let (messages, bytes) = counts.spooled(process);
    into.gauge_of(&c::SPOOL_MESSAGES, Vec::new(), messages);
    into.gauge_of(&c::SPOOL_BYTES, Vec::new(), bytes);
}
