//! Metrics of the gateways of a process: counters of running gateways plus the totals of closed gateways.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::catalog::{self as c, gateway_name};
use super::snapshot::Snapshot;
use crate::gateway::hub::Hub;

#[derive(Default)]
struct GatewayTable {
    active: Vec<Arc<Hub>>,
    ended: BTreeMap<&'static str, u64>,
}

/// All gateways of one process.
#[derive(Default)]
pub struct Gateways {
    table: Mutex<GatewayTable>,
}

/// `Ok` if a gateway can serve: Kafka is reachable and the presence state is complete.
pub fn ready(hub: &Hub) -> Result<(), String> {
    match hub.cluster() {
        Some(cluster) => cluster.ready(),
        None => Err("starting".to_owned()),
    }
}

impl Gateways {
    /// Adds a gateway that has started.
    pub fn register(&self, hub: &Arc<Hub>) {
        self.table.lock().active.push(Arc::clone(hub));
    }

    /// Removes a gateway that has closed and keeps its counter values.
    pub fn unregister(&self, hub: &Arc<Hub>) {
        let mut table = self.table.lock();
        let before = table.active.len();
        table.active.retain(|known| !Arc::ptr_eq(known, hub));
        if table.active.len() < before {
            for (name, kind, _, value) in hub.counters().all() {
                if kind == "counter" {
                    *table.ended.entry(name).or_default() += value;
                }
            }
        }
    }

    /// True if a gateway runs or has run in this process.
    #[must_use]
    pub fn any(&self) -> bool {
        let table = self.table.lock();
        !table.active.is_empty() || !table.ended.is_empty()
    }

    #[must_use]
    pub fn active(&self) -> Vec<Arc<Hub>> {
        self.table.lock().active.clone()
    }

    /// Adds the metrics of all gateways to the snapshot.
    pub fn collect(&self, into: &mut Snapshot) {
        let ended = self.table.lock().ended.clone();
        for (name, value) in ended {
            into.count(gateway_name(name), Vec::new(), value);
        }
        for hub in self.active() {
            collect(&hub, into);
        }
    }
}

/// Adds the metrics of one gateway to the snapshot.
pub fn collect(hub: &Hub, into: &mut Snapshot) {
    for (name, kind, _, value) in hub.counters().all() {
        let name = gateway_name(name);
        if kind == "counter" {
            into.count(name, Vec::new(), value);
        } else if let Some(metric) = into.family(name).map(|family| family.metric) {
            into.gauge_of(&metric, Vec::new(), value);
        }
    }
    let is_ready = u64::from(ready(hub).is_ok());
    into.gauge_of(&c::GATEWAY_READY, Vec::new(), is_ready);
}
