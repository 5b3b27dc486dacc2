//! The consumers of a process: what each has counted and where it stands, by group; those that ended are kept as sums.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::catalog as c;
use super::number::Distribution;
use super::snapshot::{labels, Labels, Snapshot};
use crate::clock::coarse_ms;
use crate::kafka::consumer::Stats;
use crate::worker::Tally;

/// Series of lag for each process; the partitions beyond are summed up.
pub(super) const MOST_LAGS: usize = 500;
/// Groups that have series of their own; a process with more has something else in mind.
pub(super) const MOST_GROUPS: usize = 100;
/// What the rest is called.
const OTHER: &str = "other";

/// Where a consumer stands, told by its own loop now and then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
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
pub struct Series {
    group: String,
    tally: Arc<Tally>,
    stats: Arc<Stats>,
    standing: Mutex<Standing>,
    /// Since when something has been uncommitted, by [`coarse_ms`]; 0 for nothing.
    uncommitted_since: Mutex<u64>,
}

impl Series {
    /// Its loop tells where it stands.
    pub fn stands(&self, mut standing: Standing) {
        {
            let mut since = self.uncommitted_since.lock();
            match (standing.uncommitted, *since) {
                (false, _) => *since = 0,
                (true, 0) => *since = coarse_ms(),
                (true, _) => {}
            }
        }
        let mut known = self.standing.lock();
        if standing.lag.is_none() {
            standing.lag = known.lag.take();
        }
        *known = standing;
    }

    /// The totals of its loop.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
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
        let (tally, stats) = (&*self.tally, &*self.stats);
        Totals {
            counts: vec![
                (c::CONSUMER_MESSAGES.name, stats.consumed.get()),
                (c::CONSUMER_BYTES.name, stats.bytes.get()),
                (c::CONSUMER_HANDLED.name, tally.handled.get()),
                (c::CONSUMER_FAILURES.name, tally.failures.get()),
                (c::CONSUMER_RETRIES.name, tally.retries.get()),
                (c::CONSUMER_DEAD_LETTERED.name, tally.dead_lettered.get()),
                (c::CONSUMER_SKIPPED.name, tally.skipped.get()),
                (c::CONSUMER_MISMATCH.name, tally.mismatched.get()),
                (c::CONSUMER_DROPPED.name, tally.dropped.get()),
                (c::CONSUMER_COMMITS.name, stats.commits.get()),
                (
                    c::CONSUMER_COMMIT_FAILURES.name,
                    stats.commit_failures.get(),
                ),
                (c::CONSUMER_REBALANCES.name, stats.rebalances.get()),
                (c::CONSUMER_TRANSACTIONS.name, tally.transactions.get()),
                (c::CONSUMER_TRANSACTIONS_ABORTED.name, tally.aborted.get()),
            ],
            callbacks: tally.timing.callbacks.read(),
            batches: tally.timing.batches.read(),
            sizes: tally.timing.sizes.read(),
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
struct Table {
    living: Vec<Arc<Series>>,
    ended: BTreeMap<String, Totals>,
}

/// All consumers of one process.
#[derive(Debug, Default)]
pub struct Consumers {
    table: Mutex<Table>,
}

impl Consumers {
    /// A consumer begins.
    pub fn join(&self, group: &str, tally: Arc<Tally>, stats: Arc<Stats>) -> Arc<Series> {
        let mut table = self.table.lock();
        let known = table.ended.contains_key(group)
            || table.living.iter().any(|series| series.group == group);
        let groups = table.ended.len() + table.living.len();
        let series = Arc::new(Series {
            group: if known || groups < MOST_GROUPS {
                group.to_owned()
            } else {
                OTHER.to_owned()
            },
            tally,
            stats,
            standing: Mutex::default(),
            uncommitted_since: Mutex::default(),
        });
        table.living.push(Arc::clone(&series));
        series
    }

    /// It ended: what it has counted stays.
    pub fn leave(&self, series: &Arc<Series>) {
        series.tally.timing.pulse.rests();
        let mut table = self.table.lock();
        let before = table.living.len();
        table.living.retain(|known| !Arc::ptr_eq(known, series));
        if table.living.len() < before {
            let totals = series.totals();
            table
                .ended
                .entry(series.group.clone())
                .or_default()
                .add(&totals);
        }
    }

    /// True where there is one, or was.
    #[must_use]
    pub fn any(&self) -> bool {
        let table = self.table.lock();
        !table.living.is_empty() || !table.ended.is_empty()
    }

    /// Those that live.
    #[must_use]
    pub fn living(&self) -> Vec<Arc<Series>> {
        self.table.lock().living.clone()
    }

    /// Name and pulse of each loop that is stuck for longer than `bound`.
    #[must_use]
    pub fn stuck(&self, bound: std::time::Duration) -> Vec<String> {
        let living = self.living();
        let words = living.iter().filter_map(|series| {
            let beat = series.tally.timing.pulse.read();
            beat.stuck(&format!("consumer group \"{}\"", series.group), bound)
        });
        words.collect()
    }

    /// Why not all of them are ready for work.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        let living = self.living();
        let away = living
            .iter()
            .find(|series| !series.standing.lock().connected)?;
        Some(format!(
            "consumer group \"{}\" has not reached Kafka",
            away.group
        ))
    }

    /// Everything into the snapshot.
    pub fn collect(&self, into: &mut Snapshot) {
        let (living, ended) = {
            let table = self.table.lock();
            (table.living.clone(), table.ended.clone())
        };
        for (group, totals) in ended
            .into_iter()
            .chain(living.iter().map(|one| (one.group.clone(), one.totals())))
        {
            let label = labels(&[("group", &group)]);
            for (name, count) in totals.counts {
                into.count(name, label.clone(), count);
            }
            into.spread(&c::CONSUMER_CALLBACK, label.clone(), totals.callbacks);
            into.spread(&c::CONSUMER_BATCH, label.clone(), totals.batches);
            into.spread(&c::CONSUMER_BATCH_MESSAGES, label, totals.sizes);
        }
        let mut room = MOST_LAGS;
        for series in &living {
            collect_standing(series, into, &mut room);
        }
    }
}

#[allow(clippy::cast_precision_loss)] // ms of the life of a process
fn collect_standing(series: &Series, into: &mut Snapshot, room: &mut usize) {
    let label = || labels(&[("group", &series.group)]);
    let standing = series.standing.lock().clone();
    into.gauge_of(&c::CONSUMER_PARKED, label(), standing.parked);
    into.gauge_of(&c::CONSUMER_HELD_BACK, label(), standing.held_back);
    into.gauge_of(&c::CONSUMER_ASSIGNED, label(), standing.assigned);
    into.gauge_of(
        &c::CONSUMER_CONNECTED,
        label(),
        u64::from(standing.connected),
    );
    let commit = series.commit_age_ms() as f64 / 1000.0;
    into.gauge(&c::CONSUMER_COMMIT_AGE, label(), commit);
    let beat = series.tally.timing.pulse.read();
    let round = beat.since_round.as_secs_f64();
    into.gauge(&c::CONSUMER_POLL_AGE, label(), round);
    let callback = beat.in_callback.as_secs_f64();
    into.gauge(&c::CONSUMER_CALLBACK_AGE, label(), callback);
    for (topic, partition, lag) in standing.lag.into_iter().flatten() {
        let label: Labels = if *room > 0 {
            *room -= 1;
            let number = partition.to_string();
            labels(&[
                ("group", &series.group),
                ("topic", &topic),
                ("partition", &number),
            ])
        } else {
            labels(&[
                ("group", &series.group),
                ("topic", OTHER),
                ("partition", "-1"),
            ])
        };
        into.gauge_of(&c::CONSUMER_LAG, label, lag);
    }
}
