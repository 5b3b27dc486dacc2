//! What a browser missed while it was away: positions it brings back, and the broadcasts after them.
//!
//! ```text
//! token    what the browser keeps: signed, for one channel, for ten minutes
//! ring     the last two minutes of broadcasts, in memory
//! scan     what is older, from Kafka, within bounds        read     one such scan
//! ```
//!
//! Either everything is given back, or it is said that something may be missing; client events never are.

mod channel_topics;
mod keys;
mod merge;
pub mod replay_buffer;
mod scan;
mod scan_reader;
#[cfg(test)]
mod tests;
pub mod token;

pub use scan::ScanLimits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::channel_topics::{
    add_start_positions, source_channels_of, ChannelTopics, PartitionUnavailable,
};
use self::merge::{merge, ReplayFilter};
use self::replay_buffer::{PartitionKey, ReplayBuffer, ReplayFrom};
use self::scan::{Range, ScanPool};
use self::token::{Keys, Token, TokenError, TopicPosition};
use super::backend::{BoxFuture, History, Replay, TokenSubject};
use super::broadcast::Position;
use super::feed::positions::Positions;
use super::settings::Settings;
use crate::config::BrokerConfig;
use crate::ids::unix_ms;
use crate::log::Level;
use crate::process;

/// Another gateway may have been further than this one: its position is waited for so long.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// A topic that one gateway knew so long before another one's look is known to that one, too, unless it is gone.
const DISCOVERY_LAG_MS: i64 = 5_000;

/// The history of one gateway.
pub struct Recovery {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Arc<Settings>,
    positions: Arc<Positions>,
    replay_buffer: Arc<ReplayBuffer>,
    scans: ScanPool,
    keys: Keys,
    sources: ChannelTopics,
}

impl Recovery {
    /// For the topics of a configuration. `replay_buffer` is filled by the feed, which moves `positions`.
    #[must_use]
    pub fn new(
        config: &Arc<BrokerConfig>,
        settings: &Arc<Settings>,
        positions: &Arc<Positions>,
        replay_buffer: &Arc<ReplayBuffer>,
    ) -> Self {
        let limits = ScanLimits::of(settings);
        Self {
            inner: Arc::new(Inner {
                settings: Arc::clone(settings),
                positions: Arc::clone(positions),
                replay_buffer: Arc::clone(replay_buffer),
                scans: ScanPool::new(config, limits),
                keys: Keys::new(&settings.secrets, "toporia_realtime position"),
                sources: ChannelTopics::new(&config.topics),
            }),
        }
    }
}

impl History for Recovery {
    fn position(&self, channel: &str) -> Position {
        let mut position = Position::new();
        for topics_of in self.inner.sources.topics_of(channel).iter() {
            if let Some(topic) = self.inner.positions.find(&topics_of.name) {
                topic.for_each_next_offset(|partition, next| {
                    position.push((topic.number, partition, next));
                });
            }
        }
        position
    }

    fn token(&self, holder: &TokenSubject, position: &Position) -> Option<String> {
        let topics_of = self.inner.sources.topics_of(&holder.channel);
        if topics_of.is_empty() {
            return None;
        }
        let mut topics = Vec::with_capacity(topics_of.len());
        for topics_of in topics_of.iter() {
            if let Some(topic) = self.inner.positions.find(&topics_of.name) {
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
            socket: holder.socket.to_string(),
            user: holder.user.clone(),
            topics,
        };
        token.encode(&holder.channel, &self.inner.keys)
    }

    fn accepts(&self, token: &str, channel: &str) -> bool {
        let longest =
            u64::try_from(self.inner.settings.position_ttl.as_millis()).unwrap_or(u64::MAX);
        Token::decode(token, channel, &self.inner.keys, unix_ms(), longest).is_ok()
    }

    fn replay(
        &self,
        token: String,
        channel: String,
        user: Option<String>,
        may_scan: bool,
    ) -> BoxFuture<Replay> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let mut scanned = false;
            let may_scan = may_scan.then_some(&mut scanned);
            let replay = inner
                .replay(&token, &channel, user.as_deref(), may_scan)
                .await;
            let replay = replay.unwrap_or_else(|why| {
                let line = format!("A client's channel was not recovered: {why}.");
                process::current().log.say(Level::Debug, line);
                Replay::default()
            });
            Replay { scanned, ..replay }
        })
    }
}

impl Inner {
    /// `may_scan` is set where Kafka was read.
    async fn replay(
        &self,
        token: &str,
        channel: &str,
        user: Option<&str>,
        may_scan: Option<&mut bool>,
    ) -> Result<Replay, &'static str> {
        let max_event_bytes =
            u64::try_from(self.settings.position_ttl.as_millis()).unwrap_or(u64::MAX);
        let token = Token::decode(token, channel, &self.keys, unix_ms(), max_event_bytes);
        let token = token.map_err(|refusal| match refusal {
            TokenError::Forged => "its token is not ours, or of another channel",
            TokenError::Stale => "its token is too old",
        })?;
        if token.user.is_some() && token.user.as_deref() != user {
            return Err("another user was signed in then");
        }
        let channels = source_channels_of(channel);
        let mut wanted = self.wanted(&token, channel).await?;
        if !self.catch_up(&wanted).await {
            return Err("this gateway is not as far as the one that issued the token");
        }
        let mut found = self.replay_buffer.find(&channels, &wanted);
        let mut older = Vec::new();
        if !found.missing.is_empty() {
            *may_scan.ok_or(
                "it is longer ago than is kept in memory, and it had its share of Kafka",
            )? = true;
            let ranges = self.ranges(&wanted, &found.missing, &found.up_to);
            for range in ranges.ok_or("a partition is not read any more")? {
                let topic = range.topic;
                let scanned = self.scans.scan(range).await.ok_or(
                    "Kafka does not have it any more, it is too much, or too many others read",
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
                return Err("reading it from Kafka took too long");
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
            events: merge(older, &wanted).ok_or("it is more than fits into a socket's queue")?,
            up_to,
            scanned: false,
        })
    }

    /// Where to begin in each partition that feeds the channel. A gateway that found a new topic before this one may have given out
    /// the token: then the topic is looked for and waited for, or what the client has of it would come again once it is found.
    async fn wanted(
        &self,
        token: &Token,
        channel: &str,
    ) -> Result<Vec<(PartitionKey, ReplayFrom)>, &'static str> {
        let issued_ms = i64::try_from(token.issued_ms).unwrap_or(i64::MAX);
        let until = Instant::now() + CATCH_UP_TIMEOUT;
        let mut has_asked = false;
        loop {
            let refreshed_ms = self.positions.refreshed_ms();
            match self.try_wanted(token, channel) {
                Ok(wanted) => return Ok(wanted),
                Err(PartitionUnavailable::Recreated) => return Err("the topic was made anew"),
                Err(PartitionUnavailable::NotRead)
                    if refreshed_ms > issued_ms.saturating_add(DISCOVERY_LAG_MS)
                        || Instant::now() >= until =>
                {
                    return Err("the topic, or a partition of it, is not here");
                }
                Err(PartitionUnavailable::NotRead) => {
                    if !std::mem::replace(&mut has_asked, true) {
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

    /// The token may come from a gateway that was ahead of this one: what it had is not to come twice.
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

    /// What the ring does not have, by topic, up to where the feed is.
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
