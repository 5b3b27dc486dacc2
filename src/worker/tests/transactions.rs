//! Exactly-once: what a transaction holds, aborts, and what is counted.

use std::rc::Rc;

use super::*;
use crate::metrics::number::SingleWriterCounter;

#[derive(Default)]
struct CountedTransactions {
    began: Cell<u32>,
    committed: Cell<u32>,
    aborted: Cell<u32>,
    duration: Cell<Duration>,
    /// The next commit has no response, and was executed or not.
    late: Cell<Option<bool>>,
    late_outcome: Cell<Option<bool>>,
}

impl Transactions for CountedTransactions {
    fn prepare(&self) -> Result<bool> {
        Ok(true)
    }

    fn take_late_outcome(&self) -> Option<bool> {
        self.late_outcome.take()
    }

    fn begin(&self) -> Result<bool> {
        self.began.set(self.began.get() + 1);
        Ok(true)
    }

    fn commit(&self) -> Result<TransactionOutcome> {
        self.committed.set(self.committed.get() + 1);
        if let Some(is_executed) = self.late.take() {
            self.late_outcome.set(Some(is_executed));
            let error = Error::delivery("no response", Vec::new());
            return Ok(TransactionOutcome::Unknown(error));
        }
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
        let fixture = single(succeed, 0..6);

        let ledger = CountedTransactions::default();
        ledger.duration.set(duration);
        let limits = Limits {
            batch: 2,
            ..limits()
        };
        let ended = fixture.run_with(DeliveryMode::ExactlyOnce(&ledger), limits);
        assert_eq!(ended, Ok((6, Reason::Empty)));
        assert_eq!(ledger.committed.get(), transactions);
        assert_eq!(fixture.counters.handled.get(), 6);
    }
}

#[test]
fn a_commit_without_a_response_counts_once_its_outcome_is_known() {
    let callback = |number| match number {
        0 => Outcome::DeadLetter(dead_letter("no")),
        _ => Outcome::Handled,
    };
    let three = Limits {
        max_messages: 3,
        ..limits()
    };
    for is_executed in [true, false] {
        let fixture = single(callback, 0..4);
        let ledger = CountedTransactions::default();
        ledger.late.set(Some(is_executed));
        let ended = fixture.run_with(DeliveryMode::ExactlyOnce(&ledger), three);
        let counters = &fixture.counters;
        let counted = [
            &counters.handled,
            &counters.dead_lettered,
            &counters.transactions,
            &counters.aborted,
        ]
        .map(SingleWriterCounter::get);
        if is_executed {
            assert_eq!(ended, Ok((3, Reason::MaxMessages)));
            assert_eq!(counted, [3, 1, 1, 1]);
        } else {
            // The source of this test does not read them again.
            assert_eq!(ended, Ok((1, Reason::Empty)));
            assert_eq!(counted, [1, 0, 1, 2]);
        }
    }
}

#[test]
fn a_failure_aborts_the_transaction_and_the_next_one_holds_the_dead_letter() {
    let callback = |number| match number {
        1 => Outcome::DeadLetter(dead_letter("no")),
        _ => Outcome::Handled,
    };
    let fixture = single(callback, 0..4);

    let ledger = CountedTransactions::default();
    // The source does not rewind by itself: the failed record is requeued, later ones follow.
    let ended = fixture.run_with(DeliveryMode::ExactlyOnce(&ledger), limits());
    assert_eq!(ended, Ok((3, Reason::Empty)));
    assert_eq!(*fixture.handler.dead_letters.borrow(), [1]);
    assert_eq!((ledger.began.get(), ledger.committed.get()), (2, 1));
    assert_eq!(
        (ledger.aborted.get(), fixture.counters.aborted.get()),
        (1, 1)
    );
    assert_eq!(fixture.counters.transactions.get(), 1);
}

#[test]
fn a_transaction_waits_for_the_circuit_before_it_begins_again() {
    for failed in [retry, transient] {
        let (calls, callback) = dependency(|call| call <= 8, failed);
        // The second record fails after the first one in its own transaction, and so on.
        let mut fixture = single(callback, 0..4);
        fixture.circuit = CircuitPolicy {
            failures: 2,
            ..CIRCUIT
        };

        let transactions = CountedTransactions::default();
        let mode = DeliveryMode::ExactlyOnce(&transactions);
        assert_eq!(fixture.run_with(mode, limits()), Ok((4, Reason::Empty)));
        assert_eq!(transactions.aborted.get(), 8);
        assert_eq!(calls.get(), 12);
        // One record alone never opens it.
        assert!(fixture.source.elapsed.get() < Duration::from_secs(1));
    }
}

#[test]
fn a_stop_ends_the_wait_of_a_transaction() {
    let stop = Rc::new(StopSignal::default());
    let stop_handle = Rc::clone(&stop);
    let callback = move |number: u32| {
        if number == 1 {
            stop_handle.request();
        }
        if number == 0 {
            Outcome::DeadLetter(dead_letter("no"))
        } else {
            Outcome::Transient(Duration::from_secs(3600))
        }
    };
    let mut fixture = fixture(Style::Single, &["a"], Box::new(callback), &stop);
    fixture.circuit = CircuitPolicy {
        failures: 2,
        ..CIRCUIT
    };
    fixture.put(0..4, "t_a", "a");
    let transactions = CountedTransactions::default();
    let mode = DeliveryMode::ExactlyOnce(&transactions);
    assert_eq!(fixture.run_with(mode, limits()), Ok((0, Reason::Requested)));
    assert!(fixture.source.elapsed.get() < Duration::from_secs(1));
    assert_eq!(fixture.subscriptions.borrow().open_circuits(), ["a"]);
}
