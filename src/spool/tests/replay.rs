//! Claims: progress, permanent failures, deletion only at the end.

use super::*;
use crate::error::Kind;

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
