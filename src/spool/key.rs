//! Whose messages a spool directory holds: the sub-directory's name and its `about.json`.

use serde_json::to_string;

/// What a spool is for. Messages never go to another cluster, environment or application than they were meant for.
#[derive(Debug, Clone, Copy)]
pub struct SpoolKey<'a> {
    /// Bootstrap servers, comma separated; order and spaces do not matter, credentials are left out.
    pub brokers: &'a str,
    /// Topic prefix.
    pub prefix: &'a str,
    /// Application: name, path or whatever tells two of them apart.
    pub application: &'a str,
}

impl SpoolKey<'_> {
    /// The sub-directory: a readable part for people, and 16 digits of a hash of everything.
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
        // The end tells more than the beginning: an application may be a long path.
        let cut = readable.len().saturating_sub(80);
        readable.drain(..cut);
        let hash = fnv64(&[&brokers.join(","), self.prefix, self.application]);
        format!("{}-{hash:016x}", readable.trim_matches('_'))
    }

    /// The content of `about.json`.
    pub(super) fn about(&self) -> String {
        let text = |s: &str| to_string(s).unwrap_or_default();
        let brokers: Vec<String> = self.hosts().iter().map(|host| text(host)).collect();
        format!(
            "{{\n  \"what\": \"Messages of toporia_realtime that Kafka has not acknowledged; they are sent by its next process\",\n  \
             \"format\": 1,\n  \"brokers\": [{}],\n  \"prefix\": {},\n  \"application\": {}\n}}\n",
            brokers.join(", "),
            text(self.prefix),
            text(self.application)
        )
    }

    /// The hosts, sorted, without what stands before an `@`.
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

/// FNV-1a over the parts and their lengths. Not the standard library's hash: that may change, and the messages of the
/// version before would be forgotten.
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
