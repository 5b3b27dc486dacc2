//! Attacks of connected clients, over raw sockets.

use serde_json::json;

use super::*;

fn text_frame(len: usize, fill: u8) -> Vec<u8> {
    vec![fill; len]
}

#[test]
fn deeply_nested_json_is_rejected_before_parsing() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    // Within the size limit but nested too deeply: rejected before parsing, the connection stays open.
    client.frame(0x81, &text_frame(16_000, b'['));
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
    client.send("pusher:ping", &json!({}));
    assert_eq!(client.event()["event"], "pusher:pong");
    // A frame of 100 KB, which overflows the stack of another server.
    client.frame(0x81, &text_frame(100_000, b'['));
    assert_eq!(client.expect_close(), 1009);
}

#[test]
fn messages_with_duplicate_fields_are_rejected() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    for text in [
        r#"{"event":"pusher:ping","event":"pusher:subscribe","data":{}}"#,
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
    assert_eq!(
        a.expect("pusher:subscription_error", "private-10")["status"],
        429
    );
    a.subscribe("private-3", None);
    let mut b = TestClient::connect(&gateway);
    for i in 0..5 {
        b.subscribe(&format!("private-b{i}"), None);
    }
    b.send_subscribe("private-b5", None);
    assert_eq!(
        b.expect("pusher:subscription_error", "private-b5")["status"],
        429
    );
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
        assert_eq!(
            client.expect("pusher:subscription_error", name)["status"],
            401
        );
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
        gateway
            .broadcast_locally("a", "e", data.as_bytes(), None)
            .unwrap();
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
    good.send("pusher:ping", &json!({}));
    assert_eq!(good.event()["event"], "pusher:pong");
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
    assert_eq!(gateway.hub().deliver(&broadcast.into()).sockets, 0);
    assert_eq!(gateway.hub().counters().oversized_events.get(), 1);
    let fits = json!("x".repeat(200 << 10)).to_string();
    assert_eq!(
        gateway
            .broadcast_locally("a", "e", fits.as_bytes(), None)
            .unwrap(),
        1
    );
    assert_eq!(
        client.expect("e", "private-a").as_str().unwrap().len(),
        200 << 10
    );
}

#[test]
fn random_input_never_panics() {
    // A loop with a fixed seed; REALTIME_FUZZ_SECONDS runs it longer.
    let seconds = std::env::var("REALTIME_FUZZ_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let rounds = super::fuzz::run(0x5eed, end);
    assert!(rounds > 0);
}
