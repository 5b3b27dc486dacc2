//! A consumer to which no record comes: it waits longer in Kafka, and detects the ends of its partitions.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::message::FetchedMessage;
use super::partition::Partition;
use super::records::AssignedRecords;
use crate::config::BrokerConfig;
use crate::kafka::client::{self, Client};
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
    /// The value that the client was created with; unset if it stays.
    pub(super) short: OnceCell<String>,
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
        let short = value.filter(|_| !stays).map(|(_, value)| value.clone());
        Self {
            client: client.clone(),
            short: short.map_or_else(OnceCell::new, OnceCell::from),
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
        let Some(short) = self.short.get() else {
            return;
        };
        let value = steps
            .checked_sub(1)
            .map_or(short.as_str(), |step| LONGER[step].1);
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
    pub fn is_at_end(&self, records: &RefCell<AssignedRecords<FetchedMessage>>) -> bool {
        {
            let records = records.borrow();
            let mut assigned = records.assigned.all().peekable();
            let busy = !records.is_drained() || assigned.peek().is_none();
            if busy || (self.reports_eof && !assigned.all(Partition::is_at_end)) {
                return false;
            }
        }
        if self.reports_eof {
            return self.confirm(records);
        }
        // This consumer was started by a consume() that does not stop at the end; a new one would have to rejoin the
        // group.
        if self.last_query.get().elapsed() < EVERY {
            return false;
        }
        self.last_query.set(Instant::now());
        self.last_fetch.get().elapsed() >= EVERY && self.all_at_end(records)
    }

    fn all_at_end(&self, records: &RefCell<AssignedRecords<FetchedMessage>>) -> bool {
        let quiet = self.last_fetch.get().elapsed() >= END_GRACE;
        let places: Vec<(Rc<str>, i32, Option<i64>, bool)> = {
            let records = records.borrow();
            let assigned = records.assigned.all();
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
    fn confirm(&self, records: &RefCell<AssignedRecords<FetchedMessage>>) -> bool {
        if self.confirmed.get() {
            return true;
        }
        let ends: Vec<(Rc<str>, i32, i64)> = {
            let records = records.borrow();
            let assigned = records.assigned.all();
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
                let mut records = records.borrow_mut();
                if let Some(partition) = records.assigned.find(&topic, number) {
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
