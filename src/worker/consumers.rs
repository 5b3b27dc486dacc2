//! Metrics of the consumers of a process by group: running consumers plus the totals of closed consumers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::WorkerCounters;
use crate::kafka::consumer::{GroupStats, Stats};
use crate::metrics::catalog as c;
use crate::metrics::number::Distribution;
use crate::metrics::snapshot::{labels, Labels, Snapshot};
use crate::metrics::Collector;
use crate::runtime::clock::coarse_ms;
use crate::runtime::PerProcess;

/// Maximum number of lag series in a process; further partitions are summed.
const MAX_LAG_SERIES: usize = 500;
/// Maximum number of groups with their own series: bounds the cardinality of the label `group`.
const MAX_GROUPS: usize = 100;
/// The label value of the remaining groups and topics.
const OTHER: &str = "other";

/// The metrics of one consumer.
#[derive(Debug)]
pub struct ConsumerMetrics {
    group: String,
    counters: Arc<WorkerCounters>,
    stats: Arc<Stats>,
    group_stats: Mutex<GroupStats>,
    /// Since when handled records are uncommitted, by [`coarse_ms`]; 0 for none.
    uncommitted_since: Mutex<u64>,
}

impl ConsumerMetrics {
    /// Updates the state, from the loop of the consumer.
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

    #[must_use]
    pub fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    /// ms since the last commit while handled records are uncommitted, otherwise 0.
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

/// The counter values of a group.
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

/// The consumers of this process.
pub static CONSUMERS: PerProcess<Consumers> = PerProcess::new();

#[derive(Debug, Default)]
pub struct Consumers {
    table: Mutex<ConsumerTable>,
}

impl Consumers {
    /// Adds a consumer that has started.
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

    /// Removes a consumer that has closed and keeps its counter values.
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

    #[must_use]
    pub fn active(&self) -> Vec<Arc<ConsumerMetrics>> {
        self.table.lock().active.clone()
    }
}

impl Collector for Consumers {
    fn source(&self) -> &'static str {
        "consumers"
    }

    fn is_active(&self) -> bool {
        let table = self.table.lock();
        !table.active.is_empty() || !table.ended.is_empty()
    }

    fn stuck(&self, bound: Duration) -> Vec<String> {
        let active = self.active();
        let words = active.iter().filter_map(|consumer| {
            let age = consumer.counters.timing.liveness.read();
            age.stuck(&format!("consumer group \"{}\"", consumer.group), bound)
        });
        words.collect()
    }

    fn ready(&self) -> Result<(), String> {
        let active = self.active();
        let mut all = active.iter();
        match all.find(|consumer| !consumer.stats.reachability.is_reachable()) {
            Some(closed) => Err(format!(
                "consumer group \"{}\" is not connected to Kafka",
                closed.group
            )),
            None => Ok(()),
        }
    }

    fn collect(&self, into: &mut Snapshot) {
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
        let mut free_series = MAX_LAG_SERIES;
        for consumer in &active {
            collect_group_stats(consumer, into, &mut free_series);
        }
    }
}

#[allow(clippy::cast_precision_loss)] // ms of the life of a process
fn collect_group_stats(consumer: &ConsumerMetrics, into: &mut Snapshot, free_series: &mut usize) {
    let label = || labels(&[("group", &consumer.group)]);
    let group_stats = consumer.group_stats.lock().clone();
    into.gauge_of(&c::CONSUMER_PARKED, label(), group_stats.queued_for_retry);
    into.gauge_of(&c::CONSUMER_HELD_BACK, label(), group_stats.held_back);
    into.gauge_of(&c::CONSUMER_TRANSIENT, label(), group_stats.transient);
    let wait = group_stats.transient_wait.as_secs_f64();
    into.gauge(&c::CONSUMER_TRANSIENT_WAIT, label(), wait);
    into.gauge_of(
        &c::CONSUMER_OPEN_CIRCUITS,
        label(),
        group_stats.open_circuits,
    );
    into.gauge_of(&c::CONSUMER_ASSIGNED, label(), group_stats.assigned);
    into.gauge_of(
        &c::CONSUMER_CONNECTED,
        label(),
        u64::from(consumer.stats.reachability.is_reachable()),
    );
    let commit = consumer.commit_age_ms() as f64 / 1000.0;
    into.gauge(&c::CONSUMER_COMMIT_AGE, label(), commit);
    let age = consumer.counters.timing.liveness.read();
    let round = age.since_tick.as_secs_f64();
    into.gauge(&c::CONSUMER_POLL_AGE, label(), round);
    let callback = age.in_callback.as_secs_f64();
    into.gauge(&c::CONSUMER_CALLBACK_AGE, label(), callback);
    for (topic, partition, lag) in group_stats.lag.into_iter().flatten() {
        let label: Labels = if *free_series > 0 {
            *free_series -= 1;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::snapshot::SampleValue;

    fn series(consumers: &Consumers, name: &str) -> usize {
        let mut snapshot = Snapshot::default();
        consumers.collect(&mut snapshot);
        let found = snapshot.families().find(|f| f.metric.name == name);
        found.map_or(0, |family| family.samples.len())
    }

    #[test]
    fn totals_of_closed_consumers_are_kept() {
        let consumers = Consumers::default();
        for _ in 0..2 {
            let one = consumers.register("g", Arc::default(), Arc::default());
            one.counters().handled.add(3);
            consumers.unregister(&one);
            consumers.unregister(&one);
        }
        let mut snapshot = Snapshot::default();
        consumers.collect(&mut snapshot);
        let mut families = snapshot.families();
        let handled = families.find(|f| f.metric.name == "realtime_consumer_handled");
        let value = handled.and_then(|family| family.samples.values().next().cloned());
        assert_eq!(value, Some(SampleValue::Count(6)));
        assert_eq!(series(&consumers, "realtime_consumer_parked"), 0);
    }

    #[test]
    fn label_cardinality_is_bounded() {
        let consumers = Consumers::default();
        let one = consumers.register("g", Arc::default(), Arc::default());
        let lag = (0..2000).map(|n| (format!("t{n}"), 0, 1)).collect();
        one.update(GroupStats {
            lag: Some(lag),
            ..GroupStats::default()
        });
        assert_eq!(
            series(&consumers, "realtime_consumer_lag"),
            MAX_LAG_SERIES + 1
        );
        one.update(GroupStats::default());
        assert_eq!(
            series(&consumers, "realtime_consumer_lag"),
            MAX_LAG_SERIES + 1
        );
        for n in 0..1000 {
            consumers.register(&format!("g{n}"), Arc::default(), Arc::default());
        }
        assert_eq!(
            series(&consumers, "realtime_consumer_handled"),
            MAX_GROUPS + 1
        );
    }

    #[test]
    fn the_commit_age_is_zero_unless_records_are_uncommitted() {
        let consumers = Consumers::default();
        let one = consumers.register("g", Arc::default(), Arc::default());
        assert_eq!(one.commit_age_ms(), 0);
        let waits = |uncommitted| GroupStats {
            uncommitted,
            ..GroupStats::default()
        };
        one.update(waits(true));
        std::thread::sleep(std::time::Duration::from_millis(30));
        assert!(one.commit_age_ms() >= 20);
        one.update(waits(false));
        assert_eq!(one.commit_age_ms(), 0);
    }
}
