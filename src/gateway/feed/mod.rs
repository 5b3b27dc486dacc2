//! The gateway's way out of Kafka: every partition of every topic of the prefix, without a consumer group, from the end on.
//!
//! ```text
//! scout    a thread that asks the cluster which topics there are, and decides from which offset each partition is read
//! reader   a thread that takes the records, and hands them to the sink: one client, one queue, in order
//! ```
//!
//! What appears later is read from the time of the last complete look at the cluster, less five seconds; never from the beginning,
//! or an old topic that becomes visible would be poured over live sockets. What cannot be read is counted and said.

mod admin_queries;
mod consumer;
mod notify;
pub mod positions;
mod reader;
mod record;
mod start_offset;
#[cfg(test)]
mod tests;
mod topic_changes;
mod topic_discovery;
mod topic_selector;

pub(crate) use admin_queries::{Key, OffsetSpec};
pub(crate) use consumer::FeedConsumer;
pub(crate) use reader::{headers_of, timestamp_of};
pub use record::{BroadcastHeaders, Skip, EXACT};
pub use topic_selector::{ControlTopics, TopicRole, TopicSelector};

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::positions::{PartitionState, Positions};
use super::broadcast::Broadcast;
pub use super::broadcast::TopicNumber;
use super::counters::Counters;
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::process;
use crate::topic::{ChannelPattern, TopicMap};

/// How the feed reads.
#[derive(Debug, Clone)]
pub struct FeedConfig {
    /// Channels to narrow it to; empty for all.
    pub channels: Vec<ChannelPattern>,
    /// Largest data of an event.
    pub max_event_bytes: usize,
    /// So far back the ring is filled before anything is delivered.
    pub history: Duration,
    /// At most so many records of a partition are read for that.
    pub max_history_records: i64,
    /// Time between two looks at the cluster's topics.
    pub refresh_interval: Duration,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            channels: Vec::new(),
            max_event_bytes: 256 << 10,
            history: Duration::from_secs(120),
            max_history_records: 50_000,
            refresh_interval: Duration::from_secs(1),
        }
    }
}

/// A record of a control topic.
#[derive(Debug)]
pub struct RawControlRecord<'a> {
    /// Which topic.
    pub role: TopicRole,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Its offset.
    pub offset: i64,
    /// False for what was there before the feed began.
    pub live: bool,
}

/// Where records go. Called from the feed's threads; must not block.
pub trait FeedSink: Send + Sync {
    /// A partition is read from `offset` on: everything with a timestamp of `since_ms` and later.
    fn partition_started(&self, state: &PartitionState, offset: i64, since_ms: i64);
    /// A partition is not read any more.
    fn partition_stopped(&self, state: &PartitionState);
    /// A broadcast; `live` is false for what only fills the ring.
    fn broadcast(&self, broadcast: &Arc<Broadcast>, timestamp_ms: i64, live: bool);
    /// A record of a control topic.
    fn control(&self, control: &RawControlRecord<'_>);
}

/// A partition as its records name it.
#[derive(Clone)]
struct PartitionReader {
    state: Arc<PartitionState>,
    role: TopicRole,
}

/// What the two threads share.
struct Shared {
    client: FeedConsumer,
    topics: Arc<TopicMap>,
    selector: TopicSelector,
    feed_config: FeedConfig,
    positions: Arc<Positions>,
    counters: Arc<Counters>,
    sink: Arc<dyn FeedSink>,
    readers: Mutex<HashMap<(usize, i32), PartitionReader>>,
    /// Partitions that have to be begun again.
    to_restart: Mutex<Vec<Key>>,
    stopping: AtomicBool,
    /// The last look at the cluster succeeded.
    connected: AtomicBool,
    /// The first complete look is done and its partitions are being read.
    started: AtomicBool,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// The running feed.
pub struct Feed {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    generation: u32,
}

impl Feed {
    /// Starts both threads. Connects by itself, and waits for Kafka as long as it takes.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take. Connection: no more threads.
    pub fn start(
        config: &Arc<BrokerConfig>,
        feed_config: FeedConfig,
        positions: Arc<Positions>,
        counters: Arc<Counters>,
        sink: Arc<dyn FeedSink>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            client: FeedConsumer::start(config)?,
            topics: Arc::clone(&config.topics),
            selector: TopicSelector::new(&config.topics, &feed_config.channels),
            feed_config,
            positions,
            counters,
            sink,
            readers: Mutex::default(),
            to_restart: Mutex::default(),
            stopping: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            started: AtomicBool::new(false),
        });
        let feed = Self {
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
            generation: process::generation(),
        };
        let mut threads = feed.threads.lock();
        let own = Arc::clone(&shared);
        threads.push(process::spawn("rt-gw-feed", move || reader::run(&own))?);
        threads.push(process::spawn("rt-gw-scout", move || {
            topic_discovery::run(&shared);
        })?);
        drop(threads);
        Ok(feed)
    }

    /// True where Kafka answered the last time it was asked.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Acquire)
    }

    /// True once everything that was there at the start has been read.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.shared.started.load(Ordering::Acquire)
            && self
                .shared
                .positions
                .all()
                .iter()
                .all(|topic| topic.partitions().iter().all(|state| state.is_filled()))
    }

    /// Waits for that, `bound` at most; false where it takes longer.
    #[must_use]
    pub fn wait_filled(&self, bound: Duration) -> bool {
        let until = Instant::now() + bound;
        while !self.is_filled() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Ends both threads. Idempotent; does nothing in a forked child.
    pub fn stop(&self) {
        if self.generation != process::generation() {
            return;
        }
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.positions.refresh_request.notify();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                process::current().log.say(
                    crate::log::Level::Error,
                    "A thread of the gateway's feed ended with a panic.",
                );
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop();
    }
}
