//! The gateways of a process: their counters, and what those that ended have counted.

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

/// Whether a gateway can serve: Kafka is reached and presence is whole.
pub fn ready(hub: &Hub) -> Result<(), String> {
    match hub.cluster() {
        Some(cluster) => cluster.ready(),
        None => Err("starting".to_owned()),
    }
}

impl Gateways {
    /// One was started.
    pub fn register(&self, hub: &Arc<Hub>) {
        self.table.lock().active.push(Arc::clone(hub));
    }

    /// It ended: what it has counted stays.
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

    /// True where there is one, or was.
    #[must_use]
    pub fn any(&self) -> bool {
        let table = self.table.lock();
        !table.active.is_empty() || !table.ended.is_empty()
    }

    /// Those that run.
    #[must_use]
    pub fn active(&self) -> Vec<Arc<Hub>> {
        self.table.lock().active.clone()
    }

    /// Everything into the snapshot.
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

/// What one gateway counts.
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
