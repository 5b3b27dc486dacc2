//! A heartbeat file that a running loop updates: for probes that can run a command but cannot reach a port.
//!
//! The file is replaced atomically once a second, so a reader never sees a partial file. If the disk is full, the
//! existing file is touched instead, which needs no space.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::log::Level;
use crate::runtime;

/// ms between two updates.
const INTERVAL_MS: u64 = 1000;

#[derive(Debug)]
pub struct Heartbeat {
    path: PathBuf,
    next: PathBuf,
    last: Option<u64>,
}

impl Heartbeat {
    /// Checks the path; the file is first written by [`Self::loop_tick`].
    ///
    /// # Errors
    /// Configuration: the directory does not exist, or the path is not a file.
    pub fn new(path: &Path) -> Result<Self> {
        let refuse = |why: &str| {
            Err(Error::configuration(format!(
                "The heartbeat file {} cannot be used: {why}. Check heartbeat_file (REALTIME_HEARTBEAT_FILE) or \
                 --heartbeat.",
                path.display()
            )))
        };
        let Ok(path) = std::path::absolute(path) else {
            return refuse("it is not a path");
        };
        if path.is_dir() {
            return refuse("it is a directory");
        }
        let directory = path.parent().filter(|parent| parent.is_dir());
        let (Some(directory), Some(name)) = (directory, path.file_name()) else {
            return refuse("its directory does not exist");
        };
        let next = format!(".{}.{}", name.to_string_lossy(), std::process::id());
        Ok(Self {
            next: directory.join(next),
            path,
            last: None,
        })
    }

    /// Updates the file if it is due; `now` in ms.
    pub fn loop_tick(&mut self, now: u64) {
        if self
            .last
            .is_some_and(|last| now.saturating_sub(last) < INTERVAL_MS)
        {
            return;
        }
        self.last = Some(now);
        let Err(error) = self.replace() else {
            return;
        };
        let _ = fs::remove_file(&self.next);
        if self.touch().is_err() {
            runtime::current().log.write(
                Level::Warning,
                format!(
                    "The heartbeat file {} cannot be written ({error}): a probe that checks it may restart this \
                     process.",
                    self.path.display()
                ),
            );
        }
    }

    fn replace(&self) -> io::Result<()> {
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        let mut file = File::create(&self.next)?;
        writeln!(file, "{unix} {}", std::process::id())?;
        fs::rename(&self.next, &self.path)
    }

    fn touch(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.set_modified(SystemTime::now())
    }
}

#[cfg(test)]
mod tests {
    use super::Heartbeat;
    use crate::error::Kind;
    use std::fs;
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("heartbeat-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    #[test]
    fn the_file_is_updated_at_most_once_a_second() {
        let path = directory("often").join("beat");
        let mut heartbeat = Heartbeat::new(&path).expect("a heartbeat");
        heartbeat.loop_tick(1000);
        let text = fs::read_to_string(&path).expect("the file");
        assert!(text.ends_with(&format!(" {}\n", std::process::id())));
        fs::remove_file(&path).expect("gone");
        heartbeat.loop_tick(1999);
        assert!(!path.exists());
        heartbeat.loop_tick(2000);
        assert!(path.exists());
        let left = fs::read_dir(path.parent().expect("its directory")).expect("a list");
        assert_eq!(left.count(), 1);
    }

    #[test]
    fn the_existing_file_is_touched_when_no_new_file_can_be_written() {
        let path = directory("full").join("beat");
        fs::write(&path, "old\n").expect("a file");
        let long_ago = SystemTime::now() - Duration::from_secs(600);
        let file = fs::File::options().write(true).open(&path).expect("it");
        file.set_modified(long_ago).expect("older");
        let mut heartbeat = Heartbeat::new(&path).expect("a heartbeat");
        // Simulates a full disk: the temporary file cannot be created.
        fs::create_dir(&heartbeat.next).expect("in the way");
        heartbeat.loop_tick(5000);
        assert_eq!(fs::read_to_string(&path).expect("it"), "old\n");
        let touched = fs::metadata(&path).and_then(|about| about.modified());
        assert!(touched.expect("a time") > long_ago + Duration::from_secs(300));
    }

    #[test]
    fn an_unusable_path_is_refused_immediately() {
        for path in ["/nonexistent/beat", "/tmp", "/"] {
            let error = Heartbeat::new(path.as_ref()).expect_err(path);
            assert_eq!(error.kind(), Kind::Configuration);
            assert!(error.message().contains("heartbeat_file"));
        }
    }
}
