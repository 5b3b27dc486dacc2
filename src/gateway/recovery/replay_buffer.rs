//! The broadcasts of the last two minutes, in memory, by channel.
//!
//! Bounded in time and bytes. The buffer knows from which offset of each partition it is complete, so that a replay is
//! complete or reported as missing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::coarse_ms;
use crate::gateway::broadcast::Broadcast;
use crate::gateway::feed::TopicNumber;

/// Size of an entry without its strings, in bytes.
const ENTRY_OVERHEAD: usize = 160;

pub type PartitionKey = (TopicNumber, i32);

/// A broadcast with Kafka's timestamp of its record, ms.
pub type Timed = (i64, Arc<Broadcast>);

/// The start of a replay in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayFrom {
    /// Records from this offset.
    Offset(i64),
    /// Records with this timestamp or a later one, Unix ms.
    Time(i64),
}

struct Entry {
    received_ms: u64,
    timestamp_ms: i64,
    broadcast: Arc<Broadcast>,
}

/// The range of a partition in which no record is missing.
#[derive(Clone, Copy)]
struct CompleteRange {
    offset: i64,
    /// No record with this timestamp or a later one is missing.
    since_ms: i64,
    /// The offset after the last buffered record.
    end_offset: i64,
}

#[derive(Default)]
struct Inner {
    bytes: usize,
    /// The channel of each entry, from the oldest to the newest.
    order: VecDeque<Arc<str>>,
    channels: HashMap<Arc<str>, VecDeque<Entry>>,
    complete: HashMap<PartitionKey, CompleteRange>,
}

pub struct ReplayBuffer {
    inner: Mutex<Inner>,
    retention_ms: u64,
    max_bytes: usize,
}

/// The buffered events of a replay.
#[derive(Debug, Default)]
pub struct Found {
    /// Broadcasts, in order within each partition.
    pub events: Vec<Timed>,
    /// For each requested partition, in the order of the request: the offset after the last buffered record.
    pub up_to: Vec<i64>,
    /// Indexes of the requested partitions whose start is no longer buffered.
    pub missing: Vec<usize>,
}

fn size(broadcast: &Broadcast) -> usize {
    ENTRY_OVERHEAD
        + broadcast.channel.len()
        + broadcast.event.len()
        + broadcast.id.len()
        + broadcast.data.len()
}

impl ReplayBuffer {
    /// Keeps broadcasts for `keep`, at most `max_bytes` in total.
    #[must_use]
    pub fn new(keep: Duration, max_bytes: usize) -> Self {
        Self {
            inner: Mutex::default(),
            retention_ms: u64::try_from(keep.as_millis()).unwrap_or(u64::MAX),
            max_bytes,
        }
    }

    /// A partition is read from `offset`, which covers all records with a timestamp of `since_ms` or later. Removes its
    /// earlier entries.
    pub fn start_partition(&self, key: PartitionKey, offset: i64, since_ms: i64) {
        let mut inner = self.inner.lock();
        let range = CompleteRange {
            offset,
            since_ms,
            end_offset: offset,
        };
        if inner.complete.insert(key, range).is_some() {
            inner.remove_partition(key);
        }
    }

    /// A partition is not read any more.
    pub fn stop_partition(&self, key: PartitionKey) {
        let mut inner = self.inner.lock();
        if inner.complete.remove(&key).is_some() {
            inner.remove_partition(key);
        }
    }

    /// Adds a broadcast; `timestamp_ms` is the timestamp of its record.
    pub fn push(&self, broadcast: &Arc<Broadcast>, timestamp_ms: i64) {
        let Some(at) = broadcast.at else {
            return;
        };
        let received_ms = coarse_ms();
        let mut inner = self.inner.lock();
        let Some(range) = inner.complete.get_mut(&(at.topic, at.partition)) else {
            return;
        };
        range.end_offset = range.end_offset.max(at.offset + 1);
        inner.bytes += size(broadcast);
        let entry = Entry {
            received_ms,
            timestamp_ms,
            broadcast: Arc::clone(broadcast),
        };
        let name = match inner.channels.get_key_value(&*broadcast.channel) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(&*broadcast.channel),
        };
        inner.order.push_back(Arc::clone(&name));
        inner.channels.entry(name).or_default().push_back(entry);
        let oldest = received_ms.saturating_sub(self.retention_ms);
        while inner.bytes > self.max_bytes || inner.oldest().is_some_and(|ms| ms < oldest) {
            inner.evict();
        }
    }

    /// The buffered events of these channels in these partitions.
    #[must_use]
    pub fn find(&self, channels: &[String], wanted: &[(PartitionKey, ReplayFrom)]) -> Found {
        let inner = self.inner.lock();
        let mut found = Found::default();
        for (place, (key, from)) in wanted.iter().enumerate() {
            let range = inner.complete.get(key);
            found.up_to.push(range.map_or(-1, |range| range.end_offset));
            let is_here = range.is_some_and(|range| match *from {
                ReplayFrom::Offset(offset) => offset >= range.offset,
                ReplayFrom::Time(ms) => range.offset == 0 || ms >= range.since_ms,
            });
            if !is_here {
                found.missing.push(place);
            }
        }
        for channel in channels {
            let Some(entries) = inner.channels.get(channel.as_str()) else {
                continue;
            };
            found.events.extend(entries.iter().filter_map(|entry| {
                let at = entry.broadcast.at?;
                let key = (at.topic, at.partition);
                let (_, from) = wanted.iter().find(|(known, _)| *known == key)?;
                let is_wanted = match *from {
                    ReplayFrom::Offset(offset) => at.offset >= offset,
                    ReplayFrom::Time(ms) => entry.timestamp_ms >= ms,
                };
                is_wanted.then(|| (entry.timestamp_ms, Arc::clone(&entry.broadcast)))
            }));
        }
        found
    }

    /// Number of broadcasts, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.order.len(), inner.bytes)
    }
}

impl Inner {
    fn oldest(&self) -> Option<u64> {
        let entries = self.channels.get(self.order.front()?)?;
        entries.front().map(|entry| entry.received_ms)
    }

    fn evict(&mut self) {
        let Some(name) = self.order.pop_front() else {
            self.bytes = 0;
            return;
        };
        let Some(entries) = self.channels.get_mut(&name) else {
            return;
        };
        if let Some(entry) = entries.pop_front() {
            self.bytes = self.bytes.saturating_sub(size(&entry.broadcast));
            if let Some(at) = entry.broadcast.at {
                if let Some(range) = self.complete.get_mut(&(at.topic, at.partition)) {
                    range.offset = range.offset.max(at.offset + 1);
                    range.since_ms = range.since_ms.max(entry.timestamp_ms + 1);
                }
            }
        }
        if entries.is_empty() {
            self.channels.remove(&name);
        }
    }

    /// Removes a partition's entries, also from the order.
    fn remove_partition(&mut self, key: PartitionKey) {
        let mut kept: HashMap<Arc<str>, VecDeque<bool>> = HashMap::new();
        let mut freed = 0;
        for (name, entries) in &mut self.channels {
            let is_of = |entry: &Entry| {
                let at = entry.broadcast.at;
                at.is_some_and(|at| (at.topic, at.partition) == key)
            };
            if !entries.iter().any(is_of) {
                continue;
            }
            let stays = entries.iter().map(|entry| !is_of(entry)).collect();
            kept.insert(Arc::clone(name), stays);
            entries.retain(|entry| {
                let goes = is_of(entry);
                freed += if goes { size(&entry.broadcast) } else { 0 };
                !goes
            });
        }
        self.bytes = self.bytes.saturating_sub(freed);
        self.channels.retain(|_, entries| !entries.is_empty());
        self.order.retain(|name| {
            let stays = kept.get_mut(name).and_then(VecDeque::pop_front);
            stays.unwrap_or(true)
        });
    }
}
