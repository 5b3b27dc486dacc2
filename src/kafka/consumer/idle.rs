//! A consumer to which no record comes: it waits longer in Kafka, detects the ends of its partitions, and reports what
//! it waits for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::partition::Partition;
use super::State;
use crate::config::BrokerConfig;
use crate::kafka::client::{self, Client};
use crate::log::Level;
use crate::runtime;
use crate::runtime::clock::{bounded, coarse_ms};

const PROPERTY: &str = "fetch.wait.max.ms";
/// The waits of an idle consumer, and after how many more ms without a record, or a change of the partitions, it uses
/// them. The first is librdkafka's default.
const LONGER: [(u64, &str); 2] = [(2000, "500"), (8000, "1000")];
/// With fewer partitions an idle consumer takes less than a hundredth of a core.
const MANY_PARTITIONS: usize = 100;

/// Kafka answers a waiting request as soon as there is a record, so a record does not come later. The requests take
/// CPU: each names every partition, for each partition of a response librdkafka searches all topics, and
/// `fetch.wait.max.ms` decides how many requests an idle consumer sends. It is short at first because a partition that
/// was assigned, resumed or moved is part of the next request only.
pub(super) struct FetchWait {
    client: Client,
    /// The value that the client was created with; `None` if it stays.
    short: Option<String>,
    /// Number of steps in [`LONGER`].
    steps: Cell<usize>,
    /// Time of the last record, change of the partitions, or step.
    since: Cell<u64>,
}

impl FetchWait {
    /// `is_embedded`: the embedded broker does not wake a waiting request.
    pub fn new(
        client: &Client,
        config: &BrokerConfig,
        properties: &[(String, String)],
        is_embedded: bool,
    ) -> Self {
        let stays = is_embedded || config.consumer_overrides.get(PROPERTY).is_some();
        let value = properties.iter().find(|(name, _)| name == PROPERTY);
        Self {
            client: client.clone(),
            short: value.map(|(_, value)| value.clone()).filter(|_| !stays),
            steps: Cell::new(0),
            since: Cell::new(coarse_ms()),
        }
    }

    /// A record came, or the partitions changed.
    #[inline]
    pub fn shorten(&self) {
        self.since.set(coarse_ms());
        if self.steps.get() > 0 {
            self.set(0);
        }
    }

    /// No record came.
    pub fn lengthen(&self, partitions: impl FnOnce() -> usize) {
        let Some((idle_ms, _)) = LONGER.get(self.steps.get()) else {
            return;
        };
        if coarse_ms().saturating_sub(self.since.get()) < *idle_ms {
            return;
        }
        if partitions() >= MANY_PARTITIONS {
            self.set(self.steps.get() + 1);
        }
        self.since.set(coarse_ms());
    }

    #[cold]
    fn set(&self, steps: usize) {
        let Some(short) = self.short.as_deref() else {
            return;
        };
        let value = steps.checked_sub(1).map_or(short, |step| LONGER[step].1);
        self.client.set_number(PROPERTY, value);
        self.steps.set(steps);
    }

    /// The value in use.
    #[cfg(test)]
    pub fn ms(&self) -> String {
        self.client.property(PROPERTY).expect("a known property")
    }
}

/// Interval of end queries.
const EVERY: Duration = Duration::from_millis(200);
/// Maximum wait for one query.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Wait without new records before an end that is never reached counts as reached: the last offsets are transaction
/// markers, or were compacted away.
const END_GRACE: Duration = Duration::from_secs(2);

/// Detects that every assigned partition is read to its end: by the ends that librdkafka reports or, for a consumer
/// started without these reports, by queries.
pub(super) struct EndDetector {
    client: Client,
    pub reports_eof: bool,
    pub reads_from_end: bool,
    /// Time of the last fetch or assignment, and of the last end query.
    last_fetch: Cell<Instant>,
    last_query: Cell<Instant>,
    /// The reported ends were queried in this run.
    confirmed: Cell<bool>,
}

impl EndDetector {
    pub fn new(client: &Client, reports_eof: bool, reads_from_end: bool) -> Self {
        Self {
            client: client.clone(),
            reports_eof,
            reads_from_end,
            last_fetch: Cell::new(Instant::now()),
            last_query: Cell::new(Instant::now()),
            confirmed: Cell::new(false),
        }
    }

    /// A new run begins.
    pub fn begin(&self) {
        self.confirmed.set(false);
        self.fetched();
    }

    /// A record came, or partitions were assigned.
    #[inline]
    pub fn fetched(&self) {
        self.last_fetch.set(Instant::now());
    }

    /// True where partitions are assigned and all of them are read to their ends.
    pub fn is_at_end(&self, state: &RefCell<State>) -> bool {
        {
            let state = state.borrow();
            let mut assigned = state.records.assigned.all().peekable();
            let busy = !state.records.is_drained() || assigned.peek().is_none();
            if busy || (self.reports_eof && !assigned.all(Partition::is_at_end)) {
                return false;
            }
        }
        if self.reports_eof {
            return self.confirm(state);
        }
        // This consumer was started by a consume() that does not stop at the end; a new one would have to rejoin the
        // group.
        if self.last_query.get().elapsed() < EVERY {
            return false;
        }
        self.last_query.set(Instant::now());
        self.last_fetch.get().elapsed() >= EVERY && self.all_at_end(state)
    }

    fn all_at_end(&self, state: &RefCell<State>) -> bool {
        let quiet = self.last_fetch.get().elapsed() >= END_GRACE;
        let places: Vec<(Rc<str>, i32, Option<i64>, bool)> = {
            let state = state.borrow();
            let assigned = state.records.assigned.all();
            assigned
                .map(|one| {
                    let next = one.next_offset();
                    let is_paused = one.paused || one.rewind_to().is_some();
                    (Rc::clone(&one.topic), one.number, next, is_paused)
                })
                .collect()
        };
        places.into_iter().all(|(topic, number, next, is_paused)| {
            let ends = self.query(&topic, number);
            !is_paused
                && ends.is_some_and(|(low, high)| {
                    let next = match next {
                        Some(next) => next,
                        None if self.reads_from_end => high,
                        None => low,
                    };
                    next >= high || quiet
                })
        })
    }

    /// librdkafka reports an end once: ends from before this run may have moved since. Queries them once in a run.
    fn confirm(&self, state: &RefCell<State>) -> bool {
        if self.confirmed.get() {
            return true;
        }
        let ends: Vec<(Rc<str>, i32, i64)> = {
            let state = state.borrow();
            let assigned = state.records.assigned.all();
            assigned
                .filter_map(|one| Some((Rc::clone(&one.topic), one.number, one.end()?)))
                .collect()
        };
        let mut confirmed = true;
        for (topic, number, end) in ends {
            let queried = self.query(&topic, number);
            if queried.is_none_or(|(_, high)| high > end) {
                confirmed = false;
            }
            if queried.is_some_and(|(_, high)| high > end) {
                let mut state = state.borrow_mut();
                if let Some(partition) = state.records.assigned.find(&topic, number) {
                    partition.end_moved();
                }
            }
        }
        self.confirmed.set(confirmed);
        confirmed
    }

    /// The first offset of a partition and the one after its last record; `None` where Kafka does not answer in time.
    fn query(&self, topic: &str, number: i32) -> Option<(i64, i64)> {
        client::query_watermarks(&self.client, topic, number, bounded(TIMEOUT))
    }
}

/// A wait is reported after this time.
const REPORT_AFTER: Duration = Duration::from_secs(10);

/// Reports what a consumer without partitions is waiting for: a wait that lasts is logged, and shown as the last error.
#[derive(Default)]
pub(super) struct WaitReport {
    /// Since when the consumer has no partitions, by [`coarse_ms`]; 0 while it has some.
    since: Cell<u64>,
    /// The reason of a reported wait.
    reason: RefCell<Option<String>>,
}

impl WaitReport {
    /// A new run begins, or partitions were assigned.
    pub fn reset(&self) {
        if self.since.replace(0) != 0 {
            self.reason.take();
        }
    }

    pub fn reason(&self) -> Option<String> {
        self.reason.borrow().clone()
    }

    /// Called by each fetch without partitions: logs a warning once that has lasted for [`REPORT_AFTER`], and again if
    /// the reason changes.
    pub fn update(&self, now: u64, reason: impl FnOnce() -> String) {
        let since = self.since.get();
        if since == 0 {
            self.since.set(now.max(1));
            return;
        }
        let waited = now.saturating_sub(since);
        if u128::from(waited) < REPORT_AFTER.as_millis() {
            return;
        }
        let reason = reason();
        if self.reason.borrow().as_ref() == Some(&reason) {
            return;
        }
        let line = format!("{reason} (for {} s).", waited / 1000);
        self.reason.replace(Some(reason));
        runtime::current().log.write(Level::Warning, line);
    }
}
