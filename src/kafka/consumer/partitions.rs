//! The assigned partitions. Each has a slot, by which records refer to it.

use std::collections::HashMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::message::Fetched;
use super::partition::Partition;

/// An offset for a commit, with the crash counts that go into its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitOffset {
    pub topic: Rc<str>,
    pub partition: i32,
    /// The next record that the group has to read.
    pub offset: i64,
    /// See [`CommitMetadata`].
    pub crashes: Vec<(i64, i64, u32)>,
}

/// The metadata that a member writes beside its committed offsets, JSON of a few bytes: its subscriptions, and crash
/// counts of the records that follow the offset.
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

    /// The text for a commit.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[derive(Default)]
pub struct PartitionTable {
    slots: Vec<Option<Partition>>,
    index: HashMap<(Rc<str>, i32), usize>,
    /// The partition of the last message: most often that of the next one.
    recent: Option<(usize, i32, usize)>,
    /// The number of the last commit sent.
    commits: usize,
}

impl PartitionTable {
    /// A partition was assigned; `committed` is the group's offset, negative where it has none.
    pub fn add(&mut self, topic: &str, number: i32, committed: i64) -> &mut Partition {
        let known = self.all().find(|partition| &*partition.topic == topic);
        let name = known.map_or_else(|| Rc::from(topic), |partition| Rc::clone(&partition.topic));
        let partition = Partition::new(Rc::clone(&name), number, committed, self.commits);
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.index.insert((name, number), slot);
        self.recent = None;
        self.slots[slot].insert(partition)
    }

    pub(super) fn remove(&mut self, slot: usize) {
        self.index.retain(|_, other| *other != slot);
        self.slots[slot] = None;
        self.recent = None;
    }

    pub fn all(&self) -> impl Iterator<Item = &Partition> {
        self.slots.iter().flatten()
    }

    pub(super) fn slots(&self) -> std::ops::Range<usize> {
        0..self.slots.len()
    }

    pub fn find(&mut self, topic: &str, number: i32) -> Option<&mut Partition> {
        let slot = self.slot_of(topic, number)?;
        self.slots[slot].as_mut()
    }

    pub fn slot_of(&self, topic: &str, number: i32) -> Option<usize> {
        self.index.get(&(Rc::from(topic), number)).copied()
    }

    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<&Partition> {
        self.slots.get(slot)?.as_ref()
    }

    #[inline]
    pub fn at(&mut self, slot: usize) -> Option<&mut Partition> {
        self.slots.get_mut(slot)?.as_mut()
    }

    #[inline]
    pub(super) fn slot<M: Fetched>(&mut self, message: &M) -> Option<usize> {
        let (handle, number) = (message.topic_handle(), message.partition());
        if let Some((topic, partition, slot)) = self.recent {
            if topic == handle && partition == number {
                return Some(slot);
            }
        }
        if handle == 0 {
            return None;
        }
        let slot = self.slot_of(&message.topic(), number)?;
        self.recent = Some((handle, number, slot));
        Some(slot)
    }

    /// The offsets that may be committed, where Kafka does not have them yet.
    pub fn committable(&self) -> Vec<CommitOffset> {
        let committable = |partition: &Partition| {
            Some(CommitOffset {
                topic: Rc::clone(&partition.topic),
                partition: partition.number,
                offset: partition.committable()?,
                crashes: partition.crash_counts(),
            })
        };
        self.all().filter_map(committable).collect()
    }

    /// Every record taken since the last commit is handed out alone when it is read again.
    pub fn isolate(&mut self) {
        for partition in self.slots.iter_mut().flatten() {
            partition.isolate();
        }
    }

    /// True where records were taken since the last commit.
    pub fn has_uncommitted(&self) -> bool {
        self.all().any(Partition::has_uncommitted)
    }

    /// True if the partition is assigned and `test` holds for it.
    pub fn is(&self, topic: &str, number: i32, test: impl FnOnce(&Partition) -> bool) -> bool {
        let slot = self.slot_of(topic, number);
        slot.and_then(|slot| self.get(slot)).is_some_and(test)
    }

    /// True where isolated records are still to be read.
    #[inline]
    pub fn has_isolated(&self) -> bool {
        self.all().any(Partition::has_isolated)
    }

    /// The number of the next commit; its answer carries it.
    pub fn next_commit(&mut self) -> usize {
        self.commits += 1;
        self.commits
    }

    /// The number of the last commit sent.
    pub const fn last_commit(&self) -> usize {
        self.commits
    }

    /// Kafka confirmed an offset of commit number `commit`.
    pub fn committed(&mut self, topic: &str, number: i32, offset: i64, commit: usize) {
        if let Some(partition) = self.find(topic, number) {
            partition.committed(offset, commit);
        }
    }

    /// Seeks that are still to be done, or failed.
    pub fn pending_rewinds(&self) -> Vec<(String, i32, i64)> {
        let pending = |one: &Partition| Some((one.topic.to_string(), one.number, one.rewind_to()?));
        self.all().filter_map(pending).collect()
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
        assert_eq!(CommitMetadata::read(ours.text().as_bytes()), ours);
        assert_eq!(CommitMetadata::read(b"rdkafka"), CommitMetadata::default());
        assert_eq!(CommitMetadata::default().text(), "{}");
    }
}
