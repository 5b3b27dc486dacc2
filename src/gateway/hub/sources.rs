//! The broadcast channels whose records can reach a socket of this gateway. Most records reach none, which is known
//! after one look-up.

use parking_lot::RwLock;

use crate::gateway::broadcast::{hash_of, HashTable};
use crate::topic::socket_channel::{source_channels, Name};

/// Counts the socket channels by the hash of each broadcast channel that reaches them. Two channels with one hash only
/// cost a look-up by name.
#[derive(Default)]
pub(super) struct Sources(RwLock<HashTable<u32>>);

impl Sources {
    pub fn has(&self, hash: u64) -> bool {
        self.0.read().contains_key(&hash)
    }

    pub fn add(&self, name: &Name<'_>) {
        let mut sources = self.0.write();
        source_channels(name, |source| {
            *sources.entry(hash_of(source)).or_default() += 1;
        });
    }

    pub fn remove(&self, name: &str) {
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
