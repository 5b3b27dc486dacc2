//! At-most-once and exactly-once: commits, aborts, drops.

use super::*;

#[test]
fn at_most_once_commits_first_and_drops_records_without_a_commit() {
    let fixture = fixture(Style::Single, &["a"], Box::new(succeed), &Rc::default());
    fixture.put(0..4, "t_a", "a");
    assert_eq!(
        fixture.run_with(DeliveryMode::AtMostOnce, limits()),
        Ok((4, Reason::Empty))
    );
    fixture.source.undelivered.set(true);
    fixture.put(4..6, "t_a", "a");
    // Only the periodic commits of at-least-once fail here as well.
    let dropped = Limits {
        batch: 1,
        ..limits()
    };
    assert!(fixture.run_with(DeliveryMode::AtMostOnce, dropped).is_err());
    assert_eq!(fixture.source.done.borrow().len(), 4);
}

#[test]
fn at_most_once_waits_for_the_response_to_its_commit() {
    let fixture = fixture(Style::Single, &["a"], Box::new(succeed), &Rc::default());
    fixture.put(0..4, "t_a", "a");
    fixture.source.unanswered.set(3);
    assert_eq!(
        fixture.run_with(DeliveryMode::AtMostOnce, limits()),
        Ok((4, Reason::Empty))
    );
    assert_eq!(fixture.counters.dropped.get(), 0);
}

#[derive(Default)]
pub(super) struct CountedTransactions {
    pub(super) began: Cell<u32>,
    pub(super) committed: Cell<u32>,
    pub(super) aborted: Cell<u32>,
    pub(super) duration: Cell<Duration>,
}

impl Transactions for CountedTransactions {
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

    fn has_failed(&self) -> bool {
        false
    }

    fn abort(&self) -> Result<()> {
        self.aborted.set(self.aborted.get() + 1);
        Ok(())
    }

    fn duration(&self) -> Duration {
        self.duration.get()
    }

    fn bound(&self) -> Duration {
        Duration::from_secs(20)
    }
}

#[test]
fn a_transaction_goes_on_to_the_next_fetch_until_its_time_has_passed() {
    for (duration, transactions) in [(Duration::from_secs(10), 1), (Duration::ZERO, 3)] {
        let fixture = fixture(Style::Single, &["a"], Box::new(succeed), &Rc::default());
        fixture.put(0..6, "t_a", "a");
        let ledger = CountedTransactions::default();
        ledger.duration.set(duration);
        let limits = Limits {
            batch: 2,
            ..limits()
        };
        assert_eq!(
            fixture.run_with(DeliveryMode::ExactlyOnce(&ledger), limits),
            Ok((6, Reason::Empty))
        );
        assert_eq!(ledger.committed.get(), transactions);
        assert_eq!(fixture.counters.handled.get(), 6);
    }
}

#[test]
fn a_failure_aborts_the_transaction_and_the_next_one_holds_the_dead_letter() {
    let callback = |number| match number {
        1 => Outcome::DeadLetter(dead_letter("no")),
        _ => Outcome::Handled,
    };
    let fixture = fixture(Style::Single, &["a"], Box::new(callback), &Rc::default());
    fixture.put(0..4, "t_a", "a");
    let ledger = CountedTransactions::default();
    // The source does not rewind by itself: the failed record is requeued, later ones follow.
    assert_eq!(
        fixture.run_with(DeliveryMode::ExactlyOnce(&ledger), limits()),
        Ok((3, Reason::Empty))
    );
    assert_eq!(*fixture.handler.dead_letters.borrow(), [1]);
    assert_eq!((ledger.began.get(), ledger.committed.get()), (2, 1));
    assert_eq!(
        (ledger.aborted.get(), fixture.counters.aborted.get()),
        (1, 1)
    );
    assert_eq!(fixture.counters.transactions.get(), 1);
}

#[test]
fn a_record_whose_result_is_refused_is_dead_lettered_and_the_others_are_handled() {
    for style in [Style::Single, Style::Batch] {
        let fixture = fixture(style, &["a"], Box::new(succeed), &Rc::default());
        fixture.put(0..6, "t_a", "a");
        fixture.source.poison.replace(vec![1, 4]);
        assert_eq!(fixture.run(limits()), Ok((6, Reason::Empty)));
        assert_eq!(*fixture.handler.dead_letters.borrow(), [1, 4]);
        assert_eq!(*fixture.source.done.borrow(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(fixture.counters.handled.get(), 6);
    }
}

#[test]
fn a_refused_result_is_dead_lettered_before_the_worker_stops() {
    let fixture = fixture(Style::Single, &["a"], Box::new(succeed), &Rc::default());
    fixture.put(0..6, "t_a", "a");
    fixture.source.poison.replace(vec![1]);
    let three = Limits {
        max_messages: 3,
        ..limits()
    };
    assert_eq!(fixture.run(three), Ok((3, Reason::MaxMessages)));
    assert_eq!(*fixture.handler.dead_letters.borrow(), [1]);
    assert_eq!(*fixture.source.done.borrow(), [0, 1, 2]);
}
