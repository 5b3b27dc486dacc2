//! State of a consumer: assignment, lag, reachability.

use std::time::{Duration, Instant};

use super::partition::Partition;
use super::Consumer;
use crate::kafka::client;
use crate::topic::TopicFilter;

/// A member that was assigned nothing for this long after joining has nothing to expect.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A list of so many topics each second takes a hundredth of a core and more.
const MANY_TOPICS: usize = 100;

/// True where the periodic refresh of metadata is to be slow. A missing topic is looked up each second, but not every
/// topic of the cluster because of a pattern, nor hundreds that are all there.
pub(super) fn refreshes_slowly(filters: &[TopicFilter]) -> bool {
    let is_pattern = |filter: &TopicFilter| matches!(filter, TopicFilter::Regex(_));
    filters.len() >= MANY_TOPICS || filters.iter().any(is_pattern)
}

/// The state of a consumer, updated by its loop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Records waiting for a retry.
    pub queued_for_retry: u64,
    /// Partitions paused because they are too far ahead of the committed offset.
    pub held_back: u64,
    /// Records whose last attempt failed transiently, and for how long the first of them has failed.
    pub transient: u64,
    pub transient_wait: Duration,
    /// Subscriptions that are paused because their callback fails for every record.
    pub open_circuits: u64,
    pub assigned: u64,
    /// Handled records are not committed yet.
    pub uncommitted: bool,
    /// Topic, partition, lag of the partitions whose lag is known. `None`: keep the previous values.
    pub lag: Option<Vec<(String, i32, u64)>>,
}

impl Consumer {
    /// The assignment: topic, partition, the next offset and the lag (both negative while unknown).
    #[must_use]
    pub fn assignment(&self) -> Vec<(String, i32, i64, i64)> {
        let state = self.state.borrow();
        let assigned = state.records.assigned.all();
        assigned
            .map(|partition| {
                let (low, high) = self.watermarks(&partition.topic, partition.number);
                let next = match partition.next_offset() {
                    Some(next) => next,
                    None if partition.is_at_end() => high,
                    None => -1,
                };
                let lag = match (next, high) {
                    (_, high) if high < 0 => -1,
                    (next, high) if next >= 0 => (high - next).max(0),
                    (_, high) => (high - low).max(0),
                };
                (partition.topic.to_string(), partition.number, next, lag)
            })
            .collect()
    }

    /// State for the metrics. The lag of each partition takes a look-up: only on request.
    #[must_use]
    pub fn group_stats(&self, with_lag: bool) -> GroupStats {
        let uncommitted = {
            let state = self.state.borrow();
            let mut assigned = state.records.assigned.all();
            assigned.any(Partition::has_uncommitted)
        };
        let (transient, transient_wait) = self.transient_failures();
        GroupStats {
            transient: transient as u64,
            transient_wait,
            open_circuits: 0,
            queued_for_retry: self.queued_for_retry() as u64,
            held_back: self.held_back() as u64,
            assigned: self.partition_count() as u64,
            uncommitted,
            lag: with_lag.then(|| {
                let known = self.assignment().into_iter();
                known
                    .filter_map(|(topic, partition, _, lag)| {
                        Some((topic, partition, u64::try_from(lag).ok()?))
                    })
                    .collect()
            }),
        }
    }

    fn watermarks(&self, topic: &str, number: i32) -> (i64, i64) {
        client::known_watermarks(&self.client, topic, number).unwrap_or((-1, -1))
    }

    /// Number of assigned partitions.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.state.borrow().records.assigned.all().count()
    }

    /// True where nothing is assigned.
    fn is_unassigned(&self) -> bool {
        self.partition_count() == 0
    }

    /// True where every subscribed topic is missing.
    fn no_topic_exists(&self) -> bool {
        let state = self.state.borrow();
        !state.filters.is_empty()
            && state.filters.iter().all(|filter| match filter {
                TopicFilter::Exact(name) => state.waiting_for.contains(name),
                TopicFilter::Regex(_) => false,
            })
    }

    /// The topics that exist already, before patterns are subscribed. A consumer that reads from the end reads later
    /// topics from their beginning. It also waits for a broker: librdkafka, which lists the topics for a pattern,
    /// tries again after two seconds if only the coordinator is connected.
    pub(super) fn snapshot_topics(&self) {
        let patterns = |filter: &TopicFilter| matches!(filter, TopicFilter::Regex(_));
        if !self.state.borrow().filters.iter().any(patterns) {
            return;
        }
        let bound = if self.ends.reads_from_end { 2000 } else { 500 };
        let topics = client::topic_names(&self.client, Duration::from_millis(bound));
        if self.ends.reads_from_end {
            self.state.borrow_mut().known_topics = topics;
        }
    }

    /// True if a broker has responded recently, see [`Reachability`](client::Reachability).
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.stats.reachability.is_reachable()
    }

    /// Sends a request if no broker has responded for a while: without records nothing else shows that Kafka can be
    /// reached.
    pub(super) fn probe_broker(&self) {
        if self.connected_at.get().is_none() && self.is_connected() {
            self.connected_at.set(Some(Instant::now()));
        }
        if self.stats.reachability.probe_due(&self.client, false) {
            client::request_metadata(&self.client, None, Duration::from_millis(50));
        }
    }

    /// A new run begins: missing topics may exist by now, and the time to be assigned something starts again.
    pub fn begin(&self) {
        self.ends.begin();
        self.wait.reset();
        if self.connected_at.get().is_some() {
            self.connected_at.set(Some(Instant::now()));
        }
        if self.state.borrow().waiting_for.is_empty() {
            return;
        }
        if let Some(topics) = client::topic_names(&self.client, Duration::from_secs(1)) {
            self.state
                .borrow_mut()
                .waiting_for
                .retain(|topic| !topics.contains(topic));
        }
    }

    /// Nothing is assigned and nothing will be: the topics do not exist, or the group has assigned every partition to
    /// other members.
    #[must_use]
    pub fn has_no_more(&self) -> bool {
        let since = self.connected_at.get();
        let is_late = since.is_some_and(|since| since.elapsed() >= JOIN_TIMEOUT);
        self.is_unassigned() && (self.no_topic_exists() || is_late)
    }

    /// True where a rebalance waits to be processed.
    #[must_use]
    pub fn is_rebalancing(&self) -> bool {
        self.events.has_rebalance()
    }

    /// What the consumer is waiting for, while a wait is reported; otherwise the last error that Kafka reported.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        let last = || self.state.borrow().last_error.clone();
        self.wait.reason().or_else(last)
    }

    /// Subscribed topics that do not exist yet.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<String> {
        self.state.borrow().waiting_for.iter().cloned().collect()
    }

    /// Where the periodic refresh is slow ([`refreshes_slowly`], or an interval of the application), a missing exact
    /// topic is still queried every second.
    pub(super) fn refresh_missing(&self) {
        let due = self.refreshed.get().elapsed() >= Duration::from_secs(1);
        if !due {
            return;
        }
        self.refreshed.set(Instant::now());
        if self.refreshes_slowly && !self.state.borrow().waiting_for.is_empty() {
            // A full list makes librdkafka evaluate its subscription again.
            drop(client::topic_names(
                &self.client,
                Duration::from_millis(200),
            ));
        }
    }

    /// True where partitions are assigned and all of them are read to their ends.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.ends.is_at_end(&self.state)
    }

    /// Called by each fetch, see [`WaitReport`](super::idle::WaitReport).
    pub(super) fn report_wait(&self, now: u64) {
        if self.is_unassigned() {
            self.wait.update(now, || self.wait_reason());
        } else {
            self.wait.reset();
        }
    }

    pub(super) fn wait_reason(&self) -> String {
        let group = &self.config.consumer_group;
        let brokers = &self.config.brokers;
        let state = self.state.borrow();
        let detail = state.last_error.as_ref();
        let detail = detail.map_or_else(String::new, |error| format!("; last error: {error}"));
        if !self.is_connected() {
            return format!(
                "Consumer group \"{group}\" is waiting for Kafka at {brokers}, which does not answer{detail}"
            );
        }
        if !state.waiting_for.is_empty() {
            return format!(
                "Consumer group \"{group}\" is waiting for topics that do not exist: {}",
                crate::log::names(state.waiting_for.iter())
            );
        }
        format!(
            "Consumer group \"{group}\" is waiting for partitions: no subscribed topic exists, the group has more \
             members than partitions, or its coordinator does not answer{detail}"
        )
    }
}
