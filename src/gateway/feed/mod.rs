//! The gateway's way out of Kafka: every partition of every topic of the prefix, without a consumer group, from the end on.
//!
//! ```text
//! scout    a thread that asks the cluster which topics there are, and decides from which offset each partition is read
//! reader   a thread that takes the records, and hands them to the sink: one client, one queue, in order
//! ```
//!
//! What appears later is read from the time of the last complete look at the cluster, less five seconds; never from the beginning,
//! or an old topic that becomes visible would be poured over live sockets. What cannot be read is counted and said.

mod bell;
mod choice;
mod client;
mod known;
mod lookup;
pub mod positions;
mod reader;
mod record;
mod scout;
mod start;
#[cfg(test)]
mod tests;

pub use choice::{Choice, ControlTopics, Purpose};
pub(crate) use client::Client;
pub(crate) use lookup::{Key, Which};
pub(crate) use reader::{headers_of, timestamp_of};
pub use record::{Marks, Skip, EXACT};

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::positions::{Part, Positions};
use super::broadcast::Broadcast;
pub use super::broadcast::TopicNumber;
use super::counters::Counters;
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::process;
use crate::topic::{ChannelPattern, TopicMap};

/// How the feed reads.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Channels to narrow it to; empty for all.
    pub only: Vec<ChannelPattern>,
    /// Largest data of an event.
    pub longest: usize,
    /// So far back the ring is filled before anything is delivered.
    pub keep: Duration,
    /// At most so many records of a partition are read for that.
    pub most_kept: i64,
    /// Time between two looks at the cluster's topics.
    pub refresh: Duration,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            only: Vec::new(),
            longest: 256 << 10,
            keep: Duration::from_secs(120),
            most_kept: 50_000,
            refresh: Duration::from_secs(1),
        }
    }
}

/// A record of a control topic.
#[derive(Debug)]
pub struct Control<'a> {
    /// Which topic.
    pub purpose: Purpose,
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
pub trait Sink: Send + Sync {
    /// A partition is read from `offset` on: everything with a timestamp of `since_ms` and later.
    fn began(&self, part: &Part, offset: i64, since_ms: i64);
    /// A partition is not read any more.
    fn ended(&self, part: &Part);
    /// A broadcast; `live` is false for what only fills the ring.
    fn broadcast(&self, broadcast: &Arc<Broadcast>, timestamp_ms: i64, live: bool);
    /// A record of a control topic.
    fn control(&self, control: &Control<'_>);
}

/// A partition as its records name it.
#[derive(Clone)]
struct Lane {
    part: Arc<Part>,
    purpose: Purpose,
}

/// What the two threads share.
struct Shared {
    client: Client,
    topics: Arc<TopicMap>,
    choice: Choice,
    manner: Manner,
    positions: Arc<Positions>,
    counters: Arc<Counters>,
    sink: Arc<dyn Sink>,
    lanes: Mutex<HashMap<(usize, i32), Lane>>,
    /// Partitions that have to be begun again.
    lost: Mutex<Vec<Key>>,
    stopping: AtomicBool,
    /// The last look at the cluster succeeded.
    reached: AtomicBool,
    /// The first complete look is done and its partitions are being read.
    begun: AtomicBool,
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
        manner: Manner,
        positions: Arc<Positions>,
        counters: Arc<Counters>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            client: Client::start(config)?,
            topics: Arc::clone(&config.topics),
            choice: Choice::new(&config.topics, &manner.only),
            manner,
            positions,
            counters,
            sink,
            lanes: Mutex::default(),
            lost: Mutex::default(),
            stopping: AtomicBool::new(false),
            reached: AtomicBool::new(false),
            begun: AtomicBool::new(false),
        });
        let feed = Self {
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
            generation: process::generation(),
        };
        let mut threads = feed.threads.lock();
        let own = Arc::clone(&shared);
        threads.push(process::spawn("rt-gw-feed", move || reader::run(&own))?);
        threads.push(process::spawn("rt-gw-scout", move || scout::run(&shared))?);
        drop(threads);
        Ok(feed)
    }

    /// True where Kafka answered the last time it was asked.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.shared.reached.load(Ordering::Acquire)
    }

    /// True once everything that was there at the start has been read.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.shared.begun.load(Ordering::Acquire)
            && self
                .shared
                .positions
                .all()
                .iter()
                .all(|topic| topic.parts().iter().all(|part| part.is_filled()))
    }

    /// Waits for that, `bound` at most; false where it takes longer.
    #[must_use]
    pub fn fill(&self, bound: Duration) -> bool {
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
        self.shared.positions.bell.ring();
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
