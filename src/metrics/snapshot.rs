//! The values of all metrics at one moment: collected from this process or merged from several processes, and written
//! in a Prometheus exposition format: OpenMetrics if the client accepts it, otherwise the text format.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

use super::catalog::{self, Aggregation, Metric, MetricKind};
use super::number::Distribution;

/// Label names and values, in the order of the exposition.
pub type Labels = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SampleValue {
    Count(u64),
    /// Gauge, or a counter with fractions.
    Number(f64),
    Distribution(Distribution),
}

/// All samples of one metric.
#[derive(Debug, Clone)]
pub struct Family {
    pub metric: Metric,
    pub samples: BTreeMap<Labels, SampleValue>,
}

#[derive(Debug, Clone)]
pub struct Snapshot {
    families: Vec<Family>,
    places: BTreeMap<&'static str, usize>,
}

impl Default for Snapshot {
    fn default() -> Self {
        let families: Vec<Family> = catalog::all()
            .into_iter()
            .map(|metric| Family {
                metric,
                samples: BTreeMap::new(),
            })
            .collect();
        let places = families
            .iter()
            .enumerate()
            .map(|(place, family)| (family.metric.name, place))
            .collect();
        Self { families, places }
    }
}

#[must_use]
pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[allow(clippy::cast_precision_loss)] // gauges are floats by definition
fn number(value: &SampleValue) -> f64 {
    match value {
        SampleValue::Count(count) => *count as f64,
        SampleValue::Number(number) => *number,
        SampleValue::Distribution(distribution) => distribution.count() as f64,
    }
}

impl Snapshot {
    /// Families that have samples.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.families
            .iter()
            .filter(|family| !family.samples.is_empty())
    }

    /// The family of a metric name in the catalog.
    pub(crate) fn family(&mut self, name: &str) -> Option<&mut Family> {
        let place = *self.places.get(name)?;
        self.families.get_mut(place)
    }

    /// Adds to a counter.
    pub fn count(&mut self, name: &str, labels: Labels, more: u64) {
        self.join(name, labels, &SampleValue::Count(more), Aggregation::Sum);
    }

    /// Sets a gauge, or combines the value with the existing sample of the same labels.
    pub fn gauge(&mut self, metric: &Metric, labels: Labels, value: f64) {
        self.join(
            metric.name,
            labels,
            &SampleValue::Number(value),
            metric.aggregation,
        );
    }

    /// Sets a gauge from an integer.
    #[allow(clippy::cast_precision_loss)] // values stay far below 2^53
    pub fn gauge_of(&mut self, metric: &Metric, labels: Labels, value: u64) {
        self.gauge(metric, labels, value as f64);
    }

    /// Adds to a histogram.
    pub fn histogram(&mut self, metric: &Metric, labels: Labels, more: Distribution) {
        self.join(
            metric.name,
            labels,
            &SampleValue::Distribution(more),
            Aggregation::Sum,
        );
    }

    fn join(&mut self, name: &str, labels: Labels, value: &SampleValue, aggregation: Aggregation) {
        let Some(family) = self.family(name) else {
            debug_assert!(false, "{name} is not in the catalog");
            return;
        };
        family
            .samples
            .entry(labels)
            .and_modify(|known| *known = joined(known, value, aggregation))
            .or_insert_with(|| value.clone());
    }

    /// Adds the values of another process. Gauges are only taken from a process that is alive.
    pub fn merge(&mut self, other: &Self, is_alive: bool) {
        for family in other.families() {
            let metric = family.metric;
            let keeps = !matches!(metric.kind, MetricKind::Gauge) || is_alive;
            if metric.aggregation == Aggregation::None || !keeps {
                continue;
            }
            for (labels, value) in &family.samples {
                self.join(metric.name, labels.clone(), value, metric.aggregation);
            }
        }
    }
}

fn joined(known: &SampleValue, more: &SampleValue, aggregation: Aggregation) -> SampleValue {
    match (known, more) {
        (SampleValue::Count(a), SampleValue::Count(b)) => SampleValue::Count(a + b),
        (SampleValue::Distribution(a), SampleValue::Distribution(b)) => {
            let mut all = a.clone();
            all.add(b);
            SampleValue::Distribution(all)
        }
        (a, b) => {
            let (a, b) = (number(a), number(b));
            SampleValue::Number(match aggregation {
                Aggregation::Sum => a + b,
                Aggregation::Max => a.max(b),
                Aggregation::Min => a.min(b),
                Aggregation::None => b,
            })
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpositionFormat {
    /// `application/openmetrics-text` 1.0.0.
    OpenMetrics,
    /// `text/plain` 0.0.4, supported by every Prometheus client.
    Classic,
}

impl ExpositionFormat {
    /// Chooses the format from an `Accept` header: OpenMetrics if it is listed with at least the quality of plain text.
    #[must_use]
    pub fn accepted(header: Option<&str>) -> Self {
        let mut open = 0.0_f32;
        let mut plain = 0.0_f32;
        for range in header.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut known) = (1.0_f32, true);
            for part in parts {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                match (name.trim(), value.trim().trim_matches('"')) {
                    ("q", value) => quality = value.parse().unwrap_or(0.0),
                    ("version", value) if kind == "application/openmetrics-text" => {
                        known = matches!(value, "1.0.0" | "0.0.1");
                    }
                    _ => {}
                }
            }
            match kind.as_str() {
                "application/openmetrics-text" if known => open = open.max(quality),
                "text/plain" | "text/*" | "*/*" => plain = plain.max(quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes the snapshot in the given format.
#[must_use]
pub fn exposition(snapshot: Snapshot, format: ExpositionFormat) -> String {
    let counters: BTreeSet<&'static str> = snapshot
        .families()
        .filter(|family| family.metric.kind == MetricKind::Counter)
        .map(|family| family.metric.name)
        .collect();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(SnapshotCollector(snapshot)));
    let mut open = String::with_capacity(16 << 10);
    // Writing to a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut open, &registry);
    match format {
        ExpositionFormat::OpenMetrics => open,
        ExpositionFormat::Classic => classic(&open, &counters),
    }
}

/// Converts OpenMetrics to the text format: `# HELP` and `# TYPE` of counters get `_total`, and the `# EOF` line is
/// removed.
fn classic(open: &str, counters: &BTreeSet<&'static str>) -> String {
    let mut out = String::with_capacity(open.len() + open.len() / 16);
    for line in open.lines().filter(|line| *line != "# EOF") {
        let described = line
            .strip_prefix("# ")
            .and_then(|rest| rest.split_once(' '))
            .and_then(|(word, rest)| Some((word, rest.split_once(' ')?)));
        let _ = match described {
            Some((word, (name, rest))) if counters.contains(name) => {
                writeln!(out, "# {word} {name}_total {rest}")
            }
            _ => writeln!(out, "{line}"),
        };
    }
    out
}

#[derive(Debug)]
struct SnapshotCollector(Snapshot);

impl Collector for SnapshotCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in self.0.families() {
            let metric = family.metric;
            let kind = match metric.kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Histogram(..) => MetricType::Histogram,
            };
            let mut described = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for (labels, value) in &family.samples {
                if labels.is_empty() {
                    sample(metric.kind, value, &mut described)?;
                } else {
                    sample(metric.kind, value, &mut described.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn sample(kind: MetricKind, value: &SampleValue, encoder: &mut MetricEncoder) -> fmt::Result {
    match (kind, value) {
        (MetricKind::Counter, SampleValue::Count(count)) => {
            encoder.encode_counter::<NoLabelSet, _, u64>(count, None)
        }
        (MetricKind::Counter, SampleValue::Number(number)) => {
            encoder.encode_counter::<NoLabelSet, _, u64>(number, None)
        }
        (MetricKind::Gauge, SampleValue::Number(number)) => encoder.encode_gauge(number),
        (MetricKind::Histogram(bounds, unit), SampleValue::Distribution(spread)) => {
            let (sum, buckets) = scaled(spread, bounds, unit);
            encoder.encode_histogram::<NoLabelSet>(sum, spread.count(), &buckets, None)
        }
        // Unreachable: collectors add values of the type in the catalog.
        _ => Ok(()),
    }
}

#[allow(clippy::cast_precision_loss)]
fn scaled(spread: &Distribution, bounds: &[u64], unit: u64) -> (f64, Vec<(f64, u64)>) {
    let bound = |place: usize| match bounds.get(place) {
        Some(bound) => *bound as f64 / unit as f64,
        None => f64::INFINITY,
    };
    let buckets = spread.counts.iter().enumerate();
    (
        spread.sum as f64 / unit as f64,
        buckets
            .map(|(place, count)| (bound(place), *count))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::{exposition, labels, ExpositionFormat, SampleValue, Snapshot};
    use crate::metrics::catalog;
    use crate::metrics::number::{Histogram, TIMES};

    fn one(queue: f64, live: f64, sent: u64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.gauge(&catalog::PRODUCER_QUEUE, Vec::new(), queue);
        snapshot.gauge(&catalog::PROCESS_LIVE, Vec::new(), live);
        snapshot.gauge(&catalog::SPOOL_BYTES, Vec::new(), queue);
        snapshot.gauge(&catalog::RESIDENT, Vec::new(), 1e6);
        snapshot.count(catalog::PRODUCER_MESSAGES.name, Vec::new(), sent);
        let times = Histogram::new(TIMES);
        times.observe(1000);
        snapshot.histogram(
            &catalog::CONSUMER_CALLBACK,
            labels(&[("group", "g")]),
            times.read(),
        );
        snapshot
    }

    fn value(snapshot: &Snapshot, name: &str) -> Option<SampleValue> {
        let found = snapshot.families().find(|f| f.metric.name == name)?;
        found.samples.values().next().cloned()
    }

    #[test]
    fn processes_are_combined_by_the_aggregation_of_each_metric() {
        let mut all = Snapshot::default();
        all.merge(&one(3.0, 1.0, 10), true);
        all.merge(&one(4.0, 0.0, 20), true);
        all.merge(&one(9.0, 0.0, 5), false);
        assert_eq!(
            value(&all, "realtime_producer_queue_messages"),
            Some(SampleValue::Number(7.0))
        );
        assert_eq!(
            value(&all, "realtime_process_live"),
            Some(SampleValue::Number(0.0))
        );
        assert_eq!(
            value(&all, "realtime_spool_bytes"),
            Some(SampleValue::Number(4.0))
        );
        assert_eq!(
            value(&all, "realtime_producer_messages"),
            Some(SampleValue::Count(35))
        );
        assert_eq!(value(&all, "process_resident_memory_bytes"), None);
        let Some(SampleValue::Distribution(spread)) =
            value(&all, "realtime_consumer_callback_seconds")
        else {
            panic!("no histogram");
        };
        assert_eq!(spread.count(), 3);
    }

    fn three() -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.count(catalog::PRODUCER_MESSAGES.name, Vec::new(), 3);
        snapshot.gauge(
            &catalog::CONSUMER_PARKED,
            labels(&[("group", "say \"hi\"\\\n")]),
            2.0,
        );
        let times = Histogram::new(TIMES);
        times.observe(400_000);
        times.observe(40_000_000_000);
        snapshot.histogram(
            &catalog::CONSUMER_CALLBACK,
            labels(&[("group", "g")]),
            times.read(),
        );
        snapshot
    }

    #[test]
    fn the_text_format_describes_counters_with_total_and_has_no_eof() {
        let text = exposition(three(), ExpositionFormat::Classic);
        assert!(text.contains("# TYPE realtime_producer_messages_total counter\nrealtime_producer_messages_total \
            3\n"), "{text}");
        assert!(text.contains("realtime_consumer_parked{group=\"say \\\"hi\\\"\\\\\\n\"} 2"));
        assert!(!text.contains("# EOF"));
        assert!(
            text.contains(
                "realtime_consumer_callback_seconds_bucket{le=\"0.0005\",group=\"g\"} 1\n"
            ),
            "{text}"
        );
        assert!(text.contains("le=\"30.0\",group=\"g\"} 1\n"), "{text}");
        assert!(text.contains("le=\"+Inf\",group=\"g\"} 2\n"), "{text}");
        assert!(text.contains("realtime_consumer_callback_seconds_count{group=\"g\"} 2\n"));
    }

    #[test]
    fn openmetrics_ends_with_eof() {
        let text = exposition(three(), ExpositionFormat::OpenMetrics);
        assert!(
            text.contains(
                "# TYPE realtime_producer_messages counter\nrealtime_producer_messages_total 3\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_accept_header_decides() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(
            ExpositionFormat::accepted(Some(prometheus)),
            ExpositionFormat::OpenMetrics
        );
        for classic in [
            None,
            Some(""),
            Some("*/*"),
            Some("text/plain"),
            Some("application/openmetrics-text;version=7.0.0"),
            Some("application/openmetrics-text;q=0"),
            Some("application/openmetrics-text;q=0.2,text/plain;q=0.9"),
            Some("application/openmetrics-text;q=x"),
            Some(";;;=,,,"),
        ] {
            assert_eq!(
                ExpositionFormat::accepted(classic),
                ExpositionFormat::Classic,
                "{classic:?}"
            );
        }
    }
}
