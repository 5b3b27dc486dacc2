//! Tests of the consumers of a process: those that ended, and how many series there may be.

use super::consumers::{Consumers, Standing, MOST_GROUPS, MOST_LAGS};
use crate::metrics::snapshot::{Snapshot, Value};
use std::sync::Arc;

fn series(consumers: &Consumers, name: &str) -> usize {
    let mut snapshot = Snapshot::default();
    consumers.collect(&mut snapshot);
    let found = snapshot.families().find(|f| f.metric.name == name);
    found.map_or(0, |family| family.samples.len())
}

#[test]
fn a_consumer_that_ended_still_counts() {
    let consumers = Consumers::default();
    for _ in 0..2 {
        let one = consumers.join("g", Arc::default(), Arc::default());
        one.tally().handled.add(3);
        consumers.leave(&one);
        consumers.leave(&one);
    }
    let mut snapshot = Snapshot::default();
    consumers.collect(&mut snapshot);
    let mut families = snapshot.families();
    let handled = families.find(|f| f.metric.name == "realtime_consumer_handled");
    let value = handled.and_then(|family| family.samples.values().next().cloned());
    assert_eq!(value, Some(Value::Count(6)));
    assert_eq!(series(&consumers, "realtime_consumer_parked"), 0);
}

#[test]
fn labels_are_bounded() {
    let consumers = Consumers::default();
    let one = consumers.join("g", Arc::default(), Arc::default());
    let lag = (0..2000).map(|n| (format!("t{n}"), 0, 1)).collect();
    one.stands(Standing {
        lag: Some(lag),
        ..Standing::default()
    });
    assert_eq!(series(&consumers, "realtime_consumer_lag"), MOST_LAGS + 1);
    one.stands(Standing::default());
    assert_eq!(series(&consumers, "realtime_consumer_lag"), MOST_LAGS + 1);
    for n in 0..1000 {
        consumers.join(&format!("g{n}"), Arc::default(), Arc::default());
    }
    assert_eq!(
        series(&consumers, "realtime_consumer_handled"),
        MOST_GROUPS + 1
    );
}

#[test]
fn the_commit_age_counts_only_while_something_waits() {
    let consumers = Consumers::default();
    let one = consumers.join("g", Arc::default(), Arc::default());
    assert_eq!(one.commit_age_ms(), 0);
    let waits = |uncommitted| Standing {
        uncommitted,
        ..Standing::default()
    };
    one.stands(waits(true));
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(one.commit_age_ms() >= 20);
    one.stands(waits(false));
    assert_eq!(one.commit_age_ms(), 0);
}
