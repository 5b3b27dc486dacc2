//! Lets fetch requests wait longer in Kafka while a consumer of many partitions is idle.
//!
//! Kafka answers a waiting request as soon as there is a record, so a record does not come later. The requests take
//! CPU: each names every partition, for each partition of a response librdkafka searches all topics, and
//! `fetch.wait.max.ms` decides how many requests an idle consumer sends. It is short at first because a partition that
//! was assigned, resumed or moved is part of the next request only.

use std::cell::Cell;

use super::Consumer;
use crate::clock::coarse_ms;
use crate::config::BrokerConfig;

const PROPERTY: &str = "fetch.wait.max.ms";
/// The waits of an idle consumer, and after how many more ms without a record, or a change of the partitions, it uses
/// them. The first is librdkafka's default.
const LONGER: [(u64, &str); 2] = [(2000, "500"), (8000, "1000")];
/// With fewer partitions an idle consumer takes less than a hundredth of a core.
const MANY_PARTITIONS: usize = 100;

#[derive(Debug)]
pub(super) struct FetchWait {
    /// The value that the client was created with; `None` if it stays.
    short: Option<String>,
    /// Number of steps in [`LONGER`].
    steps: Cell<usize>,
    /// Time of the last record, change of the partitions, or step.
    since: Cell<u64>,
}

impl FetchWait {
    /// `is_embedded`: the embedded broker does not wake a waiting request.
    pub(super) fn new(
        config: &BrokerConfig,
        properties: &[(String, String)],
        is_embedded: bool,
    ) -> Self {
        let stays = is_embedded || config.consumer_overrides.get(PROPERTY).is_some();
        let value = properties.iter().find(|(name, _)| name == PROPERTY);
        Self {
            short: value.map(|(_, value)| value.clone()).filter(|_| !stays),
            steps: Cell::new(0),
            since: Cell::new(coarse_ms()),
        }
    }
}

impl Consumer {
    /// A record came, or the partitions changed.
    #[inline]
    pub(super) fn fetches_actively(&self) {
        self.fetch_wait.since.set(coarse_ms());
        if self.fetch_wait.steps.get() > 0 {
            self.set_fetch_wait(0);
        }
    }

    /// No record came.
    pub(super) fn fetched_nothing(&self) {
        let wait = &self.fetch_wait;
        let Some((idle_ms, _)) = LONGER.get(wait.steps.get()) else {
            return;
        };
        if coarse_ms().saturating_sub(wait.since.get()) < *idle_ms {
            return;
        }
        if self.state.borrow().records.partitions().count() >= MANY_PARTITIONS {
            self.set_fetch_wait(wait.steps.get() + 1);
        }
        wait.since.set(coarse_ms());
    }

    #[cold]
    fn set_fetch_wait(&self, steps: usize) {
        let Some(short) = self.fetch_wait.short.as_deref() else {
            return;
        };
        let value = steps.checked_sub(1).map_or(short, |step| LONGER[step].1);
        self.client.set_number(PROPERTY, value);
        self.fetch_wait.steps.set(steps);
    }

    /// The value in use.
    #[cfg(test)]
    pub(super) fn fetch_wait_ms(&self) -> String {
        self.client.property(PROPERTY).expect("a known property")
    }
}
