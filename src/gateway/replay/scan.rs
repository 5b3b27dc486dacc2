//! Reads a range of a topic from Kafka, for clients that were away longer than the buffer reaches. Bounded in records,
//! bytes and time; a larger range counts as lost. Concurrent scans of the same range are shared.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{oneshot, OnceCell, Semaphore};

use super::replay_buffer::ReplayFrom;
use super::scan_reader::{read, Range, ScanLimits, Scanned};
use super::token::short_hash;
use crate::config::BrokerConfig;
use crate::process;

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
