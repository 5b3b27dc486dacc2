//! `Toporia\Realtime\Metrics`, and the updates of metrics while a consume loop runs.

use std::path::Path;
use std::rc::Rc;

use ext_php_rs::prelude::*;
use ext_php_rs::types::Zval;

use super::arguments::{self, finish, CallError};
use super::broker::Broker;
use super::{binary, state};
use crate::clock::coarse_ms;
use crate::error::Result;
use crate::kafka::consumer::Consumer;
use crate::metrics::exposition::{text, ExpositionFormat};
use crate::metrics::WATCH;
use crate::monitoring::MONITORING;
use crate::worker::consumers::CONSUMERS;

/// Milliseconds between two updates of the group statistics; longer with very many partitions.
const GROUP_STATS_INTERVAL_MS: u64 = 500;
const PARTITIONS_PER_INTERVAL: u64 = 1000;

/// Starts the configured monitoring (listener, textfile, heartbeat) of this process, for loops that begin.
pub fn start_monitoring() -> Result<()> {
    MONITORING.current().start(&state::monitor_config()?)
}

/// Registers the metrics of a new consumer.
pub fn register(broker: &Broker, consumer: &Rc<Consumer>) {
    let series = CONSUMERS.current().register(
        &broker.config.consumer_group,
        broker.counters.clone(),
        consumer.stats.clone(),
    );
    *broker.series.borrow_mut() = Some(series);
}

pub fn unregister(broker: &Broker) {
    let series = broker.series.borrow_mut().take();
    if let Some(series) = series {
        CONSUMERS.current().unregister(&series);
    }
}

/// Updates the consumer's position and lag, read by scrapes until the next update.
pub fn update_group_stats(broker: &Broker, with_lag: bool) {
    let series = broker.series.borrow().clone();
    let consumer = broker.consumer.borrow().clone();
    if let (Some(series), Some(consumer)) = (series, consumer) {
        if !consumer.is_inherited() {
            let mut stats = consumer.group_stats(with_lag);
            let open = broker.subscriptions.try_borrow();
            stats.open_circuits = open.map_or(0, |all| all.open_circuits().len() as u64);
            series.update(stats);
        }
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
            .map_or(0, |consumer| consumer.partition_count() as u64);
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
    let waiting = consumer.waiting_for();
    let state = if !consumer.is_connected() {
        "Kafka does not respond".to_owned()
    } else if !waiting.is_empty() {
        format!("waiting for {} topic(s) that do not exist", waiting.len())
    } else {
        format!("{} partition(s)", consumer.partition_count())
    };
    format!(
        "group {}: {state}, {} handled, {} failed",
        broker.config.consumer_group,
        broker.counters.handled.get(),
        broker.counters.failures.get()
    )
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
        finish(serve().map(Some)).map(|listens| {
            listens
                .flatten()
                .map_or_else(Zval::null, |address| binary(address.as_bytes()))
        })
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
    #[php(defaults(ready = true))]
    #[php(optional = status)]
    pub fn beat(status: Option<&Zval>, ready: bool) -> PhpResult<()> {
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
    #[php(defaults(openMetrics = false))]
    #[php(optional = openMetrics)]
    pub fn text(openMetrics: bool) -> Zval {
        let format = if openMetrics {
            ExpositionFormat::OpenMetrics
        } else {
            ExpositionFormat::Classic
        };
        binary(text(crate::metrics::snapshot(None), format).as_bytes())
    }

    /// Closes the port; the application's own loop has ended.
    pub fn stop() {
        MONITORING.current().stop();
    }
}
