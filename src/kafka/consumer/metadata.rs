//! The metadata that a member writes beside its committed offsets: JSON of a few bytes.

use serde::{Deserialize, Serialize};

/// Subscriptions of the member, and crash counts of the records that follow the offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitMetadata {
    /// A hash of the member's subscriptions: members of one group that read a shared topic should have the same.
    #[serde(rename = "s", default, skip_serializing_if = "String::is_empty")]
    pub subscriptions: String,
    /// Records at or after the committed offset whose callbacks ended the process by `exit` or a fatal error: first
    /// offset, number of records in a row, attempts.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub crashes: Vec<(i64, i64, u32)>,
}

impl CommitMetadata {
    /// Reads the metadata of another member; anything of another format is empty metadata.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// The bytes for a commit.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::CommitMetadata;

    #[test]
    fn metadata_of_other_clients_is_ignored() {
        let ours = CommitMetadata {
            subscriptions: "ab".into(),
            crashes: vec![(7, 2, 1)],
        };
        assert_eq!(CommitMetadata::read(&ours.bytes()), ours);
        assert_eq!(CommitMetadata::read(b"rdkafka"), CommitMetadata::default());
        assert_eq!(CommitMetadata::default().bytes(), b"{}");
    }
}
