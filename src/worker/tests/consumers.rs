//! Tests of consumer metrics: closed consumers, bounds on series, commit age.

use crate::kafka::consumer::GroupStats;
use crate::metrics::snapshot::{SampleValue, Snapshot};
use crate::metrics::Collector;
use crate::worker::consumers::{Consumers, MAX_GROUPS, MAX_LAG_SERIES};
use std::sync::Arc;

fn series(consumers: &Consumers, name: &str) -> usize {
    let mut snapshot = Snapshot::default();
    consumers.collect(&mut snapshot);
    let found = snapshot.families().find(|f| f.metric.name == name);
    found.map_or(0, |family| family.samples.len())
}

#[test]
fn totals_of_closed_consumers_are_kept() {
    let consumers = Consumers::default();
    for _ in 0..2 {
        let one = consumers.register("g", Arc::default(), Arc::default());
        one.counters().handled.add(3);
        consumers.unregister(&one);
        consumers.unregister(&one);
    }
    let mut snapshot = Snapshot::default();
    consumers.collect(&mut snapshot);
    let mut families = snapshot.families();
    let handled = families.find(|f| f.metric.name == "realtime_consumer_handled");
    let value = handled.and_then(|family| family.samples.values().next().cloned());
    assert_eq!(value, Some(SampleValue::Count(6)));
    assert_eq!(series(&consumers, "realtime_consumer_parked"), 0);
}

#[test]
fn label_cardinality_is_bounded() {
    let consumers = Consumers::default();
    let one = consumers.register("g", Arc::default(), Arc::default());
    let lag = (0..2000).map(|n| (format!("t{n}"), 0, 1)).collect();
    one.update(GroupStats {
        lag: Some(lag),
        ..GroupStats::default()
    });
    assert_eq!(
        series(&consumers, "realtime_consumer_lag"),
        MAX_LAG_SERIES + 1
    );
    one.update(GroupStats::default());
    assert_eq!(
        series(&consumers, "realtime_consumer_lag"),
        MAX_LAG_SERIES + 1
    );
    for n in 0..1000 {
        consumers.register(&format!("g{n}"), Arc::default(), Arc::default());
    }
    assert_eq!(
        series(&consumers, "realtime_consumer_handled"),
        MAX_GROUPS + 1
    );
}

#[test]
fn the_commit_age_is_zero_unless_records_are_uncommitted() {
    let consumers = Consumers::default();
    let one = consumers.register("g", Arc::default(), Arc::default());
    assert_eq!(one.commit_age_ms(), 0);
    let waits = |uncommitted| GroupStats {
        uncommitted,
        ..GroupStats::default()
    };
    one.update(waits(true));
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(one.commit_age_ms() >= 20);
    one.update(waits(false));
    assert_eq!(one.commit_age_ms(), 0);
}
