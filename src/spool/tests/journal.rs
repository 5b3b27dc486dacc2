//! What is under way, on disk: settled in any order, kept, taken back, replayed after the process is gone.

use super::super::Journal;
use super::*;

fn written(spool: &Spool, numbers: std::ops::RangeInclusive<u64>) -> Journal {
    let journal = Journal::default();
    for number in numbers {
        journal
            .write(spool, number, &record(&number.to_string()))
            .expect("written");
    }
    journal
}

#[test]
fn acknowledged_in_any_order_it_goes() {
    let temp = Temp::new();
    let spool = temp.spool();
    let journal = written(&spool, 1..=5);
    assert!(spool.bytes() > 0 && spool.claim().unwrap().is_none());
    for number in [3, 1, 5, 2] {
        journal.done(number);
    }
    journal.tidy(&spool, true);
    assert_eq!((spool.files(), spool.records_waiting()), (1, 2));
    journal.done(4);
    journal.tidy(&spool, false);
    assert!(journal.is_busy(), "requests come one after the other");
    journal.tidy(&spool, true);
    assert!(!journal.is_busy());
    assert_eq!(spool.files(), 0);
}

#[test]
fn what_is_left_is_replayed_in_order() {
    let temp = Temp::new();
    let spool = temp.spool();
    let journal = written(&spool, 1..=5);
    for number in [1, 2, 4] {
        journal.done(number);
    }
    journal.release(&spool);
    // 4 was acknowledged behind one that was not: it comes again.
    assert_eq!(drain(&spool), ["3", "4", "5"]);
}

#[test]
fn what_could_not_be_moved_elsewhere_is_let_go_of_and_the_next_begins_another_file() {
    let temp = Temp::new();
    let spool = temp.spool();
    let journal = written(&spool, 1..=3);
    journal.done(1);
    journal.keep(2);
    journal.write(&spool, 4, &record("4")).expect("written");
    journal.done(3);
    journal.tidy(&spool, false);
    assert_eq!(drain(&spool), ["2", "3"]);
    assert_eq!(spool.files(), 1, "that of the fourth");
    journal.done(4);
    journal.tidy(&spool, true);
    assert_eq!(spool.files(), 0);
}

#[test]
fn what_is_not_sent_after_all_is_taken_back() {
    let temp = Temp::new();
    let spool = temp.spool();
    let journal = written(&spool, 1..=2);
    journal.cancel(2);
    journal.write(&spool, 3, &record("3")).expect("written");
    journal.cancel(1);
    journal.release(&spool);
    assert_eq!(drain(&spool), ["1", "3"]);
}

#[test]
fn its_bound_holds() {
    let temp = Temp::new();
    let spool = temp.bounded(4000);
    let journal = Journal::default();
    let refused = (1..100).find_map(|number| {
        let record = record(&number.to_string());
        journal.write(&spool, number, &record).err()
    });
    let error = refused.expect("full");
    assert!(error.message().contains("spool_max_bytes"), "{error}");
    assert_eq!(error.failed().len(), 1);
    assert!(spool.bytes() <= 4000);
}
