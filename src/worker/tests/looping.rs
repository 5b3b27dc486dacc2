//! Order, limits, stops, batches, failures and dead letters in the loop.

use std::rc::Rc;

use super::*;

#[test]
fn records_are_handled_in_order_and_committed_at_the_end() {
    let fixture = fixture(Style::Single, &["a"], Box::new(succeed), &Rc::default());
    fixture.put(0..25, "t_a", "a");
    assert_eq!(fixture.run(limits()), Ok((25, Reason::Empty)));
    assert_eq!(*fixture.source.done.borrow(), (0..25).collect::<Vec<_>>());
    assert_eq!(fixture.source.commits.get(), 1);
}

#[test]
fn max_messages_takes_effect_after_the_current_record() {
    let fixture = fixture(Style::Single, &["a"], Box::new(succeed), &Rc::default());
    fixture.put(0..25, "t_a", "a");
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
    let callback = |number| {
        if number == 5 {
            Outcome::Stop("boom".to_owned())
        } else {
            Outcome::Handled
        }
    };
    let fixture = fixture(Style::Single, &["a"], Box::new(callback), &Rc::default());
    fixture.put(0..10, "t_a", "a");
    assert_eq!(fixture.run(limits()), Err("boom".to_owned()));
    assert_eq!(*fixture.source.done.borrow(), [0, 1, 2, 3, 4]);
    assert_eq!(fixture.source.failed.get(), 1);
    assert_eq!(fixture.source.commits.get(), 1);
    assert_eq!(fixture.counters.failures.get(), 1);
    assert_eq!(fixture.source.next().map(|item| of(&item)), Some(5));
}

#[test]
fn an_undelivered_message_of_a_callback_ends_the_loop() {
    let fixture = fixture(Style::Single, &["a"], Box::new(succeed), &Rc::default());
    fixture.put(0..3, "t_a", "a");
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
    assert_eq!(
        (
            fixture.counters.skipped.get(),
            fixture.counters.mismatched.get()
        ),
        (2, 2)
    );
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
    let fixture = fixture(Style::Single, &["a"], Box::new(callback), &Rc::default());
    fixture.put(0..4, "t_a", "a");
    assert_eq!(fixture.run(limits()), Ok((4, Reason::Empty)));
    assert_eq!(*fixture.source.done.borrow(), [0, 2, 3, 1]);
    assert_eq!(
        (
            fixture.counters.failures.get(),
            fixture.counters.retries.get()
        ),
        (2, 2)
    );
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
    let callback = |number| {
        if number == 5 {
            Outcome::Interrupted("fiber".to_owned())
        } else {
            Outcome::Handled
        }
    };
    let fixture = fixture(Style::Single, &["a"], Box::new(callback), &Rc::default());
    fixture.put(0..10, "t_a", "a");
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
    let fixture = fixture(Style::Single, &["a"], Box::new(callback), &Rc::default());
    fixture.put(0..2, "t_a", "a");
    assert_eq!(fixture.run(limits()), Ok((2, Reason::Empty)));
    assert_eq!(*held.borrow(), [true, true]);
    assert!(!crate::worker::holds_signals() && !fixture.stop.is_holding());
}
