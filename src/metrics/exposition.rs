//! The Prometheus exposition formats: OpenMetrics if the client accepts it, otherwise the text format.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::catalog::MetricKind;
use super::number::Distribution;
use super::snapshot::{SampleValue, Snapshot};

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
pub fn text(snapshot: Snapshot, format: ExpositionFormat) -> String {
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
    use super::{text, ExpositionFormat};
    use crate::metrics::catalog;
    use crate::metrics::number::{Histogram, TIMES};
    use crate::metrics::snapshot::{labels, Snapshot};

    fn snapshot() -> Snapshot {
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
        let text = text(snapshot(), ExpositionFormat::Classic);
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
        let text = text(snapshot(), ExpositionFormat::OpenMetrics);
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
