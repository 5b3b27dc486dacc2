//! `Toporia\Realtime\Metrics`, and the figures of a consumer: `Broker::stats()`, and the metrics that its loop updates.

use std::path::Path;

use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendHashTable, Zval};

use super::arguments::{self, finish, CallError};
use super::broker::Broker;
use super::{binary, state};
use crate::error::Result;
use crate::kafka::consumer::GroupStats;
use crate::metrics::snapshot::{exposition, ExpositionFormat};
use crate::metrics::WATCH;
use crate::monitoring::MONITORING;
use crate::runtime::clock::coarse_ms;

/// Starts the configured monitoring (listener, textfile, heartbeat) of this process, for loops that begin.
pub fn start_monitoring() -> Result<()> {
    MONITORING.current().start(&state::monitor_config()?)
}

/// Metrics for Prometheus and liveness for supervisors.
#[php_class]
#[php(name = "Toporia\\Realtime\\Metrics")]
#[php(flags = ext_php_rs::flags::ClassFlags::Final)]
pub struct Metrics;

#[php_impl]
impl Metrics {
    #[php(vis = "private")]
    fn __construct() -> PhpResult<Self> {
        Err("Metrics cannot be instantiated; call its static methods.".into())
    }

    /// Listens for Prometheus and for probes.
    #[php(optional = address)]
    pub fn serve(address: Option<&Zval>) -> PhpResult<Zval> {
        let serve = || -> Result<Option<String>, CallError> {
            let address = arguments::optional(address, |address| {
                arguments::text(address, "Metrics::serve(): Argument #1 ($address)")
            })?;
            let monitoring = MONITORING.current();
            if let Some(address) = address {
                monitoring.serve(&address)?;
            }
            start_monitoring()?;
            Ok(monitoring.listen_address())
        };
        finish(serve()).map(text)
    }

    /// Touches a file while loops run.
    #[php(optional = file)]
    pub fn heartbeat(file: Option<&Zval>) -> PhpResult<()> {
        let heartbeat = || -> Result<(), CallError> {
            let file = arguments::optional(file, |file| {
                arguments::text(file, "Metrics::heartbeat(): Argument #1 ($file)")
            })?;
            if let Some(file) = file {
                MONITORING.current().set_heartbeat_file(Path::new(&*file))?;
            }
            Ok(start_monitoring()?)
        };
        finish(heartbeat())
    }

    /// Records one iteration of the application's own loop.
    #[php(optional = status)]
    pub fn beat(status: Option<&Zval>, ready: Option<&Zval>) -> PhpResult<()> {
        let ready = arguments::boolean(ready, true, "Metrics::beat(): Argument #2 ($ready)")?;
        let beat = || -> Result<(), CallError> {
            let status = arguments::optional(status, |status| {
                arguments::text(status, "Metrics::beat(): Argument #1 ($status)")
            })?;
            let now = coarse_ms();
            WATCH.current().main_loop.loop_tick(now);
            MONITORING.current().loop_tick(now, ready, &|| {
                status.as_deref().unwrap_or_default().to_owned()
            });
            Ok(())
        };
        finish(beat())
    }

    /// Why this process counts as stuck; null if it does not.
    pub fn stuck() -> Zval {
        match crate::metrics::live() {
            Ok(()) => Zval::null(),
            Err(why) => binary(why.as_bytes()),
        }
    }

    /// The text of a scrape.
    #[php(optional = openMetrics)]
    pub fn text(openMetrics: Option<&Zval>) -> PhpResult<Zval> {
        let place = "Metrics::text(): Argument #1 ($openMetrics)";
        let format = if arguments::boolean(openMetrics, false, place)? {
            ExpositionFormat::OpenMetrics
        } else {
            ExpositionFormat::Classic
        };
        let text = exposition(crate::metrics::snapshot(None), format);
        Ok(binary(text.as_bytes()))
    }

    /// Closes the port; the application's own loop has ended.
    pub fn stop() {
        MONITORING.current().stop();
    }
}

/// Milliseconds between two updates of the group statistics; longer with very many partitions.
const GROUP_STATS_INTERVAL_MS: u64 = 500;
const PARTITIONS_PER_INTERVAL: u64 = 1000;

fn text(value: Option<String>) -> Zval {
    value.map_or_else(Zval::null, |text| binary(text.as_bytes()))
}

pub fn broker_stats(broker: &Broker) -> ext_php_rs::error::Result<Zval> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let counters = &broker.counters;
    let consumer = broker.running_consumer();
    let read = |pick: fn(&crate::kafka::consumer::Stats) -> u64| {
        consumer
            .as_ref()
            .map_or(0, |consumer| number(pick(&consumer.stats)))
    };
    let assignment = consumer
        .as_ref()
        .map_or_else(Vec::new, |consumer| consumer.assignment.positions());
    let known = !assignment.is_empty() && assignment.iter().all(|(_, _, _, lag)| *lag >= 0);
    let lag = if known {
        assignment.iter().map(|(_, _, _, lag)| *lag).sum()
    } else {
        -1
    };
    let assigned = assignment_list(assignment)?;
    let group = consumer
        .as_ref()
        .map(|consumer| consumer.assignment.stats(false));
    let group = group.unwrap_or_default();
    let waiting = consumer
        .as_ref()
        .map_or_else(Vec::new, |consumer| consumer.subscription.missing());
    let mut all = ZendHashTable::new();
    all.insert("messages_consumed", read(|stats| stats.consumed.get()))?;
    all.insert("bytes_consumed", read(|stats| stats.bytes.get()))?;
    all.insert("handled", number(counters.handled.get()))?;
    let failing = u64::from(broker.hooks.failing.get());
    all.insert("failures", number(counters.failures.get() + failing))?;
    all.insert("retries", number(counters.retries.get()))?;
    all.insert("dead_lettered", number(counters.dead_lettered.get()))?;
    all.insert("parked", number(group.queued_for_retry))?;
    all.insert("held_back", number(group.held_back))?;
    insert_outages(broker, &group, &mut all)?;
    all.insert("dropped", number(counters.dropped.get()))?;
    all.insert("transactions", number(counters.transactions.get()))?;
    all.insert("transactions_aborted", number(counters.aborted.get()))?;
    all.insert("delivery", broker.config.delivery.as_str())?;
    all.insert("skipped", number(counters.skipped.get()))?;
    all.insert("topic_mismatch", number(counters.mismatched.get()))?;
    all.insert("commits", read(|stats| stats.commits.get()))?;
    all.insert("commit_failures", read(|stats| stats.commit_failures.get()))?;
    all.insert("rebalances", read(|stats| stats.rebalances.get()))?;
    let timing = &counters.timing;
    let callbacks = timing.callbacks.read();
    all.insert("callbacks", number(callbacks.count()))?;
    #[allow(clippy::cast_precision_loss)]
    all.insert("callback_seconds", callbacks.sum as f64 / 1e9)?;
    all.insert("batches", number(timing.sizes.read().count()))?;
    let ms = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let age = timing.liveness.read();
    all.insert("poll_age_ms", ms(age.since_tick))?;
    all.insert("callback_age_ms", ms(age.in_callback))?;
    let series = broker.series.borrow().clone();
    let commit_age = series.map_or(0, |series| series.commit_age_ms());
    all.insert("commit_age_ms", number(commit_age))?;
    all.insert("lag", lag)?;
    all.insert("assigned", assigned)?;
    all.insert("waiting_for", waiting)?;
    all.insert(
        "connected",
        consumer
            .as_ref()
            .is_some_and(|consumer| consumer.waiting.is_connected()),
    )?;
    all.insert("group", broker.config.consumer_group.as_str())?;
    all.insert(
        "member_hash_conflict",
        consumer
            .as_ref()
            .is_some_and(|consumer| consumer.commits.has_conflict()),
    )?;
    all.insert(
        "stop_reason",
        text(broker.stop_reason.get().map(str::to_owned)),
    )?;
    all.insert(
        "last_error",
        text(
            consumer
                .as_ref()
                .and_then(|consumer| consumer.waiting.last_error()),
        ),
    )?;
    Ok(super::array(all))
}

/// The reasons why callbacks wait: transient failures, paused subscriptions, the last exception.
fn insert_outages(
    broker: &Broker,
    group: &GroupStats,
    all: &mut ZendHashTable,
) -> ext_php_rs::error::Result<()> {
    let count = i64::try_from(group.transient).unwrap_or(i64::MAX);
    all.insert("transient_waiting", count)?;
    let waited = i64::try_from(group.transient_wait.as_millis()).unwrap_or(i64::MAX);
    all.insert("transient_wait_ms", waited)?;
    let open_circuits = broker.subscriptions.borrow().open_circuits();
    all.insert("open_circuits", open_circuits)?;
    let last_failure = broker.hooks.last_failure.borrow().clone();
    all.insert("last_failure", text(last_failure))?;
    Ok(())
}

/// `stats()['assignment']`: topic, partition, position and lag of each assigned partition.
fn assignment_list(
    assignment: Vec<(String, i32, i64, i64)>,
) -> ext_php_rs::error::Result<ext_php_rs::boxed::ZBox<ZendHashTable>> {
    let mut list = ZendHashTable::new();
    for (topic, partition, position, lag) in assignment {
        let mut entry = ZendHashTable::new();
        entry.insert("topic", topic)?;
        entry.insert("partition", i64::from(partition))?;
        entry.insert("position", position)?;
        entry.insert("lag", lag)?;
        list.push(entry)?;
    }
    Ok(list)
}

/// Updates the consumer's position and lag, read by scrapes until the next update.
pub fn update_group_stats(broker: &Broker, with_lag: bool) {
    let series = broker.series.borrow().clone();
    if let (Some(series), Some(consumer)) = (series, broker.running_consumer()) {
        let mut stats = consumer.assignment.stats(with_lag);
        let open = broker.subscriptions.try_borrow();
        stats.open_circuits = open.map_or(0, |all| all.open_circuits().len() as u64);
        series.update(stats);
    }
}

/// Records one iteration of the consume loop, about every 50 ms; `now` in ms.
pub fn loop_tick(broker: &Broker, now: u64) {
    let monitoring = MONITORING.current();
    let due = broker.next_report_ms.get();
    if now >= due {
        let with_lag = monitoring.is_exported();
        update_group_stats(broker, with_lag);
        let partitions = broker
            .consumer
            .borrow()
            .as_ref()
            .map_or(0, |consumer| consumer.assignment.count() as u64);
        // One interval more for every thousand partitions.
        broker
            .next_report_ms
            .set(now + GROUP_STATS_INTERVAL_MS * (1 + partitions / PARTITIONS_PER_INTERVAL));
    }
    monitoring.loop_tick(now, true, &|| status(broker));
}

/// One line for systemd.
fn status(broker: &Broker) -> String {
    let consumer = broker.consumer.borrow().clone();
    let Some(consumer) = consumer else {
        return String::new();
    };
    let waiting = consumer.subscription.missing();
    let state = if !consumer.waiting.is_connected() {
        "Kafka does not respond".to_owned()
    } else if !waiting.is_empty() {
        format!("waiting for {} topic(s) that do not exist", waiting.len())
    } else {
        format!("{} partition(s)", consumer.assignment.count())
    };
    format!(
        "group {}: {state}, {} handled, {} failed",
        broker.config.consumer_group,
        broker.counters.handled.get(),
        broker.counters.failures.get()
    )
}
