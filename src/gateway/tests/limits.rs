//! Limits of connected clients: attacks, pages with many channels, clients above a rate, and the end of a send queue.

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::gateway::bootstrap::BacklogPacer;
use crate::gateway::broadcast::Broadcast;
use crate::gateway::protocol::Close;
use crate::gateway::session::{EnqueueResult, Socket};

#[test]
fn deeply_nested_json_is_rejected_before_parsing() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    // Within the size limit but nested too deeply: rejected before parsing, the connection stays open.
    client.frame(0x81, &vec![b'['; 16_000]);
    assert!(client.expect("pusher:error", "")["message"]
        .as_str()
        .unwrap()
        .contains("nested"));
    let deep = format!(
        "{{\"event\":\"client-x\",\"channel\":\"private-a\",\"data\":{}1{}}}",
        "[".repeat(40),
        "]".repeat(40)
    );
    client.text(&deep);
    client.expect("pusher:error", "");
    client.expect_pong();
    // A frame of 100 KB, which overflows the stack of another server.
    client.frame(0x81, &vec![b'['; 100_000]);
    assert_eq!(client.expect_close(), 1009);
}

#[test]
fn messages_with_duplicate_fields_are_rejected() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    for text in [
        r#"{"event":"pusher:ping","event":"pusher:subscribe","data":{}}"#,
        r#"{"event":"pusher:ping","\u0065vent":"pusher:ping"}"#,
        r#"{"event":"pusher:ping","auth":1,"auth":2}"#,
        r#"{"event":"pusher:ping"} x"#,
        r#"{"event":7}"#,
        r#"{"data":{}}"#,
        "[]",
        r#"{"event":"client-x","channel":"private-a","channel":"private-b","data":1}"#,
        r#"{"event":"client-x","channel":"private-a","user_id":"1","user_id":"2"}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":"public.a","channel":"private-a"}}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"a","auth":"b"}}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":7}}"#,
        r#"{"event":"pusher:subscribe","data":"public.a"}"#,
        r#"{"event":"pusher:subscribe"}"#,
        r#"{"event":null}"#,
        "null",
        "",
        "{",
    ] {
        client.text(text);
        client.expect("pusher:error", "");
    }
    assert_eq!(gateway.hub().counters().subscriptions.get(), 0);
}

#[test]
fn subscriptions_and_channels_are_limited() {
    let gateway = gateway(|s| {
        s.max_subscriptions = 10;
        s.max_channels = 15;
    });
    let mut a = TestClient::connect(&gateway);
    for i in 0..10 {
        a.subscribe(&format!("private-{i}"), None);
    }
    a.send_subscribe("private-10", None);
    a.expect_refused("private-10", 429);
    a.subscribe("private-3", None);
    let mut b = TestClient::connect(&gateway);
    for i in 0..5 {
        b.subscribe(&format!("private-b{i}"), None);
    }
    b.send_subscribe("private-b5", None);
    b.expect_refused("private-b5", 429);
    // Closed connections free their channels.
    drop(a);
    eventually("channels are given up", || {
        gateway.hub().counters().channels.get() == 5
    });
    b.subscribe("private-b5", None);
}

#[test]
fn invalid_channel_names_are_rejected() {
    let gateway = gateway(|s| s.public_by_mark = true);
    let mut client = TestClient::connect(&gateway);
    for name in [
        "",
        "a\n",
        "a b",
        "ä",
        &"x".repeat(165),
        "#server-to-user-",
        "#x",
        "a/b",
        "a\u{0}",
    ] {
        client.send("pusher:subscribe", &json!({"channel": name}));
        client.expect("pusher:subscription_error", "");
    }
    // Private names are never public.
    for name in [
        "private-a",
        "presence-a",
        "private-encrypted-a",
        "private-cache-a",
    ] {
        client.send("pusher:subscribe", &json!({"channel": name}));
        client.expect_refused(name, 401);
    }
    assert_eq!(gateway.hub().counters().channels.get(), 0);
}

#[test]
fn a_client_that_does_not_read_is_closed_without_delaying_others() {
    let gateway = gateway(|s| s.max_queue = 256 << 10);
    let mut good = TestClient::connect(&gateway);
    good.subscribe("private-a", None);
    let mut stuck = TestClient::connect(&gateway);
    stuck.subscribe("private-a", None);
    let data = json!("x".repeat(50_000)).to_string();
    let mut slowest = Duration::ZERO;
    for _ in 0..400 {
        let started = Instant::now();
        send(&gateway, "a", "e", &data);
        assert!(matches!(good.next(Duration::from_secs(5)), Frame::Text(_)));
        slowest = slowest.max(started.elapsed());
        if gateway.hub().counters().slow_clients.get() > 0 && gateway.hub().sockets().len() == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(gateway.hub().counters().slow_clients.get(), 1);
    eventually("it is disconnected", || gateway.hub().sockets().len() == 1);
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    // It can read complete frames to the end, and the close frame if it fits.
    let mut last = Frame::Timeout;
    loop {
        match stuck.next(Duration::from_secs(5)) {
            Frame::Disconnected | Frame::Timeout => break,
            frame => last = frame,
        }
    }
    assert!(
        matches!(last, Frame::Text(_) | Frame::Close(4100, _)),
        "{last:?}"
    );
    good.expect_pong();
}

#[test]
fn oversized_events_are_skipped_and_counted() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-a", None);
    let large = json!("x".repeat(300 << 10)).to_string();
    assert!(gateway
        .broadcast_locally("a", "e", large.as_bytes(), None)
        .is_err());
    let broadcast = crate::gateway::broadcast::Broadcast::new("a", "e", "1", &large);
    assert_eq!(deliver(&gateway, broadcast).sockets, 0);
    assert_eq!(gateway.hub().counters().oversized_events.get(), 1);
    let fits = json!("x".repeat(200 << 10)).to_string();
    assert_eq!(send(&gateway, "a", "e", &fits), 1);
    assert_eq!(
        client.expect("e", "private-a").as_str().unwrap().len(),
        200 << 10
    );
}

#[test]
fn a_page_with_500_channels_subscribes_at_once_and_again_after_a_reconnect() {
    let gateway = gateway(|_| {});
    for _ in 0..2 {
        let mut client = TestClient::connect(&gateway);
        for i in 0..400 {
            client.send_subscribe(&format!("private-{i}"), None);
        }
        for i in 0..100 {
            client.send_subscribe(&format!("presence-{i}"), Some(r#"{"user_id":1}"#));
        }
        for i in 0..500 {
            let event = client.event();
            assert_eq!(
                event["event"], "pusher_internal:subscription_succeeded",
                "{i}: {event}"
            );
        }
        client.send_subscribe("private-500", None);
        let error = client.expect("pusher:subscription_error", "private-500");
        assert!(error["error"]
            .as_str()
            .unwrap()
            .contains("max_subscriptions"));
    }
}

#[test]
fn the_presence_channels_of_a_page_are_limited() {
    let gateway = gateway(|s| s.max_presence_subscriptions = 3);
    let mut client = TestClient::connect(&gateway);
    for i in 0..3 {
        client.subscribe(&format!("presence-{i}"), Some(r#"{"user_id":1}"#));
    }
    client.send_subscribe("presence-3", Some(r#"{"user_id":1}"#));
    let error = client.expect("pusher:subscription_error", "presence-3");
    assert_eq!(error["status"], 429);
    assert!(error["error"]
        .as_str()
        .unwrap()
        .contains("max_presence_subscriptions"));
    // A repeated subscription is not an additional one.
    client.subscribe("presence-0", Some(r#"{"user_id":1}"#));
    client.subscribe("private-a", None);
}

#[test]
fn above_the_message_rate_reading_is_delayed() {
    let gateway = gateway(|s| {
        s.messages_per_second = 50;
        s.message_burst = 10;
    });
    let mut client = TestClient::connect(&gateway);
    let mut other = TestClient::connect(&gateway);
    for _ in 0..40 {
        client.send("pusher:ping", &json!({}));
    }
    for _ in 0..40 {
        assert_eq!(client.event()["event"], "pusher:pong");
    }
    // 30 messages over the burst: at 50 per second the next one waits for at least half a second.
    let started = Instant::now();
    client.send("pusher:ping", &json!({}));
    other.expect_pong();
    let other_waited = started.elapsed();
    assert_eq!(client.event()["event"], "pusher:pong");
    assert!(
        started.elapsed() > Duration::from_millis(300),
        "{:?}",
        started.elapsed()
    );
    assert!(
        other_waited < Duration::from_millis(250),
        "{other_waited:?}"
    );
}

#[test]
fn a_delayed_client_is_not_closed_as_silent() {
    let gateway = gateway(|s| {
        s.messages_per_second = 10;
        s.message_burst = 1;
        s.activity_timeout = Duration::from_secs(1);
        s.pong_timeout = Duration::from_millis(500);
    });
    let mut client = TestClient::connect(&gateway);
    for _ in 0..40 {
        client.frame(0x8A, b"");
    }
    std::thread::sleep(Duration::from_secs(3));
    client.send("pusher:ping", &json!({}));
    loop {
        if client.event()["event"] == "pusher:pong" {
            break;
        }
    }
}

#[test]
fn presence_subscriptions_of_all_sockets_have_a_rate() {
    let gateway = gateway(|_| {});
    let now = Instant::now();
    let delay = (0..50_000)
        .map(|_| gateway.hub().charge_presence_join(now))
        .max();
    assert_eq!(delay, Some(Duration::ZERO));
    let delay = (0..600)
        .map(|_| gateway.hub().charge_presence_join(now))
        .max();
    assert!(delay > Some(Duration::from_millis(500)), "{delay:?}");
    let mut client = TestClient::connect(&gateway);
    let started = Instant::now();
    client.subscribe("presence-0", Some(r#"{"user_id":1}"#));
    client.subscribe("presence-1", Some(r#"{"user_id":1}"#));
    assert!(
        started.elapsed() > Duration::from_millis(200),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn presence_subscriptions_above_the_rate_are_delayed() {
    let gateway = gateway(|s| {
        s.presence_joins = 5;
        s.presence_join_window = Duration::from_secs(1);
    });
    let mut client = TestClient::connect(&gateway);
    let started = Instant::now();
    for i in 0..8 {
        client.subscribe(&format!("presence-{i}"), Some(r#"{"user_id":1}"#));
    }
    assert!(
        started.elapsed() > Duration::from_millis(300),
        "{:?}",
        started.elapsed()
    );
}

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
        let delivery = deliver(
            gateway,
            Broadcast::new("a", "e", &n.to_string(), &format!("{n:<200}")),
        );
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
        deliver(&gateway, event);
    }
    for n in 0..100 {
        assert_eq!(client.expect("e", "private-a"), json!(n));
    }
    let writes = counters.writes.get() - before;
    assert!(writes < 50, "{writes} writes");
    client.frame(0x88, &1000_u16.to_be_bytes());
    assert_eq!(client.expect_close(), 1000);
}
