//! Metrics of the gateways of a process: counters of running gateways plus the totals of closed gateways.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::hub::Hub;
use crate::metrics::catalog::{self as c, gateway_name};
use crate::metrics::snapshot::Snapshot;
use crate::metrics::Collector;
use crate::runtime::PerProcess;

/// A gateway takes the place of all gateways where it is asked for its own metrics.
const SOURCE: &str = "gateways";

#[derive(Default)]
struct GatewayTable {
    active: Vec<Arc<Hub>>,
    ended: BTreeMap<&'static str, u64>,
}

/// The gateways of this process.
pub static GATEWAYS: PerProcess<Gateways> = PerProcess::new();

/// All gateways of one process.
#[derive(Default)]
pub struct Gateways {
    table: Mutex<GatewayTable>,
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
}

impl Collector for Gateways {
    fn source(&self) -> &'static str {
        SOURCE
    }

    fn is_active(&self) -> bool {
        let table = self.table.lock();
        !table.active.is_empty() || !table.ended.is_empty()
    }

    fn ready(&self) -> Result<(), String> {
        let active = self.table.lock().active.clone();
        active.iter().try_for_each(|hub| Collector::ready(&**hub))
    }

    fn collect(&self, into: &mut Snapshot) {
        let (active, ended) = {
            let table = self.table.lock();
            (table.active.clone(), table.ended.clone())
        };
        for (name, value) in ended {
            into.count(gateway_name(name), Vec::new(), value);
        }
        for hub in active {
            hub.collect(into);
        }
    }
}

impl Collector for Hub {
    fn source(&self) -> &'static str {
        SOURCE
    }

    /// `Ok` if it can serve: Kafka is reachable and the presence state is complete.
    fn ready(&self) -> Result<(), String> {
        match self.cluster() {
            Some(cluster) => cluster.ready(),
            None => Err("starting".to_owned()),
        }
    }

    fn collect(&self, into: &mut Snapshot) {
        for (name, kind, _, value) in self.counters().all() {
            let name = gateway_name(name);
            if kind == "counter" {
                into.count(name, Vec::new(), value);
            } else if let Some(metric) = into.family(name).map(|family| family.metric) {
                into.gauge_of(&metric, Vec::new(), value);
            }
        }
        let is_ready = u64::from(Collector::ready(self).is_ok());
        into.gauge_of(&c::GATEWAY_READY, Vec::new(), is_ready);
    }
}
