//! What a browser missed while it was away: positions it brings back, and the broadcasts after them.
//!
//! ```text
//! token    what the browser keeps: signed, for one channel, for ten minutes
//! ring     the last two minutes of broadcasts, in memory
//! scan     what is older, from Kafka, within bounds        read     one such scan
//! ```
//!
//! Either everything is given back, or it is said that something may be missing; client events never are.

mod keys;
mod merge;
mod read;
pub mod ring;
mod scan;
mod sources;
#[cfg(test)]
mod tests;
pub mod token;

pub use scan::Limits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::merge::{merge, Wanted};
use self::ring::{From, Lane, Ring};
use self::scan::{Range, Scans};
use self::sources::{sources_of, want, Not, Sources};
use self::token::{Keys, Place, Refusal, Token};
use super::broadcast::Position;
use super::feed::positions::Positions;
use super::seam::{BoxFuture, History, Holder, Replay};
use super::settings::Settings;
use crate::config::BrokerConfig;
use crate::ids::unix_ms;
use crate::log::Level;
use crate::process;

/// Another gateway may have been further than this one: its position is waited for so long.
const CATCH_UP: Duration = Duration::from_secs(2);
/// A topic that one gateway knew so long before another one's look is known to that one, too, unless it is gone.
const KNOWN_TO_ALL_MS: i64 = 5_000;

/// The history of one gateway.
pub struct Recovery {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Arc<Settings>,
    positions: Arc<Positions>,
    ring: Arc<Ring>,
    scans: Scans,
    keys: Keys,
    sources: Sources,
}

impl Recovery {
    /// For the topics of a configuration. `ring` is filled by the feed, which moves `positions`.
    #[must_use]
    pub fn new(
        config: &Arc<BrokerConfig>,
        settings: &Arc<Settings>,
        positions: &Arc<Positions>,
        ring: &Arc<Ring>,
    ) -> Self {
        let limits = Limits::of(settings);
        Self {
            inner: Arc::new(Inner {
                settings: Arc::clone(settings),
                positions: Arc::clone(positions),
                ring: Arc::clone(ring),
                scans: Scans::new(config, limits),
                keys: Keys::new(&settings.secrets, "toporia_realtime position"),
                sources: Sources::new(&config.topics),
            }),
        }
    }
}

impl History for Recovery {
    fn position(&self, channel: &str) -> Position {
        let mut position = Position::new();
        for feeding in self.inner.sources.feeding(channel).iter() {
            if let Some(topic) = self.inner.positions.find(&feeding.name) {
                topic.each_next(|partition, next| position.push((topic.number, partition, next)));
            }
        }
        position
    }

    fn token(&self, holder: &Holder, position: &Position) -> Option<String> {
        let feeding = self.inner.sources.feeding(&holder.channel);
        if feeding.is_empty() {
            return None;
        }
        let mut places = Vec::with_capacity(feeding.len());
        for feeding in feeding.iter() {
            if let Some(topic) = self.inner.positions.find(&feeding.name) {
                let of_topic = position.iter().filter(|entry| entry.0 == topic.number);
                places.push(Place {
                    name: feeding.hash,
                    id: topic.id(),
                    next: of_topic.map(|entry| (entry.1, entry.2)).collect(),
                });
            }
        }
        let token = Token {
            issued_ms: unix_ms(),
            socket: holder.socket.to_string(),
            user: holder.user.clone(),
            places,
        };
        token.seal(&holder.channel, &self.inner.keys)
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
        let longest = u64::try_from(self.settings.position_ttl.as_millis()).unwrap_or(u64::MAX);
        let token = Token::open(token, channel, &self.keys, unix_ms(), longest);
        let token = token.map_err(|refusal| match refusal {
            Refusal::Forged => "its token is not ours, or of another channel",
            Refusal::Stale => "its token is too old",
        })?;
        if token.user.is_some() && token.user.as_deref() != user {
            return Err("another user was signed in then");
        }
        let channels = sources_of(channel);
        let mut wanted = self.wanted(&token, channel).await?;
        if !self.catch_up(&wanted).await {
            return Err("this gateway is not as far as the one that issued the token");
        }
        let mut found = self.ring.find(&channels, &wanted);
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
                    let lane = (topic, *partition);
                    for entry in wanted.iter_mut().filter(|(other, _)| *other == lane) {
                        entry.1 = From::Offset(*end);
                    }
                }
                older.extend(scanned.events.iter().cloned());
            }
            found = self.ring.find(&channels, &wanted);
            if !found.missing.is_empty() {
                return Err("reading it from Kafka took too long");
            }
        }
        older.append(&mut found.events);
        let mut up_to = Position::new();
        for ((lane, from), high) in wanted.iter().zip(&found.up_to) {
            let next = match *from {
                From::Offset(offset) => offset.max(*high),
                From::Time(_) => *high,
            };
            up_to.push((lane.0, lane.1, next));
        }
        let wanted = Wanted {
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
    ) -> Result<Vec<(Lane, From)>, &'static str> {
        let issued_ms = i64::try_from(token.issued_ms).unwrap_or(i64::MAX);
        let until = Instant::now() + CATCH_UP;
        let mut has_asked = false;
        loop {
            let looked_ms = self.positions.looked_ms();
            match self.try_wanted(token, channel) {
                Ok(wanted) => return Ok(wanted),
                Err(Not::TheSame) => return Err("the topic was made anew"),
                Err(Not::Here)
                    if looked_ms > issued_ms.saturating_add(KNOWN_TO_ALL_MS)
                        || Instant::now() >= until =>
                {
                    return Err("the topic, or a partition of it, is not here");
                }
                Err(Not::Here) => {
                    if !std::mem::replace(&mut has_asked, true) {
                        self.positions.bell.ring();
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    fn try_wanted(&self, token: &Token, channel: &str) -> Result<Vec<(Lane, From)>, Not> {
        let mut wanted = Vec::new();
        for feeding in self.sources.feeding(channel).iter() {
            let place = token.places.iter().find(|place| place.name == feeding.hash);
            let topic = self.positions.find(&feeding.name);
            want(topic.as_deref(), place, token.issued_ms, &mut wanted)?;
        }
        Ok(wanted)
    }

    /// The token may come from a gateway that was ahead of this one: what it had is not to come twice.
    async fn catch_up(&self, wanted: &[(Lane, From)]) -> bool {
        let until = Instant::now() + CATCH_UP;
        loop {
            let behind = wanted.iter().any(|(lane, from)| {
                let From::Offset(offset) = *from else {
                    return false;
                };
                let topic = self.positions.topic(lane.0);
                let part = topic.and_then(|topic| topic.part(lane.1));
                part.is_none_or(|part| part.next() < offset)
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
        wanted: &[(Lane, From)],
        missing: &[usize],
        up_to: &[i64],
    ) -> Option<Vec<Range>> {
        let mut ranges: Vec<Range> = Vec::new();
        for &place in missing {
            let (lane, from) = wanted.get(place)?;
            let topic = self.positions.topic(lane.0)?;
            let next = topic.part(lane.1)?.next();
            let end = next.max(*up_to.get(place)?);
            let part = (lane.1, *from, end);
            match ranges.iter_mut().find(|range| range.topic == lane.0) {
                Some(range) => range.parts.push(part),
                None => ranges.push(Range {
                    topic: lane.0,
                    name: topic.name.to_string(),
                    parts: vec![part],
                }),
            }
        }
        Some(ranges)
    }
}
