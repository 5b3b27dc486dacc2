//! Failed attempts of records that have no result yet.

use std::time::Instant;

use super::{AssignedRecords, Fetched};

/// The attempt after which a record is handed out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The callback was not called, or not for this record.
    NotMade,
    /// It failed, and is one of the record's attempts.
    Counted,
    /// It failed because something that the callback needs is unavailable: it does not count.
    Transient,
}

/// Failed attempts of a record without a result.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Failures {
    pub(super) counted: u32,
    pub(super) transient: u32,
    /// When the first of its consecutive transient failures was.
    pub(super) transient_since: Option<Instant>,
}

impl<M: Fetched> AssignedRecords<M> {
    pub(super) fn count_attempt(
        &mut self,
        slot: usize,
        offset: i64,
        attempt: Attempt,
        now: Instant,
    ) {
        if attempt == Attempt::NotMade {
            return;
        }
        let failures = self.attempts.entry((slot, offset)).or_default();
        if attempt == Attempt::Transient {
            failures.transient += 1;
            failures.transient_since.get_or_insert(now);
        } else {
            failures.counted += 1;
            failures.transient_since = None;
        }
    }

    /// Records whose last attempt failed transiently: their number, and since when the first of them has failed.
    pub fn transient_failures(&self) -> (usize, Option<Instant>) {
        let since = self
            .attempts
            .values()
            .filter_map(|failures| failures.transient_since);
        since.fold(
            (0, None),
            |(count, first): (usize, Option<Instant>), since| {
                (
                    count + 1,
                    Some(first.map_or(since, |first| first.min(since))),
                )
            },
        )
    }
}
