//! Records round-trip unchanged, in order, within the size limit.

use super::*;
use crate::error::Kind;

#[test]
fn a_record_round_trips_with_all_fields() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let mut odd = record("odd");
    odd.partition = Some(0);
    odd.key = Some(Vec::new());
    odd.value = Some((0..=255).collect());
    odd.headers = vec![
        ("same".to_owned(), None),
        ("same".to_owned(), Some(Vec::new())),
        (String::new(), Some(vec![0xff])),
    ];
    odd.timestamp_ms = -1;
    let mut tombstone = record("");
    tombstone.partition = Some(i32::MAX);
    tombstone.key = None;
    tombstone.value = None;
    tombstone.headers.clear();
    tombstone.reason = "hết hạn".to_owned();
    let mut large = record("large");
    large.value = Some(vec![7; 5_000_000]);
    let stored = vec![odd, tombstone, large];
    spool.append(&stored).unwrap();
    spool.rotate_own();
    let mut claim = spool.claim().unwrap().unwrap();
    for expected in stored {
        assert_eq!(claim.next().unwrap(), Some(expected));
    }
    assert_eq!(claim.next().unwrap(), None);
    claim.finish().unwrap();
    assert_eq!((spool.files(), spool.bytes()), (0, 0));
}

#[test]
fn order_is_kept_across_batches_and_files() {
    let temp = TempDir::new();
    let spool = temp.spool();
    for start in (0..100).step_by(10) {
        spool.append(&records(start, start + 10)).unwrap();
        if start % 30 == 0 {
            spool.rotate_own();
        }
    }
    assert_eq!(spool.records_waiting(), 100);
    spool.rotate_own();
    assert_eq!(drain(&spool), ids(0, 100));
}

#[test]
fn nothing_is_created_before_the_first_append() {
    let temp = TempDir::new();
    let spool = temp.spool();
    spool.check().unwrap();
    spool.append(&[]).unwrap();
    assert!(spool.claim().unwrap().is_none());
    assert_eq!(
        (spool.bytes(), spool.files(), spool.records_waiting()),
        (0, 0, 0)
    );
    assert!(names(&temp.0).is_empty());
}

#[test]
fn the_open_file_cannot_be_claimed_until_rotated() {
    let temp = TempDir::new();
    let spool = temp.spool();
    spool.append(&records(0, 1)).unwrap();
    assert!(spool.claim().unwrap().is_none());
    assert!(temp.spool().claim().unwrap().is_none());
    spool.rotate_own();
    assert_eq!(drain(&spool), ids(0, 1));
    spool.append(&records(1, 2)).unwrap();
    drop(spool);
    assert_eq!(drain(&temp.spool()), ids(1, 2));
}

#[test]
fn the_size_limit_covers_all_processes_and_the_error_names_records_not_stored() {
    let temp = TempDir::new();
    let max = file_size(&records(0, 3)) + file_size(&records(0, 2)) + 10;
    let (one, two) = (temp.bounded(max), temp.bounded(max));
    one.append(&records(0, 3)).unwrap();
    let error = two.append(&records(3, 9)).unwrap_err();
    assert_eq!(error.kind(), Kind::Delivery);
    let failed: Vec<&str> = error.failed().iter().map(|f| f.id.as_str()).collect();
    assert_eq!(failed, ["5", "6", "7", "8"]);
    for part in [
        "is full",
        "4 of 6",
        "spool_max_bytes",
        temp.0.to_str().unwrap(),
    ] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(one.append(&records(9, 10)).is_err());
    assert!(one.usage().total() <= max);
    drop((one, two));
    let spool = temp.bounded(max);
    assert_eq!(drain(&spool), ids(0, 5));
    spool.append(&records(5, 8)).unwrap();
}

#[test]
fn a_full_spool_leaves_no_empty_file() {
    let temp = TempDir::new();
    for max in [0, 10, 70] {
        let spool = temp.bounded(max);
        assert_eq!(spool.append(&records(0, 2)).unwrap_err().failed().len(), 2);
        assert_eq!(spool.files(), 0);
    }
}

#[test]
fn the_size_limit_holds_for_concurrent_appends() {
    let temp = TempDir::new();
    let max = 20_000;
    let stored = std::thread::scope(|scope| {
        let run = |n: usize| {
            let spool = temp.bounded(max);
            let mut stored = 0;
            for i in 0..40 {
                let batch = records(n * 1000 + i * 3, n * 1000 + i * 3 + 3);
                let result = spool.append(&batch);
                stored += 3 - result.map_or_else(|error| error.failed().len(), |()| 0);
            }
            stored
        };
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || run(n))).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap())
            .sum::<usize>()
    });
    let spool = temp.bounded(max);
    assert!(spool.usage().total() <= max, "{:?}", spool.usage());
    assert!(spool.usage().total() > max - 500, "{:?}", spool.usage());
    assert_eq!(spool.records_waiting(), stored as u64);
    assert_eq!(drain(&spool).len(), stored);
}

#[test]
fn a_spool_can_be_shared_between_threads() {
    let temp = TempDir::new();
    let spool = temp.spool();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let spool = &spool;
            scope.spawn(move || {
                for i in 0..25 {
                    spool.append(&[record(&format!("{n}-{i:02}"))]).unwrap();
                }
            });
        }
    });
    spool.rotate_own();
    let all = drain(&spool);
    assert_eq!(all.len(), 100);
    for n in 0..4 {
        let prefix = format!("{n}-");
        let own: Vec<_> = all.iter().filter(|id| id.starts_with(&prefix)).collect();
        assert!(own.is_sorted(), "{own:?}");
    }
}

#[test]
fn a_file_deleted_while_open_is_reported_and_replaced() {
    let temp = TempDir::new();
    let spool = temp.spool();
    spool.append(&records(0, 2)).unwrap();
    fs::remove_dir_all(spool.directory()).unwrap();
    spool.append(&records(2, 4)).unwrap();
    let notices = spool.take_notices();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].contains("2 messages"), "{notices:?}");
    assert!(spool.take_notices().is_empty());
    spool.rotate_own();
    assert_eq!(drain(&spool), ids(2, 4));
}

fn stored(temp: &TempDir, count: usize) -> Spool {
    let spool = temp.spool();
    spool.append(&records(0, count)).unwrap();
    spool.rotate_own();
    spool
}

#[test]
fn a_dropped_claim_resumes_after_the_last_mark() {
    let temp = TempDir::new();
    let spool = stored(&temp, 5);
    let mut claim = spool.claim().unwrap().unwrap();
    for _ in 0..4 {
        claim.next().unwrap();
    }
    claim.mark_done(2);
    claim.mark_done(1);
    assert_eq!(claim.position(), 4);
    drop(claim);
    assert_eq!(spool.records_waiting(), 3);
    let mut claim = spool.claim().unwrap().unwrap();
    assert_eq!(claim.next().unwrap().unwrap().id, "2");
    assert_eq!(claim.position(), 1);
    claim.mark_done(usize::MAX);
    drop(claim);
    assert_eq!(drain(&spool), ids(3, 5));
    assert_eq!(spool.files(), 0);
}

#[test]
fn a_file_marked_to_the_end_is_removed() {
    let temp = TempDir::new();
    let spool = stored(&temp, 2);
    let mut claim = spool.claim().unwrap().unwrap();
    while claim.next().unwrap().is_some() {}
    claim.mark_done(2);
    drop(claim);
    assert_eq!(spool.files(), 0, "nothing waits in it");
    only_file(&spool);
    assert!(spool.claim().unwrap().is_none());
    assert_eq!(spool.usage().total(), 0);
}

#[test]
fn finishing_before_the_end_deletes_nothing() {
    let temp = TempDir::new();
    let spool = stored(&temp, 3);
    let mut claim = spool.claim().unwrap().unwrap();
    claim.next().unwrap();
    assert_eq!(claim.finish().unwrap_err().kind(), Kind::Delivery);
    assert_eq!(drain(&spool), ids(0, 3));
}

#[test]
fn a_permanent_failure_does_not_block_later_records() {
    let temp = TempDir::new();
    let spool = temp.spool();
    let mut head = record("0");
    head.key = Some(vec![0xff, 0xfe, b'a', b'b']);
    head.value = Some("{\"đơn\":\"1\"}".as_bytes().to_vec());
    head.headers = vec![("h\"".to_owned(), None)];
    spool.append(&[head]).unwrap();
    spool.append(&records(1, 4)).unwrap();
    spool.rotate_own();
    let mut claim = spool.claim().unwrap().unwrap();
    let bad = claim.next().unwrap().unwrap();
    claim
        .fail(&bad, "Broker: Message size too large\n")
        .unwrap();
    let mut tombstone = claim.next().unwrap().unwrap();
    tombstone.value = None;
    claim.fail(&tombstone, "second").unwrap();
    claim.mark_done(2);
    assert_eq!(claim.next().unwrap().unwrap().id, "2");
    assert_eq!(claim.next().unwrap().unwrap().id, "3");
    claim.finish().unwrap();
    assert_eq!(spool.files(), 0);

    let dir = spool.directory().join("failed");
    let files = names(&dir);
    assert_eq!(files.len(), 1);
    let text = fs::read_to_string(dir.join(&files[0])).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["id"], "0");
    assert_eq!(
        lines[0]["failed_because"],
        "Broker: Message size too large\n"
    );
    assert_eq!(lines[0]["spooled_because"], "no broker");
    assert_eq!(lines[0]["topic"], "realtime_user_1");
    assert_eq!(lines[0]["partition"], serde_json::Value::Null);
    assert_eq!(lines[0]["key"]["base64"], "//5hYg==");
    assert_eq!(lines[0]["value"]["text"], "{\"đơn\":\"1\"}");
    assert_eq!(lines[0]["headers"][0]["name"], "h\"");
    assert_eq!(lines[1]["value"], serde_json::Value::Null);
    assert_eq!(spool.usage().failed, text.len() as u64);
}

#[test]
fn a_claim_is_exclusive() {
    let temp = TempDir::new();
    let spool = stored(&temp, 2);
    let claim = spool.claim().unwrap().unwrap();
    assert!(spool.claim().unwrap().is_none());
    assert!(temp.spool().claim().unwrap().is_none());
    drop(claim);
    assert!(temp.spool().claim().unwrap().is_some());
}

#[test]
fn finishing_a_claim_whose_file_was_replaced_deletes_nothing() {
    let temp = TempDir::new();
    let spool = stored(&temp, 2);
    let mut claim = spool.claim().unwrap().unwrap();
    fs::remove_file(claim.path()).unwrap();
    // The new file of this name does not belong to the claim and must not be deleted.
    fs::write(claim.path(), "other").unwrap();
    while claim.next().unwrap().is_some() {}
    let path = claim.path().to_owned();
    claim.finish().unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "other");
}
