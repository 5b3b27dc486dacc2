//! Identifies the owner of a spool directory: the name of the sub-directory and `about.json`.
//!
//! Messages belong to a cluster, a prefix and an application. The name of the directory has the brokers instead of the
//! cluster, because Kafka may be away when it is created. `about.json` gets the id of the cluster as soon as a process
//! knows it, so that other brokers of the cluster can be configured later.

use std::fs;
use std::path::Path;

use serde_json::{json, Value};

/// The file in a spool directory that names its owner.
pub(super) const ABOUT: &str = "about.json";

/// Owner of a spool. Messages are never sent to another cluster, environment or application.
#[derive(Debug, Clone, Copy)]
pub struct SpoolKey<'a> {
    /// Bootstrap servers, comma separated. Order and spaces do not matter; credentials are removed.
    pub brokers: &'a str,
    pub prefix: &'a str,
    /// Application: a name or path that distinguishes it from others.
    pub application: &'a str,
}

impl SpoolKey<'_> {
    /// Name of the sub-directory: a readable part, and 16 hex digits of a hash over all parts.
    pub(super) fn directory(&self) -> String {
        let brokers = self.hosts();
        let first = brokers.first().map_or("", String::as_str);
        let mut readable: String = [self.application, self.prefix, first]
            .join("-")
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        // Keeps the end, which is more specific: an application may be a long path.
        let cut = readable.len().saturating_sub(80);
        readable.drain(..cut);
        let hash = fnv64(&[&brokers.join(","), self.prefix, self.application]);
        format!("{}-{hash:016x}", readable.trim_matches('_'))
    }

    /// The owner; its cluster is not known yet.
    pub(super) fn owner(&self) -> SpoolOwner {
        SpoolOwner {
            brokers: self.hosts(),
            prefix: self.prefix.to_owned(),
            application: self.application.to_owned(),
            cluster: None,
            adopted_by: None,
        }
    }

    /// Hosts, sorted, without the part before an `@`.
    fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = self
            .brokers
            .split(',')
            .map(|part| part.rsplit('@').next().unwrap_or("").trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }
}

/// The content of `about.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpoolOwner {
    /// Sorted, without credentials.
    pub brokers: Vec<String>,
    pub prefix: String,
    pub application: String,
    /// The id of the cluster, once known.
    pub cluster: Option<String>,
    /// The cluster that may send the messages as well, because `realtime:spool --adopt` says so.
    pub adopted_by: Option<String>,
}

impl SpoolOwner {
    /// The owner of a directory; `None` if it has no readable `about.json`.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let about: Value = serde_json::from_slice(&fs::read(dir.join(ABOUT)).ok()?).ok()?;
        let text = |name: &str| about[name].as_str().map(str::to_owned);
        let brokers = about["brokers"].as_array()?.iter();
        Some(Self {
            brokers: brokers
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            prefix: text("prefix")?,
            application: text("application")?,
            cluster: text("cluster"),
            adopted_by: text("adopted_by"),
        })
    }

    pub(super) fn about(&self) -> String {
        let mut about = json!({
            "what": "Messages of toporia_realtime not acknowledged by Kafka; the next process sends them",
            "format": 1,
            "brokers": self.brokers,
            "prefix": self.prefix,
            "application": self.application,
        });
        for (name, value) in [("cluster", &self.cluster), ("adopted_by", &self.adopted_by)] {
            if let Some(value) = value {
                about[name] = json!(value);
            }
        }
        format!("{about:#}\n")
    }

    /// True if this owner may send the messages of `other`: the same cluster, prefix and application. Where the cluster
    /// of one is not known, a common broker shows that it is the same.
    pub(super) fn may_send(&self, other: &Self) -> bool {
        if other.adopted_by.is_some() && other.adopted_by == self.cluster {
            return true;
        }
        self.prefix == other.prefix
            && self.application == other.application
            && match (&self.cluster, &other.cluster) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => other.brokers.iter().any(|host| self.brokers.contains(host)),
            }
    }
}

/// FNV-1a over the parts and their lengths. The standard library's hash may change between versions, which would orphan
/// existing spools.
fn fnv64(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        let length = (part.len() as u64).to_le_bytes();
        for byte in length.iter().chain(part.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
