//! The consumers of a process: what each has counted and where it stands, by group; those that ended are kept as sums.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::catalog as c;
use super::number::Distribution;
use super::snapshot::{labels, Labels, Snapshot};
use crate::clock::coarse_ms;
use crate::kafka::consumer::Stats;
use crate::worker::WorkerCounters;

/// Series of lag for each process; the partitions beyond are summed up.
pub(super) const MAX_LAG_SERIES: usize = 500;
/// Groups that have series of their own; a process with more has something else in mind.
pub(super) const MAX_GROUPS: usize = 100;
/// What the rest is called.
const OTHER: &str = "other";

/// Where a consumer stands, told by its own loop now and then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Records that wait for another try.
    pub parked: u64,
    /// Partitions paused because they ran too far ahead.
    pub held_back: u64,
    /// Partitions assigned.
    pub assigned: u64,
    /// Whether Kafka answers.
    pub connected: bool,
    /// Something was handled and is not committed.
    pub uncommitted: bool,
    /// Topic, partition, lag; those that are known. `None`: not asked for.
    pub lag: Option<Vec<(String, i32, u64)>>,
}

/// One consumer.
#[derive(Debug)]
pub struct ConsumerMetrics {
    group: String,
    counters: Arc<WorkerCounters>,
    stats: Arc<Stats>,
    group_stats: Mutex<GroupStats>,
    /// Since when something has been uncommitted, by [`coarse_ms`]; 0 for nothing.
    uncommitted_since: Mutex<u64>,
}

impl ConsumerMetrics {
    /// Its loop tells where it stands.
    pub fn update(&self, mut group_stats: GroupStats) {
        {
            let mut since = self.uncommitted_since.lock();
            match (group_stats.uncommitted, *since) {
                (false, _) => *since = 0,
                (true, 0) => *since = coarse_ms(),
                (true, _) => {}
            }
        }
        let mut known = self.group_stats.lock();
        if group_stats.lag.is_none() {
            group_stats.lag = known.lag.take();
        }
        *known = group_stats;
    }

    /// The totals of its loop.
    #[must_use]
    pub fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    /// ms since the last commit while something waits for one, else 0.
    #[must_use]
    pub fn commit_age_ms(&self) -> u64 {
        match *self.uncommitted_since.lock() {
            0 => 0,
            since => coarse_ms().saturating_sub(since.max(self.stats.committed_at.get())),
        }
    }

    fn totals(&self) -> Totals {
        let (counters, stats) = (&*self.counters, &*self.stats);
        Totals {
            counts: vec![
                (c::CONSUMER_MESSAGES.name, stats.consumed.get()),
                (c::CONSUMER_BYTES.name, stats.bytes.get()),
                (c::CONSUMER_HANDLED.name, counters.handled.get()),
                (c::CONSUMER_FAILURES.name, counters.failures.get()),
                (c::CONSUMER_RETRIES.name, counters.retries.get()),
                (c::CONSUMER_DEAD_LETTERED.name, counters.dead_lettered.get()),
                (c::CONSUMER_SKIPPED.name, counters.skipped.get()),
                (c::CONSUMER_MISMATCH.name, counters.mismatched.get()),
                (c::CONSUMER_DROPPED.name, counters.dropped.get()),
                (c::CONSUMER_COMMITS.name, stats.commits.get()),
                (
                    c::CONSUMER_COMMIT_FAILURES.name,
                    stats.commit_failures.get(),
                ),
                (c::CONSUMER_REBALANCES.name, stats.rebalances.get()),
                (c::CONSUMER_TRANSACTIONS.name, counters.transactions.get()),
                (
                    c::CONSUMER_TRANSACTIONS_ABORTED.name,
                    counters.aborted.get(),
                ),
            ],
            callbacks: counters.timing.callbacks.read(),
            batches: counters.timing.batches.read(),
            sizes: counters.timing.sizes.read(),
        }
    }
}

/// What a group has counted.
#[derive(Debug, Clone, Default)]
struct Totals {
    counts: Vec<(&'static str, u64)>,
    callbacks: Distribution,
    batches: Distribution,
    sizes: Distribution,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.counts.clone_from(&other.counts);
        } else {
            for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
                mine.1 += theirs.1;
            }
        }
        self.callbacks.add(&other.callbacks);
        self.batches.add(&other.batches);
        self.sizes.add(&other.sizes);
    }
}

#[derive(Debug, Default)]
struct ConsumerTable {
    active: Vec<Arc<ConsumerMetrics>>,
    ended: BTreeMap<String, Totals>,
}

/// All consumers of one process.
#[derive(Debug, Default)]
pub struct Consumers {
    table: Mutex<ConsumerTable>,
}

impl Consumers {
    /// A consumer begins.
    pub fn register(
        &self,
        group: &str,
        counters: Arc<WorkerCounters>,
        stats: Arc<Stats>,
    ) -> Arc<ConsumerMetrics> {
        let mut table = self.table.lock();
        let known = table.ended.contains_key(group)
            || table.active.iter().any(|consumer| consumer.group == group);
        let groups = table.ended.len() + table.active.len();
        let consumer = Arc::new(ConsumerMetrics {
            group: if known || groups < MAX_GROUPS {
                group.to_owned()
            } else {
                OTHER.to_owned()
            },
            counters,
            stats,
            group_stats: Mutex::default(),
            uncommitted_since: Mutex::default(),
        });
        table.active.push(Arc::clone(&consumer));
        consumer
    }

    /// It ended: what it has counted stays.
    pub fn unregister(&self, consumer: &Arc<ConsumerMetrics>) {
        consumer.counters.timing.liveness.stop();
        let mut table = self.table.lock();
        let before = table.active.len();
        table.active.retain(|known| !Arc::ptr_eq(known, consumer));
        if table.active.len() < before {
            let totals = consumer.totals();
            table
                .ended
                .entry(consumer.group.clone())
                .or_default()
                .add(&totals);
        }
    }

    /// True where there is one, or was.
    #[must_use]
    pub fn any(&self) -> bool {
        let table = self.table.lock();
        !table.active.is_empty() || !table.ended.is_empty()
    }

    /// Those that live.
    #[must_use]
    pub fn active(&self) -> Vec<Arc<ConsumerMetrics>> {
        self.table.lock().active.clone()
    }

    /// Name and pulse of each loop that is stuck for longer than `bound`.
    #[must_use]
    pub fn stuck(&self, bound: std::time::Duration) -> Vec<String> {
        let active = self.active();
        let words = active.iter().filter_map(|consumer| {
            let beat = consumer.counters.timing.liveness.read();
            beat.stuck(&format!("consumer group \"{}\"", consumer.group), bound)
        });
        words.collect()
    }

    /// Why not all of them are ready for work.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        let active = self.active();
        let away = active
            .iter()
            .find(|consumer| !consumer.group_stats.lock().connected)?;
        Some(format!(
            "consumer group \"{}\" has not reached Kafka",
            away.group
        ))
    }

    /// Everything into the snapshot.
    pub fn collect(&self, into: &mut Snapshot) {
        let (active, ended) = {
            let table = self.table.lock();
            (table.active.clone(), table.ended.clone())
        };
        for (group, totals) in ended
            .into_iter()
            .chain(active.iter().map(|one| (one.group.clone(), one.totals())))
        {
            let label = labels(&[("group", &group)]);
            for (name, count) in totals.counts {
                into.count(name, label.clone(), count);
            }
            into.histogram(&c::CONSUMER_CALLBACK, label.clone(), totals.callbacks);
            into.histogram(&c::CONSUMER_BATCH, label.clone(), totals.batches);
            into.histogram(&c::CONSUMER_BATCH_MESSAGES, label, totals.sizes);
        }
        let mut room = MAX_LAG_SERIES;
        for consumer in &active {
            collect_standing(consumer, into, &mut room);
        }
    }
}

#[allow(clippy::cast_precision_loss)] // ms of the life of a process
fn collect_standing(consumer: &ConsumerMetrics, into: &mut Snapshot, room: &mut usize) {
    let label = || labels(&[("group", &consumer.group)]);
    let group_stats = consumer.group_stats.lock().clone();
    into.gauge_of(&c::CONSUMER_PARKED, label(), group_stats.parked);
    into.gauge_of(&c::CONSUMER_HELD_BACK, label(), group_stats.held_back);
    into.gauge_of(&c::CONSUMER_ASSIGNED, label(), group_stats.assigned);
    into.gauge_of(
        &c::CONSUMER_CONNECTED,
        label(),
        u64::from(group_stats.connected),
    );
    let commit = consumer.commit_age_ms() as f64 / 1000.0;
    into.gauge(&c::CONSUMER_COMMIT_AGE, label(), commit);
    let beat = consumer.counters.timing.liveness.read();
    let round = beat.since_tick.as_secs_f64();
    into.gauge(&c::CONSUMER_POLL_AGE, label(), round);
    let callback = beat.in_callback.as_secs_f64();
    into.gauge(&c::CONSUMER_CALLBACK_AGE, label(), callback);
    for (topic, partition, lag) in group_stats.lag.into_iter().flatten() {
        let label: Labels = if *room > 0 {
            *room -= 1;
            let number = partition.to_string();
            labels(&[
                ("group", &consumer.group),
                ("topic", &topic),
                ("partition", &number),
            ])
        } else {
            labels(&[
                ("group", &consumer.group),
                ("topic", OTHER),
                ("partition", "-1"),
            ])
        };
        into.gauge_of(&c::CONSUMER_LAG, label, lag);
    }
}
