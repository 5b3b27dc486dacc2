//! Committable offsets and restart offsets of a partition.

use super::{Partition, SeekTarget};

fn partition() -> Partition {
    Partition::new("t".into(), 0, -1001, 0)
}

fn read(partition: &mut Partition, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        partition.take(offset);
        assert!(partition.complete(offset));
    }
}

#[test]
fn without_records_there_is_nothing_to_commit() {
    assert_eq!(partition().committable(), None);
}

#[test]
fn the_first_record_without_a_result_bounds_the_commit() {
    let mut partition = partition();
    for offset in 5..8 {
        partition.take(offset);
    }
    assert!(partition.complete(6));
    assert_eq!(partition.committable(), Some(5));
    assert!(partition.complete(5));
    assert_eq!(partition.committable(), Some(7));
    assert!(partition.complete(7));
    assert!(!partition.complete(7));
    assert_eq!(partition.committable(), Some(8));
    partition.committed(8, 1);
    assert_eq!(partition.committable(), None);
}

#[test]
fn a_crash_moves_no_offset() {
    let mut partition = partition();
    for offset in 0..10 {
        partition.take(offset);
    }
    for offset in [8, 0, 9, 3] {
        partition.crashed(offset, 1, 0);
    }
    assert_eq!(partition.committable(), Some(0));
}

#[test]
fn a_crash_is_reported_where_nothing_else_is_to_commit() {
    let mut partition = partition();
    partition.take(4);
    partition.crashed(4, 1, 0);
    assert_eq!(partition.committable(), Some(4));
    partition.committed(4, 1);
    assert_eq!(partition.committable(), None);
    let mut next = Partition::new("t".into(), 0, 4, 0);
    next.restore_crash_counts(&partition.crash_counts());
    assert_eq!(next.crash_count(4), 1);
    for (offset, attempt) in [(4, 2), (5, 1), (6, 1)] {
        next.take(offset);
        next.crashed(offset, attempt, 0);
    }
    assert_eq!(next.crash_counts(), [(4, 1, 2), (5, 2, 1)]);
    assert_eq!(next.committable(), Some(4));
    assert!(next.complete(4));
    next.committed(5, 1);
    assert_eq!(next.crash_counts(), [(5, 2, 1)]);
}

#[test]
fn progress_is_undone_back_to_the_last_commit() {
    let mut partition = partition();
    assert_eq!(partition.restart_offset(), None);
    read(&mut partition, 3..5);
    assert_eq!(partition.restart_offset(), Some(3));
    partition.committed(4, 1);
    read(&mut partition, 5..6);
    assert_eq!(partition.restart_offset(), Some(4));
    partition.reread_from(4, 1);
    assert_eq!(partition.committable(), None);
    read(&mut partition, 4..5);
    partition.rewind_later(4, 1);
    assert_eq!(partition.committable(), None);
    partition.reached_end(9);
    assert!(!partition.is_at_end());
    partition.reread_from(4, 1);
    assert_eq!(partition.rewind_to(), None);
}

#[test]
fn progress_is_undone_back_to_an_earlier_seek_not_to_the_groups_offset() {
    let mut partition = Partition::new("t".into(), 0, 100, 0);
    partition.sought(SeekTarget::Beginning, 0);
    read(&mut partition, 5..8);
    assert_eq!(partition.restart_offset(), Some(5));
}

#[test]
fn a_seek_forward_does_not_give_up_progress_that_may_be_undone() {
    let mut partition = partition();
    read(&mut partition, 0..50);
    partition.sought(SeekTarget::Offset(100), 0);
    partition.take(100);
    assert_eq!(partition.restart_offset(), Some(0));
    partition.sought(SeekTarget::End, 0);
    partition.take(900);
    assert_eq!(partition.restart_offset(), Some(0));
}

#[test]
fn the_response_to_a_commit_from_before_a_seek_does_not_move_the_restart() {
    let mut partition = partition();
    read(&mut partition, 0..50);
    partition.sought(SeekTarget::Offset(5), 1);
    partition.committed(50, 1);
    partition.take(5);
    assert_eq!(partition.restart_offset(), Some(0));
    partition.committed(7, 2);
    assert_eq!(partition.restart_offset(), Some(7));
}

#[test]
fn the_end_stays_known_while_the_records_before_it_are_handled() {
    let mut partition = partition();
    partition.take(0);
    partition.take(1);
    partition.reached_end(2);
    partition.complete(0);
    partition.take(1);
    partition.complete(1);
    assert!(partition.is_at_end());
    partition.take(2);
    assert!(!partition.is_at_end());
}

#[test]
fn distance_to_the_first_record_without_a_result() {
    let mut partition = partition();
    partition.take(3);
    assert_eq!((partition.ahead(3), partition.ahead(4)), (0, 1));
    partition.take(9);
    assert_eq!((partition.ahead(9), partition.ahead(10)), (6, 7));
    partition.complete(9);
    assert_eq!(partition.ahead(12), 7);
    partition.complete(3);
    assert_eq!(partition.ahead(12), 0);
}

#[test]
fn gaps_in_offsets_are_passed() {
    let mut partition = partition();
    read(&mut partition, 3..4);
    read(&mut partition, 9..10);
    assert_eq!(partition.committable(), Some(10));
}

#[test]
fn discarded_records_are_read_again() {
    let mut partition = partition();
    for offset in 0..6 {
        partition.take(offset);
    }
    partition.complete(1);
    partition.reread_from(3, 0);
    assert!(!partition.complete(4));
    assert_eq!(partition.next_offset(), Some(3));
    partition.complete(0);
    partition.complete(2);
    assert_eq!(partition.committable(), Some(3));
}
