//! Reads a range of a topic again, from Kafka: for browsers that were away for longer than the ring remembers. Bounded in records,
//! bytes and time; what is over that counts as lost. Equal ranges are read once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{oneshot, OnceCell, Semaphore};

use super::replay_buffer::{ReplayFrom, Timed};
use super::scan_reader::read;
use super::token::short_hash;
use crate::config::BrokerConfig;
use crate::gateway::broadcast::TopicNumber;
use crate::gateway::settings::Settings;
use crate::process;

/// The bounds.
#[derive(Debug, Clone, Copy)]
pub struct ScanLimits {
    /// ScanPool at the same time.
    pub at_once: usize,
    /// Records of one scan.
    pub records: i64,
    /// Bytes of one scan.
    pub bytes: usize,
    /// Time of one scan.
    pub time: Duration,
    /// Largest data of an event.
    pub max_event_bytes: usize,
}

impl ScanLimits {
    /// As the settings have them.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            at_once: settings.replay_scans,
            records: i64::try_from(settings.replay_scan_records).unwrap_or(i64::MAX),
            bytes: settings.replay_scan_bytes,
            time: settings.replay_scan_time,
            max_event_bytes: settings.max_event,
        }
    }
}

/// A range: from where each partition is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub topic: TopicNumber,
    pub name: String,
    /// Partition, from where, and the end: what comes after is in the ring.
    pub parts: Vec<(i32, ReplayFrom, i64)>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// The ends that were read to, in the order of the range.
    pub ends: Vec<(i32, i64)>,
    pub events: Vec<Timed>,
}

type Cell = Arc<OnceCell<Option<Arc<Scanned>>>>;

/// A range without its ends, which move on all the time: whoever wants the same beginning gets the same answer.
type RangeStart = (u64, Vec<(i32, i64, bool)>);

/// All scans of one gateway.
pub(super) struct ScanPool {
    config: Arc<BrokerConfig>,
    limits: ScanLimits,
    permits: Arc<Semaphore>,
    shared: Mutex<HashMap<RangeStart, (Cell, Instant)>>,
}

/// An answer is shared with those who ask so much later.
const SHARE_WINDOW: Duration = Duration::from_secs(5);

impl ScanPool {
    pub fn new(config: &Arc<BrokerConfig>, limits: ScanLimits) -> Self {
        Self {
            config: Arc::clone(config),
            limits,
            permits: Arc::new(Semaphore::new(limits.at_once)),
            shared: Mutex::default(),
        }
    }

    /// Reads a range; `None` where it is not there any more, is too long, or too many others read.
    pub async fn scan(&self, range: Range) -> Option<Arc<Scanned>> {
        let key = range.start();
        let cell = {
            let mut shared = self.shared.lock();
            shared.retain(|_, (cell, since)| !cell.initialized() || since.elapsed() < SHARE_WINDOW);
            let entry = shared.entry(key);
            Arc::clone(&entry.or_insert_with(|| (Cell::default(), Instant::now())).0)
        };
        let found = cell.get_or_init(|| self.start_scan(range)).await;
        found.clone()
    }

    async fn start_scan(&self, range: Range) -> Option<Arc<Scanned>> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let (config, limits) = (Arc::clone(&self.config), self.limits);
        let (done, scanned) = oneshot::channel();
        // A thread of its own: the gateway has few, and this one waits for Kafka.
        let thread = process::spawn("rt-gw-scan", move || {
            let _permit = permit;
            // Who asked may be gone.
            let _ = done.send(read(&config, &range, &limits));
        });
        thread.ok()?;
        scanned.await.ok().flatten().map(Arc::new)
    }
}

impl Range {
    fn start(&self) -> RangeStart {
        let each = self.parts.iter().map(|(partition, from, _)| match *from {
            ReplayFrom::Offset(offset) => (*partition, offset, true),
            ReplayFrom::Time(ms) => (*partition, ms, false),
        });
        (short_hash(&self.name), each.collect())
    }
}
