//! The end of a send queue: a position that was sent covers only frames that were sent.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::gateway::bootstrap::BacklogPacer;
use crate::gateway::broadcast::Broadcast;
use crate::gateway::protocol::Close;
use crate::gateway::session::{EnqueueResult, Socket};

fn socket(max: usize) -> Socket {
    let id = "1.2".parse().unwrap();
    Socket::new(id, "127.0.0.1".parse().unwrap(), max)
}

#[test]
fn frames_queued_while_a_close_is_pending_precede_it() {
    let socket = socket(1000);
    assert_eq!(
        socket.push(Bytes::from_static(b"41")),
        EnqueueResult::Queued
    );
    socket.close(Close::Reconnect, "restart");
    // It counts as delivered and positions cover it, so it must be accepted.
    assert_eq!(
        socket.push(Bytes::from_static(b"42")),
        EnqueueResult::Queued
    );
    let batch = socket.take();
    let frames: Vec<&[u8]> = batch.frames.iter().map(|w| &w.frame[..]).collect();
    assert_eq!(frames, [b"41", b"42"]);
    assert_eq!(batch.close.unwrap().0, Close::Reconnect.code());
    assert!(!batch.dropped);
    // Nothing is accepted after the close was taken, and its reason is kept.
    assert_eq!(
        socket.push(Bytes::from_static(b"43")),
        EnqueueResult::Closed
    );
    socket.close(Close::NoPong, "");
    assert_eq!(socket.take().close.unwrap().0, Close::Reconnect.code());
}

#[test]
fn an_overflowed_queue_is_marked_and_closes_the_socket() {
    let socket = socket(520);
    assert_eq!(socket.push(Bytes::from(vec![0; 60])), EnqueueResult::Queued);
    assert_eq!(
        socket.push(Bytes::from(vec![0; 60])),
        EnqueueResult::NearlyFull
    );
    assert_eq!(
        socket.push(Bytes::from(vec![0; 60])),
        EnqueueResult::Overflow
    );
    assert_eq!(socket.push(Bytes::from_static(b"x")), EnqueueResult::Closed);
    let batch = socket.take();
    assert!(batch.dropped && batch.frames.is_empty());
    assert_eq!(batch.close.unwrap().0, Close::OverCapacity.code());
    eventually("it is closing", || socket.is_closing());
    // An earlier close keeps its reason when the queue overflows.
    let socket = self::socket(100);
    socket.close(Close::Unauthorized, "kicked");
    assert_eq!(
        socket.push(Bytes::from(vec![0; 160])),
        EnqueueResult::Overflow
    );
    let batch = socket.take();
    assert!(batch.dropped);
    assert_eq!(batch.close.unwrap().0, Close::Unauthorized.code());
}

/// Delivers `count` events of a backlog as the feed does.
fn deliver_backlog(gateway: &Gateway, count: usize, age_ms: u64) {
    let pacer = BacklogPacer::default();
    let timestamp = i64::try_from(crate::ids::unix_ms() - age_ms).unwrap();
    for n in 0..count {
        let delivery = gateway.hub().deliver(&Arc::new(Broadcast::new(
            "a",
            "e",
            &n.to_string(),
            &format!("{n:<200}"),
        )));
        pacer.after_delivery(&delivery, timestamp);
    }
}

#[test]
fn a_backlog_larger_than_the_queue_reaches_a_client_that_reads() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-a", None);
    let reader = std::thread::spawn(move || {
        for n in 0..10_000 {
            assert_eq!(client.expect("e", "private-a"), json!(n));
        }
    });
    deliver_backlog(&gateway, 10_000, 5000);
    reader.join().unwrap();
    assert_eq!(gateway.hub().counters().slow_clients.get(), 0);
}

#[test]
fn a_client_that_does_not_read_delays_a_backlog_for_a_bounded_time() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-a", None);
    let start = Instant::now();
    deliver_backlog(&gateway, 30_000, 5000);
    assert!(start.elapsed() < Duration::from_secs(15));
    assert_eq!(gateway.hub().counters().slow_clients.get(), 1);
}

#[test]
fn frames_that_wait_for_others_arrive_in_one_write_and_in_order() {
    let gateway = gateway(|s| s.write_delay = Duration::from_millis(2));
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-a", None);
    let counters = gateway.hub().counters();
    let before = counters.writes.get();
    for n in 0..100 {
        let json = n.to_string();
        let event = Broadcast::new("a", "e", &json, &json);
        gateway.hub().deliver(&Arc::new(event));
    }
    for n in 0..100 {
        assert_eq!(client.expect("e", "private-a"), json!(n));
    }
    let writes = counters.writes.get() - before;
    assert!(writes < 50, "{writes} writes");
    client.frame(0x88, &1000_u16.to_be_bytes());
    assert_eq!(client.expect_close(), 1000);
}
