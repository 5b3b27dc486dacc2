//! The metric values of one process, and the totals of exited processes, as JSON files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::metrics::snapshot::{Labels, SampleValue, Snapshot};

/// All samples by metric name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ProcessState {
    families: Vec<(String, Vec<(Labels, SampleValue)>)>,
}

impl ProcessState {
    pub fn of(snapshot: &Snapshot) -> Self {
        let families = snapshot.families().map(|family| {
            let samples = family.samples.clone().into_iter().collect();
            (family.metric.name.to_owned(), samples)
        });
        Self {
            families: families.collect(),
        }
    }

    /// Reads a state file; `None` if it is damaged or was written by another version.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(io::Error::other)
    }

    /// Converts to a snapshot; metrics that are unknown to this version are left out.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (name, samples) in &self.families {
            if let Some(family) = snapshot.family(name) {
                family.samples = samples.iter().cloned().collect::<BTreeMap<_, _>>();
            }
        }
        snapshot
    }
}

/// Totals of processes that have exited.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct EndedTotals {
    state: ProcessState,
    /// Ids of counted processes whose state file may still exist: they must not be counted twice.
    gone: BTreeSet<String>,
    #[serde(skip)]
    changed: bool,
}

impl EndedTotals {
    /// Reads the file; empty if it is missing or damaged.
    pub fn read(path: &Path) -> Self {
        let read = fs::read(path).ok();
        let mut ended: Self = read
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let directory = path.parent().unwrap_or(path);
        ended
            .gone
            .retain(|id| directory.join(format!("{id}.json")).exists());
        ended
    }

    /// True if the process is already counted.
    pub fn has(&self, id: &str) -> bool {
        self.gone.contains(id)
    }

    /// Adds the final values of a process that has exited.
    pub fn take(&mut self, id: &str, last: &Snapshot) {
        let mut all = self.snapshot();
        all.merge(last, false);
        self.state = ProcessState::of(&all);
        self.gone.insert(id.to_owned());
        self.changed = true;
    }

    /// True if the file must be written.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    pub fn snapshot(&self) -> Snapshot {
        self.state.snapshot()
    }

    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(io::Error::other)
    }
}
