//! Commits ahead of the handling, for at-most-once: which answer belongs to which request, and what it says.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::state::State;

/// Topic and partition, and the offset after its last record in hand.
pub(super) type Ends = BTreeMap<(Rc<str>, i32), i64>;

/// What became of a commit ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreCommit {
    /// Kafka has it: what is in hand may be handled, and nobody else gets it.
    Committed,
    /// Kafka refused it, or part of it: whoever reads these partitions next may get the records.
    Refused,
    /// There is no answer yet.
    Unanswered,
}

/// A commit ahead that was sent.
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

    /// True where it was for all of this.
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
    /// The number of the next commit; its answer carries it, as an answer may come after its question was given up.
    pub(super) fn number_commit(&mut self) -> usize {
        self.commits = self.commits.wrapping_add(1);
        self.commits
    }

    /// The answer to a commit.
    pub(super) fn answered(&mut self, number: usize, taken: bool) {
        if self.commit_under_way == Some(number) {
            self.commit_under_way = None;
        }
        if let Some(ahead) = self.ahead.as_mut().filter(|ahead| ahead.number == number) {
            ahead.taken = Some(taken);
        }
    }

    /// The commit ahead, if its answer is here.
    pub(super) fn take_answered(&mut self) -> Option<PendingPreCommit> {
        self.ahead.take_if(|ahead| !ahead.is_unanswered())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(list: &[(&str, i32, i64)]) -> Ends {
        let place = |(topic, number, end): &(&str, i32, i64)| ((Rc::from(*topic), *number), *end);
        list.iter().map(place).collect()
    }

    #[test]
    fn an_answer_is_for_the_question_that_it_answers() {
        let mut state = State::default();
        let first = state.number_commit();
        state.commit_under_way = Some(first);
        let second = state.number_commit();
        state.commit_under_way = Some(second);
        state.ahead = Some(PendingPreCommit::new(second, ends(&[("t", 0, 7)])));

        state.answered(first, true);
        assert_eq!(state.commit_under_way, Some(second));
        assert!(state.take_answered().is_none());

        state.answered(second, false);
        assert_eq!(state.commit_under_way, None);
        let verdict = state.take_answered().map(|ahead| ahead.verdict());
        assert_eq!(verdict, Some(PreCommit::Refused));
        assert!(state.ahead.is_none());
    }

    #[test]
    fn what_a_rebalance_took_away_needs_no_other_commit() {
        let ahead = PendingPreCommit::new(1, ends(&[("t", 0, 7), ("t", 1, 3)]));
        assert!(ahead.covers(&ends(&[("t", 1, 3)])));
        assert!(!ahead.covers(&ends(&[("t", 1, 4)])));
        assert!(!ahead.covers(&ends(&[("t", 1, 3), ("u", 1, 3)])));
    }
}
