//! Order, limits, stops, batches, failures and dead letters in the loop. At-most-once: commits and drops.

use std::rc::Rc;

use super::*;

#[test]
fn records_are_handled_in_order_and_committed_at_the_end() {
    let fixture = single(succeed, 0..25);

    assert_eq!(fixture.run(limits()), Ok((25, Reason::Empty)));
    assert_eq!(*fixture.source.done.borrow(), (0..25).collect::<Vec<_>>());
    assert_eq!(fixture.source.commits.get(), 1);
}

#[test]
fn max_messages_takes_effect_after_the_current_record() {
    let fixture = single(succeed, 0..25);

    let some = Limits {
        max_messages: 7,
        ..limits()
    };
    assert_eq!(fixture.run(some), Ok((7, Reason::MaxMessages)));
    assert_eq!(fixture.run(some), Ok((7, Reason::MaxMessages)));
    assert_eq!(fixture.source.done.borrow().len(), 14);
}

#[test]
fn a_callback_can_stop_the_loop() {
    let stop = Rc::new(StopSignal::default());
    let stop_handle = Rc::clone(&stop);
    let callback = move |number| {
        if number == 3 {
            stop_handle.request();
        }
        Outcome::Handled
    };
    let fixture = fixture(Style::Single, &["a"], Box::new(callback), &stop);
    fixture.put(0..10, "t_a", "a");
    assert_eq!(fixture.run(limits()), Ok((4, Reason::Requested)));
}

#[test]
fn a_failed_record_is_requeued_and_earlier_ones_are_committed() {
    let callback = |number| match number {
        5 => Outcome::Stop("boom".to_owned()),
        _ => Outcome::Handled,
    };
    let fixture = single(callback, 0..10);

    assert_eq!(fixture.run(limits()), Err("boom".to_owned()));
    assert_eq!(*fixture.source.done.borrow(), [0, 1, 2, 3, 4]);
    assert_eq!(fixture.source.failed.get(), 1);
    assert_eq!(fixture.source.commits.get(), 1);
    assert_eq!(fixture.counters.failures.get(), 1);
    assert_eq!(fixture.source.next().map(|item| of(&item)), Some(5));
}

#[test]
fn an_undelivered_message_of_a_callback_ends_the_loop() {
    let fixture = single(succeed, 0..3);

    fixture.source.undelivered.set(true);
    assert_eq!(fixture.run(limits()), Err("lost".to_owned()));
}

#[test]
fn skipped_records_are_counted() {
    let fixture = fixture(Style::Single, &["a"], Box::new(succeed), &Rc::default());
    fixture.put(0..2, "t_b", "b");
    fixture.put(2..4, "t_b", "a");
    fixture.put(4..5, "t_a", "a");
    assert_eq!(fixture.run(limits()), Ok((1, Reason::Empty)));
    let counters = &fixture.counters;
    assert_eq!((counters.skipped.get(), counters.mismatched.get()), (2, 2));
    assert_eq!(fixture.source.done.borrow().len(), 5);
}

#[test]
fn batches_keep_the_order_of_their_partitions() {
    let fixture = fixture(Style::Batch, &["a", "b"], Box::new(succeed), &Rc::default());
    fixture.put(0..2, "t_a", "a");
    fixture.put(2..4, "t_b", "b");
    fixture.put(4..6, "t_a", "a");
    assert_eq!(fixture.run(limits()), Ok((6, Reason::Empty)));
    assert_eq!(
        *fixture.handler.lists.borrow(),
        [vec![0, 1, 4, 5], vec![2, 3]]
    );
}

#[test]
fn records_before_the_failed_one_of_a_batch_are_complete() {
    let callback = |number| {
        if number == 2 {
            Outcome::Stop("boom".to_owned())
        } else {
            Outcome::Handled
        }
    };
    let fixture = fixture(Style::Batch, &["a"], Box::new(callback), &Rc::default());
    fixture.put(0..5, "t_a", "a");
    assert_eq!(fixture.run(limits()), Err("boom".to_owned()));
    assert_eq!(*fixture.source.done.borrow(), [0, 1]);
    let rest: Vec<u32> = std::iter::from_fn(|| fixture.source.next())
        .map(|item| of(&item))
        .collect();
    assert_eq!(rest, [2, 3, 4]);
}

#[test]
fn a_value_that_is_no_envelope_is_dead_lettered() {
    let fixture = fixture(Style::Single, &["a"], Box::new(succeed), &Rc::default());
    let broken = number("t_a", b"{".to_vec(), 0);
    fixture.source.ahead.borrow_mut().push_back(broken);
    assert_eq!(fixture.run(limits()), Ok((1, Reason::Empty)));
    assert_eq!(*fixture.handler.dead_letters.borrow(), [0]);
}

#[test]
fn a_failed_record_is_retried_while_others_are_handled() {
    let tries = Cell::new(0);
    let callback = move |number| {
        if number == 1 && tries.replace(tries.get() + 1) < 2 {
            return Outcome::Retry(Duration::ZERO);
        }
        Outcome::Handled
    };
    let fixture = single(callback, 0..4);

    assert_eq!(fixture.run(limits()), Ok((4, Reason::Empty)));
    assert_eq!(*fixture.source.done.borrow(), [0, 2, 3, 1]);
    let counters = &fixture.counters;
    assert_eq!((counters.failures.get(), counters.retries.get()), (2, 2));
}

#[test]
fn a_dead_lettered_record_is_complete() {
    let callback = |number| match number {
        1 => Outcome::DeadLetter(dead_letter("no")),
        _ => Outcome::Handled,
    };
    let fixture = fixture(Style::Batch, &["a"], Box::new(callback), &Rc::default());
    fixture.put(0..4, "t_a", "a");
    assert_eq!(fixture.run(limits()), Ok((4, Reason::Empty)));
    assert_eq!(*fixture.handler.dead_letters.borrow(), [1]);
    assert_eq!(fixture.counters.dead_lettered.get(), 1);
}

#[test]
fn an_interrupted_record_is_requeued_without_a_failed_attempt() {
    let callback = |number| match number {
        5 => Outcome::Interrupted("fiber".to_owned()),
        _ => Outcome::Handled,
    };
    let fixture = single(callback, 0..10);

    assert_eq!(fixture.run(limits()), Err("fiber".to_owned()));
    assert_eq!(*fixture.source.done.borrow(), [0, 1, 2, 3, 4]);
    assert_eq!(fixture.source.failed.get(), 0);
    assert_eq!(fixture.counters.failures.get(), 0);
    assert_eq!(fixture.source.next().map(|item| of(&item)), Some(5));
}

#[test]
fn signals_are_held_while_a_record_is_handled_and_not_between_records() {
    let held = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&held);
    let callback = move |_| {
        seen.borrow_mut().push(crate::worker::holds_signals());
        Outcome::Handled
    };
    let fixture = single(callback, 0..2);

    assert_eq!(fixture.run(limits()), Ok((2, Reason::Empty)));
    assert_eq!(*held.borrow(), [true, true]);
    assert!(!crate::worker::holds_signals() && !fixture.stop.is_holding());
}

#[test]
fn at_most_once_commits_first_and_drops_records_without_a_commit() {
    let fixture = single(succeed, 0..4);

    let ended = fixture.run_with(DeliveryMode::AtMostOnce, limits());
    assert_eq!(ended, Ok((4, Reason::Empty)));
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
    let fixture = single(succeed, 0..4);

    fixture.source.unanswered.set(3);
    let ended = fixture.run_with(DeliveryMode::AtMostOnce, limits());
    assert_eq!(ended, Ok((4, Reason::Empty)));
    assert_eq!(fixture.counters.dropped.get(), 0);
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
    let fixture = single(succeed, 0..6);

    fixture.source.poison.replace(vec![1]);
    let three = Limits {
        max_messages: 3,
        ..limits()
    };
    assert_eq!(fixture.run(three), Ok((3, Reason::MaxMessages)));
    assert_eq!(*fixture.handler.dead_letters.borrow(), [1]);
    assert_eq!(*fixture.source.done.borrow(), [0, 1, 2]);
}

const OPENS: CircuitPolicy = CircuitPolicy {
    failures: 5,
    ..CIRCUIT
};

#[test]
fn a_callback_that_fails_for_every_record_is_probed_with_one_record_at_a_time() {
    for style in [Style::Single, Style::Batch] {
        let (calls, callback) = dependency(|call| call <= 8, retry);
        let mut fixture = fixture(style, &["a"], Box::new(callback), &Rc::default());
        fixture.circuit = OPENS;
        fixture.put(0..40, "t_a", "a");
        assert_eq!(fixture.run(limits()), Ok((40, Reason::Empty)));
        // Five failures open the circuit, three probes fail: 1.6, 3.2, 6.4 and 10 s.
        assert!(fixture.source.elapsed.get() >= Duration::from_millis(21_200));
        assert_eq!(fixture.counters.failures.get(), 8);
        assert_eq!(fixture.handler.dead_letters.borrow().len(), 0);
        assert_eq!(calls.get(), 48);
        let scheduled = fixture.source.scheduled.borrow();
        let is_failure = |(_, attempt, _): &&(u32, Attempt, Duration)| *attempt == Attempt::Counted;
        assert_eq!(scheduled.iter().filter(is_failure).count(), 8);
    }
}

#[test]
fn other_subscriptions_continue_while_a_circuit_is_open() {
    let stop = Rc::new(StopSignal::default());
    let stop_handle = Rc::clone(&stop);
    let handled = Cell::new(0);
    let callback = move |number: u32| {
        if number < 20 {
            return retry(number);
        }
        handled.set(handled.get() + 1);
        if handled.get() == 20 {
            stop_handle.request();
        }
        Outcome::Handled
    };
    let mut fixture = fixture(Style::Single, &["a", "b"], Box::new(callback), &stop);
    fixture.circuit = OPENS;
    fixture.put(0..20, "t_a", "a");
    fixture.put(20..40, "t_b", "b");
    let limits = Limits {
        when_empty: false,
        ..limits()
    };
    assert_eq!(fixture.run(limits), Ok((20, Reason::Requested)));
    assert_eq!(fixture.counters.failures.get(), 5);
    assert_eq!(fixture.subscriptions.borrow().open_circuits(), ["a"]);
}

#[test]
fn one_record_that_always_fails_opens_no_circuit() {
    let callback = |number| match number {
        3 => Outcome::DeadLetter(dead_letter("no")),
        _ => Outcome::Handled,
    };
    let mut fixture = single(callback, 0..10);
    fixture.circuit = CircuitPolicy {
        failures: 1,
        ..CIRCUIT
    };

    assert_eq!(fixture.run(limits()), Ok((10, Reason::Empty)));
    assert!(fixture.source.elapsed.get() < Duration::from_secs(1));
}

#[test]
fn records_that_are_at_fault_themselves_open_no_circuit() {
    let callback = |_| {
        Outcome::DeadLetter(DeadLetter {
            permanent: true,
            ..dead_letter("no")
        })
    };
    let mut fixture = single(callback, 0..50);
    fixture.circuit = OPENS;

    assert_eq!(fixture.run(limits()), Ok((50, Reason::Empty)));
    assert!(fixture.source.elapsed.get() < Duration::from_secs(1));
}

#[test]
fn transient_failures_are_scheduled_without_counting() {
    let (_, callback) = dependency(|call| call <= 3, transient);
    let fixture = single(callback, 0..1);

    assert_eq!(fixture.run(limits()), Ok((1, Reason::Empty)));
    let again = (0, Attempt::Transient, Duration::from_millis(1));
    assert_eq!(*fixture.source.scheduled.borrow(), [again; 3]);
    assert_eq!(fixture.counters.retries.get(), 3);
}

#[test]
fn at_most_once_waits_with_its_batch_and_drops_few_records() {
    for style in [Style::Single, Style::Batch] {
        let (calls, callback) =
            dependency(|call| call <= 8, |_| Outcome::Dropped { permanent: false });
        let mut fixture = fixture(style, &["a"], Box::new(callback), &Rc::default());
        fixture.circuit = OPENS;
        let batch = if style == Style::Batch { 1 } else { 10 };
        fixture.put(0..40, "t_a", "a");
        let limits = Limits { batch, ..limits() };
        let ended = fixture.run_with(DeliveryMode::AtMostOnce, limits);
        assert_eq!(ended, Ok((32, Reason::Empty)));
        assert_eq!((fixture.counters.dropped.get(), calls.get()), (8, 40));
        assert!(fixture.source.elapsed.get() >= Duration::from_millis(21_200));
    }
}
