//! The table of every metric: name, kind, labels, what it means, and what becomes of it where processes are added up.

use super::number::{SIZES, TIMES};
use crate::gateway::counters::Counters;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises; its samples end in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Values in buckets: the upper bounds as they are kept, and how many of these units are one of the metric's own.
    Histogram(&'static [u64], u64),
}

/// How values of several processes are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// Their sum; also that of counters and histograms.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Means nothing for several processes: left out.
    None,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, without `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// What it means.
    pub help: &'static str,
    /// For several processes.
    pub aggregation: Aggregation,
}

/// In a second.
const NANOSECONDS: u64 = 1_000_000_000;

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Counter,
        help,
        aggregation: Aggregation::Sum,
    }
}

const fn gauge(name: &'static str, aggregation: Aggregation, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Gauge,
        help,
        aggregation,
    }
}

const fn histogram(
    name: &'static str,
    bounds: &'static [u64],
    unit: u64,
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: MetricKind::Histogram(bounds, unit),
        help,
        aggregation: Aggregation::Sum,
    }
}

macro_rules! metrics {
    ($($name:ident = $metric:expr;)*) => {
        $(#[doc = concat!("`", stringify!($name), "`")] pub const $name: Metric = $metric;)*
        /// All but the gateway's counters.
        const FIXED: &[Metric] = &[$($name),*];
    };
}

metrics! {
    PRODUCER_MESSAGES = counter("realtime_producer_messages", "Messages accepted for sending.");
    PRODUCER_BYTES = counter("realtime_producer_bytes", "Keys and values of the messages accepted for sending.");
    PRODUCER_DELIVERED = counter("realtime_producer_delivered", "Messages that Kafka has acknowledged.");
    PRODUCER_FAILURES = counter("realtime_producer_delivery_failures", "Messages that were not delivered, by the kind of failure; kept in the spool where there is one.");
    PRODUCER_QUEUE = gauge("realtime_producer_queue_messages", Aggregation::Sum, "Messages accepted and neither acknowledged nor given up yet.");
    PRODUCER_QUEUE_FULL = counter("realtime_producer_queue_full", "Messages refused because the queue stayed full for queue_full_ms.");
    PRODUCER_LOOP_DROPPED = counter("realtime_producer_loop_dropped", "Re-broadcasts of the record in hand that the loop guard has dropped.");
    PRODUCER_REACHABLE = gauge("realtime_producer_broker_reachable", Aggregation::Min, "0 while a producer cannot reach any broker, else 1.");
    PRODUCER_CLIENTS = gauge("realtime_producer_clients", Aggregation::Sum, "Producer clients of the process.");
    SPOOL_MESSAGES = gauge("realtime_spool_messages", Aggregation::Max, "Messages that wait in the spool, of all processes that share it.");
    SPOOL_BYTES = gauge("realtime_spool_bytes", Aggregation::Max, "Bytes of the messages that wait in the spool.");
    CONSUMER_MESSAGES = counter("realtime_consumer_messages", "Records fetched and taken in hand.");
    CONSUMER_BYTES = counter("realtime_consumer_bytes", "Keys and values of the records taken in hand.");
    CONSUMER_HANDLED = counter("realtime_consumer_handled", "Records whose callback returned, and those that became dead letters.");
    CONSUMER_FAILURES = counter("realtime_consumer_failures", "Tries that failed.");
    CONSUMER_RETRIES = counter("realtime_consumer_retries", "Failed tries that are followed by another one.");
    CONSUMER_DEAD_LETTERED = counter("realtime_consumer_dead_lettered", "Records given up and kept as dead letters.");
    CONSUMER_SKIPPED = counter("realtime_consumer_skipped", "Records that nobody here has subscribed.");
    CONSUMER_MISMATCH = counter("realtime_consumer_topic_mismatch", "Records whose channel belongs to another topic.");
    CONSUMER_DROPPED = counter("realtime_consumer_dropped", "Records that at-most-once gave up without handling them.");
    CONSUMER_COMMITS = counter("realtime_consumer_commits", "Commits that Kafka has accepted.");
    CONSUMER_COMMIT_FAILURES = counter("realtime_consumer_commit_failures", "Commits that Kafka has refused.");
    CONSUMER_REBALANCES = counter("realtime_consumer_rebalances", "Times the group's partitions were dealt anew.");
    CONSUMER_TRANSACTIONS = counter("realtime_consumer_transactions", "Transactions that were committed (delivery exactly-once).");
    CONSUMER_TRANSACTIONS_ABORTED = counter("realtime_consumer_transactions_aborted", "Transactions that were taken back.");
    CONSUMER_PARKED = gauge("realtime_consumer_parked", Aggregation::Sum, "Records that wait for another try, or behind one that does.");
    CONSUMER_HELD_BACK = gauge("realtime_consumer_held_back", Aggregation::Sum, "Partitions held back because they ran too far past what can be committed.");
    CONSUMER_ASSIGNED = gauge("realtime_consumer_assigned_partitions", Aggregation::Sum, "Partitions assigned.");
    CONSUMER_CONNECTED = gauge("realtime_consumer_connected", Aggregation::Min, "1 while Kafka answers, else 0.");
    CONSUMER_LAG = gauge("realtime_consumer_lag", Aggregation::Sum, "Records of an assigned partition that are not taken in hand yet. 500 series at most, the rest is topic=\"other\".");
    CONSUMER_COMMIT_AGE = gauge("realtime_consumer_commit_age_seconds", Aggregation::Max, "Since the last commit while something waits to be committed, else 0.");
    CONSUMER_POLL_AGE = gauge("realtime_consumer_poll_age_seconds", Aggregation::Max, "Since the loop last came round; 0 while it does not run.");
    CONSUMER_CALLBACK_AGE = gauge("realtime_consumer_callback_age_seconds", Aggregation::Max, "How long the callback in hand has been running; 0 where there is none.");
    CONSUMER_CALLBACK = histogram("realtime_consumer_callback_seconds", TIMES, NANOSECONDS, "Time of each callback.");
    CONSUMER_BATCH = histogram("realtime_consumer_batch_seconds", TIMES, NANOSECONDS, "Time from a fetch that brought records until all of them were handed over.");
    CONSUMER_BATCH_MESSAGES = histogram("realtime_consumer_batch_messages", SIZES, 1, "Records that a fetch has brought.");
    GATEWAY_READY = gauge("realtime_gateway_ready", Aggregation::Min, "Whether Kafka is reached and presence is whole.");
    BUILD_INFO = gauge("realtime_build_info", Aggregation::Max, "1, with the versions of the extension, of PHP and of librdkafka as labels.");
    PROCESS_LIVE = gauge("realtime_process_live", Aggregation::Min, "0 while a loop is stuck (see /live), else 1.");
    PROCESSES = gauge("realtime_processes", Aggregation::Sum, "Living processes that these figures are of (text file).");
    START_TIME = gauge("process_start_time_seconds", Aggregation::None, "Start of the process, as Unix time.");
    RESIDENT = gauge("process_resident_memory_bytes", Aggregation::None, "Resident memory of the process.");
    CPU = Metric { aggregation: Aggregation::None, ..counter("process_cpu_seconds", "Processor time of the process, user and system.") };
}

/// Everything there is, in the order it is shown in.
#[must_use]
pub fn all() -> Vec<Metric> {
    let gateway = Counters::default()
        .all()
        .into_iter()
        .map(|(name, kind, help, _)| gateway_metric(name, kind, help));
    let mut all: Vec<Metric> = FIXED.to_vec();
    let place = all
        .iter()
        .position(|metric| *metric == GATEWAY_READY)
        .unwrap_or(all.len());
    all.splice(place..place, gateway);
    all
}

/// The metric of one of the gateway's counters.
fn gateway_metric(name: &'static str, kind: &str, help: &'static str) -> Metric {
    let name = gateway_name(name);
    if kind == "counter" {
        counter(name, help)
    } else {
        gauge(name, Aggregation::Sum, help)
    }
}

/// Its name with the prefix; made once each.
#[must_use]
pub fn gateway_name(name: &'static str) -> &'static str {
    use parking_lot::Mutex;
    static NAMES: Mutex<Vec<(&str, &str)>> = Mutex::new(Vec::new());
    let mut names = NAMES.lock();
    if let Some((_, full)) = names.iter().find(|(known, _)| *known == name) {
        return full;
    }
    let full: &'static str = Box::leak(format!("realtime_gateway_{name}").into_boxed_str());
    names.push((name, full));
    full
}

#[cfg(test)]
mod tests {
    use super::{all, MetricKind};

    #[test]
    fn names_are_unique_and_follow_the_rules() {
        let all = all();
        let mut names: Vec<&str> = all.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        for metric in &all {
            assert!(
                metric
                    .name
                    .bytes()
                    .all(|c| c == b'_' || c.is_ascii_lowercase()),
                "{}",
                metric.name
            );
            assert!(
                metric.help.ends_with('.'),
                "{}: {}",
                metric.name,
                metric.help
            );
            assert!(!metric.name.ends_with("_total"), "{}", metric.name);
            if let MetricKind::Histogram(bounds, _) = metric.kind {
                assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
            }
        }
    }
}
