//! The channels of this gateway, and which broadcast channels reach them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::channel::Channel;
use crate::gateway::broadcast::{hash_of, HashTable};
use crate::metrics::catalog::Counters;
use crate::topic::socket_channel::{source_channels, Name};

/// Number of channel tables, so that subscribing rarely blocks delivering.
const SHARDS: usize = 32;

type Shard = Mutex<HashMap<Box<str>, Arc<Channel>>>;

/// Channels by name.
pub(super) struct Channels {
    shards: Vec<Shard>,
    sources: Sources,
    max: usize,
    counters: Arc<Counters>,
}

impl Channels {
    pub fn new(max: usize, counters: &Arc<Counters>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            sources: Sources::default(),
            max,
            counters: Arc::clone(counters),
        }
    }

    /// True if a broadcast whose channel has this hash can reach a socket of this gateway.
    pub fn may_reach(&self, hash: u64) -> bool {
        self.sources.has(hash)
    }

    /// Local channels and their numbers of sockets.
    pub fn occupancy(&self) -> Vec<(String, usize)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let channels: Vec<Arc<Channel>> = shard.lock().values().cloned().collect();
            for channel in channels {
                let sockets = channel.state.lock().subscribers.len();
                if sockets > 0 {
                    all.push((channel.name().to_owned(), sockets));
                }
            }
        }
        all
    }

    fn shard(&self, name: &str) -> &Shard {
        let hash = hash_of(name);
        // The table itself hashes with another seed.
        &self.shards[usize::try_from(hash % (SHARDS as u64)).unwrap_or(0)]
    }

    pub fn find(&self, name: &str) -> Option<Arc<Channel>> {
        self.shard(name).lock().get(name).cloned()
    }

    /// Finds or creates a channel; `None` when the maximum number of channels is reached.
    pub fn find_or_create(&self, name: &Name<'_>) -> Option<Arc<Channel>> {
        let mut shard = self.shard(name.full).lock();
        if let Some(channel) = shard.get(name.full) {
            return Some(Arc::clone(channel));
        }
        if self.counters.channels.get() >= self.max as u64 {
            return None;
        }
        self.counters.channels.add_one();
        let channel = Arc::new(Channel::new(name));
        // First: a delivery looks at the sources before the channels.
        self.sources.add(name);
        shard.insert(name.full.into(), Arc::clone(&channel));
        Some(channel)
    }

    /// Removes an empty channel. To be called with its state locked and `removed` set.
    pub fn remove(&self, channel: &Arc<Channel>) {
        let mut shard = self.shard(channel.name()).lock();
        if shard
            .get(channel.name())
            .is_some_and(|found| Arc::ptr_eq(found, channel))
        {
            shard.remove(channel.name());
            self.sources.remove(channel.name());
            self.counters.channels.sub(1);
        }
    }
}

/// The broadcast channels whose records can reach a socket of this gateway: most records reach none, which is known
/// after one look-up. Counts the socket channels by the hash of each broadcast channel that reaches them; two channels
/// with one hash only cost a look-up by name.
#[derive(Default)]
struct Sources(RwLock<HashTable<u32>>);

impl Sources {
    fn has(&self, hash: u64) -> bool {
        self.0.read().contains_key(&hash)
    }

    fn add(&self, name: &Name<'_>) {
        let mut sources = self.0.write();
        source_channels(name, |source| {
            *sources.entry(hash_of(source)).or_default() += 1;
        });
    }

    fn remove(&self, name: &str) {
        let Some(name) = Name::parse(name) else {
            return;
        };
        let mut sources = self.0.write();
        source_channels(&name, |source| {
            let hash = hash_of(source);
            if let Some(count) = sources.get_mut(&hash) {
                *count -= 1;
                if *count == 0 {
                    sources.remove(&hash);
                }
            }
        });
    }
}
