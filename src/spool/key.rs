//! Identifies the owner of a spool directory: the name of the sub-directory and `about.json`.

use serde_json::to_string;

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

    pub(super) fn about(&self) -> String {
        let text = |s: &str| to_string(s).unwrap_or_default();
        let brokers: Vec<String> = self.hosts().iter().map(|host| text(host)).collect();
        format!(
            "{{\n  \"what\": \"Messages of toporia_realtime not acknowledged by Kafka; the next process sends \
             them\",\n  \
             \"format\": 1,\n  \"brokers\": [{}],\n  \"prefix\": {},\n  \"application\": {}\n}}\n",
            brokers.join(", "),
            text(self.prefix),
            text(self.application)
        )
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
