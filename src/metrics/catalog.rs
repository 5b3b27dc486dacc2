//! The table of all metrics: name, type, help text, and how the values of several processes are combined. And the
//! gateway's counters: atomics, shown by `/metrics` and `stats()`.

use std::sync::atomic::{AtomicU64, Ordering};

use super::number::{SIZES, TIMES};

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Never decreases; the sample names end in `_total`.
    Counter,
    /// May increase and decrease.
    Gauge,
    /// Upper bounds of the buckets in the internal unit, and how many internal units make one unit of the metric.
    Histogram(&'static [u64], u64),
}

/// How values of several processes are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// The sum; always used for counters and histograms.
    Sum,
    Max,
    Min,
    /// Not meaningful for several processes: left out.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Without the suffix `_total`.
    pub name: &'static str,
    pub kind: MetricKind,
    /// The text of the `# HELP` line.
    pub help: &'static str,
    /// How the values of several processes are combined.
    pub aggregation: Aggregation,
}

/// Nanoseconds in a second.
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
        /// All metrics except the gateway's counters.
        const FIXED: &[Metric] = &[$($name),*];
    };
}

metrics! {
    PRODUCER_MESSAGES = counter("realtime_producer_messages", "Messages accepted for sending.");
    PRODUCER_BYTES = counter("realtime_producer_bytes", "Bytes of keys and values of messages accepted for sending.");
    PRODUCER_DELIVERED = counter("realtime_producer_delivered", "Messages acknowledged by Kafka.");
    PRODUCER_FAILURES = counter("realtime_producer_delivery_failures", "Messages that failed to be delivered, by kind \
        of failure. Kept in the spool if one is configured.");
    PRODUCER_QUEUE = gauge("realtime_producer_queue_messages", Aggregation::Sum, "Messages accepted, not yet \
        acknowledged or failed.");
    PRODUCER_QUEUE_FULL = counter("realtime_producer_queue_full", "Messages rejected because the queue stayed full \
        for queue_full_ms.");
    PRODUCER_LOOP_DROPPED = counter("realtime_producer_loop_dropped", "Re-broadcasts of the current record dropped by \
        the loop guard.");
    PRODUCER_REACHABLE = gauge("realtime_producer_broker_reachable", Aggregation::Min, "0 if a producer has not \
        received a response from a broker for 25 seconds, or for 2 seconds after a lost connection, otherwise 1.");
    PRODUCER_CLIENTS = gauge("realtime_producer_clients", Aggregation::Sum, "Producer clients in this process.");
    SPOOL_MESSAGES = gauge("realtime_spool_messages", Aggregation::Max, "Messages in the spool, including those of \
        other processes that share it.");
    SPOOL_BYTES = gauge("realtime_spool_bytes", Aggregation::Max, "Bytes of messages in the spool.");
    CONSUMER_MESSAGES = counter("realtime_consumer_messages", "Records fetched.");
    CONSUMER_BYTES = counter("realtime_consumer_bytes", "Bytes of keys and values of records fetched.");
    CONSUMER_HANDLED = counter("realtime_consumer_handled", "Records handled: the callback returned, or the record \
        was dead-lettered.");
    CONSUMER_FAILURES = counter("realtime_consumer_failures", "Failed attempts to handle a record.");
    CONSUMER_RETRIES = counter("realtime_consumer_retries", "Retries scheduled after a failed attempt.");
    CONSUMER_DEAD_LETTERED = counter("realtime_consumer_dead_lettered", "Records sent to a dead-letter topic.");
    CONSUMER_SKIPPED = counter("realtime_consumer_skipped", "Records without a matching subscription.");
    CONSUMER_MISMATCH = counter("realtime_consumer_topic_mismatch", "Records whose channel maps to a different topic.");
    CONSUMER_DROPPED = counter("realtime_consumer_dropped", "Records dropped by at-most-once delivery without being \
        handled.");
    CONSUMER_COMMITS = counter("realtime_consumer_commits", "Successful offset commits.");
    CONSUMER_COMMIT_FAILURES = counter("realtime_consumer_commit_failures", "Failed offset commits.");
    CONSUMER_REBALANCES = counter("realtime_consumer_rebalances", "Group rebalances.");
    CONSUMER_TRANSACTIONS = counter("realtime_consumer_transactions", "Transactions committed (delivery \
        exactly-once).");
    CONSUMER_TRANSACTIONS_ABORTED = counter("realtime_consumer_transactions_aborted", "Transactions aborted (delivery \
        exactly-once).");
    CONSUMER_PARKED = gauge("realtime_consumer_parked", Aggregation::Sum, "Records waiting for a retry, or queued \
        behind one with the same key.");
    CONSUMER_HELD_BACK = gauge("realtime_consumer_held_back", Aggregation::Sum, "Partitions paused because they are \
        too far ahead of their committed offset.");
    CONSUMER_TRANSIENT = gauge("realtime_consumer_transient_waiting", Aggregation::Sum, "Records whose last attempt \
        failed with a transient exception, and which are tried again.");
    CONSUMER_TRANSIENT_WAIT = gauge("realtime_consumer_transient_wait_seconds", Aggregation::Max, "Seconds since the \
        first transient failure of the record that has failed for longest; 0 if none has.");
    CONSUMER_OPEN_CIRCUITS = gauge("realtime_consumer_open_circuits", Aggregation::Sum, "Subscriptions paused because \
        their callback fails for every record.");
    CONSUMER_ASSIGNED = gauge("realtime_consumer_assigned_partitions", Aggregation::Sum, "Assigned partitions.");
    CONSUMER_CONNECTED = gauge("realtime_consumer_connected", Aggregation::Min, "1 if the consumer received a response \
        from a broker within the last 25 seconds, and within 2 seconds after a lost connection, otherwise 0.");
    CONSUMER_LAG = gauge("realtime_consumer_lag", Aggregation::Sum, "Records of an assigned partition not yet \
        fetched. At most 500 series; the rest is summed in topic=\"other\".");
    CONSUMER_COMMIT_AGE = gauge("realtime_consumer_commit_age_seconds", Aggregation::Max, "Seconds since the last \
        commit while handled records are uncommitted, otherwise 0.");
    CONSUMER_POLL_AGE = gauge("realtime_consumer_poll_age_seconds", Aggregation::Max, "Seconds since the last \
        iteration of the consume loop; 0 while it does not run.");
    CONSUMER_CALLBACK_AGE = gauge("realtime_consumer_callback_age_seconds", Aggregation::Max, "Running time of the \
        current callback in seconds; 0 if none runs.");
    CONSUMER_CALLBACK = histogram("realtime_consumer_callback_seconds", TIMES, NANOSECONDS, "Duration of each \
        callback.");
    CONSUMER_BATCH = histogram("realtime_consumer_batch_seconds", TIMES, NANOSECONDS, "Time from a fetch that \
        returned records until all of them were handled.");
    CONSUMER_BATCH_MESSAGES = histogram("realtime_consumer_batch_messages", SIZES, 1, "Records returned by a fetch.");
    GATEWAY_READY = gauge("realtime_gateway_ready", Aggregation::Min, "1 if Kafka is reachable and the presence state \
        is complete, otherwise 0.");
    BUILD_INFO = gauge("realtime_build_info", Aggregation::Max, "Always 1; the labels are the versions of the \
        extension, PHP and librdkafka.");
    PROCESS_LIVE = gauge("realtime_process_live", Aggregation::Min, "0 while a loop is stuck (see /live), otherwise \
        1.");
    PROCESSES = gauge("realtime_processes", Aggregation::Sum, "Running processes included in the text file.");
    START_TIME = gauge("process_start_time_seconds", Aggregation::None, "Start time of the process since the Unix \
        epoch in seconds.");
    RESIDENT = gauge("process_resident_memory_bytes", Aggregation::None, "Resident memory size in bytes.");
    CPU = Metric { aggregation: Aggregation::None, ..counter("process_cpu_seconds", "Total user and system CPU time \
        spent in seconds.") };
}

/// All metrics, in the order of the exposition.
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

fn gateway_metric(name: &'static str, kind: &str, help: &'static str) -> Metric {
    let name = gateway_name(name);
    if kind == "counter" {
        counter(name, help)
    } else {
        gauge(name, Aggregation::Sum, help)
    }
}

/// The metric name of a gateway counter; each name is allocated once.
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

/// A counter or a gauge.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add_one(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Subtracts `n`; for gauges only.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:literal,)+) => {
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: Count,)+
        }

        impl Counters {
            /// Name, kind (`counter` or `gauge`), help text and value of each counter.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
                vec![$((stringify!($name), $kind, concat!($($doc),+).trim_ascii(), self.$name.get()),)+]
            }
        }
    };
}

counters! {
    /// Open WebSocket connections.
    connections: "gauge",
    /// WebSocket connections accepted.
    connections_accepted: "counter",
    /// WebSocket connections refused.
    connections_refused: "counter",
    /// Invalid HTTP handshakes and requests.
    bad_requests: "counter",
    /// Handshakes that timed out.
    handshake_timeouts: "counter",
    /// Channels with at least one socket.
    channels: "gauge",
    /// Subscriptions of all sockets.
    subscriptions: "gauge",
    /// Subscriptions refused with an error.
    subscriptions_refused: "counter",
    /// Messages read from sockets.
    messages_received: "counter",
    /// Messages that were malformed or over a limit.
    messages_refused: "counter",
    /// Broadcasts passed to the hub.
    broadcasts: "counter",
    /// Broadcasts without a subscribed socket.
    broadcasts_unheard: "counter",
    /// Frames queued for sockets.
    frames_queued: "counter",
    /// Frames written to sockets.
    frames_sent: "counter",
    /// Bytes written to sockets.
    bytes_sent: "counter",
    /// System calls that wrote to sockets.
    writes: "counter",
    /// Sockets closed because they read too slowly.
    slow_clients: "counter",
    /// Sockets closed because they did not answer a ping.
    silent_clients: "counter",
    /// Client events relayed.
    client_events: "counter",
    /// Client events refused with an error.
    client_events_refused: "counter",
    /// Events with reserved names, refused.
    reserved_events: "counter",
    /// Records whose channel belongs to another topic, skipped.
    topic_mismatch: "counter",
    /// Records that are not broadcasts.
    bad_records: "counter",
    /// Broadcasts over the size limit, skipped.
    oversized_events: "counter",
    /// Broadcasts with plain data to an encrypted channel, skipped.
    plain_to_encrypted: "counter",
    /// Records read from Kafka.
    records: "counter",
    /// Offsets out of range.
    offsets_lost: "counter",
    /// HTTP API requests answered.
    api_requests: "counter",
    /// HTTP API requests refused.
    api_refused: "counter",
    /// Channels recovered after a reconnect.
    recovered: "counter",
    /// Channels that could not be recovered.
    not_recovered: "counter",
    /// Bytes of cached events.
    cache_bytes: "gauge",
    /// Cached events evicted to free space.
    cache_evictions: "counter",
    /// Other gateways alive.
    nodes: "gauge",
    /// Control records ignored: wrong signature, or issued more than 30 s before they were written.
    forged_control: "counter",
    /// Connections held back because file descriptors ran short.
    descriptors_short: "counter",
}

#[cfg(test)]
mod tests {
    use super::{all, Counters, MetricKind};

    #[test]
    fn metric_names_are_unique_and_well_formed() {
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

    #[test]
    fn every_counter_has_a_name_and_a_help_text() {
        let counters = Counters::default();
        counters.broadcasts.add(3);
        let all = counters.all();
        assert!(all.iter().all(|(name, kind, words, _)| {
            !name.is_empty() && !words.is_empty() && matches!(*kind, "counter" | "gauge")
        }));
        assert!(all
            .iter()
            .any(|(name, _, _, value)| (*name, *value) == ("broadcasts", 3)));
    }
}
