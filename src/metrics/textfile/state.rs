//! The figures of one process, or of those that are gone, as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::metrics::snapshot::{Labels, SampleValue, Snapshot};

/// Every sample, by the name of its metric.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ProcessState {
    families: Vec<(String, Vec<(Labels, SampleValue)>)>,
}

impl ProcessState {
    /// What is in a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let families = snapshot.families().map(|family| {
            let samples = family.samples.clone().into_iter().collect();
            (family.metric.name.to_owned(), samples)
        });
        Self {
            families: families.collect(),
        }
    }

    /// Reads one; what another version wrote, or half of one, counts as nothing.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Its file.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(io::Error::other)
    }

    /// As a snapshot; metrics that this version does not know are left out.
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

/// What processes have counted that are gone.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct EndedTotals {
    state: ProcessState,
    /// Those whose state may be there still, and must not be counted again.
    gone: BTreeSet<String>,
    #[serde(skip)]
    changed: bool,
}

impl EndedTotals {
    /// Reads the file; nothing where it is missing or damaged.
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

    /// True for one that is counted already.
    pub fn has(&self, id: &str) -> bool {
        self.gone.contains(id)
    }

    /// A process is gone: what it has counted stays.
    pub fn take(&mut self, id: &str, last: &Snapshot) {
        let mut all = self.snapshot();
        all.merge(last, false);
        self.state = ProcessState::of(&all);
        self.gone.insert(id.to_owned());
        self.changed = true;
    }

    /// True where the file has to be written again.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// As a snapshot.
    pub fn snapshot(&self) -> Snapshot {
        self.state.snapshot()
    }

    /// Its file.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(io::Error::other)
    }
}
