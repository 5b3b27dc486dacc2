//! What the loop does with records: order, limits, stops, lists, failures, letters.

use std::rc::Rc;

use super::*;

#[test]
fn everything_is_handled_in_order_and_committed_once_more_at_the_end() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    scene.put(0..25, "t_a", "a");
    assert_eq!(scene.run(limits()), Ok((25, Reason::Empty)));
    assert_eq!(*scene.source.done.borrow(), (0..25).collect::<Vec<_>>());
    assert_eq!(scene.source.commits.get(), 1);
}

#[test]
fn a_limit_takes_effect_after_the_record_in_hand() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    scene.put(0..25, "t_a", "a");
    let some = Limits {
        max_messages: 7,
        ..limits()
    };
    assert_eq!(scene.run(some), Ok((7, Reason::MaxMessages)));
    assert_eq!(scene.run(some), Ok((7, Reason::MaxMessages)));
    assert_eq!(scene.source.done.borrow().len(), 14);
}

#[test]
fn a_callback_can_ask_to_stop() {
    let stop = Rc::new(StopSignal::default());
    let asked = Rc::clone(&stop);
    let tell = move |number| {
        if number == 3 {
            asked.ask();
        }
        Outcome::Handled
    };
    let scene = scene(Style::Single, &["a"], Box::new(tell), &stop);
    scene.put(0..10, "t_a", "a");
    assert_eq!(scene.run(limits()), Ok((4, Reason::Asked)));
}

#[test]
fn a_failed_record_is_put_back_as_another_attempt_and_those_before_it_are_committed() {
    let tell = |number| {
        if number == 5 {
            Outcome::Stop("boom".to_owned())
        } else {
            Outcome::Handled
        }
    };
    let scene = scene(Style::Single, &["a"], Box::new(tell), &Rc::default());
    scene.put(0..10, "t_a", "a");
    assert_eq!(scene.run(limits()), Err("boom".to_owned()));
    assert_eq!(*scene.source.done.borrow(), [0, 1, 2, 3, 4]);
    assert_eq!(scene.source.failed.get(), 1);
    assert_eq!(scene.source.commits.get(), 1);
    assert_eq!(scene.counters.failures.get(), 1);
    assert_eq!(scene.source.next().map(|item| item.place), Some(5));
}

#[test]
fn what_a_callback_sent_and_nobody_took_ends_the_loop() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    scene.put(0..3, "t_a", "a");
    scene.source.undelivered.set(true);
    assert_eq!(scene.run(limits()), Err("lost".to_owned()));
}

#[test]
fn skipped_records_pass_and_are_counted() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    scene.put(0..2, "t_b", "b");
    scene.put(2..4, "t_b", "a");
    scene.put(4..5, "t_a", "a");
    assert_eq!(scene.run(limits()), Ok((1, Reason::Empty)));
    assert_eq!(
        (
            scene.counters.skipped.get(),
            scene.counters.mismatched.get()
        ),
        (2, 2)
    );
    assert_eq!(scene.source.done.borrow().len(), 5);
}

#[test]
fn lists_keep_the_order_of_their_partitions() {
    let scene = scene(
        Style::Batch,
        &["a", "b"],
        Box::new(all_is_well),
        &Rc::default(),
    );
    scene.put(0..2, "t_a", "a");
    scene.put(2..4, "t_b", "b");
    scene.put(4..6, "t_a", "a");
    assert_eq!(scene.run(limits()), Ok((6, Reason::Empty)));
    assert_eq!(
        *scene.handler.lists.borrow(),
        [vec![0, 1, 4, 5], vec![2, 3]]
    );
}

#[test]
fn a_list_says_how_far_it_came() {
    let tell = |number| {
        if number == 2 {
            Outcome::Stop("boom".to_owned())
        } else {
            Outcome::Handled
        }
    };
    let scene = scene(Style::Batch, &["a"], Box::new(tell), &Rc::default());
    scene.put(0..5, "t_a", "a");
    assert_eq!(scene.run(limits()), Err("boom".to_owned()));
    assert_eq!(*scene.source.done.borrow(), [0, 1]);
    let rest: Vec<u32> = std::iter::from_fn(|| scene.source.next())
        .map(|item| item.place)
        .collect();
    assert_eq!(rest, [2, 3, 4]);
}

#[test]
fn what_is_no_envelope_is_kept_and_passed() {
    let scene = scene(Style::Single, &["a"], Box::new(all_is_well), &Rc::default());
    let broken = Number {
        topic: "t_a",
        value: Rc::new(b"{".to_vec()),
        place: 0,
    };
    scene.source.ahead.borrow_mut().push_back(broken);
    assert_eq!(scene.run(limits()), Ok((1, Reason::Empty)));
    assert_eq!(*scene.handler.buried.borrow(), [0]);
}

#[test]
fn one_that_fails_is_tried_again_and_the_others_go_on() {
    let tries = Cell::new(0);
    let tell = move |number| {
        if number == 1 && tries.replace(tries.get() + 1) < 2 {
            return Outcome::Retry(Duration::ZERO);
        }
        Outcome::Handled
    };
    let scene = scene(Style::Single, &["a"], Box::new(tell), &Rc::default());
    scene.put(0..4, "t_a", "a");
    assert_eq!(scene.run(limits()), Ok((4, Reason::Empty)));
    assert_eq!(*scene.source.done.borrow(), [0, 2, 3, 1]);
    assert_eq!(
        (scene.counters.failures.get(), scene.counters.retries.get()),
        (2, 2)
    );
}

#[test]
fn one_that_needs_replacement_counts_as_done() {
    let tell = |number| match number {
        1 => Outcome::DeadLetter(letter("no")),
        _ => Outcome::Handled,
    };
    let scene = scene(Style::Batch, &["a"], Box::new(tell), &Rc::default());
    scene.put(0..4, "t_a", "a");
    assert_eq!(scene.run(limits()), Ok((4, Reason::Empty)));
    assert_eq!(*scene.handler.buried.borrow(), [1]);
    assert_eq!(scene.counters.dead_lettered.get(), 1);
}
