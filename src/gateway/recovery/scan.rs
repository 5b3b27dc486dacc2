//! Reads a range of a topic from Kafka, for clients that were away longer than the buffer reaches. Bounded in records,
//! bytes and time; a larger range counts as lost. Concurrent scans of the same range are shared.

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
    /// Maximum data of an event, in bytes.
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

/// A range of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub topic: TopicNumber,
    pub name: String,
    /// Partition, start, and end: later records are in the buffer.
    pub parts: Vec<(i32, ReplayFrom, i64)>,
}

#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Partition and end offset, in the order of the range.
    pub ends: Vec<(i32, i64)>,
    pub events: Vec<Timed>,
}

type Cell = Arc<OnceCell<Option<Arc<Scanned>>>>;

/// A range without its ends, which advance all the time: replays with the same start share a scan.
type RangeStart = (u64, Vec<(i32, i64, bool)>);

/// All scans of one gateway.
pub(super) struct ScanPool {
    config: Arc<BrokerConfig>,
    limits: ScanLimits,
    permits: Arc<Semaphore>,
    shared: Mutex<HashMap<RangeStart, (Cell, Instant)>>,
}

/// A result is shared with replays that start within this time.
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

    /// Reads a range; `None` if it was deleted, exceeds the limits, or too many scans are running.
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
        // A separate thread, because it blocks on Kafka and the gateway has few worker threads.
        let thread = process::spawn("rt-gw-scan", move || {
            let _permit = permit;
            // Fails only if the request was cancelled.
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
