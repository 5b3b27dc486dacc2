//! Pre-commits of at-most-once: which answer belongs to which request.

use super::records::Ends;
use super::state::State;

/// Outcome of a pre-commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreCommit {
    /// Kafka has the offsets: the fetched records may be handled, and no other member reads them.
    Committed,
    /// Kafka refused the offsets of some partitions: their next owner may read the records.
    Refused,
    /// There is no answer yet.
    Unanswered,
}

/// A pre-commit that was sent.
#[derive(Debug)]
pub(super) struct PendingPreCommit {
    number: usize,
    ends: Ends,
    taken: Option<bool>,
}

impl PendingPreCommit {
    pub const fn new(number: usize, ends: Ends) -> Self {
        Self {
            number,
            ends,
            taken: None,
        }
    }

    pub const fn is_unanswered(&self) -> bool {
        self.taken.is_none()
    }

    /// True where it covers all of these offsets.
    pub fn covers(&self, ends: &Ends) -> bool {
        ends.iter()
            .all(|(place, end)| self.ends.get(place) == Some(end))
    }

    pub const fn verdict(&self) -> PreCommit {
        match self.taken {
            Some(true) => PreCommit::Committed,
            Some(false) => PreCommit::Refused,
            None => PreCommit::Unanswered,
        }
    }
}

impl State {
    /// An answer to a commit arrived.
    pub(super) fn answered(&mut self, number: usize, taken: bool) {
        if self.pending_commit == Some(number) {
            self.pending_commit = None;
        }
        if let Some(ahead) = self
            .pre_commit
            .as_mut()
            .filter(|ahead| ahead.number == number)
        {
            ahead.taken = Some(taken);
        }
    }

    /// The pre-commit, if it is answered.
    pub(super) fn take_answered(&mut self) -> Option<PendingPreCommit> {
        self.pre_commit.take_if(|ahead| !ahead.is_unanswered())
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn ends(list: &[(&str, i32, i64)]) -> Ends {
        let place = |(topic, number, end): &(&str, i32, i64)| ((Rc::from(*topic), *number), *end);
        list.iter().map(place).collect()
    }

    #[test]
    fn an_answer_belongs_to_the_commit_with_its_number() {
        let mut state = State::default();
        let first = state.records.next_commit();
        state.pending_commit = Some(first);
        let second = state.records.next_commit();
        state.pending_commit = Some(second);
        state.pre_commit = Some(PendingPreCommit::new(second, ends(&[("t", 0, 7)])));

        state.answered(first, true);
        assert_eq!(state.pending_commit, Some(second));
        assert!(state.take_answered().is_none());

        state.answered(second, false);
        assert_eq!(state.pending_commit, None);
        let verdict = state.take_answered().map(|ahead| ahead.verdict());
        assert_eq!(verdict, Some(PreCommit::Refused));
        assert!(state.pre_commit.is_none());
    }

    #[test]
    fn revoked_partitions_need_no_other_commit() {
        let ahead = PendingPreCommit::new(1, ends(&[("t", 0, 7), ("t", 1, 3)]));
        assert!(ahead.covers(&ends(&[("t", 1, 3)])));
        assert!(!ahead.covers(&ends(&[("t", 1, 4)])));
        assert!(!ahead.covers(&ends(&[("t", 1, 3), ("u", 1, 3)])));
    }
}
