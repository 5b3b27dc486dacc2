//! The last event of each broadcast channel, for later subscribers of cache channels. Bounded in bytes and time.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gateway::broadcast::{hash_of, Broadcast, HashTable};
use crate::gateway::limits::TokenBucket;

/// Approximate size of an entry without its strings, in bytes.
const OVERHEAD: usize = 256;
/// Maximum events a second, and in a burst, whose data is validated for the cache alone.
const CHECKS: u32 = 50_000;

struct Entry {
    broadcast: Arc<Broadcast>,
    since: Instant,
    number: u64,
}

/// The last event of each broadcast channel.
pub(super) struct Cache {
    /// By [`key`]. Two channels with one key would share an entry.
    entries: HashTable<Entry>,
    /// Keys of the entries from oldest to newest; one whose number differs from the entry's is outdated.
    order: VecDeque<(u64, u64)>,
    bytes: usize,
    number: u64,
    max: usize,
    ttl: Duration,
    checks: TokenBucket,
}

impl Cache {
    pub(super) fn new(max: usize, ttl: Duration) -> Self {
        Self {
            entries: HashTable::default(),
            order: VecDeque::new(),
            bytes: 0,
            number: 0,
            max,
            ttl,
            checks: TokenBucket::new(f64::from(CHECKS), CHECKS, Instant::now()),
        }
    }

    /// Stores a broadcast as the last one of its channel; returns the number of entries evicted for space. `None`: its
    /// data is not JSON, and the last event stays. Above [`CHECKS`] that is not checked.
    pub(super) fn put(&mut self, broadcast: &Arc<Broadcast>, now: Instant) -> Option<u64> {
        let size = size(broadcast);
        if size > self.max {
            return Some(0);
        }
        let key = key(broadcast.hash(), broadcast.exact);
        let place = self.entries.entry(key);
        if matches!(place, MapEntry::Occupied(_)) {
            let known = broadcast.known_json();
            if !known.unwrap_or_else(|| !self.checks.take(now) || broadcast.has_json()) {
                return None;
            }
        }
        self.number += 1;
        let entry = Entry {
            broadcast: Arc::clone(broadcast),
            since: now,
            number: self.number,
        };
        match place {
            MapEntry::Occupied(mut last) => {
                self.bytes -= self::size(&last.insert(entry).broadcast);
            }
            MapEntry::Vacant(place) => drop(place.insert(entry)),
        }
        self.bytes += size;
        self.order.push_back((self.number, key));
        let mut evicted = 0;
        while let Some((number, key)) = self.order.front() {
            let current = self.entries.get(key).filter(|e| e.number == *number);
            match current {
                None => {}
                Some(entry) => {
                    let expired = now.duration_since(entry.since) > self.ttl;
                    if !expired && self.bytes <= self.max {
                        break;
                    }
                    evicted += u64::from(!expired);
                    self.bytes -= self::size(&entry.broadcast);
                    self.entries.remove(key);
                }
            }
            self.order.pop_front();
        }
        // Frequent events of one channel leave outdated entries behind an old entry of another.
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order
                .retain(|(number, key)| entries.get(key).is_some_and(|e| e.number == *number));
        }
        Some(evicted)
    }

    /// The last event of a channel, its number, which rises with time, and its time. `exact`: the last event to the
    /// socket channel itself.
    pub(super) fn get(
        &self,
        channel: &str,
        exact: bool,
        now: Instant,
    ) -> Option<(u64, Arc<Broadcast>, Instant)> {
        let entry = self.entries.get(&key(hash_of(channel), exact))?;
        let is_of = entry.broadcast.channel() == channel && entry.broadcast.exact == exact;
        (is_of && now.duration_since(entry.since) <= self.ttl)
            .then(|| (entry.number, Arc::clone(&entry.broadcast), entry.since))
    }

    /// How long an entry is kept after `since`.
    pub(super) const fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Events to the exact socket channel have an entry of their own.
fn key(hash: u64, exact: bool) -> u64 {
    hash ^ u64::from(exact)
}

fn size(broadcast: &Broadcast) -> usize {
    broadcast.bytes() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(channel: &str, len: usize) -> Arc<Broadcast> {
        Arc::new(Broadcast::new(channel, "e", "1", &"1".repeat(len)))
    }

    #[test]
    fn the_last_event_is_kept_until_its_ttl() {
        let now = Instant::now();
        let mut cache = Cache::new(1 << 20, Duration::from_secs(1800));
        cache.put(&event("a", 1), now);
        cache.put(&event("a", 2), now);
        assert_eq!(cache.get("a", false, now).unwrap().1.data().len(), 2);
        let later = now + Duration::from_secs(1801);
        assert!(cache.get("a", false, later).is_none());
        cache.put(&event("b", 1), later);
        assert_eq!(cache.entries.len(), 1);
        assert_eq!(cache.bytes(), size(&event("b", 1)));
    }

    #[test]
    fn bytes_and_entries_are_bounded() {
        let now = Instant::now();
        let mut cache = Cache::new(10_000, Duration::from_secs(1800));
        let mut evicted = 0;
        for i in 0..1000 {
            evicted += cache.put(&event(&format!("c{i}"), 500), now).unwrap();
            assert!(cache.bytes() <= 10_000);
        }
        assert!(evicted > 900);
        assert!(cache.get("c999", false, now).is_some() && cache.get("c0", false, now).is_none());
        for _ in 0..10_000 {
            cache.put(&event("c999", 500), now);
        }
        assert!(cache.order.len() < 200, "{}", cache.order.len());
        assert_eq!(cache.put(&event("huge", 20_000), now), Some(0));
    }
}
