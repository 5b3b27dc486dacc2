//! One assigned partition: which of its records are in progress, and the offset that may be committed.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Target of a seek by the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTarget {
    /// The first record that Kafka still has.
    Beginning,
    /// Behind the last record.
    End,
    Offset(i64),
}

/// A partition of this consumer's assignment.
///
/// Every record enters through [`Partition::take`] when it leaves the fetch queue, and stays in `in_progress` until
/// [`Partition::complete`] removes it with its result: handled, skipped or dead-lettered. The committable offset is
/// computed from that list alone, so that no offset passes a record without its result. Requeued, retried, crashed or
/// held-back records stay in the list; crash counts are data beside it.
#[derive(Debug)]
pub struct Partition {
    /// Topic name, shared with the messages that come from it.
    pub topic: Rc<str>,
    pub number: i32,
    /// Records taken and not complete, in the order of their offsets.
    in_progress: VecDeque<i64>,
    /// The offset after the last record taken.
    position: Option<i64>,
    /// Reading restarts here when the progress since the last commit is undone: the last committed offset or, before
    /// the first commit, where reading began.
    restart: Option<i64>,
    /// The group's offset as Kafka last confirmed it.
    committed: Option<i64>,
    /// Commits up to this number were sent before the position was last moved: their responses say nothing about
    /// `restart`.
    moved_at_commit: usize,
    /// A seek to this offset failed and is retried; until then fetched records are from the wrong place and are
    /// discarded.
    rewind_to: Option<i64>,
    /// The end offset as last reported; `None` where records followed.
    end: Option<i64>,
    /// Crash counts by offset.
    crashes: BTreeMap<i64, u32>,
    /// The number of the last commit sent before a crash that no confirmed commit has reported yet.
    crashed_at_commit: Option<usize>,
    /// Records before this offset are handed out alone, see [`Partition::isolate`].
    isolated_until: i64,
    /// Those of them that had no result yet.
    unfinished: Vec<i64>,
    /// Paused by the consumer: it ran too far past the committable offset.
    pub held_back: bool,
    /// Paused by the application.
    pub paused: bool,
}

impl Partition {
    /// A partition just assigned. `committed` is the group's offset, negative where it has none; `commits` is the
    /// number of the last commit sent.
    #[must_use]
    pub fn new(topic: Rc<str>, number: i32, committed: i64, commits: usize) -> Self {
        Self {
            topic,
            number,
            in_progress: VecDeque::new(),
            position: None,
            restart: None,
            committed: (committed >= 0).then_some(committed),
            moved_at_commit: commits,
            rewind_to: None,
            end: None,
            crashes: BTreeMap::new(),
            crashed_at_commit: None,
            isolated_until: 0,
            unfinished: Vec::new(),
            held_back: false,
            paused: false,
        }
    }

    /// A record leaves the fetch queue. False where it was requeued and is in progress already.
    #[allow(clippy::inline_always)] // Called once for each record.
    #[inline(always)]
    pub fn take(&mut self, offset: i64) -> bool {
        // A record from before the end, requeued and taken again, does not make the end unknown: librdkafka reports
        // it once.
        if self.end.is_some_and(|end| offset >= end) {
            self.end = None;
        }
        if self.position.is_some_and(|position| offset < position) {
            let place = self.in_progress.binary_search(&offset);
            if let Err(place) = place {
                self.in_progress.insert(place, offset);
            }
            return place.is_err();
        }
        if self.restart.is_none() {
            self.restart = Some(offset);
        }
        self.in_progress.push_back(offset);
        self.position = Some(offset + 1);
        true
    }

    /// The record has its result. False where it is not in progress: it has a result already, or is read again.
    #[allow(clippy::inline_always)] // Called once for each record.
    #[inline(always)]
    pub fn complete(&mut self, offset: i64) -> bool {
        if self.in_progress.front() == Some(&offset) {
            self.in_progress.pop_front();
            return true;
        }
        let place = self.in_progress.binary_search(&offset);
        place.is_ok_and(|place| self.in_progress.remove(place).is_some())
    }

    /// True while the record was taken and has no result.
    #[must_use]
    pub fn is_in_progress(&self, offset: i64) -> bool {
        self.in_progress.binary_search(&offset).is_ok()
    }

    /// The offset that may be committed: that of the first record without a result or, where all have one, the
    /// position. `None` where Kafka has it already and there are no crash counts to report.
    #[must_use]
    pub fn committable(&self) -> Option<i64> {
        let first = self.in_progress.front().copied();
        let offset = first.or(self.position).or(self.restart)?;
        (Some(offset) != self.committed || self.crashed_at_commit.is_some()).then_some(offset)
    }

    /// The offset to read again from so that everything since the last commit is undone; `None` where nothing was
    /// read.
    #[must_use]
    pub fn restart_offset(&self) -> Option<i64> {
        self.position.and(self.restart)
    }

    /// The records taken since the last commit are about to be read again, and are handed out one by one.
    pub fn isolate(&mut self) {
        if let Some(position) = self.position {
            self.isolated_until = self.isolated_until.max(position);
            self.unfinished = self.in_progress.iter().copied().collect();
        }
    }

    /// True for a record that must be handed out alone.
    #[inline]
    #[must_use]
    pub const fn is_isolated(&self, offset: i64) -> bool {
        offset < self.isolated_until
    }

    /// True for an isolated record whose callback returned before: it is handled again.
    #[inline]
    #[must_use]
    pub fn was_handled(&self, offset: i64) -> bool {
        self.is_isolated(offset) && !self.unfinished.contains(&offset)
    }

    /// True where isolated records are still to be read.
    #[inline]
    #[must_use]
    pub fn has_isolated(&self) -> bool {
        !self.paused
            && self
                .position
                .is_some_and(|position| position < self.isolated_until)
    }

    /// Records from `offset` on are read again: their results since then do not count. `commits`: the number of the
    /// last commit sent.
    pub fn reread_from(&mut self, offset: i64, commits: usize) {
        self.in_progress.retain(|&other| other < offset);
        self.position = Some(offset);
        self.end = None;
        self.rewind_to = None;
        self.moved_at_commit = commits;
    }

    /// The seek to `offset` failed: no later record is taken until it succeeds, see [`Partition::rewind_to`].
    pub fn rewind_later(&mut self, offset: i64, commits: usize) {
        self.reread_from(offset, commits);
        self.rewind_to = Some(offset);
    }

    /// The offset of a failed seek that is still to be done.
    #[must_use]
    pub const fn rewind_to(&self) -> Option<i64> {
        self.rewind_to
    }

    /// The application moved the position. Progress that no commit holds yet can still be undone, so the place to
    /// restart from stays at or before it.
    pub fn sought(&mut self, target: SeekTarget, commits: usize) {
        let undoable = self.restart.filter(|_| self.has_uncommitted());
        self.in_progress.clear();
        self.rewind_to = None;
        self.end = None;
        self.moved_at_commit = commits;
        (self.position, self.restart) = match target {
            SeekTarget::Offset(offset) => (
                Some(offset),
                Some(undoable.map_or(offset, |restart| restart.min(offset))),
            ),
            SeekTarget::Beginning => (None, None),
            SeekTarget::End => (None, undoable),
        };
    }

    /// Kafka confirmed the group's offset; `commit` is the number of the commit that this responds to.
    pub fn committed(&mut self, offset: i64, commit: usize) {
        self.committed = Some(offset);
        if self
            .crashed_at_commit
            .is_some_and(|crashed| commit > crashed)
        {
            self.crashed_at_commit = None;
        }
        if commit > self.moved_at_commit {
            self.restart = Some(offset);
        }
        if !self.crashes.is_empty() {
            self.crashes = self.crashes.split_off(&offset);
        }
    }

    /// The group's offset was read from Kafka, where another member may have moved it: reading restarts there.
    pub fn restart_at(&mut self, offset: i64) {
        self.committed = Some(offset);
        self.restart = Some(offset);
        self.position = Some(offset);
        self.in_progress.clear();
    }

    /// How far a record is past the first one without a result: a new one, or one that was taken and requeued.
    #[must_use]
    pub fn ahead(&self, offset: i64) -> usize {
        let (Some(first), Some(position)) = (self.in_progress.front(), self.position) else {
            return 0;
        };
        usize::try_from(position.min(offset) - first).unwrap_or(0)
    }

    /// True where a record before this one has no result, so that no commit can pass this one.
    #[must_use]
    pub fn waits_before(&self, offset: i64) -> bool {
        self.in_progress
            .front()
            .is_some_and(|first| *first < offset)
    }

    /// The process ended in the callback of a record, at this attempt. `commits`: the number of the last
    /// commit sent.
    pub fn crashed(&mut self, offset: i64, attempt: u32, commits: usize) {
        self.crashed_at_commit = Some(commits);
        self.crashes.insert(offset, attempt);
    }

    /// The attempts of a record until its callback last ended the process; 0 where it never did.
    #[inline]
    #[must_use]
    pub fn crash_count(&self, offset: i64) -> u32 {
        if self.crashes.is_empty() {
            return 0;
        }
        self.crashes.get(&offset).copied().unwrap_or(0)
    }

    /// Crash counts that the previous owner of the partition wrote into the commit metadata.
    pub fn restore_crash_counts(&mut self, runs: &[(i64, i64, u32)]) {
        for (first, count, attempts) in runs {
            let last = first.saturating_add((*count).clamp(0, MAX_RUN));
            self.crashes
                .extend((*first..last).map(|offset| (offset, *attempts)));
        }
    }

    /// Crash counts for the commit metadata: consecutive records with equal counts are one entry.
    #[must_use]
    pub fn crash_counts(&self) -> Vec<(i64, i64, u32)> {
        let mut runs: Vec<(i64, i64, u32)> = Vec::new();
        for (&offset, &attempts) in &self.crashes {
            match runs.last_mut() {
                Some((first, count, same)) if *first + *count == offset && *same == attempts => {
                    *count += 1;
                }
                _ => runs.push((offset, 1, attempts)),
            }
        }
        runs.truncate(MAX_RUNS);
        runs
    }

    /// Kafka reported the end of the partition.
    pub fn reached_end(&mut self, end: i64) {
        self.end = Some(end);
    }

    /// Records were written after the reported end.
    pub fn end_moved(&mut self) {
        self.end = None;
    }

    /// The end offset as last reported; `None` where records followed.
    #[must_use]
    pub const fn end(&self) -> Option<i64> {
        self.end
    }

    /// True where every record there is has been taken.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.end.is_some() && self.rewind_to.is_none()
    }

    /// The next offset to be read as far as it is known: the position, else where reading restarts, else the group's
    /// offset.
    #[must_use]
    pub fn next_offset(&self) -> Option<i64> {
        self.position.or(self.restart).or(self.committed)
    }

    /// True where records were taken since the last commit.
    #[must_use]
    pub fn has_uncommitted(&self) -> bool {
        self.position
            .zip(self.restart)
            .is_some_and(|(position, restart)| position > restart)
    }
}

/// Kafka takes 4096 bytes of metadata: with more runs than this the remaining records are counted from 0 again.
const MAX_RUNS: usize = 60;
/// A longer run was not written by this consumer.
const MAX_RUN: i64 = 100_000;

#[cfg(test)]
mod tests {
    use super::{Partition, SeekTarget};

    fn partition() -> Partition {
        Partition::new("t".into(), 0, -1001, 0)
    }

    fn read(partition: &mut Partition, offsets: std::ops::Range<i64>) {
        for offset in offsets {
            partition.take(offset);
            assert!(partition.complete(offset));
        }
    }

    #[test]
    fn the_first_record_without_a_result_bounds_the_commit() {
        let mut partition = partition();
        assert_eq!(partition.committable(), None);
        for offset in 5..8 {
            partition.take(offset);
        }
        assert!(partition.complete(6));
        assert_eq!(partition.committable(), Some(5));
        assert!(partition.complete(5));
        assert_eq!(partition.committable(), Some(7));
        assert!(partition.complete(7));
        assert!(!partition.complete(7));
        assert_eq!(partition.committable(), Some(8));
        partition.committed(8, 1);
        assert_eq!(partition.committable(), None);
    }

    #[test]
    fn a_crash_moves_no_offset() {
        let mut partition = partition();
        for offset in 0..10 {
            partition.take(offset);
        }
        for offset in [8, 0, 9, 3] {
            partition.crashed(offset, 1, 0);
        }
        assert_eq!(partition.committable(), Some(0));
    }

    #[test]
    fn a_crash_is_reported_where_nothing_else_is_to_commit() {
        let mut partition = partition();
        partition.take(4);
        partition.crashed(4, 1, 0);
        assert_eq!(partition.committable(), Some(4));
        partition.committed(4, 1);
        assert_eq!(partition.committable(), None);
        let mut next = Partition::new("t".into(), 0, 4, 0);
        next.restore_crash_counts(&partition.crash_counts());
        assert_eq!(next.crash_count(4), 1);
        for (offset, attempt) in [(4, 2), (5, 1), (6, 1)] {
            next.take(offset);
            next.crashed(offset, attempt, 0);
        }
        assert_eq!(next.crash_counts(), [(4, 1, 2), (5, 2, 1)]);
        assert_eq!(next.committable(), Some(4));
        assert!(next.complete(4));
        next.committed(5, 1);
        assert_eq!(next.crash_counts(), [(5, 2, 1)]);
    }

    #[test]
    fn progress_is_undone_back_to_the_last_commit() {
        let mut partition = partition();
        assert_eq!(partition.restart_offset(), None);
        read(&mut partition, 3..5);
        assert_eq!(partition.restart_offset(), Some(3));
        partition.committed(4, 1);
        read(&mut partition, 5..6);
        assert_eq!(partition.restart_offset(), Some(4));
        partition.reread_from(4, 1);
        assert_eq!(partition.committable(), None);
        read(&mut partition, 4..5);
        partition.rewind_later(4, 1);
        assert_eq!(partition.committable(), None);
        partition.reached_end(9);
        assert!(!partition.is_at_end());
        partition.reread_from(4, 1);
        assert_eq!(partition.rewind_to(), None);
    }

    #[test]
    fn progress_is_undone_back_to_an_earlier_seek_not_to_the_groups_offset() {
        let mut partition = Partition::new("t".into(), 0, 100, 0);
        partition.sought(SeekTarget::Beginning, 0);
        read(&mut partition, 5..8);
        assert_eq!(partition.restart_offset(), Some(5));
    }

    #[test]
    fn a_seek_forward_does_not_give_up_progress_that_may_be_undone() {
        let mut partition = partition();
        read(&mut partition, 0..50);
        partition.sought(SeekTarget::Offset(100), 0);
        partition.take(100);
        assert_eq!(partition.restart_offset(), Some(0));
        partition.sought(SeekTarget::End, 0);
        partition.take(900);
        assert_eq!(partition.restart_offset(), Some(0));
    }

    #[test]
    fn the_response_to_a_commit_from_before_a_seek_does_not_move_the_restart() {
        let mut partition = partition();
        read(&mut partition, 0..50);
        partition.sought(SeekTarget::Offset(5), 1);
        partition.committed(50, 1);
        partition.take(5);
        assert_eq!(partition.restart_offset(), Some(0));
        partition.committed(7, 2);
        assert_eq!(partition.restart_offset(), Some(7));
    }

    #[test]
    fn the_end_stays_known_while_the_records_before_it_are_handled() {
        let mut partition = partition();
        partition.take(0);
        partition.take(1);
        partition.reached_end(2);
        partition.complete(0);
        partition.take(1);
        partition.complete(1);
        assert!(partition.is_at_end());
        partition.take(2);
        assert!(!partition.is_at_end());
    }

    #[test]
    fn distance_to_the_first_record_without_a_result() {
        let mut partition = partition();
        partition.take(3);
        assert_eq!((partition.ahead(3), partition.ahead(4)), (0, 1));
        partition.take(9);
        assert_eq!((partition.ahead(9), partition.ahead(10)), (6, 7));
        partition.complete(9);
        assert_eq!(partition.ahead(12), 7);
        partition.complete(3);
        assert_eq!(partition.ahead(12), 0);
    }

    #[test]
    fn discarded_records_are_read_again() {
        let mut partition = partition();
        for offset in 0..6 {
            partition.take(offset);
        }
        partition.complete(1);
        partition.reread_from(3, 0);
        assert!(!partition.complete(4));
        assert_eq!(partition.next_offset(), Some(3));
        partition.complete(0);
        partition.complete(2);
        assert_eq!(partition.committable(), Some(3));
    }
}
