//! The last event of each broadcast channel, for those who subscribe to a cache channel later. Bounded in bytes and time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gateway::broadcast::Broadcast;

/// What an entry takes beside its texts, roughly.
const OVERHEAD: usize = 256;

struct Entry {
    broadcast: Arc<Broadcast>,
    since: Instant,
    number: u64,
}

/// Last events by broadcast channel.
pub(super) struct Cache {
    entries: HashMap<Box<str>, Entry>,
    /// Channel and number in the order they came; a number that is no more the entry's is void.
    order: VecDeque<(u64, Box<str>)>,
    bytes: usize,
    number: u64,
    max: usize,
    ttl: Duration,
}

impl Cache {
    pub(super) fn new(max: usize, ttl: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            number: 0,
            max,
            ttl,
        }
    }

    /// Keeps a broadcast as the last of its channel; how many others had to go for room.
    pub(super) fn put(&mut self, broadcast: &Arc<Broadcast>, now: Instant) -> u64 {
        let size = size(broadcast);
        if size > self.max {
            return 0;
        }
        self.number += 1;
        let entry = Entry {
            broadcast: Arc::clone(broadcast),
            since: now,
            number: self.number,
        };
        if let Some(old) = self
            .entries
            .insert(key(&broadcast.channel, broadcast.exact), entry)
        {
            self.bytes -= self::size(&old.broadcast);
        }
        self.bytes += size;
        self.order
            .push_back((self.number, key(&broadcast.channel, broadcast.exact)));
        let mut evicted = 0;
        while let Some((number, channel)) = self.order.front() {
            let current = self.entries.get(channel).filter(|e| e.number == *number);
            match current {
                None => {}
                Some(entry) => {
                    let expired = now.duration_since(entry.since) > self.ttl;
                    if !expired && self.bytes <= self.max {
                        break;
                    }
                    evicted += u64::from(!expired);
                    self.bytes -= self::size(&entry.broadcast);
                    self.entries.remove(channel);
                }
            }
            self.order.pop_front();
        }
        // A channel that speaks often leaves void places behind an old one that does not.
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order.retain(|(number, channel)| {
                entries.get(channel).is_some_and(|e| e.number == *number)
            });
        }
        evicted
    }

    /// The last event of a channel with its number: the larger came later. `exact`: the last that named it as a socket channel.
    pub(super) fn get(
        &self,
        channel: &str,
        exact: bool,
        now: Instant,
    ) -> Option<(u64, Arc<Broadcast>)> {
        let entry = if exact {
            self.entries.get(&key(channel, true))?
        } else {
            self.entries.get(channel)?
        };
        (now.duration_since(entry.since) <= self.ttl)
            .then(|| (entry.number, Arc::clone(&entry.broadcast)))
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Exact names are told apart by a character that no channel has.
fn key(channel: &str, exact: bool) -> Box<str> {
    if exact {
        format!("\u{1}{channel}").into()
    } else {
        channel.into()
    }
}

fn size(broadcast: &Broadcast) -> usize {
    broadcast.data.len() + 2 * broadcast.channel.len() + broadcast.event.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(channel: &str, len: usize) -> Arc<Broadcast> {
        Arc::new(Broadcast {
            channel: channel.into(),
            event: "e".into(),
            id: "1".into(),
            data: vec![b'x'; len].into(),
            except: None,
            public: false,
            exact: false,
            at: None,
        })
    }

    #[test]
    fn the_last_event_stays_for_its_time() {
        let now = Instant::now();
        let mut cache = Cache::new(1 << 20, Duration::from_secs(1800));
        cache.put(&event("a", 1), now);
        cache.put(&event("a", 2), now);
        assert_eq!(cache.get("a", false, now).unwrap().1.data.len(), 2);
        let later = now + Duration::from_secs(1801);
        assert!(cache.get("a", false, later).is_none());
        cache.put(&event("b", 1), later);
        assert_eq!(cache.entries.len(), 1);
        assert_eq!(cache.bytes(), size(&event("b", 1)));
    }

    #[test]
    fn bytes_are_bounded_and_so_is_the_order() {
        let now = Instant::now();
        let mut cache = Cache::new(10_000, Duration::from_secs(1800));
        let mut evicted = 0;
        for i in 0..1000 {
            evicted += cache.put(&event(&format!("c{i}"), 500), now);
            assert!(cache.bytes() <= 10_000);
        }
        assert!(evicted > 900);
        assert!(cache.get("c999", false, now).is_some() && cache.get("c0", false, now).is_none());
        for _ in 0..10_000 {
            cache.put(&event("c999", 500), now);
        }
        assert!(cache.order.len() < 200, "{}", cache.order.len());
        assert_eq!(cache.put(&event("huge", 20_000), now), 0);
    }
}
