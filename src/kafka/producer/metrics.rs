//! Metrics of the producers of a process and of their spools.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Producer;
use crate::error::Kind;

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
