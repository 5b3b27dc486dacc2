//! One scan: a separate consumer that reads from the start offsets to the positions from which the buffer is complete.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::sync::{oneshot, OnceCell, Semaphore};

use super::replay_buffer::{ReplayFrom, Timed};
use super::token::short_hash;
use crate::config::gateway_settings::Settings;
use crate::config::BrokerConfig;
use crate::gateway::broadcast::{At, Broadcast, BroadcastHeaders, TopicNumber};
use crate::gateway::feed::{FeedConsumer, Key, OffsetSpec};
use crate::kafka::client::KafkaMessage;
use crate::runtime;
use crate::topic::TopicMap;

type Cell = Arc<OnceCell<Option<Arc<Scanned>>>>;

/// A range without its ends, which advance all the time: replays with the same start share a scan.
type RangeStart = (u64, Vec<(i32, i64, bool)>);

/// A result is shared with replays that start within this time.
const SHARE_WINDOW: Duration = Duration::from_secs(5);

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

/// A partition being scanned.
struct PartitionScan {
    next: i64,
    end: i64,
    not_before_ms: i64,
}

struct Scan<'a> {
    range: &'a Range,
    settings: &'a Settings,
    topics: &'a TopicMap,
    parts: HashMap<i32, PartitionScan>,
    max_records: i64,
    remaining: usize,
    records: i64,
    bytes: usize,
    events: Vec<Timed>,
}

/// Reads the range; `None` if that is not possible within the limits.
pub(super) fn read(
    config: &Arc<BrokerConfig>,
    range: &Range,
    settings: &Settings,
) -> Option<Scanned> {
    let until = Instant::now() + settings.replay_scan_time;
    let left = || until.saturating_duration_since(Instant::now());
    let client = FeedConsumer::start(config).ok()?;
    let is_mock = client.is_mock(left())?;
    let starts = starts(&client, range, is_mock, &left)?;
    let mut scan = Scan {
        range,
        settings,
        topics: &config.topics,
        max_records: i64::try_from(settings.replay_scan_records).unwrap_or(i64::MAX),
        parts: HashMap::new(),
        remaining: 0,
        records: 0,
        bytes: 0,
        events: Vec::new(),
    };
    let total: i64 = starts.iter().map(|(_, part)| part.end - part.next).sum();
    if total > scan.max_records {
        return None;
    }
    client.handle(&range.name)?;
    for (partition, part) in starts {
        if part.next < part.end {
            client.open(&range.name, partition, part.next).ok()?;
            scan.remaining += 1;
        }
        scan.parts.insert(partition, part);
    }
    let mut batch = Vec::new();
    let mut is_complete = true;
    while scan.remaining > 0 && is_complete {
        is_complete = !left().is_zero();
        client.poll(left().min(Duration::from_millis(100)), &mut batch);
        for message in batch.drain(..) {
            is_complete &= scan.take(&message);
        }
    }
    for partition in scan.parts.keys() {
        client.close(&range.name, *partition);
    }
    is_complete.then(|| Scanned {
        ends: range
            .parts
            .iter()
            .map(|(part, _, end)| (*part, *end))
            .collect(),
        events: scan.events,
    })
}

/// The start of each partition; `None` if one was deleted.
fn starts(
    client: &FeedConsumer,
    range: &Range,
    is_mock: bool,
    left: &dyn Fn() -> Duration,
) -> Option<Vec<(i32, PartitionScan)>> {
    let keys: Vec<Key> = range
        .parts
        .iter()
        .map(|(partition, _, _)| (range.name.clone(), *partition))
        .collect();
    let first = client.offsets(&keys, OffsetSpec::Beginning, left()).ok()?;
    let mut starts = Vec::with_capacity(keys.len());
    for (key, (partition, from, end)) in keys.into_iter().zip(&range.parts) {
        let first = *first.get(&key)?;
        let (next, not_before_ms) = match *from {
            ReplayFrom::Offset(offset) if offset < first || offset > *end => return None,
            ReplayFrom::Offset(offset) => (offset, i64::MIN),
            // The embedded broker cannot look up offsets by time.
            ReplayFrom::Time(ms) if is_mock => (first, ms),
            ReplayFrom::Time(ms) => {
                let found =
                    client.offsets(std::slice::from_ref(&key), OffsetSpec::Since(ms), left());
                let found = *found.ok()?.get(&key)?;
                (if found < 0 { *end } else { found }, ms)
            }
        };
        starts.push((
            *partition,
            PartitionScan {
                next,
                end: *end,
                not_before_ms,
            },
        ));
    }
    Some(starts)
}

impl Scan<'_> {
    /// Handles a record; false if the scan cannot be completed.
    fn take(&mut self, message: &KafkaMessage) -> bool {
        let Some(part) = self.parts.get_mut(&message.partition()) else {
            return true;
        };
        let was_open = part.next < part.end;
        match message.code() {
            Code::NoError => {}
            Code::PartitionEOF => {
                part.next = part.next.max(message.offset());
                if was_open && part.next >= part.end {
                    self.remaining -= 1;
                }
                return true;
            }
            Code::AutoOffsetReset
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopicId
            | Code::UnknownTopic
            | Code::UnknownPartition => return false,
            // Other errors are temporary, or the scan times out.
            _ => return true,
        }
        if !was_open || message.offset() < part.next {
            return true;
        }
        let offset = message.offset();
        part.next = offset + 1;
        if part.next >= part.end {
            self.remaining -= 1;
        }
        if offset >= part.end {
            return true;
        }
        self.records += 1;
        self.bytes += message.value().map_or(0, <[u8]>::len);
        if self.records > self.max_records || self.bytes > self.settings.replay_scan_bytes {
            return false;
        }
        let timestamp_ms = message.timestamp_ms();
        let Some(value) = message
            .value()
            .filter(|_| timestamp_ms >= part.not_before_ms)
        else {
            return true;
        };
        let mut marks = BroadcastHeaders::default();
        message.each_header(|name, value| marks.add(name.to_bytes(), value.unwrap_or_default()));
        let at = At {
            topic: self.range.topic,
            partition: message.partition(),
            offset,
        };
        let name = &self.range.name;
        let max_event_bytes = self.settings.max_event;
        let read =
            Broadcast::from_record(name, value, marks, self.topics, max_event_bytes, Some(at));
        if let Ok(broadcast) = read {
            self.events.push((timestamp_ms, Arc::new(broadcast)));
        }
        true
    }
}

/// All scans of one gateway.
pub(super) struct ScanPool {
    config: Arc<BrokerConfig>,
    settings: Arc<Settings>,
    permits: Arc<Semaphore>,
    shared: Mutex<HashMap<RangeStart, (Cell, Instant)>>,
}

impl ScanPool {
    pub fn new(config: &Arc<BrokerConfig>, settings: &Arc<Settings>) -> Self {
        Self {
            config: Arc::clone(config),
            settings: Arc::clone(settings),
            permits: Arc::new(Semaphore::new(settings.replay_scans)),
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
        let (config, settings) = (Arc::clone(&self.config), Arc::clone(&self.settings));
        let (done, scanned) = oneshot::channel();
        // A separate thread, because it blocks on Kafka and the gateway has few worker threads.
        let thread = runtime::spawn("rt-gw-scan", move || {
            let _permit = permit;
            // Fails only if the request was cancelled.
            let _ = done.send(read(&config, &range, &settings));
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
