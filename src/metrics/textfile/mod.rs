//! Metrics of processes that nobody can scrape, for the node exporter's textfile collector: FPM workers and short scripts.
//!
//! ```text
//! <directory>/realtime.prom              all processes in one file, so that no series is there twice
//! <directory>/.realtime/<process>.json   the figures of one process, replaced as a whole
//!                       <process>.lock   locked while it lives
//!                       ended.json       what processes have counted that are gone
//!                       lock             held by whoever adds them up
//! ```
//!
//! A disk without room costs the figures of the last seconds and a warning, never a message.

mod state;
#[cfg(test)]
mod tests;

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use self::state::{Ended, State};
use super::catalog as c;
use super::snapshot::Snapshot;
use super::text::{text, Format};
use crate::log::Level;
use crate::process;
use crate::spool::{LockedFile, OpenMode};

/// ms between two writes of a process that serves requests.
const EVERY: u64 = 1000;
/// Of one that runs on.
const EVERY_LONG: u64 = 5000;
/// While a file was written so recently it is not written again for a request.
const FRESH: Duration = Duration::from_secs(1);
/// How long the end of a process waits for others that add up.
const PATIENCE: Duration = Duration::from_millis(500);
/// The file that the node exporter reads.
const SHOWN: &str = "realtime.prom";

/// What one process keeps in the directory.
#[derive(Debug)]
pub struct Textfile {
    directory: PathBuf,
    states: PathBuf,
    id: String,
    alive: Option<LockedFile>,
    last: Option<u64>,
}

impl Textfile {
    /// Touches nothing yet.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        let mut random = [0_u8; 6];
        // Without randomness the number of the process has to do.
        let _ = getrandom::fill(&mut random);
        Self {
            directory: directory.to_owned(),
            states: directory.join(".realtime"),
            id: format!("{}-{}", std::process::id(), hex::encode(random)),
            alive: None,
            last: None,
        }
    }

    /// Where it writes.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A loop that runs on came round; `now` in ms.
    pub fn beat(&mut self, now: u64, snapshot: &dyn Fn() -> Snapshot) {
        if self.is_due(now, EVERY_LONG) {
            let written = self
                .keep(&snapshot())
                .and_then(|()| self.add_up(None, Duration::ZERO));
            self.tell(written);
        }
    }

    /// A request ended in a process that serves others.
    pub fn request_ended(&mut self, now: u64, snapshot: &dyn Fn() -> Snapshot) {
        if self.is_due(now, EVERY) {
            let written = self.keep(&snapshot()).and_then(|()| {
                if self.is_fresh() {
                    return Ok(());
                }
                self.add_up(None, Duration::ZERO)
            });
            self.tell(written);
        }
    }

    /// The process ended: what it has counted moves to those that are gone.
    pub fn finish(mut self, last: &Snapshot) {
        let written = self
            .prepare()
            .and_then(|()| self.add_up(Some(last), PATIENCE));
        self.tell(written);
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

    fn tell(&self, written: io::Result<()>) {
        if let Err(error) = written {
            process::current().log.say(
                Level::Warning,
                format!(
                    "The metrics for the node exporter could not be written to {} ({error}): check metrics_textfile (REALTIME_METRICS_TEXTFILE), its permissions and the room there.",
                    self.directory.display()
                ),
            );
        }
    }

    /// Somebody has added up a moment ago.
    fn is_fresh(&self) -> bool {
        let about = fs::metadata(self.directory.join(SHOWN)).and_then(|about| about.modified());
        about.is_ok_and(|at| {
            SystemTime::now()
                .duration_since(at)
                .is_ok_and(|age| age < FRESH)
        })
    }

    /// The directory for the states, with the permissions of the one above: processes of several users may write there.
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

    /// Writes this process's own state.
    fn keep(&mut self, snapshot: &Snapshot) -> io::Result<()> {
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
        replace(&self.state_of(&self.id), &State::of(snapshot).bytes()?)
    }

    /// Adds up all processes into the file that is shown. `ending`: the last figures of this one, which is gone from now on.
    fn add_up(&mut self, ending: Option<&Snapshot>, patience: Duration) -> io::Result<()> {
        let Some(lock) = LockedFile::wait(&self.states.join("lock"), patience)? else {
            // Somebody else does, or will: a process that ends leaves its state for that.
            return match ending {
                Some(last) => {
                    let kept = self.keep(last);
                    self.alive = None;
                    kept
                }
                None => Ok(()),
            };
        };
        let _ = lock.file()?.set_permissions(Permissions::from_mode(0o666));
        let mut ended = Ended::read(&self.states.join("ended.json"));
        let mut all = Snapshot::default();
        let mut living = 0;
        let mut gone: Vec<String> = Vec::new();
        for id in self.known()? {
            let own = id == self.id;
            if ended.has(&id) || (own && ending.is_some()) {
                gone.push(id);
                continue;
            }
            let alive = own || self.lives(&id)?;
            match State::read(&self.state_of(&id)) {
                Some(state) if alive => {
                    all.merge(&state.snapshot(), true);
                    living += 1;
                }
                Some(state) => {
                    ended.take(&id, &state.snapshot());
                    gone.push(id);
                }
                None if alive => {}
                None => gone.push(id),
            }
        }
        if let Some(last) = ending {
            ended.take(&self.id, last);
            gone.push(self.id.clone());
        }
        if ended.has_changed() {
            // Before their states go: whoever is killed in between counts nobody twice.
            replace(&self.states.join("ended.json"), &ended.bytes()?)?;
        }
        for id in gone {
            let _ = fs::remove_file(self.state_of(&id));
            let _ = fs::remove_file(self.lock_of(&id));
        }
        if ending.is_some() {
            self.alive = None;
        }
        all.merge(&ended.snapshot(), false);
        all.gauge_of(&c::PROCESSES, Vec::new(), living);
        replace(
            &self.directory.join(SHOWN),
            text(all, Format::Classic).as_bytes(),
        )
    }

    /// The processes with a state.
    fn known(&self) -> io::Result<Vec<String>> {
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

    /// Its lock is held.
    fn lives(&self, id: &str) -> io::Result<bool> {
        match LockedFile::open(&self.lock_of(id), OpenMode::Existing) {
            Ok(lock) => Ok(lock.is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Replaces a file as a whole; readable for everybody, as the node exporter is somebody else.
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
