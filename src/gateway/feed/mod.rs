//! Reads every partition of every topic of the prefix, without a consumer group, from the end.
//!
//! ```text
//! topic_discovery  thread: finds topics and partitions and decides the offset from which each is read
//! reader           thread: passes the records to the sink, in order
//! consumer         the Kafka client of both      positions   first and next offsets
//! ```
//!
//! A topic found later is read from the time of the last complete refresh minus five seconds; never from the beginning,
//! or an old topic that becomes visible would be sent to live sockets. Partitions that cannot be read are counted and
//! logged.

mod consumer;
pub mod positions;
mod reader;
mod topic_discovery;

pub use super::broadcast::TopicNumber;
pub(crate) use consumer::{FeedConsumer, Key, OffsetSpec};

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::positions::{PartitionState, Positions};
use super::broadcast::Broadcast;
use crate::config::gateway_settings::Settings;
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::metrics::catalog::Counters;
use crate::runtime;
use crate::topic::{is_control_topic, ChannelPattern, TopicFilter, TopicMap, TopicStrategy};

/// A record of a control topic.
#[derive(Debug)]
pub struct RawControlRecord<'a> {
    pub role: TopicRole,
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub offset: i64,
    /// The broker's timestamp, Unix ms; `None` if the producer sets the timestamps of the topic.
    pub appended_ms: Option<u64>,
    /// False for a record that existed before the feed started.
    pub live: bool,
}

/// Receives the records. Called from the feed's threads; must not block for more than milliseconds.
pub trait FeedSink: Send + Sync {
    /// A partition is read from `offset`, which covers all records with a timestamp of `since_ms` or later.
    fn partition_started(&self, state: &PartitionState, offset: i64, since_ms: i64);
    /// A partition is no longer read.
    fn partition_stopped(&self, state: &PartitionState);
    /// A broadcast; with `live` false it only fills the replay buffer.
    fn broadcast(&self, broadcast: &Arc<Broadcast>, timestamp_ms: i64, live: bool);
    /// A record of a control topic.
    fn control(&self, control: &RawControlRecord<'_>);
}

/// A partition that is read, and its role.
#[derive(Clone)]
struct PartitionReader {
    state: Arc<PartitionState>,
    role: TopicRole,
}

/// State shared by the two threads.
struct Shared {
    client: FeedConsumer,
    topics: Arc<TopicMap>,
    selector: TopicSelector,
    settings: Arc<Settings>,
    positions: Arc<Positions>,
    counters: Arc<Counters>,
    sink: Arc<dyn FeedSink>,
    readers: Mutex<HashMap<(usize, i32), PartitionReader>>,
    /// Partitions whose reading has to start again.
    to_restart: Mutex<Vec<Key>>,
    /// Clients may have connected before Kafka answered.
    begun: Instant,
    /// Unix ms of `begun`, by the clock of the first response: records since then are live.
    live_since_ms: AtomicI64,
    stopping: AtomicBool,
    /// The last metadata request succeeded.
    connected: AtomicBool,
    /// The first refresh is complete and its partitions are read.
    started: AtomicBool,
}

impl Shared {
    /// Records of this age fill the replay buffer before live delivery starts.
    fn history_ms(&self) -> i64 {
        if self.settings.recovery {
            i64::try_from(self.settings.replay_window.as_millis()).unwrap_or(i64::MAX)
        } else {
            0
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

pub struct Feed {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    generation: u32,
}

impl Feed {
    /// Starts both threads. They connect in the background and wait for Kafka as long as necessary.
    ///
    /// # Errors
    /// Configuration: properties that librdkafka rejects. Connection: a thread cannot be started.
    pub fn start(
        config: &Arc<BrokerConfig>,
        settings: &Arc<Settings>,
        positions: Arc<Positions>,
        counters: Arc<Counters>,
        sink: Arc<dyn FeedSink>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            client: FeedConsumer::start(config)?,
            topics: Arc::clone(&config.topics),
            selector: TopicSelector::new(&config.topics, &settings.channels),
            settings: Arc::clone(settings),
            positions,
            counters,
            sink,
            readers: Mutex::default(),
            to_restart: Mutex::default(),
            begun: Instant::now(),
            live_since_ms: AtomicI64::new(i64::MAX),
            stopping: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            started: AtomicBool::new(false),
        });
        let feed = Self {
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
            generation: runtime::generation(),
        };
        let mut threads = feed.threads.lock();
        let own = Arc::clone(&shared);
        threads.push(runtime::spawn("rt-gw-feed", move || reader::run(&own))?);
        threads.push(runtime::spawn("rt-gw-scout", move || {
            topic_discovery::run(&shared);
        })?);
        drop(threads);
        Ok(feed)
    }

    /// True if Kafka answered the last metadata request.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Acquire)
    }

    /// True when all records that existed at the start have been read.
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

    /// Waits for [`Self::is_filled`], at most `bound`; false if it takes longer.
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

    /// Stops both threads. Idempotent; has no effect in a forked child.
    pub fn stop(&self) {
        if self.generation != runtime::generation() {
            return;
        }
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.positions.refresh_request.notify();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                runtime::error("A thread of the gateway's Kafka feed panicked.");
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The purpose of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicRole {
    Channels,
    Presence,
    Client,
    Events,
}

/// Names of the gateways' control topics.
#[derive(Debug, Clone)]
pub struct ControlTopics {
    /// Nodes, members, occupied channels and admin requests.
    pub presence: String,
    pub client: String,
    pub events: String,
}

impl ControlTopics {
    /// Those of a prefix.
    #[must_use]
    pub fn of(prefix: &str) -> Self {
        let name = |suffix: &str| format!("{prefix}.{suffix}");
        Self {
            presence: name("__presence"),
            client: name("__client"),
            events: name("__events"),
        }
    }
}

/// Selects the topics of a cluster that the gateway reads.
#[derive(Debug)]
pub struct TopicSelector {
    control: ControlTopics,
    /// Topics by name; `None` for every topic with the prefix.
    exact: Option<Vec<String>>,
    prefix: String,
    keeps_dots: bool,
}

impl TopicSelector {
    /// Selects the topics of a configuration, narrowed to `channels` unless that is empty.
    #[must_use]
    pub fn new(topics: &TopicMap, channels: &[ChannelPattern]) -> Self {
        let filters: Vec<TopicFilter> = if channels.is_empty() {
            topics.all_topics()
        } else {
            let each = channels.iter();
            each.flat_map(|pattern| topics.topics_for_subscription(pattern))
                .collect()
        };
        let names = filters.into_iter().map(|filter| match filter {
            TopicFilter::Exact(name) => Some(name),
            // Coarser than the pattern: the reader checks the channel of each record.
            TopicFilter::Regex(_) => None,
        });
        Self {
            control: ControlTopics::of(topics.prefix()),
            exact: names.collect(),
            prefix: format!("{}_", topics.prefix()),
            keeps_dots: topics.strategy() == TopicStrategy::OnePerChannelDots,
        }
    }

    /// The topics of the gateways.
    #[must_use]
    pub fn control(&self) -> &ControlTopics {
        &self.control
    }

    /// The role of a topic; `None` if it is not read.
    #[must_use]
    pub fn role(&self, topic: &str) -> Option<TopicRole> {
        for (name, role) in [
            (&self.control.presence, TopicRole::Presence),
            (&self.control.client, TopicRole::Client),
            (&self.control.events, TopicRole::Events),
        ] {
            if name == topic {
                return Some(role);
            }
        }
        let is_read = match &self.exact {
            Some(names) => names.iter().any(|name| name == topic),
            None => topic.strip_prefix(&self.prefix).is_some_and(|rest| {
                !rest.is_empty()
                    && rest.bytes().all(|byte| match byte {
                        b'.' => self.keeps_dots,
                        byte => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
                    })
            }),
        };
        (is_read && !is_control_topic(topic)).then_some(TopicRole::Channels)
    }
}

/// On the embedded broker, and on a real Kafka if `REALTIME_TEST_BROKERS` names one.
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gateway::tests::test_brokers::{
        brokers, config, configs, unique, until, Recording, Sender,
    };

    #[test]
    fn reading_starts_at_the_end_and_recent_records_fill_the_buffer() {
        for config in configs("feed") {
            let sender = Sender::start(&config);
            let before: Vec<String> = (0..5).map(|_| sender.send("user.1", "e", "1")).collect();
            sender.flush();
            let run = Recording::start(&config, |_| {});
            assert_eq!(run.ids(false), before);
            let after: Vec<String> = (0..5).map(|_| sender.send("user.1", "e", "1")).collect();
            until("five broadcasts", || run.ids(true).len() == 5);
            assert_eq!(run.ids(true), after);
            let topic = config.topics.topic_for("user.1").expect("a topic");
            let topic = run.positions.find(&topic).expect("it is read");
            let mut sum = 0;
            until("positions", || {
                sum = 0;
                topic.for_each_next_offset(|_, next| sum += next);
                sum == 10
            });
            // The embedded broker has no topic ids.
            let is_real =
                std::env::var("REALTIME_TEST_BROKERS").is_ok_and(|real| real == config.brokers);
            assert_eq!(topic.id() != 0, is_real, "{}", config.brokers);
        }
    }

    #[test]
    fn a_new_topic_is_read_completely_and_old_records_are_not_delivered() {
        for config in configs("late") {
            let sender = Sender::start(&config);
            let run = Recording::start(&config, |_| {});
            std::thread::sleep(Duration::from_millis(1500));
            let sent: Vec<String> = (0..3).map(|_| sender.send("new.1", "e", "1")).collect();
            until("the late topic", || run.ids(true).len() >= 3);
            assert_eq!(run.ids(true), sent);
            // Records from a day ago, in a topic that the feed has not seen yet.
            let old = i64::try_from(crate::ids::unix_ms()).unwrap_or(0) - 86_400_000;
            for _ in 0..3 {
                sender.send_at("old.1", "e", "1", old);
            }
            let fresh = sender.send("old.1", "e", "1");
            until("the fresh one", || run.ids(true).contains(&fresh));
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(run.ids(true).len(), 4);
        }
    }

    #[test]
    fn invalid_records_are_counted_and_skipped() {
        for config in configs("skips") {
            let sender = Sender::start(&config);
            sender.send("user.1", "e", "1");
            sender.flush();
            let run = Recording::start(&config, |settings| {
                settings.channels = vec![ChannelPattern::parse("user.*").expect("a pattern")];
            });
            let topic = config.topics.topic_for("user.1").expect("a topic");
            sender.raw(&topic, b"no envelope");
            sender.raw(&topic, br#"{"type":"ping","channel":"user.1","event":"e"}"#);
            sender.raw(&topic, br#"{"id":"1","channel":"user_1","event":"e"}"#);
            sender.raw(&topic, br#"{"id":"1","channel":"user.2","event":"e"}"#);
            sender.raw(
                &topic,
                br#"{"id":"1","channel":"user.1","event":"pusher:x"}"#,
            );
            let large = format!(
                r#"{{"id":"1","channel":"user.1","event":"e","data":"{}"}}"#,
                "x".repeat(300 << 10)
            );
            sender.raw(&topic, large.as_bytes());
            let last = sender.send("user.1", "e", "1");
            until("the last", || run.ids(true).contains(&last));
            // `user_1` maps to this topic as well, but the gateway does not serve that channel.
            assert_eq!(run.ids(true), [last]);
            let counters = &run.counters;
            assert_eq!(counters.bad_records.get(), 2);
            assert_eq!(counters.topic_mismatch.get(), 1);
            assert_eq!(counters.reserved_events.get(), 1);
            assert_eq!(counters.oversized_events.get(), 1);
        }
    }

    #[test]
    fn reading_continues_after_a_topic_is_recreated() {
        // Records are deleted while the feed reads: real Kafka only.
        for brokers in brokers().into_iter().filter(|b| b.contains(':')).skip(1) {
            let config = config(&brokers, &unique("range"));
            let sender = Sender::start(&config);
            sender.send("user.1", "e", "1");
            sender.flush();
            let run = Recording::start(&config, |_| {});
            let topic = config.topics.topic_for("user.1").expect("a topic");
            let admin = crate::kafka::admin::Admin::start(&config).expect("an admin");
            crate::kafka::admin::topics::delete(&admin, &topic, &|| true).expect("deleted");
            std::thread::sleep(Duration::from_millis(500));
            let sent = sender.send("user.1", "e", "2");
            sender.flush();
            until("the topic that was made again", || {
                run.ids(true).contains(&sent)
            });
        }
    }

    #[test]
    fn every_topic_of_the_prefix_is_selected() {
        let selector = TopicSelector::new(&TopicMap::one_per_channel("realtime", false), &[]);
        let table = [
            ("realtime_user_1", Some(TopicRole::Channels)),
            ("realtime_staging_user_1", Some(TopicRole::Channels)),
            ("realtime_user.1", None),
            ("realtime_", None),
            ("realtime", None),
            ("other_user_1", None),
            ("dlq.realtime_user_1", None),
            ("realtime___presence", None),
            ("realtime.__presence", Some(TopicRole::Presence)),
            ("realtime.__client", Some(TopicRole::Client)),
            ("realtime.__events", Some(TopicRole::Events)),
            ("realtime_staging.__presence", None),
        ];
        for (topic, expected) in table {
            assert_eq!(selector.role(topic), expected, "{topic}");
        }
        let dots = TopicSelector::new(&TopicMap::one_per_channel("realtime", true), &[]);
        assert_eq!(dots.role("realtime_user.1"), Some(TopicRole::Channels));
        assert_eq!(dots.role("realtime_x.__presence"), None);
    }

    #[test]
    fn grouped_topics_are_selected_by_name_and_narrowed_by_channels() {
        let pattern = |text: &str| ChannelPattern::parse(text).expect("a pattern");
        let mapping = vec![crate::topic::Mapping {
            pattern: pattern("user.*"),
            topic: "realtime.user".to_owned(),
            spec: crate::topic::TopicSpec::default(),
        }];
        let topics = TopicMap::grouped("realtime", mapping, "realtime.rest", None);
        let all = TopicSelector::new(&topics, &[]);
        assert_eq!(all.role("realtime.user"), Some(TopicRole::Channels));
        assert_eq!(all.role("realtime.rest"), Some(TopicRole::Channels));
        assert_eq!(all.role("realtime_user_1"), None);
        let some = TopicSelector::new(&topics, &[pattern("user.*")]);
        assert_eq!(some.role("realtime.user"), Some(TopicRole::Channels));
        assert_eq!(some.role("realtime.rest"), None);
        let one = TopicSelector::new(
            &TopicMap::one_per_channel("realtime", false),
            &[pattern("user.1")],
        );
        assert_eq!(one.role("realtime_user_1"), Some(TopicRole::Channels));
        assert_eq!(one.role("realtime_user_2"), None);
        assert_eq!(one.role("realtime.__presence"), Some(TopicRole::Presence));
    }
}
