//! At most once and exactly once: what is committed, taken back, dropped.

use super::*;

#[test]
fn at_most_once_commits_first_and_drops_what_it_cannot_commit() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    scene.put(0..4, "t_a", "a");
    assert_eq!(
        scene.run_with(DeliveryMode::AtMostOnce, limits()),
        Ok((4, Reason::Empty))
    );
    scene.source.undelivered.set(true);
    scene.put(4..6, "t_a", "a");
    // Only the periodic commits of at-least-once fail here as well.
    let dropped = Limits {
        batch: 1,
        ..limits()
    };
    assert!(scene.run_with(DeliveryMode::AtMostOnce, dropped).is_err());
    assert_eq!(scene.source.done.borrow().len(), 4);
}

#[test]
fn at_most_once_keeps_what_it_has_until_its_commit_is_answered() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    scene.put(0..4, "t_a", "a");
    scene.source.unanswered.set(3);
    assert_eq!(
        scene.run_with(DeliveryMode::AtMostOnce, limits()),
        Ok((4, Reason::Empty))
    );
    assert_eq!(scene.counters.dropped.get(), 0);
}

#[derive(Default)]
struct Ledger {
    began: Cell<u32>,
    committed: Cell<u32>,
    aborted: Cell<u32>,
}

impl Transactions for Ledger {
    fn prepare(&self) -> Result<bool> {
        Ok(true)
    }

    fn begin(&self) -> Result<bool> {
        self.began.set(self.began.get() + 1);
        Ok(true)
    }

    fn commit(&self) -> Result<TransactionOutcome> {
        self.committed.set(self.committed.get() + 1);
        Ok(TransactionOutcome::Committed)
    }

    fn abort(&self) -> Result<()> {
        self.aborted.set(self.aborted.get() + 1);
        Ok(())
    }

    fn bound(&self) -> Duration {
        Duration::from_secs(20)
    }
}

#[test]
fn a_failure_takes_the_transaction_back_and_the_letter_goes_into_the_next() {
    let tell = |number| match number {
        1 => Outcome::DeadLetter(letter("no")),
        _ => Outcome::Handled,
    };
    let scene = scene(Style::Single, &["a"], Box::new(tell), &Rc::default());
    scene.put(0..4, "t_a", "a");
    let ledger = Ledger::default();
    // The source does not go back by itself: the one that failed is put back, those after it follow.
    assert_eq!(
        scene.run_with(DeliveryMode::ExactlyOnce(&ledger), limits()),
        Ok((3, Reason::Empty))
    );
    assert_eq!(*scene.handler.buried.borrow(), [1]);
    assert_eq!((ledger.began.get(), ledger.committed.get()), (2, 1));
    assert_eq!((ledger.aborted.get(), scene.counters.aborted.get()), (1, 1));
    assert_eq!(scene.counters.transactions.get(), 1);
}
