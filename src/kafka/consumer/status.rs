//! The state of a consumer, for the metrics and the log: counters, its share of the group, and what it waits for.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::BrokerConfig;
use crate::kafka::client::{self, Client, Reachability};
use crate::log::names;
use crate::metrics::number::SingleWriterCounter;
use crate::runtime::{self, clock};

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
    /// Time of the last one, by [`clock::coarse_ms`]; 0 for none.
    pub committed_at: SingleWriterCounter,
    /// Commits that failed.
    pub commit_failures: SingleWriterCounter,
    /// Group rebalances.
    pub rebalances: SingleWriterCounter,
    /// The last error that Kafka reported.
    last_error: Mutex<Option<String>>,
}

impl Stats {
    /// Kafka accepted a commit.
    pub(super) fn committed(&self) {
        self.commits.add(1);
        self.committed_at.set(clock::coarse_ms());
    }

    pub(super) fn set_last_error(&self, text: String) {
        *self.last_error.lock() = Some(text);
    }
}

/// The state of a consumer, updated by its loop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Records waiting for a retry, or behind one that does.
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

/// A wait is reported after this time.
const REPORT_AFTER: Duration = Duration::from_secs(10);
/// A member that was assigned nothing for this long after joining has nothing to expect.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The wait of a consumer without partitions: for a broker, topics, or the group. If it lasts it is logged, and shown
/// as the last error.
pub struct Waiting {
    client: Client,
    config: Arc<BrokerConfig>,
    stats: Arc<Stats>,
    /// When a broker responded first; later, when partitions were last revoked or a run began.
    joining_since: Cell<Option<Instant>>,
    /// Since when the consumer has no partitions, by [`clock::coarse_ms`]; 0 while it has some.
    since: Cell<u64>,
    /// The reason of a reported wait.
    reason: RefCell<Option<String>>,
}

impl Waiting {
    pub(super) fn new(client: &Client, config: &Arc<BrokerConfig>, stats: &Arc<Stats>) -> Self {
        Self {
            client: client.clone(),
            config: Arc::clone(config),
            stats: Arc::clone(stats),
            joining_since: Cell::new(None),
            since: Cell::new(0),
            reason: RefCell::default(),
        }
    }

    /// True if a broker has responded recently, see [`Reachability`].
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.stats.reachability.is_reachable()
    }

    /// The reason of a reported wait; otherwise the last error that Kafka reported.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        let reason = self.reason.borrow().clone();
        reason.or_else(|| self.stats.last_error.lock().clone())
    }

    /// Sends a request if no broker has responded for a while: without records nothing else shows that Kafka can be
    /// reached.
    pub(super) fn probe_broker(&self) {
        if self.joining_since.get().is_none() && self.is_connected() {
            self.joining_since.set(Some(Instant::now()));
        }
        if self.stats.reachability.probe_due(&self.client, false) {
            client::request_metadata(&self.client, None, Duration::from_millis(50));
        }
    }

    /// The time to be assigned something starts again: partitions were revoked, or a run begins.
    pub(super) fn restart(&self) {
        if self.joining_since.get().is_some() {
            self.joining_since.set(Some(Instant::now()));
        }
    }

    /// True where the group has had the time to assign something.
    pub(super) fn is_late(&self) -> bool {
        let since = self.joining_since.get();
        since.is_some_and(|since| since.elapsed() >= JOIN_TIMEOUT)
    }

    /// A new run begins, or partitions were assigned.
    pub(super) fn reset(&self) {
        if self.since.replace(0) != 0 {
            self.reason.take();
        }
    }

    /// Called by each fetch without partitions: logs a warning once that has lasted for [`REPORT_AFTER`], and again if
    /// the reason changes. `missing`: subscribed topics that do not exist.
    pub(super) fn update(&self, now: u64, missing: impl FnOnce() -> Vec<String>) {
        let since = self.since.get();
        if since == 0 {
            self.since.set(now.max(1));
            return;
        }
        let waited = now.saturating_sub(since);
        if u128::from(waited) < REPORT_AFTER.as_millis() {
            return;
        }
        let reason = self.reason_for(&missing());
        if self.reason.borrow().as_ref() == Some(&reason) {
            return;
        }
        runtime::warn(format!("{reason} (for {} s).", waited / 1000));
        self.reason.replace(Some(reason));
    }

    pub(super) fn reason_for(&self, missing: &[String]) -> String {
        let detail = self.stats.last_error.lock();
        let detail = detail.as_ref();
        let detail = detail.map_or_else(String::new, |error| format!("; last error: {error}"));
        let what = if !self.is_connected() {
            let brokers = &self.config.brokers;
            format!("Kafka at {brokers}, which does not answer{detail}")
        } else if missing.is_empty() {
            format!(
                "partitions: no subscribed topic exists, the group has more members than partitions, or its \
                 coordinator does not answer{detail}"
            )
        } else {
            let names = names(missing.iter());
            format!("topics that do not exist: {names}")
        };
        let group = &self.config.consumer_group;
        format!("Consumer group \"{group}\" is waiting for {what}")
    }
}
