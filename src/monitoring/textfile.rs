//! Metrics of processes that cannot be scraped (FPM workers, short scripts), for the node exporter's textfile
//! collector.
//!
//! ```text
//! <directory>/realtime.prom              all processes in one file, so that each series is written once
//! <directory>/.realtime/<process>.json   the values of one process, replaced atomically
//!                       <process>.lock   locked while the process runs
//!                       ended.json       totals of processes that have exited
//!                       lock             held while a process aggregates
//! ```
//!
//! A full disk loses the values of the last seconds and logs a warning; it never affects messages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::metrics::catalog as c;
use crate::metrics::snapshot::{exposition, ExpositionFormat, Labels, SampleValue, Snapshot};
use crate::runtime;
use crate::spool::{LockedFile, OpenMode};

/// ms between two writes of a process that serves requests.
const REQUEST_INTERVAL_MS: u64 = 1000;
/// ms between two writes of a process that runs a loop.
const LOOP_INTERVAL_MS: u64 = 5000;
/// A request does not write the file if it is newer than this.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// How long an exiting process waits while another process aggregates.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);
/// The file that the node exporter reads.
const PROM_FILE: &str = "realtime.prom";

/// The files of one process in the directory.
#[derive(Debug)]
pub struct Textfile {
    directory: PathBuf,
    states: PathBuf,
    id: String,
    alive: Option<LockedFile>,
    last: Option<u64>,
}

impl Textfile {
    /// Creates no file yet.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        let mut random = [0_u8; 6];
        // Without randomness the process id must suffice.
        let _ = getrandom::fill(&mut random);
        Self {
            directory: directory.to_owned(),
            states: directory.join(".realtime"),
            id: format!("{}-{}", std::process::id(), hex::encode(random)),
            alive: None,
            last: None,
        }
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes the files if they are due, in a process that runs a loop; `now` in ms.
    pub fn loop_tick(&mut self, now: u64, snapshot: &dyn Fn() -> Snapshot) {
        if self.is_due(now, LOOP_INTERVAL_MS) {
            let written = self
                .write_state(&snapshot())
                .and_then(|()| self.aggregate(None, Duration::ZERO));
            self.log_failure(written);
        }
    }

    /// Writes the files if they are due, in a process that serves requests; `now` in ms.
    pub fn request_ended(&mut self, now: u64, snapshot: &dyn Fn() -> Snapshot) {
        if self.is_due(now, REQUEST_INTERVAL_MS) {
            let written = self.write_state(&snapshot()).and_then(|()| {
                if self.is_fresh() {
                    return Ok(());
                }
                self.aggregate(None, Duration::ZERO)
            });
            self.log_failure(written);
        }
    }

    /// The process exits: adds its final values to the totals of exited processes.
    pub fn finish(mut self, last: &Snapshot) {
        let written = self
            .prepare()
            .and_then(|()| self.aggregate(Some(last), LOCK_TIMEOUT));
        self.log_failure(written);
    }

    fn is_due(&mut self, now: u64, every: u64) -> bool {
        let due = self
            .last
            .is_none_or(|last| now.saturating_sub(last) >= every);
        if due {
            self.last = Some(now);
        }
        due
    }

    fn log_failure(&self, written: io::Result<()>) {
        if let Err(error) = written {
            runtime::warn(format!(
                    "The metrics for the node exporter could not be written to {} ({error}): check metrics_textfile \
                     (REALTIME_METRICS_TEXTFILE), its permissions and free disk space.",
                    self.directory.display()
                ));
        }
    }

    /// Another process has written the file a moment ago.
    fn is_fresh(&self) -> bool {
        let about = fs::metadata(self.directory.join(PROM_FILE)).and_then(|about| about.modified());
        about.is_ok_and(|at| {
            SystemTime::now()
                .duration_since(at)
                .is_ok_and(|age| age < FRESH_FOR)
        })
    }

    /// Creates the state directory with the permissions of its parent: processes of several users may write there.
    fn prepare(&self) -> io::Result<()> {
        if self.states.is_dir() {
            return Ok(());
        }
        let above = fs::metadata(&self.directory)?.permissions();
        match fs::create_dir(&self.states) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
            Ok(()) => fs::set_permissions(&self.states, above),
        }
    }

    fn state_of(&self, id: &str) -> PathBuf {
        self.states.join(format!("{id}.json"))
    }

    fn lock_of(&self, id: &str) -> PathBuf {
        self.states.join(format!("{id}.lock"))
    }

    /// Writes the state file of this process.
    fn write_state(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        self.prepare()?;
        if self
            .alive
            .as_ref()
            .is_none_or(|alive| !alive.is_at(&self.lock_of(&self.id)))
        {
            self.alive = LockedFile::open(&self.lock_of(&self.id), OpenMode::Any)?;
            if let Some(lock) = &self.alive {
                let _ = lock.file()?.set_permissions(Permissions::from_mode(0o666));
            }
        }
        replace_json(&self.state_of(&self.id), &ProcessState::of(snapshot))
    }

    /// Writes the sum of all processes to the exported file. `ending`: the final values of this process, which is
    /// exiting.
    fn aggregate(&mut self, ending: Option<&Snapshot>, timeout: Duration) -> io::Result<()> {
        let Some(lock) = LockedFile::wait(&self.states.join("lock"), timeout)? else {
            // Another process is aggregating: an exiting process leaves its state file for the next aggregation.
            return match ending {
                Some(last) => {
                    let kept = self.write_state(last);
                    self.alive = None;
                    kept
                }
                None => Ok(()),
            };
        };
        let _ = lock.file()?.set_permissions(Permissions::from_mode(0o666));
        let mut ended = EndedTotals::read(&self.states.join("ended.json"));
        let mut all = Snapshot::default();
        let mut active = 0;
        let mut exited: Vec<String> = Vec::new();
        for id in self.process_ids()? {
            let own = id == self.id;
            if ended.gone.contains(&id) || (own && ending.is_some()) {
                exited.push(id);
                continue;
            }
            let alive = own || self.is_running(&id)?;
            match ProcessState::read(&self.state_of(&id)) {
                Some(state) if alive => {
                    all.merge(&state.snapshot(), true);
                    active += 1;
                }
                Some(state) => {
                    ended.take(&id, &state.snapshot());
                    exited.push(id);
                }
                None if alive => {}
                None => exited.push(id),
            }
        }
        if let Some(last) = ending {
            ended.take(&self.id, last);
            exited.push(self.id.clone());
        }
        if ended.changed {
            // Written before the state files are removed: if this process is killed in between, no process is counted
            // twice.
            replace_json(&self.states.join("ended.json"), &ended)?;
        }
        for id in exited {
            let _ = fs::remove_file(self.state_of(&id));
            let _ = fs::remove_file(self.lock_of(&id));
        }
        if ending.is_some() {
            self.alive = None;
        }
        all.merge(&ended.state.snapshot(), false);
        all.gauge_of(&c::PROCESSES, Vec::new(), active);
        replace(
            &self.directory.join(PROM_FILE),
            exposition(all, ExpositionFormat::Classic).as_bytes(),
        )
    }

    /// Ids of the processes with a state file.
    fn process_ids(&self) -> io::Result<Vec<String>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.states)? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            if let Some(id) = id.filter(|id| *id != "ended" && !id.starts_with('.')) {
                all.push(id.to_owned());
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// True if the process holds its lock file.
    fn is_running(&self, id: &str) -> io::Result<bool> {
        match LockedFile::open(&self.lock_of(id), OpenMode::Existing) {
            Ok(lock) => Ok(lock.is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn replace_json(path: &Path, content: &impl Serialize) -> io::Result<()> {
    replace(
        path,
        &serde_json::to_vec(content).map_err(io::Error::other)?,
    )
}

/// Replaces a file atomically; world-readable, because the node exporter runs as a different user.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let next = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file = File::create(&next)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        fs::rename(&next, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&next);
    }
    written
}

/// All samples by metric name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct ProcessState {
    families: Vec<(String, Vec<(Labels, SampleValue)>)>,
}

impl ProcessState {
    fn of(snapshot: &Snapshot) -> Self {
        let families = snapshot.families().map(|family| {
            let samples = family.samples.clone().into_iter().collect();
            (family.metric.name.to_owned(), samples)
        });
        Self {
            families: families.collect(),
        }
    }

    /// Reads a state file; `None` if it is damaged or was written by another version.
    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Converts to a snapshot; metrics that are unknown to this version are left out.
    fn snapshot(&self) -> Snapshot {
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
struct EndedTotals {
    state: ProcessState,
    /// Ids of counted processes whose state file may still exist: they must not be counted twice.
    gone: BTreeSet<String>,
    #[serde(skip)]
    changed: bool,
}

impl EndedTotals {
    /// Reads the file; empty if it is missing or damaged.
    fn read(path: &Path) -> Self {
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

    /// Adds the final values of a process that has exited.
    fn take(&mut self, id: &str, last: &Snapshot) {
        let mut all = self.state.snapshot();
        all.merge(last, false);
        self.state = ProcessState::of(&all);
        self.gone.insert(id.to_owned());
        self.changed = true;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::{Textfile, PROM_FILE};
    use crate::metrics::catalog as c;
    use crate::metrics::snapshot::Snapshot;
    use crate::tests::TempDir;

    fn sent(count: u64, queued: f64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.count(c::PRODUCER_MESSAGES.name, Vec::new(), count);
        snapshot.gauge(&c::PRODUCER_QUEUE, Vec::new(), queued);
        snapshot
    }

    fn shown(directory: &Path, name: &str) -> Option<String> {
        let text = fs::read_to_string(directory.join(PROM_FILE)).ok()?;
        let line = text.lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        })?;
        line.rsplit(' ').next().map(str::to_owned)
    }

    fn total(directory: &Path) -> Option<String> {
        shown(directory, "realtime_producer_messages_total")
    }

    #[test]
    fn running_and_exited_processes_are_summed() {
        let place = TempDir::new();
        let place = place.0.as_path();
        let total = || total(place);
        let queue = || shown(place, "realtime_producer_queue_messages");
        let mut one = Textfile::new(place);
        let mut two = Textfile::new(place);
        one.loop_tick(10_000, &|| sent(3, 1.0));
        two.loop_tick(10_000, &|| sent(4, 2.0));
        assert_eq!(
            (total().as_deref(), queue().as_deref()),
            (Some("7"), Some("3.0"))
        );
        assert_eq!(shown(place, "realtime_processes").as_deref(), Some("2.0"));
        // One exits cleanly; the other is killed: its lock is free and its state file remains.
        one.finish(&sent(5, 0.0));
        two.alive = None;
        for round in 0..3 {
            Textfile::new(place).finish(&sent(1, 9.0));
            assert_eq!(total(), Some((5 + 4 + 1 + round).to_string()));
        }
        assert_eq!(queue(), None, "no process runs");
        let left: Vec<_> = fs::read_dir(place.join(".realtime"))
            .expect("a list")
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_process_killed_while_aggregating_is_not_counted_twice() {
        let place = TempDir::new();
        let place = place.0.as_path();
        let mut one = Textfile::new(place);
        one.loop_tick(10_000, &|| sent(3, 1.0));
        let state = one.state_of(&one.id);
        let bytes = fs::read(&state).expect("its state");
        one.alive = None;
        Textfile::new(place).finish(&sent(0, 0.0));
        // Simulates a process that was killed before it removed the state file.
        fs::write(&state, bytes).expect("back");
        Textfile::new(place).finish(&sent(0, 0.0));
        assert_eq!(total(place).as_deref(), Some("3"));
        assert!(!state.exists());
    }

    #[test]
    fn damaged_state_files_are_skipped() {
        let place = TempDir::new();
        let place = place.0.as_path();
        fs::create_dir(place.join(".realtime")).expect("a directory");
        for (name, bytes) in [
            ("1-a.json", "{"),
            ("2-b.json", ""),
            ("ended.json", "[1]"),
            (
                "3-c.json",
                "{\"families\":[[\"no_such\",[[[],{\"Count\":1}]]]]}",
            ),
        ] {
            fs::write(place.join(".realtime").join(name), bytes).expect("written");
        }
        Textfile::new(place).finish(&sent(2, 0.0));
        assert_eq!(total(place).as_deref(), Some("2"));
    }

    #[test]
    fn requests_write_at_most_once_a_second() {
        let place = TempDir::new();
        let place = place.0.as_path();
        let mut one = Textfile::new(place);
        one.request_ended(10_000, &|| sent(1, 0.0));
        one.request_ended(10_500, &|| sent(2, 0.0));
        assert_eq!(total(place).as_deref(), Some("1"));
        std::thread::sleep(Duration::from_millis(1010));
        one.request_ended(11_600, &|| sent(3, 0.0));
        assert_eq!(total(place).as_deref(), Some("3"));
    }

    #[test]
    fn a_missing_directory_logs_a_warning() {
        let place = Path::new("/nonexistent/textfile");
        Textfile::new(place).finish(&sent(1, 0.0));
        let mut one = Textfile::new(place);
        one.loop_tick(1, &|| sent(1, 0.0));
        assert!(crate::runtime::current()
            .log
            .drain()
            .iter()
            .any(|line| line.text.contains("metrics_textfile")));
    }
}
