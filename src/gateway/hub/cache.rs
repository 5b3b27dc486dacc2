//! The last event of each broadcast channel, for later subscribers of cache channels. Bounded in bytes and time.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gateway::broadcast::{hash_of, Broadcast, HashTable};

/// Approximate size of an event without its strings, in bytes.
const OVERHEAD: usize = 256;
/// Events that a channel keeps before its last one, until one of them is validated: valid records without a subscriber
/// are parsed only once in this number.
const MAX_EARLIER: usize = 16;

/// An event of a channel.
#[derive(Clone)]
pub(super) struct Event {
    /// Rises with time, over all channels.
    pub number: u64,
    pub broadcast: Arc<Broadcast>,
    pub since: Instant,
}

impl Event {
    fn size(&self) -> usize {
        self.broadcast.bytes() + OVERHEAD
    }
}

struct Entry {
    last: Event,
    /// Events before the last one, oldest first, until a later one is known to be valid.
    earlier: Vec<Event>,
    /// The number under which the entry is in the order of the cache: that of the event that came last, also if the
    /// event was broken and an earlier one is the last one again.
    place: u64,
}

/// The last event of each broadcast channel. Its data is not parsed under the lock of the cache: the events that it may
/// replace are kept until the caller has validated a later one.
pub(super) struct Cache {
    /// By [`key`]. Two channels with one key would share an entry.
    entries: HashTable<Entry>,
    /// Keys of the entries from oldest to newest; one whose number is not the entry's place is outdated.
    order: VecDeque<(u64, u64)>,
    bytes: usize,
    /// Part of `bytes` for events that are not the last ones.
    earlier_bytes: usize,
    number: u64,
    max: usize,
    ttl: Duration,
}

impl Cache {
    pub(super) fn new(max: usize, ttl: Duration) -> Self {
        Self {
            entries: HashTable::default(),
            order: VecDeque::new(),
            bytes: 0,
            earlier_bytes: 0,
            number: 0,
            max,
            ttl,
        }
    }

    /// Stores a broadcast as the last one of its channel. Returned are broadcasts to validate, newest first, until one
    /// is valid; without the lock, and then [`Self::settle`] is to be called. Else [`Self::evict`].
    pub(super) fn put(&mut self, broadcast: &Arc<Broadcast>, now: Instant) -> Vec<Arc<Broadcast>> {
        let event = Event {
            number: self.number + 1,
            broadcast: Arc::clone(broadcast),
            since: now,
        };
        let size = event.size();
        if size > self.max {
            return Vec::new();
        }
        self.number += 1;
        self.bytes += size;
        let key = key(broadcast.hash(), broadcast.exact);
        self.order.push_back((self.number, key));
        let entry = match self.entries.entry(key) {
            MapEntry::Vacant(place) => {
                place.insert(Entry {
                    last: event,
                    earlier: Vec::new(),
                    place: self.number,
                });
                return Vec::new();
            }
            MapEntry::Occupied(place) => place.into_mut(),
        };
        entry.place = self.number;
        let last = std::mem::replace(&mut entry.last, event);
        self.earlier_bytes += last.size();
        entry.earlier.push(last);
        if broadcast.known_json() == Some(true) {
            let removed = entry.take_earlier();
            self.earlier_bytes -= removed;
            self.bytes -= removed;
        } else if entry.earlier.len() >= MAX_EARLIER || self.earlier_bytes > self.max / 4 {
            return entry
                .newest_first()
                .map(|e| Arc::clone(&e.broadcast))
                .collect();
        }
        Vec::new()
    }

    /// Removes the events of a channel that are known to be invalid, and those before one that is known to be valid.
    /// Returns the invalid ones.
    pub(super) fn settle(&mut self, of: &Broadcast) -> Vec<Arc<Broadcast>> {
        let key = key(of.hash(), of.exact);
        let mut broken = Vec::new();
        while let Some(entry) = self.entries.get_mut(&key) {
            match entry.last.broadcast.known_json() {
                None => break,
                Some(true) => {
                    let removed = entry.take_earlier();
                    self.earlier_bytes -= removed;
                    self.bytes -= removed;
                    break;
                }
                Some(false) => {}
            }
            let last = match entry.earlier.pop() {
                Some(before) => {
                    self.earlier_bytes -= before.size();
                    std::mem::replace(&mut entry.last, before)
                }
                None => match self.entries.remove(&key) {
                    Some(entry) => entry.last,
                    None => break,
                },
            };
            self.bytes -= last.size();
            broken.push(last.broadcast);
        }
        broken
    }

    /// Removes expired entries, and the oldest ones for space; returns the number of the latter.
    pub(super) fn evict(&mut self, now: Instant) -> u64 {
        let mut evicted = 0;
        while let Some((number, key)) = self.order.front().copied() {
            match self.entries.entry(key) {
                MapEntry::Occupied(mut current) if current.get().place == number => {
                    let entry = current.get_mut();
                    let expired = now.duration_since(entry.last.since) > self.ttl;
                    if !expired && self.bytes <= self.max {
                        break;
                    }
                    evicted += u64::from(!expired);
                    let removed = entry.take_earlier();
                    self.earlier_bytes -= removed;
                    self.bytes -= removed + entry.last.size();
                    current.remove();
                }
                _ => {}
            }
            self.order.pop_front();
        }
        // Frequent events of one channel leave outdated entries behind an old entry of another.
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order
                .retain(|(number, key)| entries.get(key).is_some_and(|e| e.place == *number));
        }
        evicted
    }

    /// The events of a channel, newest first: the first valid one is its last event. `exact`: the events to the socket
    /// channel itself.
    pub(super) fn get(&self, channel: &str, exact: bool, now: Instant) -> Vec<Event> {
        let entry = self.entries.get(&key(hash_of(channel), exact));
        entry
            .into_iter()
            .flat_map(Entry::newest_first)
            .filter(|e| e.broadcast.channel() == channel && e.broadcast.exact == exact)
            .filter(|e| now.duration_since(e.since) <= self.ttl)
            .cloned()
            .collect()
    }

    /// How long an event is kept after `since`.
    pub(super) const fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Entry {
    fn newest_first(&self) -> impl Iterator<Item = &Event> {
        std::iter::once(&self.last).chain(self.earlier.iter().rev())
    }

    /// Removes the events before the last one; returns their bytes.
    fn take_earlier(&mut self) -> usize {
        self.earlier.drain(..).map(|event| event.size()).sum()
    }
}

/// Events to the exact socket channel have an entry of their own.
fn key(hash: u64, exact: bool) -> u64 {
    hash ^ u64::from(exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(channel: &str, data: &str) -> Arc<Broadcast> {
        Arc::new(Broadcast::new(channel, "e", "1", data))
    }

    /// Stores an event as the hub does; returns the numbers of evicted and of broken events.
    fn put(cache: &mut Cache, broadcast: &Arc<Broadcast>, now: Instant) -> (u64, usize) {
        let unchecked = cache.put(broadcast, now);
        let parsed = unchecked.iter().position(|b| b.has_json());
        let broken = match unchecked[..] {
            [] => 0,
            _ => cache.settle(broadcast).len(),
        };
        assert!(parsed.is_none_or(|valid| valid == broken));
        (cache.evict(now), broken)
    }

    fn last(cache: &Cache, channel: &str, now: Instant) -> Option<String> {
        let events = cache.get(channel, false, now);
        let valid = events.iter().find(|e| e.broadcast.has_json());
        valid.map(|e| e.broadcast.data().to_owned())
    }

    #[test]
    fn the_last_event_is_kept_until_its_ttl() {
        let now = Instant::now();
        let mut cache = Cache::new(1 << 20, Duration::from_secs(1800));
        put(&mut cache, &event("a", "1"), now);
        put(&mut cache, &event("a", "2"), now);
        assert_eq!(last(&cache, "a", now).as_deref(), Some("2"));
        let later = now + Duration::from_secs(1801);
        assert_eq!(last(&cache, "a", later), None);
        put(&mut cache, &event("b", "1"), later);
        assert_eq!(cache.entries.len(), 1);
        assert_eq!((cache.bytes(), cache.earlier_bytes), (OVERHEAD + 4, 0));
    }

    #[test]
    fn bytes_and_entries_are_bounded() {
        let now = Instant::now();
        let mut cache = Cache::new(10_000, Duration::from_secs(1800));
        let long = "1".repeat(500);
        let mut evicted = 0;
        for i in 0..1000 {
            evicted += put(&mut cache, &event(&format!("c{i}"), &long), now).0;
            assert!(cache.bytes() <= 10_000);
        }
        assert!(evicted > 900);
        assert!(last(&cache, "c999", now).is_some() && last(&cache, "c0", now).is_none());
        for _ in 0..10_000 {
            put(&mut cache, &event("c999", &long), now);
            assert!(cache.bytes() <= 10_000 && cache.earlier_bytes <= 2_500);
        }
        assert!(last(&cache, "c995", now).is_some());
        assert!(cache.order.len() < 200, "{}", cache.order.len());
        assert_eq!(
            put(&mut cache, &event("huge", &"1".repeat(20_000)), now),
            (0, 0)
        );
        assert_eq!(last(&cache, "huge", now), None);
    }

    #[test]
    fn broken_events_replace_no_last_event_and_few_valid_ones_are_parsed() {
        let now = Instant::now();
        let mut cache = Cache::new(1 << 20, Duration::from_secs(1800));
        let valid: Vec<_> = (0..1000).map(|n| event("a", &n.to_string())).collect();
        for broadcast in &valid {
            put(&mut cache, broadcast, now);
        }
        let parsed = valid.iter().filter(|b| b.known_json().is_some()).count();
        assert!(parsed <= 1000 / MAX_EARLIER, "{parsed}");
        let bytes = cache.bytes();
        let mut broken = 0;
        for n in 0..200_000 {
            broken += put(&mut cache, &event("a", &format!("{{{n}")), now).1;
        }
        assert!(broken > 199_900 && cache.bytes() < bytes + MAX_EARLIER * 300);
        assert_eq!(last(&cache, "a", now).as_deref(), Some("999"));
        put(&mut cache, &event("a", "[]"), now);
        assert_eq!(last(&cache, "a", now).as_deref(), Some("[]"));
        for _ in 0..100 {
            put(&mut cache, &event("b", "{"), now);
        }
        assert_eq!(last(&cache, "b", now), None);
    }

    #[test]
    fn broken_events_beside_many_unchecked_ones_leave_nothing_behind() {
        let now = Instant::now();
        let mut cache = Cache::new(100_000, Duration::from_secs(1800));
        let long = "1".repeat(500);
        let many = (0..40).map(|n| (format!("c{n}"), long.as_str()));
        let few = ["b", "c", "d", "e"].map(|channel| (channel.to_owned(), "1"));
        for (channel, data) in many.chain(few) {
            put(&mut cache, &event(&channel, data), now);
            put(&mut cache, &event(&channel, data), now);
        }
        // The event of another channel does not fit beside those.
        assert!(cache.earlier_bytes + event("a", "1").bytes() + OVERHEAD > cache.max / 4);
        put(&mut cache, &event("a", "1"), now);
        for _ in 0..10_000 {
            assert_eq!(put(&mut cache, &event("a", "{"), now), (0, 1));
        }
        assert_eq!(last(&cache, "a", now).as_deref(), Some("1"));
        assert!(cache.order.len() < 200, "{}", cache.order.len());
    }

    #[test]
    fn a_restored_event_is_evicted_as_others_are() {
        let now = Instant::now();
        let mut cache = Cache::new(100_000, Duration::from_secs(1800));
        put(&mut cache, &event("a", "1"), now);
        for n in 0..1000 {
            put(&mut cache, &event("a", "{"), now);
            put(&mut cache, &event(&format!("c{n}"), "1"), now);
            assert_eq!(last(&cache, "a", now).as_deref(), Some("1"));
        }
        let later = now + Duration::from_secs(1801);
        put(&mut cache, &event("b", "1"), later);
        assert_eq!((cache.entries.len(), cache.earlier_bytes), (1, 0));
    }
}
