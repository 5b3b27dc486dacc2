//! Pre-commits of at-most-once: which response belongs to which request.

use super::records::Ends;
use super::state::State;

/// Outcome of a pre-commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreCommit {
    /// Kafka has the offsets: the fetched records may be handled, and no other member reads them.
    Committed,
    /// Kafka refused the offsets of some partitions: their next owner may read the records.
    Refused,
    /// There is no response yet.
    Pending,
}

/// A pre-commit that was sent.
#[derive(Debug)]
pub(super) struct PendingPreCommit {
    number: usize,
    ends: Ends,
    accepted: Option<bool>,
}

impl PendingPreCommit {
    pub const fn new(number: usize, ends: Ends) -> Self {
        Self {
            number,
            ends,
            accepted: None,
        }
    }

    pub const fn is_pending(&self) -> bool {
        self.accepted.is_none()
    }

    /// True where it covers all of these offsets.
    pub fn covers(&self, ends: &Ends) -> bool {
        ends.iter()
            .all(|(place, end)| self.ends.get(place) == Some(end))
    }

    pub const fn outcome(&self) -> PreCommit {
        match self.accepted {
            Some(true) => PreCommit::Committed,
            Some(false) => PreCommit::Refused,
            None => PreCommit::Pending,
        }
    }
}

impl State {
    /// A commit response arrived.
    pub(super) fn on_commit_response(&mut self, number: usize, accepted: bool) {
        if self.pending_commit == Some(number) {
            self.pending_commit = None;
        }
        if let Some(pre_commit) = self
            .pre_commit
            .as_mut()
            .filter(|pre_commit| pre_commit.number == number)
        {
            pre_commit.accepted = Some(accepted);
        }
    }

    /// The pre-commit, if it is complete.
    pub(super) fn take_completed(&mut self) -> Option<PendingPreCommit> {
        self.pre_commit
            .take_if(|pre_commit| !pre_commit.is_pending())
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
    fn a_response_belongs_to_the_commit_with_its_number() {
        let mut state = State::default();
        let first = state.records.next_commit();
        state.pending_commit = Some(first);
        let second = state.records.next_commit();
        state.pending_commit = Some(second);
        state.pre_commit = Some(PendingPreCommit::new(second, ends(&[("t", 0, 7)])));

        state.on_commit_response(first, true);
        assert_eq!(state.pending_commit, Some(second));
        assert!(state.take_completed().is_none());

        state.on_commit_response(second, false);
        assert_eq!(state.pending_commit, None);
        let outcome = state
            .take_completed()
            .map(|pre_commit| pre_commit.outcome());
        assert_eq!(outcome, Some(PreCommit::Refused));
        assert!(state.pre_commit.is_none());
    }

    #[test]
    fn revoked_partitions_need_no_other_commit() {
        let pre_commit = PendingPreCommit::new(1, ends(&[("t", 0, 7), ("t", 1, 3)]));
        assert!(pre_commit.covers(&ends(&[("t", 1, 3)])));
        assert!(!pre_commit.covers(&ends(&[("t", 1, 4)])));
        assert!(!pre_commit.covers(&ends(&[("t", 1, 3), ("u", 1, 3)])));
    }
}
