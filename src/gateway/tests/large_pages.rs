//! Pages with many channels, and clients above a rate: reading is delayed and nothing is refused.

use serde_json::json;

use super::*;

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
    other.send("pusher:ping", &json!({}));
    assert_eq!(other.event()["event"], "pusher:pong");
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
