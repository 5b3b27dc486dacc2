//! The topics that feed a socket channel, and the start in each partition for a token.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::replay_buffer::{PartitionKey, ReplayFrom};
use super::token::{short_hash, TopicPosition};
use crate::gateway::feed::positions::Topic;
use crate::topic::socket_channel::{source_channels, Name};
use crate::topic::TopicMap;

/// A partition that is not in the token is replayed from this long before the token was issued, ms.
const OVERLAP_MS: i64 = 5_000;
/// Maximum channels in the cache.
const MAX_CACHED_CHANNELS: usize = 100_000;

/// A topic whose records can reach a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceTopic {
    pub name: Box<str>,
    pub hash: u64,
}

/// The topics of channels, cached because every position needs them.
pub(super) struct ChannelTopics {
    topics: Arc<TopicMap>,
    known: RwLock<HashMap<Box<str>, Arc<[SourceTopic]>>>,
}

impl ChannelTopics {
    pub fn new(topics: &Arc<TopicMap>) -> Self {
        Self {
            topics: Arc::clone(topics),
            known: RwLock::default(),
        }
    }

    /// The topics whose records can reach a socket channel.
    pub fn topics_of(&self, channel: &str) -> Arc<[SourceTopic]> {
        if let Some(known) = self.known.read().get(channel) {
            return Arc::clone(known);
        }
        let mut found: Vec<SourceTopic> = Vec::new();
        for source in source_channels_of(channel) {
            let Ok(name) = self.topics.topic_for(&source) else {
                continue;
            };
            let hash = short_hash(&name);
            if !found.iter().any(|other| other.hash == hash) {
                let name = name.into();
                found.push(SourceTopic { name, hash });
            }
        }
        let found: Arc<[SourceTopic]> = found.into();
        let mut all = self.known.write();
        if all.len() >= MAX_CACHED_CHANNELS {
            all.clear();
        }
        all.insert(channel.into(), Arc::clone(&found));
        found
    }
}

/// The broadcast channels whose records can reach a socket channel.
pub(super) fn source_channels_of(channel: &str) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(name) = Name::parse(channel) {
        source_channels(&name, |source| all.push(source.to_owned()));
    }
    all
}

/// The reason why a topic cannot be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartitionUnavailable {
    /// The topic was recreated since the token was issued.
    Recreated,
    /// The topic or one of its partitions is not read, not yet or no longer.
    NotRead,
}

/// Appends the start of each partition of a topic.
///
/// # Errors
/// The reason why the topic cannot be replayed.
pub(super) fn add_start_positions(
    topic: Option<&Topic>,
    place: Option<&TopicPosition>,
    issued_ms: u64,
    wanted: &mut Vec<(PartitionKey, ReplayFrom)>,
) -> Result<(), PartitionUnavailable> {
    let had = place.is_some_and(|place| !place.next.is_empty());
    let Some(topic) = topic else {
        return if had {
            Err(PartitionUnavailable::NotRead)
        } else {
            Ok(())
        };
    };
    let id = topic.id();
    if place.is_some_and(|place| place.id != 0 && id != 0 && place.id != id) {
        return Err(PartitionUnavailable::Recreated);
    }
    let mut parts = Vec::new();
    topic.for_each_next_offset(|partition, _| parts.push(partition));
    let before = |partition: i32| {
        let mut next = place?.next.iter();
        next.find(|entry| entry.0 == partition).map(|entry| entry.1)
    };
    // A partition that is not read cannot be replayed.
    if place.is_some_and(|place| place.next.iter().any(|entry| !parts.contains(&entry.0))) {
        return Err(PartitionUnavailable::NotRead);
    }
    for partition in parts {
        let from = match before(partition) {
            Some(next) => ReplayFrom::Offset(next),
            None => ReplayFrom::Time(i64::try_from(issued_ms).unwrap_or(i64::MAX) - OVERLAP_MS),
        };
        wanted.push(((topic.number, partition), from));
    }
    Ok(())
}
