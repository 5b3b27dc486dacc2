//! The broadcasts of the last two minutes, in memory, by channel.
//!
//! Bounded in time and bytes. The buffer knows from which offset of each partition it is complete, so that a replay is
//! complete or reported as missing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::gateway::broadcast::{hash_of, Broadcast};
use crate::gateway::feed::TopicNumber;
use crate::runtime::clock::coarse_ms;

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
    /// Hash of the channel.
    hash: u64,
    /// Number of the previous entry of its chain; below the first number if there is none.
    previous: u64,
    /// `None` if its partition was restarted.
    broadcast: Option<Arc<Broadcast>>,
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

/// The entries in the order of their arrival, numbered from 1. Those of one chain are linked backwards.
#[derive(Default)]
struct BufferedEntries {
    bytes: usize,
    /// Entries with a broadcast.
    count: usize,
    entries: VecDeque<Entry>,
    /// Entries that were removed from the front: the first one has the next number.
    removed: u64,
    /// Number of the last entry of each chain. An entry belongs to the chain that the hash of its channel selects;
    /// there are more chains than entries, so few channels share one. Its length is a power of two.
    chains: Vec<u64>,
    complete: HashMap<PartitionKey, CompleteRange>,
}

pub struct ReplayBuffer {
    inner: Mutex<BufferedEntries>,
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
    ENTRY_OVERHEAD + broadcast.bytes()
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
        inner.count += 1;
        let hash = broadcast.hash();
        let number = inner.removed + inner.entries.len() as u64 + 1;
        let previous = inner.link(hash, number);
        inner.entries.push_back(Entry {
            received_ms,
            timestamp_ms,
            hash,
            previous,
            broadcast: Some(Arc::clone(broadcast)),
        });
        let oldest = received_ms.saturating_sub(self.retention_ms);
        while inner.bytes > self.max_bytes
            || inner
                .entries
                .front()
                .is_some_and(|entry| entry.received_ms < oldest)
        {
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
            let from = found.events.len();
            for entry in inner.of_channel(channel) {
                let Some(broadcast) = &entry.broadcast else {
                    continue;
                };
                let Some(at) = broadcast.at.filter(|_| broadcast.channel() == channel) else {
                    continue;
                };
                let key = (at.topic, at.partition);
                let Some((_, from)) = wanted.iter().find(|(known, _)| *known == key) else {
                    continue;
                };
                let is_wanted = match *from {
                    ReplayFrom::Offset(offset) => at.offset >= offset,
                    ReplayFrom::Time(ms) => entry.timestamp_ms >= ms,
                };
                if is_wanted {
                    let event = (entry.timestamp_ms, Arc::clone(broadcast));
                    found.events.push(event);
                }
            }
            found.events[from..].reverse();
        }
        found
    }

    /// Number of broadcasts, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.count, inner.bytes)
    }
}

impl BufferedEntries {
    /// Index of the chain of channels with this hash.
    fn chain(&self, hash: u64) -> usize {
        usize::try_from(hash).unwrap_or(usize::MAX) & self.chains.len().wrapping_sub(1)
    }

    /// Makes an entry the last one of its chain. Returns the number of the previous one.
    fn link(&mut self, hash: u64, number: u64) -> u64 {
        if self.entries.len() >= self.chains.len() {
            self.add_chains();
        }
        let chain = self.chain(hash);
        std::mem::replace(&mut self.chains[chain], number)
    }

    #[cold]
    fn add_chains(&mut self) {
        self.chains.clear();
        self.chains
            .resize((self.entries.len() * 2).next_power_of_two().max(64), 0);
        let mut entries = std::mem::take(&mut self.entries);
        for (entry, number) in entries.iter_mut().zip(self.removed + 1..) {
            entry.previous = self.link(entry.hash, number);
        }
        self.entries = entries;
    }

    /// The entries of a channel, from the newest to the oldest, and those of others in the same chain.
    fn of_channel(&self, channel: &str) -> impl Iterator<Item = &Entry> {
        let mut number = self
            .chains
            .get(self.chain(hash_of(channel)))
            .copied()
            .unwrap_or(0);
        std::iter::from_fn(move || {
            let place = usize::try_from(number.checked_sub(self.removed + 1)?).ok()?;
            let entry = self.entries.get(place)?;
            number = entry.previous;
            Some(entry)
        })
    }

    fn evict(&mut self) {
        let Some(entry) = self.entries.pop_front() else {
            self.bytes = 0;
            return;
        };
        self.removed += 1;
        let Some(broadcast) = entry.broadcast else {
            return;
        };
        self.count -= 1;
        self.bytes = self.bytes.saturating_sub(size(&broadcast));
        if let Some(at) = broadcast.at {
            if let Some(range) = self.complete.get_mut(&(at.topic, at.partition)) {
                range.offset = range.offset.max(at.offset + 1);
                range.since_ms = range.since_ms.max(entry.timestamp_ms + 1);
            }
        }
    }

    /// Removes a partition's broadcasts.
    fn remove_partition(&mut self, key: PartitionKey) {
        for entry in &mut self.entries {
            let is_of = |broadcast: &Arc<Broadcast>| {
                let at = broadcast.at;
                at.is_some_and(|at| (at.topic, at.partition) == key)
            };
            if let Some(broadcast) = entry.broadcast.take_if(|broadcast| is_of(broadcast)) {
                self.bytes = self.bytes.saturating_sub(size(&broadcast));
                self.count -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::broadcast::At;

    #[test]
    fn each_of_many_channels_finds_its_own_events_while_others_come_and_old_ones_go() {
        const EVENTS: i64 = 30_000;
        const CHANNELS: i64 = 7_000;
        let key = (0, 0);
        let buffer = ReplayBuffer::new(Duration::from_secs(120), 20_000 * ENTRY_OVERHEAD);
        buffer.start_partition(key, 0, 0);
        for offset in 0..EVENTS {
            let channel = (offset % CHANNELS).to_string();
            let mut broadcast = Broadcast::new(&channel, "e", "1", "1");
            broadcast.at = Some(At {
                topic: 0,
                partition: 0,
                offset,
            });
            buffer.push(&Arc::new(broadcast), offset);
        }
        let (count, bytes) = buffer.size();
        assert!(bytes <= 20_000 * ENTRY_OVERHEAD);
        let first = EVENTS - i64::try_from(count).unwrap();
        assert!(first > CHANNELS);
        for channel in 0..CHANNELS {
            let wanted = [(key, ReplayFrom::Offset(first))];
            let found = buffer.find(&[channel.to_string()], &wanted);
            let offsets: Vec<i64> = found.events.iter().map(|(time, _)| *time).collect();
            let expected: Vec<i64> = (first..EVENTS)
                .filter(|offset| offset % CHANNELS == channel)
                .collect();
            assert_eq!(offsets, expected);
            assert!(found.missing.is_empty());
        }
    }
}
