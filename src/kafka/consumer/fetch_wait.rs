//! Lets fetch requests wait longer in Kafka while a consumer of many partitions is idle.
//!
//! Kafka answers a waiting request as soon as there is a record, so a record does not come later. The requests take
//! CPU: each names every partition, and `fetch.wait.max.ms` decides how many an idle consumer sends. It is short at
//! first because a partition that was assigned, resumed or moved is part of the next request only.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ptr::null_mut;

use rdkafka_sys as sys;

use super::Consumer;
use crate::clock::coarse_ms;
use crate::config::BrokerConfig;
use crate::kafka::client;

const PROPERTY: &str = "fetch.wait.max.ms";
/// The wait of an idle consumer; librdkafka's default.
const LONG_MS: &str = "500";
/// Without a record, or a change of the partitions, for this long a consumer is idle.
const IDLE_MS: u64 = 2000;
/// With fewer partitions an idle consumer takes less than a hundredth of a core.
const MANY_PARTITIONS: usize = 100;

#[derive(Debug)]
pub(super) struct FetchWait {
    /// The value that the client was created with; `None` if it stays.
    short: Option<String>,
    is_long: Cell<bool>,
    active_at: Cell<u64>,
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
            is_long: Cell::new(false),
            active_at: Cell::new(coarse_ms()),
        }
    }
}

impl Consumer {
    /// A record came, or the partitions changed.
    #[inline]
    pub(super) fn fetches_actively(&self) {
        self.fetch_wait.active_at.set(coarse_ms());
        if self.fetch_wait.is_long.get() {
            self.set_fetch_wait(false);
        }
    }

    /// No record came.
    pub(super) fn fetched_nothing(&self) {
        let wait = &self.fetch_wait;
        if wait.is_long.get() || coarse_ms().saturating_sub(wait.active_at.get()) < IDLE_MS {
            return;
        }
        if self.state.borrow().records.partitions().count() >= MANY_PARTITIONS {
            self.set_fetch_wait(true);
        }
        wait.active_at.set(coarse_ms());
    }

    #[cold]
    fn set_fetch_wait(&self, is_long: bool) {
        let Some(short) = self.fetch_wait.short.as_deref() else {
            return;
        };
        let (name, value) = (
            client::c_string(PROPERTY),
            client::c_string(if is_long { LONG_MS } else { short }),
        );
        // SAFETY: the configuration of a live client. librdkafka reads this number once for each request, in another
        // thread; the store of an aligned integer is not torn, and the old value does no harm.
        unsafe {
            let conf = sys::bindings::rd_kafka_conf(self.client).cast_mut();
            sys::bindings::rd_kafka_conf_set(conf, name.as_ptr(), value.as_ptr(), null_mut(), 0);
        }
        self.fetch_wait.is_long.set(is_long);
    }

    /// The value in use.
    #[cfg(test)]
    pub(super) fn fetch_wait_ms(&self) -> String {
        // SAFETY: the configuration of a live client.
        let value =
            unsafe { client::property(sys::bindings::rd_kafka_conf(self.client), PROPERTY) };
        value.expect("a known property")
    }
}
