//! The values of all metrics at one moment: collected from this process or merged from several processes.

use std::collections::BTreeMap;

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

#[cfg(test)]
mod tests {
    use super::{labels, SampleValue, Snapshot};
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
}
