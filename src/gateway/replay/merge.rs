//! Selects the events of one socket: only those that reach its channel, in order, without duplicates.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::replay_buffer::Timed;
use crate::config::gateway_settings::Settings;
use crate::gateway::broadcast::Broadcast;
use crate::gateway::protocol::SocketId;
use crate::topic::socket_channel::target_channels;

/// Size of a frame without its strings, in bytes.
const FRAME_OVERHEAD: usize = 48;

/// The channel and socket of a replay.
pub(super) struct ReplayFilter<'a> {
    pub channel: &'a str,
    /// The broadcast channels that can reach it.
    pub channels: &'a [String],
    /// The socket of the token: events that excluded it stay excluded.
    pub socket: Option<SocketId>,
    pub settings: &'a Settings,
}

impl ReplayFilter<'_> {
    fn matches(&self, broadcast: &Broadcast) -> bool {
        let settings = self.settings;
        if !self.channels.iter().any(|c| c == broadcast.channel())
            || (broadcast.except.is_some() && broadcast.except == self.socket)
            || broadcast.rejection(settings.max_event).is_some()
            || !broadcast.has_json()
        {
            return false;
        }
        let is_public = settings.is_public_broadcast(broadcast.channel(), broadcast.public);
        let mut reaches = false;
        target_channels(broadcast.channel(), broadcast.exact, is_public, |name| {
            reaches |= name == self.channel;
        });
        reaches
    }
}

/// The events in order; `None` if they exceed the send queue. Partitions are merged by Kafka's timestamps; the order
/// within a partition is kept.
pub(super) fn merge(found: Vec<Timed>, wanted: &ReplayFilter<'_>) -> Option<Vec<Arc<Broadcast>>> {
    let mut chosen: Vec<Timed> = found
        .into_iter()
        .filter(|(_, broadcast)| wanted.matches(broadcast))
        .collect();
    chosen.sort_by_key(|(_, broadcast)| broadcast.at);
    // A timestamp older than its predecessor's must not change the order within the partition.
    let mut latest: HashMap<(u32, i32), i64> = HashMap::new();
    for (ms, broadcast) in &mut chosen {
        if let Some(at) = broadcast.at {
            let latest = latest.entry((at.topic, at.partition)).or_insert(i64::MIN);
            *latest = (*latest).max(*ms);
            *ms = *latest;
        }
    }
    chosen.sort_by_key(|(ms, _)| *ms);
    let mut ids = HashSet::new();
    let mut topics = HashSet::new();
    let mut bytes = 0;
    let mut events = Vec::new();
    for (_, broadcast) in chosen {
        let is_new = topics.insert(broadcast.at)
            && (broadcast.id().is_empty() || ids.insert(broadcast.id().to_owned()));
        if !is_new {
            continue;
        }
        bytes += broadcast.encoded_bytes() + wanted.channel.len() + FRAME_OVERHEAD;
        if bytes > wanted.settings.max_queue / 4 * 3 {
            return None;
        }
        events.push(broadcast);
    }
    Some(events)
}
