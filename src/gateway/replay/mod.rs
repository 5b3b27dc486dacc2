//! Recovery after a reconnect: the client sends the token of its position, and the broadcasts after it are replayed.
//!
//! ```text
//! token           a client's position on one channel: signed (keys), valid for ten minutes
//! replay_buffer   the broadcasts of the last two minutes, in memory
//! scan            older broadcasts from Kafka, bounded
//! ```
//!
//! Either all missed events are replayed, or the client receives `recovered: false`. Client events are never replayed.

pub mod replay_buffer;
mod scan;
#[cfg(test)]
mod tests;
pub mod token;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use self::replay_buffer::{PartitionKey, ReplayBuffer, ReplayFrom, Timed};
use self::scan::{Range, ScanPool};
use self::token::{short_hash, Keys, Token, TokenError, TopicPosition};
use super::backend::{BoxFuture, History, Replay, TokenSubject};
use super::broadcast::{Broadcast, Position};
use super::feed::positions::{Positions, Topic};
use super::protocol::SocketId;
use crate::config::gateway_settings::Settings;
use crate::config::BrokerConfig;
use crate::ids::unix_ms;
use crate::log::Level;
use crate::runtime;
use crate::topic::socket_channel::{source_channels, Name};
use crate::topic::TopicMap;

/// Maximum wait for the position of a token that was issued by a gateway ahead of this one.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// A topic that a gateway knew this long before another gateway's refresh is known to both, unless it was deleted.
const DISCOVERY_LAG_MS: i64 = 5_000;

/// Size of a frame without its strings, in bytes.
const FRAME_OVERHEAD: usize = 48;

/// The history of one gateway.
pub struct Recovery {
    settings: Arc<Settings>,
    positions: Arc<Positions>,
    replay_buffer: Arc<ReplayBuffer>,
    scans: ScanPool,
    keys: Keys,
    sources: ChannelTopics,
}

impl Recovery {
    /// Creates the history for the topics of a configuration. The feed fills `replay_buffer` and advances `positions`.
    #[must_use]
    pub fn new(
        config: &Arc<BrokerConfig>,
        settings: &Arc<Settings>,
        positions: &Arc<Positions>,
        replay_buffer: &Arc<ReplayBuffer>,
    ) -> Self {
        Self {
            settings: Arc::clone(settings),
            positions: Arc::clone(positions),
            replay_buffer: Arc::clone(replay_buffer),
            scans: ScanPool::new(config, settings),
            keys: Keys::new(&settings.secrets, "toporia_realtime position"),
            sources: ChannelTopics::new(&config.topics),
        }
    }
}

impl History for Recovery {
    fn position(&self, channel: &str) -> Position {
        let mut position = Position::new();
        for topics_of in self.sources.topics_of(channel).iter() {
            if let Some(topic) = self.positions.find(&topics_of.name) {
                topic.for_each_next_offset(|partition, next| {
                    position.push((topic.number, partition, next));
                });
            }
        }
        position
    }

    fn token(&self, subject: &TokenSubject, position: &Position) -> Option<String> {
        let topics_of = self.sources.topics_of(&subject.channel);
        if topics_of.is_empty() {
            return None;
        }
        let mut topics = Vec::with_capacity(topics_of.len());
        for topics_of in topics_of.iter() {
            if let Some(topic) = self.positions.find(&topics_of.name) {
                let of_topic = position.iter().filter(|entry| entry.0 == topic.number);
                topics.push(TopicPosition {
                    name: topics_of.hash,
                    id: topic.id(),
                    next: of_topic.map(|entry| (entry.1, entry.2)).collect(),
                });
            }
        }
        let token = Token {
            issued_ms: unix_ms(),
            socket: subject.socket.to_string(),
            user: subject.user.clone(),
            topics,
        };
        token.encode(&subject.channel, &self.keys)
    }

    fn previous_socket(&self, token: &str, channel: &str) -> Option<SocketId> {
        let token = self.decode(token, channel).ok()?;
        token.socket.parse().ok()
    }

    fn replay(
        self: Arc<Self>,
        token: String,
        channel: String,
        user: Option<String>,
        may_scan: bool,
    ) -> BoxFuture<Replay> {
        Box::pin(async move {
            let mut scanned = false;
            let may_scan = may_scan.then_some(&mut scanned);
            let replay = self
                .try_replay(&token, &channel, user.as_deref(), may_scan)
                .await;
            let replay = replay.unwrap_or_else(|why| {
                let line = format!("A client's channel was not recovered: {why}.");
                runtime::current().log.write(Level::Debug, line);
                Replay::default()
            });
            Replay { scanned, ..replay }
        })
    }
}

impl Recovery {
    fn decode(&self, token: &str, channel: &str) -> Result<Token, TokenError> {
        let longest = self.settings.position_ttl_ms();
        Token::decode(token, channel, &self.keys, unix_ms(), longest)
    }

    /// `may_scan` is set to true if Kafka was read; `None` if that is not allowed.
    async fn try_replay(
        &self,
        token: &str,
        channel: &str,
        user: Option<&str>,
        may_scan: Option<&mut bool>,
    ) -> Result<Replay, &'static str> {
        let token = self
            .decode(token, channel)
            .map_err(|refusal| match refusal {
                TokenError::Forged => "the token is invalid, or belongs to another channel",
                TokenError::Stale => "the token has expired",
            })?;
        if token.user.is_some() && token.user.as_deref() != user {
            return Err("the token belongs to another user");
        }
        let channels = source_channels_of(channel);
        let mut wanted = self.wanted(&token, channel).await?;
        if !self.catch_up(&wanted).await {
            return Err("this gateway has not reached the position of the token");
        }
        let mut found = self.replay_buffer.find(&channels, &wanted);
        let mut older = Vec::new();
        if !found.missing.is_empty() {
            *may_scan.ok_or(
                "the events are no longer in memory, and the limit of Kafka reads is reached",
            )? = true;
            let ranges = self.ranges(&wanted, &found.missing, &found.up_to);
            for range in ranges.ok_or("a partition is no longer read")? {
                let topic = range.topic;
                let scanned = self.scans.scan(range).await.ok_or(
                    "Kafka has deleted the events, they exceed the limits of a scan, or too many scans are running",
                )?;
                for (partition, end) in &scanned.ends {
                    let key = (topic, *partition);
                    for entry in wanted.iter_mut().filter(|(other, _)| *other == key) {
                        entry.1 = ReplayFrom::Offset(*end);
                    }
                }
                older.extend(scanned.events.iter().cloned());
            }
            found = self.replay_buffer.find(&channels, &wanted);
            if !found.missing.is_empty() {
                return Err("the scan took too long");
            }
        }
        older.append(&mut found.events);
        let mut up_to = Position::new();
        for ((key, from), end_offset) in wanted.iter().zip(&found.up_to) {
            let next = match *from {
                ReplayFrom::Offset(offset) => offset.max(*end_offset),
                ReplayFrom::Time(_) => *end_offset,
            };
            up_to.push((key.0, key.1, next));
        }
        let wanted = ReplayFilter {
            channel,
            channels: &channels,
            socket: token.socket.parse().ok(),
            settings: &self.settings,
        };
        Ok(Replay {
            recovered: true,
            events: merge(older, &wanted).ok_or("the events exceed the send queue")?,
            up_to,
            scanned: false,
        })
    }

    /// The start in each partition that feeds the channel. If the token was issued by a gateway that found a new topic
    /// first, waits until this gateway has found it: otherwise the client would receive its events twice.
    async fn wanted(
        &self,
        token: &Token,
        channel: &str,
    ) -> Result<Vec<(PartitionKey, ReplayFrom)>, &'static str> {
        let issued_ms = i64::try_from(token.issued_ms).unwrap_or(i64::MAX);
        let until = Instant::now() + CATCH_UP_TIMEOUT;
        let mut has_requested = false;
        loop {
            let refreshed_ms = self.positions.refreshed_ms();
            match self.try_wanted(token, channel) {
                Ok(wanted) => return Ok(wanted),
                Err(PartitionUnavailable::Recreated) => return Err("the topic was recreated"),
                Err(PartitionUnavailable::NotRead)
                    if refreshed_ms > issued_ms.saturating_add(DISCOVERY_LAG_MS)
                        || Instant::now() >= until =>
                {
                    return Err("the topic, or one of its partitions, is not read");
                }
                Err(PartitionUnavailable::NotRead) => {
                    if !std::mem::replace(&mut has_requested, true) {
                        self.positions.refresh_request.notify();
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    fn try_wanted(
        &self,
        token: &Token,
        channel: &str,
    ) -> Result<Vec<(PartitionKey, ReplayFrom)>, PartitionUnavailable> {
        let mut wanted = Vec::new();
        for topics_of in self.sources.topics_of(channel).iter() {
            let place = token
                .topics
                .iter()
                .find(|place| place.name == topics_of.hash);
            let topic = self.positions.find(&topics_of.name);
            add_start_positions(topic.as_deref(), place, token.issued_ms, &mut wanted)?;
        }
        Ok(wanted)
    }

    /// Waits until this gateway has reached the token's position, so that no event is delivered twice. False after the
    /// timeout.
    async fn catch_up(&self, wanted: &[(PartitionKey, ReplayFrom)]) -> bool {
        let until = Instant::now() + CATCH_UP_TIMEOUT;
        loop {
            let behind = wanted.iter().any(|(key, from)| {
                let ReplayFrom::Offset(offset) = *from else {
                    return false;
                };
                let topic = self.positions.topic(key.0);
                let partition = topic.and_then(|topic| topic.partition(key.1));
                partition.is_none_or(|partition| partition.next() < offset)
            });
            if !behind {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The ranges that the buffer does not have, by topic, up to the position of the feed.
    fn ranges(
        &self,
        wanted: &[(PartitionKey, ReplayFrom)],
        missing: &[usize],
        up_to: &[i64],
    ) -> Option<Vec<Range>> {
        let mut ranges: Vec<Range> = Vec::new();
        for &place in missing {
            let (key, from) = wanted.get(place)?;
            let topic = self.positions.topic(key.0)?;
            let next = topic.partition(key.1)?.next();
            let end = next.max(*up_to.get(place)?);
            let part = (key.1, *from, end);
            match ranges.iter_mut().find(|range| range.topic == key.0) {
                Some(range) => range.parts.push(part),
                None => ranges.push(Range {
                    topic: key.0,
                    name: topic.name.to_string(),
                    parts: vec![part],
                }),
            }
        }
        Some(ranges)
    }
}

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
        self.channels.iter().any(|c| c == broadcast.channel())
            && (broadcast.except.is_none() || broadcast.except != self.socket)
            && broadcast.rejection(settings.max_event).is_none()
            && broadcast.has_json()
            && broadcast.reaches(self.channel, settings)
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
