//! A member of a consumer group: fetches records in batches, hands them out one by one, and commits their offsets.
//!
//! Everything takes `&self`, because a callback may call the same broker, and no borrow is held while it runs. Records
//! without a result stay in here, never on the stack: a PHP fatal error jumps over the stack, and librdkafka waits for
//! a client whose messages were not destroyed.
#![allow(unsafe_code)]

mod commit;
mod fetch;
mod idle;
mod message;
pub(crate) mod partition;
pub(crate) mod partitions;
mod position;
pub mod rebalance;
pub(crate) mod records;
mod retries;
mod retry_queue;
mod status;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaType;
use rdkafka::TopicPartitionList;

use self::commit::PendingPreCommit;
use self::idle::{EndDetector, FetchWait, WaitReport};
use self::message::FetchedMessage;
use self::rebalance::{Event, Events};
use self::records::AssignedRecords;
use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::kafka::client::Reachability;
use crate::kafka::client::{self, Client, Conf, EventQueue};
use crate::metrics::number::SingleWriterCounter;
use crate::topic::TopicFilter;

pub use commit::{CommitMetadata, PreCommit};
pub use message::{MessageId, Record};
pub use position::Position;
pub use status::GroupStats;

/// Maximum wait for a broker on this machine, to detect an embedded broker.
const LOCAL_PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// An embedded broker lets a restarting group wait for the session of the previous member, even if that has left:
/// sessions are short there, unless the application configures them. False where it does.
fn shorten_session_timeout(config: &BrokerConfig, properties: &mut Vec<(String, String)>) -> bool {
    let mut changed = false;
    let by_broker = properties
        .iter()
        .any(|(name, value)| name == "group.protocol" && value == "consumer");
    for (name, value) in [
        ("session.timeout.ms", "1500"),
        ("heartbeat.interval.ms", "500"),
        ("fetch.wait.max.ms", "10"),
    ] {
        if by_broker && name != "fetch.wait.max.ms" {
            // Set by the broker for this protocol; librdkafka refuses the properties.
            continue;
        }
        if config.consumer_overrides.get(name).is_none() {
            properties.retain(|(known, _)| known != name);
            properties.push((name.to_owned(), value.to_owned()));
            changed = true;
        }
    }
    changed
}

/// Counters of one consumer; its thread writes them, any thread may read them.
#[derive(Debug, Default)]
pub struct Stats {
    pub reachability: Arc<Reachability>,
    /// Records taken from the fetch queue.
    pub consumed: SingleWriterCounter,
    /// Bytes of their keys and values.
    pub bytes: SingleWriterCounter,
    /// Commits that Kafka accepted.
    pub commits: SingleWriterCounter,
    /// Time of the last one, by [`crate::runtime::clock::coarse_ms`]; 0 for none.
    pub committed_at: SingleWriterCounter,
    /// Commits that failed.
    pub commit_failures: SingleWriterCounter,
    /// Group rebalances.
    pub rebalances: SingleWriterCounter,
}

impl Stats {
    /// Kafka accepted a commit.
    pub(super) fn committed(&self) {
        self.commits.add(1);
        self.committed_at.set(crate::runtime::clock::coarse_ms());
    }
}

pub struct Consumer {
    pub(super) client: Client,
    queue: EventQueue,
    pub(super) commits: EventQueue,
    pub(super) config: Arc<BrokerConfig>,
    events: Arc<Events>,
    state: RefCell<State>,
    pub stats: Arc<Stats>,
    /// A missing topic is not found by the periodic refresh of metadata within a second.
    refreshes_slowly: bool,
    pub(super) last_commit: Cell<u64>,
    refreshed: Cell<Instant>,
    /// Time of the last rewind or attempt at one.
    last_rewind: Cell<u64>,
    polled: Cell<u64>,
    connected_at: Cell<Option<Instant>>,
    fetch_wait: FetchWait,
    ends: EndDetector,
    wait: WaitReport,
    closed: Cell<bool>,
}

impl Consumer {
    /// Creates the client; it connects when [`Consumer::subscribe`] is called. `filters`: the topics of the first
    /// subscription. `reports_eof`: ends of partitions are reported, for consumers that stop there; it costs speed.
    ///
    /// # Errors
    /// Configuration: properties that librdkafka refuses.
    pub fn start(
        config: &Arc<BrokerConfig>,
        filters: &[TopicFilter],
        reports_eof: bool,
    ) -> Result<Self> {
        let mut properties = config.consumer_properties();
        properties.retain(|(name, _)| name != "enable.partition.eof");
        properties.push(("enable.partition.eof".to_owned(), reports_eof.to_string()));
        crate::kafka::embedded::resolve(config, &mut properties)?;
        let refresh = "topic.metadata.refresh.interval.ms";
        let refreshes_slowly =
            status::refreshes_slowly(filters) || config.consumer_overrides.get(refresh).is_some();
        if !refreshes_slowly {
            // A missing topic is queried every second.
            properties.retain(|(name, _)| name != refresh);
            properties.push((refresh.to_owned(), "1000".to_owned()));
        }
        let here = super::embedded::local(&config.brokers).is_some();
        if here {
            shorten_session_timeout(config, &mut properties);
        }
        let reads_from_end = properties.iter().any(|(name, value)| {
            name == "auto.offset.reset" && matches!(value.as_str(), "latest" | "largest" | "end")
        });
        let events = Arc::<Events>::default();
        let mut client = Self::client_with(&properties, &events)?;
        let may_be_embedded = !here && config.is_local();
        let is_embedded = may_be_embedded
            && client::cluster_id_of_idle(&client, LOCAL_PROBE_TIMEOUT)
                .is_some_and(|id| client::is_mock(&id));
        if is_embedded && shorten_session_timeout(config, &mut properties) {
            client = Self::client_with(&properties, &events)?;
        }
        let fetch_wait = FetchWait::new(&client, config, &properties, here || is_embedded);
        let ends = EndDetector::new(&client, reports_eof, reads_from_end);
        let stats = Arc::<Stats>::default();
        if !client.report_responses(&stats.reachability) {
            return Err(Error::configuration(
                "librdkafka does not report responses to this extension; its version is not compatible.",
            ));
        }
        let (queue, commits) = (EventQueue::consumer(&client), EventQueue::new(&client));
        Ok(Self {
            client,
            queue,
            commits,
            config: Arc::clone(config),
            events,
            state: RefCell::default(),
            stats,
            refreshes_slowly,
            last_commit: Cell::new(crate::runtime::clock::coarse_ms()),
            refreshed: Cell::new(Instant::now()),
            last_rewind: Cell::new(0),
            polled: Cell::new(0),
            connected_at: Cell::new(None),
            fetch_wait,
            ends,
            wait: WaitReport::default(),
            closed: Cell::new(false),
        })
    }

    fn client_with(properties: &[(String, String)], events: &Arc<Events>) -> Result<Client> {
        let mut conf = Conf::new(properties, "consumer_config")?;
        conf.set_consumer_events(events);
        rebalance::watch::<Events>(properties, &mut conf)?;
        conf.into_client(RDKafkaType::RD_KAFKA_CONSUMER)
    }

    /// The client, for transactions.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    #[must_use]
    pub fn config(&self) -> &Arc<BrokerConfig> {
        &self.config
    }

    /// True in a forked child: the client belongs to the parent.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.client.is_inherited()
    }

    /// Subscribes to these topics, replacing what was subscribed before. `subscriptions` is the hash that goes into the
    /// metadata of commits.
    ///
    /// # Errors
    /// Configuration: a topic name or pattern that librdkafka refuses.
    pub fn subscribe(&self, filters: Vec<TopicFilter>, subscriptions: String) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for filter in &filters {
            let (TopicFilter::Exact(name) | TopicFilter::Regex(name)) = filter;
            list.add_topic_unassigned(name);
        }
        {
            let mut state = self.state.borrow_mut();
            state.subscriptions = subscriptions;
            if state.filters == filters {
                return Ok(());
            }
            // librdkafka reports a missing topic once, also if it is subscribed again.
            let is_wanted = |topic: &String| filters.contains(&TopicFilter::Exact(topic.clone()));
            state.waiting_for.retain(is_wanted);
            state.filters = filters;
        }
        self.snapshot_topics();
        self.client.subscribe(&list).map_err(|code| {
            client::to_error(
                code,
                "Kafka's client cannot subscribe",
                "",
                &self.config.brokers,
            )
        })
    }

    /// A permanent error that Kafka reported, once.
    pub fn take_fatal_error(&self) -> Option<Error> {
        self.state.borrow_mut().fatal_error.take()
    }

    /// Commits nothing (see [`Consumer::commit_now`]), leaves the group and ends the threads, within about three
    /// seconds. Idempotent; does nothing in a forked child.
    pub fn close(&self) {
        if self.is_inherited() || self.closed.replace(true) {
            return;
        }
        self.events.closing.store(true, Ordering::Release);
        // librdkafka waits for messages that were not destroyed.
        self.state.borrow_mut().records.clear();
        let close_queue = EventQueue::new(&self.client);
        self.client.leave_group(&close_queue);
        while let Some(event) = self.events.next() {
            if let Event::Assign(_) | Event::Revoke(_) = event {
                // The group waits for a response to a pending rebalance. From here on any response revokes everything;
                // before the call above, a response to an assignment would have been refused.
                self.client.unassign_all();
            }
        }
        let until = Instant::now() + crate::runtime::clock::bounded(Duration::from_secs(3));
        let mut closed = false;
        while !closed && Instant::now() < until {
            // As messages: prefetched records cannot be served by callbacks.
            drop(close_queue.consume(Duration::from_millis(50)));
            closed = self.client.has_left_group();
        }
        // librdkafka would wait without a bound for a group that was not left in time.
        self.client.destroy_with(if closed {
            client::NO_CONSUMER_CLOSE
        } else {
            client::NO_CONSUMER_CLOSE | client::IMMEDIATE
        });
        drop(close_queue);
        // SAFETY: its messages are gone, and a closed consumer does nothing.
        unsafe {
            self.queue.close();
            self.commits.close();
            self.client.end();
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.is_inherited() {
            // The messages belong to the parent's client: a child must not touch them.
            std::mem::forget(std::mem::take(&mut self.state.get_mut().records));
        }
        self.close();
    }
}

/// State that changes while consuming. Borrowed briefly, never while a callback runs.
#[derive(Default)]
struct State {
    records: AssignedRecords<FetchedMessage>,
    /// Seeks from inside the `assigned` callback, which take effect with the assignment.
    seeks: HashMap<(String, i32), i64>,
    assigning: bool,
    /// Partitions paused inside the `assigned` callback.
    pauses: Vec<(String, i32)>,
    waiting_for: BTreeSet<String>,
    /// Topics that appeared after subscribing.
    late: HashSet<String>,
    /// Partitions whose commit metadata could not be read yet.
    metadata_unread: Vec<(String, i32)>,
    known_topics: Option<HashSet<String>>,
    filters: Vec<TopicFilter>,
    last_error: Option<String>,
    fatal_error: Option<Error>,
    /// The number of the commit whose response is pending.
    pending_commit: Option<usize>,
    pre_commit: Option<PendingPreCommit>,
    subscriptions: String,
    conflict: bool,
}

impl State {
    /// True for a topic that did not exist when the consumer subscribed.
    fn is_late(&self, topic: &str) -> bool {
        let unknown = |known: &HashSet<String>| !known.contains(topic);
        self.late.contains(topic) || self.known_topics.as_ref().is_some_and(unknown)
    }

    /// A commit response arrived.
    fn on_commit_response(&mut self, number: usize, accepted: bool) {
        if self.pending_commit == Some(number) {
            self.pending_commit = None;
        }
        if let Some(pre_commit) = &mut self.pre_commit {
            pre_commit.answer(number, accepted);
        }
    }

    /// The pre-commit, if it is complete.
    fn take_completed(&mut self) -> Option<PendingPreCommit> {
        self.pre_commit
            .take_if(|pre_commit| !pre_commit.is_pending())
    }
}
