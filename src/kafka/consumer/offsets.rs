//! How far each assigned partition has been handled, and what a commit may therefore say.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

/// A partition of this consumer's assignment.
#[derive(Debug)]
pub struct Partition {
    /// Topic name, shared with the messages that come from it.
    pub topic: Rc<str>,
    /// Partition number.
    pub number: i32,
    /// The offset after the last record taken; -1 before the first.
    next: i64,
    /// Records taken and neither handled nor acknowledged yet.
    open: BTreeSet<i64>,
    /// What Kafka has from us; -1 for nothing.
    committed: i64,
    /// The first record of this assignment; -1 before it.
    began: i64,
    /// Nothing may be committed any more: what was handled could not be made undone.
    held: bool,
    /// Where the partition ended when its end was last reported; -1 where records came since.
    end: i64,
}

impl Partition {
    /// A partition just assigned; `committed` is the group's offset, or negative where it has none.
    #[must_use]
    pub fn new(topic: Rc<str>, number: i32, committed: i64) -> Self {
        Self {
            topic,
            number,
            next: -1,
            open: BTreeSet::new(),
            committed: committed.max(-1),
            began: -1,
            held: false,
            end: -1,
        }
    }

    /// A record was handed to a callback.
    #[inline]
    pub fn taken(&mut self, offset: i64) {
        self.reached(offset);
        self.open.insert(offset);
    }

    /// A record was handled; false where it was not open (handled before, or the partition was away since).
    #[inline]
    pub fn handled(&mut self, offset: i64) -> bool {
        self.open.remove(&offset)
    }

    /// True while a record was handed out and not acknowledged.
    #[must_use]
    pub fn is_open(&self, offset: i64) -> bool {
        self.open.contains(&offset)
    }

    /// A record was handled that was never handed out on its own: skipped, or the usual case of one at a time.
    #[inline]
    pub fn passed(&mut self, offset: i64) {
        self.reached(offset);
    }

    #[inline]
    fn reached(&mut self, offset: i64) {
        if self.began < 0 {
            self.began = offset;
        }
        self.next = offset + 1;
    }

    /// Where to read on if nothing since the last commit counts; `None` where nothing was read.
    #[must_use]
    pub fn last_certain(&self) -> Option<i64> {
        let certain = if self.committed >= 0 {
            self.committed
        } else {
            self.began
        };
        (self.next >= 0 && certain >= 0).then_some(certain)
    }

    /// From now on nothing of this partition is committed.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// The position changed by a seek, or a record was put back.
    pub fn moved(&mut self, next: i64) {
        self.next = next;
        self.open.clear();
        self.end = -1;
    }

    /// A record comes into hand. One from before the end, put back and taken again, does not make the end unknown: librdkafka
    /// reports it once.
    #[inline]
    pub fn came(&mut self, offset: i64) {
        if offset >= self.end {
            self.end = -1;
        }
    }

    /// The end was reported.
    pub fn ended(&mut self, end: i64) {
        self.end = end;
    }

    /// True where everything there is came into hand.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.end >= 0
    }

    /// The next offset to be read, negative where nothing was read yet.
    #[must_use]
    pub const fn position(&self) -> i64 {
        self.next
    }

    /// What the group may commit: up to the lowest record that is still open.
    #[must_use]
    pub fn committable(&self) -> Option<i64> {
        let offset = self.open.first().copied().unwrap_or(self.next);
        (!self.held && offset >= 0 && offset != self.committed).then_some(offset)
    }

    /// The group's offset is now this.
    pub fn committed(&mut self, offset: i64) {
        self.committed = offset;
    }

    /// What Kafka has from this group; -1 for nothing.
    #[must_use]
    pub const fn group_offset(&self) -> i64 {
        self.committed
    }
}

/// What a member writes beside its offsets, as JSON of a few bytes: who reads the topic, and how often the next record was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// A hash of the member's subscriptions: members of one group that read a shared topic should have the same.
    #[serde(rename = "s", default, skip_serializing_if = "String::is_empty")]
    pub subscriptions: String,
    /// Attempts of the record at the committed offset that ended by `exit` or a fatal error.
    #[serde(rename = "a", default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for this signature
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl Metadata {
    /// Reads what another member wrote; anything that is not ours counts as nothing.
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
    use super::{Metadata, Partition};

    fn partition() -> Partition {
        Partition::new("t".into(), 0, -1001)
    }

    #[test]
    fn nothing_read_is_nothing_to_commit() {
        assert_eq!(partition().committable(), None);
    }

    #[test]
    fn an_open_record_holds_the_commit_back() {
        let mut partition = partition();
        for offset in 5..8 {
            partition.taken(offset);
        }
        assert!(partition.handled(6));
        assert_eq!(partition.committable(), Some(5));
        assert!(partition.handled(5));
        assert_eq!(partition.committable(), Some(7));
        assert!(partition.handled(7));
        assert!(!partition.handled(7));
        assert_eq!(partition.committable(), Some(8));
        partition.committed(8);
        assert_eq!(partition.committable(), None);
    }

    #[test]
    fn what_was_not_committed_can_be_taken_back() {
        let mut partition = partition();
        assert_eq!(partition.last_certain(), None);
        partition.passed(3);
        partition.passed(4);
        assert_eq!(partition.last_certain(), Some(3));
        partition.committed(4);
        partition.passed(5);
        assert_eq!(partition.last_certain(), Some(4));
        partition.moved(-1);
        assert_eq!(partition.committable(), None);
        partition.passed(4);
        partition.hold();
        assert_eq!(partition.committable(), None);
    }

    #[test]
    fn an_end_stays_known_while_the_records_before_it_are_handled() {
        let mut partition = partition();
        partition.came(0);
        partition.came(1);
        partition.ended(2);
        partition.passed(0);
        partition.came(1);
        partition.passed(1);
        assert!(partition.is_at_end());
        partition.came(2);
        assert!(!partition.is_at_end());
    }

    #[test]
    fn gaps_in_offsets_mean_nothing() {
        let mut partition = partition();
        partition.passed(3);
        partition.passed(9);
        assert_eq!(partition.committable(), Some(10));
    }

    #[test]
    fn metadata_survives_strangers() {
        let ours = Metadata {
            subscriptions: "ab".into(),
            attempts: 2,
        };
        assert_eq!(Metadata::read(&ours.bytes()), ours);
        assert_eq!(Metadata::read(b"rdkafka"), Metadata::default());
        assert_eq!(Metadata::default().bytes(), b"{}");
    }
}
