//! How far each assigned partition has been handled, and what a commit may therefore say.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

/// A partition of this consumer's assignment.
#[allow(clippy::struct_excessive_bools)] // four things that can be true of it, in any combination
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
    /// Has to go back to this offset and could not yet: what comes meanwhile is from the wrong place.
    rewind_to: Option<i64>,
    /// Where the partition ended when its end was last reported; -1 where records last_fetch since.
    end: i64,
    /// Records whose callbacks crashed, and how often they were tried until then.
    crashes: BTreeMap<i64, u32>,
    /// Deaths that no commit has told of yet.
    unreported: bool,
    /// Paused by us, because it ran too far past what can be committed.
    pub held_back: bool,
    /// Paused by the application.
    pub paused: bool,
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
            rewind_to: None,
            end: -1,
            crashes: BTreeMap::new(),
            unreported: false,
            held_back: false,
            paused: false,
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

    /// The last offset that is certain: the group's, or where this assignment began; -1 for neither.
    pub const fn certain(&self) -> i64 {
        if self.committed >= 0 {
            self.committed
        } else {
            self.began
        }
    }

    /// Where to read on if nothing since the last commit counts; `None` where nothing was read.
    #[must_use]
    pub fn last_certain(&self) -> Option<i64> {
        (self.next >= 0 && self.certain() >= 0).then_some(self.certain())
    }

    /// How many records were taken past the first one that is still open.
    #[must_use]
    pub fn ahead(&self) -> usize {
        let first = self.open.first().copied().unwrap_or(self.next);
        usize::try_from(self.next - first).unwrap_or(0)
    }

    /// The callback of a record crashed, by `exit` or a fatal error, in this try.
    pub fn crashed(&mut self, offset: i64, tries: u32) {
        if self.began < 0 {
            self.began = offset;
        }
        self.unreported = true;
        self.crashes.insert(offset, tries);
    }

    /// True where a record before this one is still open, so that no commit can pass this one.
    #[must_use]
    pub fn waits_before(&self, offset: i64) -> bool {
        self.open.first().is_some_and(|first| *first < offset)
    }

    /// How often a record was tried until its callback crashed; 0 where it did not.
    #[inline]
    #[must_use]
    pub fn crashes(&self, offset: i64) -> u32 {
        if self.crashes.is_empty() {
            return 0;
        }
        self.crashes.get(&offset).copied().unwrap_or(0)
    }

    /// What the member before us wrote beside its offset.
    pub fn remember(&mut self, crashes: &[(i64, i64, u32)]) {
        for (first, count, times) in crashes {
            let last = first.saturating_add((*count).clamp(0, MAX_CRASHES));
            self.crashes
                .extend((*first..last).map(|offset| (offset, *times)));
        }
    }

    /// The same for the next commit: neighbours that crashed equally often as one entry.
    #[must_use]
    pub fn crash_counts(&self) -> Vec<(i64, i64, u32)> {
        let mut runs: Vec<(i64, i64, u32)> = Vec::new();
        for (&offset, &times) in &self.crashes {
            match runs.last_mut() {
                Some((first, count, same)) if *first + *count == offset && *same == times => {
                    *count += 1;
                }
                _ => runs.push((offset, 1, times)),
            }
        }
        runs.truncate(MOST_RUNS);
        runs
    }

    /// It could not be rewound: nothing of it counts until it is.
    pub fn rewind_later(&mut self, offset: i64) {
        self.moved(-1);
        self.rewind_to = Some(offset);
    }

    /// Where it has still to go back to.
    #[must_use]
    pub const fn rewind_to(&self) -> Option<i64> {
        self.rewind_to
    }

    /// The position changed by a seek, or a record was put back.
    pub fn moved(&mut self, next: i64) {
        self.next = next;
        self.open.clear();
        self.end = -1;
        self.rewind_to = None;
    }

    /// Nothing handled since the last commit counts: what comes next is read from there by somebody else.
    pub fn forget_progress(&mut self) {
        self.moved(-1);
    }

    /// A record comes into hand. One from before the end, put back and taken again, does not make the end unknown: librdkafka
    /// reports it once.
    #[inline]
    pub fn last_fetch(&mut self, offset: i64) {
        if offset >= self.end {
            self.end = -1;
        }
    }

    /// The end was reported.
    pub fn ended(&mut self, end: i64) {
        self.end = end;
    }

    /// True where everything there is last_fetch into hand.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.end >= 0 && self.rewind_to.is_none()
    }

    /// The next offset to be read, negative where nothing was read yet.
    #[must_use]
    pub const fn position(&self) -> i64 {
        self.next
    }

    /// What the group may commit: up to the lowest record that is still open; the same offset again where there is something
    /// to tell beside it.
    #[must_use]
    pub fn committable(&self) -> Option<i64> {
        let reached = self.open.first().copied().unwrap_or(self.next);
        let offset = if reached < 0 && self.unreported {
            self.certain()
        } else {
            reached
        };
        (self.rewind_to.is_none() && offset >= 0 && (offset != self.committed || self.unreported))
            .then_some(offset)
    }

    /// True where a record was handled, or handed out, and the group does not know of it.
    #[must_use]
    pub const fn has_uncommitted(&self) -> bool {
        self.next >= 0 && self.next > self.committed
    }

    /// The group's offset is now this.
    pub fn committed(&mut self, offset: i64) {
        self.committed = offset;
        if !self.crashes.is_empty() {
            self.crashes = self.crashes.split_off(&offset);
        }
    }

    /// A commit that carries the crashes is on its way.
    pub fn told(&mut self) {
        self.unreported = false;
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
    /// Records at or after the committed offset whose callbacks crashed by `exit` or a fatal error: first offset, how many in a row,
    /// how often they were tried.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub crashes: Vec<(i64, i64, u32)>,
}

/// Kafka takes 4096 bytes of metadata; with more than so many records dead the rest begins to count again.
const MOST_RUNS: usize = 60;
/// A run longer than any list of records was not written by us.
const MAX_CRASHES: i64 = 100_000;

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
        partition.rewind_later(4);
        assert_eq!(partition.committable(), None);
        partition.ended(9);
        assert!(!partition.is_at_end());
        partition.moved(-1);
        assert_eq!(partition.rewind_to(), None);
    }

    #[test]
    fn an_end_stays_known_while_the_records_before_it_are_handled() {
        let mut partition = partition();
        partition.last_fetch(0);
        partition.last_fetch(1);
        partition.ended(2);
        partition.passed(0);
        partition.last_fetch(1);
        partition.passed(1);
        assert!(partition.is_at_end());
        partition.last_fetch(2);
        assert!(!partition.is_at_end());
    }

    #[test]
    fn a_death_is_told_even_where_nothing_else_is() {
        let mut partition = partition();
        partition.crashed(4, 1);
        assert_eq!(partition.committable(), Some(4));
        partition.told();
        partition.committed(4);
        assert_eq!(partition.committable(), None);
        let mut next = Partition::new("t".into(), 0, 4);
        next.remember(&partition.crash_counts());
        assert_eq!(next.crashes(4), 1);
        next.crashed(4, 2);
        next.crashed(5, 1);
        next.crashed(6, 1);
        assert_eq!(next.crash_counts(), [(4, 1, 2), (5, 2, 1)]);
        assert_eq!(next.committable(), Some(4));
        next.passed(4);
        next.told();
        next.committed(5);
        assert_eq!(next.crash_counts(), [(5, 2, 1)]);
    }

    #[test]
    fn how_far_it_runs_ahead_of_an_open_record() {
        let mut partition = partition();
        partition.taken(3);
        assert_eq!(partition.ahead(), 1);
        partition.passed(9);
        assert_eq!(partition.ahead(), 7);
        partition.handled(3);
        assert_eq!(partition.ahead(), 0);
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
            crashes: vec![(7, 2, 1)],
        };
        assert_eq!(Metadata::read(&ours.bytes()), ours);
        assert_eq!(Metadata::read(b"rdkafka"), Metadata::default());
        assert_eq!(Metadata::default().bytes(), b"{}");
    }
}
