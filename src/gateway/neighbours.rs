//! Who else listens on our port: `SO_REUSEPORT` lets two gateways of one user share it without a word, which is meant for a restart and
//! for nothing else.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// Most characters of a command that are shown.
const SHOWN: usize = 80;

/// A process that has the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// Its id; `None` where it cannot be seen (another container, another user).
    pub process: Option<u32>,
    /// What it was started with.
    pub command: String,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            None => f.write_str("a process that cannot be seen from here"),
            Some(own) if own == std::process::id() => f.write_str("this very process"),
            Some(other) if self.command.is_empty() => write!(f, "process {other}"),
            Some(other) => write!(f, "process {other} ({})", self.command),
        }
    }
}

/// Whoever listens on this address already, or on the same port of all addresses. Nobody where the system does not tell.
pub(super) fn of(address: SocketAddr) -> Vec<Neighbour> {
    let mut inodes = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        inodes.extend(text.lines().skip(1).filter_map(|line| inode(line, address)));
    }
    if inodes.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<Neighbour> = processes()
        .filter(|process| holds(*process, &inodes))
        .map(|process| Neighbour {
            process: Some(process),
            command: command(process),
        })
        .collect();
    if found.is_empty() {
        found.push(Neighbour {
            process: None,
            command: String::new(),
        });
    }
    found
}

/// The inode of a line's socket, where it listens on `address`.
fn inode(line: &str, address: SocketAddr) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
    let (host, port) = local.split_once(':')?;
    if *state != LISTENING || u16::from_str_radix(port, 16).ok()? != address.port() {
        return None;
    }
    let host = host_of(host)?.to_canonical();
    let ours = address.ip().to_canonical();
    (host == ours || host.is_unspecified() || ours.is_unspecified()).then(|| (*inode).to_owned())
}

/// An address as `/proc` writes it: words of 32 bits in the machine's own order.
fn host_of(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for start in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn holds(process: u32, inodes: &HashSet<String>) -> bool {
    let open = fs::read_dir(format!("/proc/{process}/fd"));
    open.into_iter().flatten().flatten().any(|entry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let name = target.to_str().and_then(|t| t.strip_prefix("socket:["));
        name.and_then(|n| n.strip_suffix(']'))
            .is_some_and(|inode| inodes.contains(inode))
    })
}

fn command(process: u32) -> String {
    let bytes = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    let shown: String = text.trim().escape_debug().take(SHOWN + 1).collect();
    if shown.chars().count() <= SHOWN {
        return shown;
    }
    format!("{}…", shown.chars().take(SHOWN).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_there_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = of(address);
        assert_eq!(own.len(), 1);
        assert_eq!(own[0].to_string(), "this very process");
        let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
        assert_eq!(of(everywhere), own);
        let elsewhere = SocketAddr::from(([127, 0, 0, 2], address.port()));
        assert_eq!(of(elsewhere), []);
        drop(listener);
        assert_eq!(of(address), []);
    }

    #[test]
    fn lines_of_the_system_are_read_as_they_are() {
        let line = "   0: 0100007F:1771 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0";
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(inode(line, at("127.0.0.1:6001")).as_deref(), Some("4711"));
        assert_eq!(inode(line, at("0.0.0.0:6001")).as_deref(), Some("4711"));
        assert_eq!(inode(line, at("127.0.0.1:6002")), None);
        assert_eq!(inode(line, at("10.0.0.1:6001")), None);
        // Connected, not listening.
        assert_eq!(
            inode(&line.replace(" 0A ", " 01 "), at("127.0.0.1:6001")),
            None
        );
        let line = "   0: 00000000000000000000000000000000:1771 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 12 1";
        assert_eq!(inode(line, at("127.0.0.1:6001")).as_deref(), Some("12"));
        assert_eq!(inode("nonsense", at("127.0.0.1:6001")), None);
    }

    #[test]
    fn a_neighbour_is_said_with_what_it_runs() {
        let named = |process, command: &str| {
            Neighbour {
                process,
                command: command.to_owned(),
            }
            .to_string()
        };
        assert_eq!(named(Some(1), "init"), "process 1 (init)");
        assert_eq!(named(Some(1), ""), "process 1");
        assert_eq!(named(None, ""), "a process that cannot be seen from here");
    }
}
