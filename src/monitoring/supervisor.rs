//! The signs of life of a loop, for supervisors: the `sd_notify` protocol of systemd (readiness, watchdog, status and
//! stopping), and a heartbeat file for probes that can run a command but cannot reach a port.
//!
//! Lines in a datagram to the socket in `NOTIFY_SOCKET`, a path or an abstract name. The loop itself sends them, so a
//! callback that hangs stops them and the watchdog of systemd takes action. `sd_notify::notify` cannot send them: it
//! takes paths only, and blocks while the service manager does not read.
//!
//! The file is replaced atomically once a second, so a reader never sees a partial file. If the disk is full, the
//! existing file is touched instead, which needs no space.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::runtime;

#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;

/// ms between two `STATUS=` lines.
const STATUS_INTERVAL_MS: u64 = 5000;

/// The socket of the service manager; every call is a no-op without `NOTIFY_SOCKET`.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// ms between two `WATCHDOG=1` lines; `None`: the watchdog is off for this process.
    watchdog: Option<u64>,
    ready: bool,
    stopping: bool,
    watchdog_sent: Option<u64>,
    status_sent: Option<u64>,
    status: String,
}

fn address(name: &[u8]) -> Option<SocketAddr> {
    match name {
        #[cfg(target_os = "linux")]
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest).ok(),
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)).ok(),
        _ => None,
    }
}

impl Notify {
    #[must_use]
    pub fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET");
        Self::new(
            socket.as_deref().map(OsStrExt::as_bytes),
            sd_notify::watchdog_enabled(),
        )
    }

    fn new(socket: Option<&[u8]>, watchdog: Option<Duration>) -> Self {
        let socket = socket.and_then(address).and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            // A service manager that does not read must not block the loop.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        Self {
            // Half the timeout.
            watchdog: watchdog
                .filter(|timeout| socket.is_some() && !timeout.is_zero())
                .map(|timeout| u64::try_from(timeout.as_millis() / 2).unwrap_or(u64::MAX)),
            socket,
            ..Self::default()
        }
    }

    fn send(&self, lines: &str) {
        if let Some((socket, address)) = &self.socket {
            // If the service manager is gone, nothing can be done about it.
            let _ = socket.send_to_addr(lines.as_bytes(), address);
        }
    }

    /// Sends the lines that are due; `now` in ms. `ready`: the service has started.
    pub fn loop_tick(&mut self, now: u64, ready: bool, status: &dyn Fn() -> String) {
        if self.socket.is_none() || self.stopping {
            return;
        }
        let mut lines = String::new();
        if ready && !self.ready {
            self.ready = true;
            lines.push_str("READY=1\n");
        }
        let due = |last: Option<u64>, every: u64| {
            last.is_none_or(|last| now.saturating_sub(last) >= every)
        };
        if self
            .watchdog
            .is_some_and(|every| due(self.watchdog_sent, every))
        {
            self.watchdog_sent = Some(now);
            lines.push_str("WATCHDOG=1\n");
        }
        if due(self.status_sent, STATUS_INTERVAL_MS) {
            self.status_sent = Some(now);
            let status = status().replace(['\n', '\r'], " ");
            if status != self.status {
                lines.push_str("STATUS=");
                lines.push_str(&status);
                lines.push('\n');
                self.status = status;
            }
        }
        if !lines.is_empty() {
            self.send(&lines);
        }
    }

    /// Sends `STOPPING=1`, once.
    pub fn stopping(&mut self) {
        if self.ready && !std::mem::replace(&mut self.stopping, true) {
            self.send("STOPPING=1\n");
        }
    }
}

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
            runtime::warn(format!(
                    "The heartbeat file {} cannot be written ({error}): a probe that checks it may restart this \
                     process.",
                    self.path.display()
                ));
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
    use std::fs;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::time::{Duration, SystemTime};

    use super::{Heartbeat, Notify};
    use crate::error::Kind;
    use crate::tests::TempDir;

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        let _ = socket.set_read_timeout(Some(Duration::from_millis(50)));
        let count = socket.recv(&mut bytes).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    fn notify_through_lifecycle(socket: &UnixDatagram, name: &[u8]) {
        let mut notify = Notify::new(Some(name), Some(Duration::from_secs(2)));
        notify.loop_tick(10_000, true, &|| "one\ntwo".to_owned());
        assert_eq!(received(socket), "READY=1\nWATCHDOG=1\nSTATUS=one two\n");
        notify.loop_tick(10_999, true, &|| "three".to_owned());
        assert_eq!(received(socket), "");
        notify.loop_tick(11_000, true, &|| "three".to_owned());
        assert_eq!(received(socket), "WATCHDOG=1\n");
        notify.loop_tick(15_000, true, &|| "three".to_owned());
        assert_eq!(received(socket), "WATCHDOG=1\nSTATUS=three\n");
        notify.stopping();
        notify.stopping();
        assert_eq!(received(socket), "STOPPING=1\n");
        notify.loop_tick(90_000, true, &String::new);
        assert_eq!(received(socket), "");
    }

    #[test]
    fn a_lifecycle_is_sent_to_a_path_socket() {
        let directory = TempDir::new();
        let path = directory.0.join("socket");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        notify_through_lifecycle(&socket, path.as_os_str().as_encoded_bytes());
    }

    #[test]
    fn a_lifecycle_is_sent_to_an_abstract_socket() {
        let name = format!("realtime-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        notify_through_lifecycle(&socket, format!("@{name}").as_bytes());
    }

    #[test]
    fn a_missing_socket_is_ignored() {
        for name in [None, Some(&b"/nonexistent/socket"[..]), Some(b"vsock:1:2")] {
            let mut notify = Notify::new(name, Some(Duration::from_secs(1)));
            notify.loop_tick(1, true, &String::new);
            notify.stopping();
        }
    }

    #[test]
    fn the_file_is_updated_at_most_once_a_second() {
        let directory = TempDir::new();
        let path = directory.0.join("beat");
        let mut heartbeat = Heartbeat::new(&path).expect("a heartbeat");
        heartbeat.loop_tick(1000);
        let text = fs::read_to_string(&path).expect("the file");
        assert!(text.ends_with(&format!(" {}\n", std::process::id())));
        fs::remove_file(&path).expect("gone");
        heartbeat.loop_tick(1999);
        assert!(!path.exists());
        heartbeat.loop_tick(2000);
        assert!(path.exists());
        let left = fs::read_dir(&directory.0).expect("a list");
        assert_eq!(left.count(), 1);
    }

    #[test]
    fn the_existing_file_is_touched_when_no_new_file_can_be_written() {
        let directory = TempDir::new();
        let path = directory.0.join("beat");
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
