//! All kinds of channels, from a client's side.

use serde_json::json;

use super::test_brokers::until;
use super::*;
use crate::encryption::MasterKey;
use crate::gateway::broadcast::Broadcast;
use crate::topic::ChannelPattern;

#[test]
fn pings_are_answered_and_a_close_is_echoed() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.expect_pong();
    client.frame(0x89, b"abc");
    assert_eq!(
        client.next(Duration::from_secs(5)),
        Frame::Pong(b"abc".to_vec())
    );
    client.frame(0x88, &1000_u16.to_be_bytes());
    assert_eq!(client.expect_close(), 1000);
    eventually("the hub removes it", || gateway.hub().sockets().is_empty());
}

#[test]
fn a_client_that_answers_no_ping_is_closed() {
    let gateway = gateway(|s| {
        s.activity_timeout = Duration::from_secs(1);
        s.pong_timeout = Duration::from_secs(1);
    });
    let mut quiet = TestClient::connect(&gateway);
    let mut alive = TestClient::connect(&gateway);
    assert_eq!(quiet.event()["event"], "pusher:ping");
    assert_eq!(alive.event()["event"], "pusher:ping");
    alive.send("pusher:pong", &json!({}));
    assert_eq!(quiet.expect_close(), 4201);
    alive.expect("pusher:ping", "");
    assert_eq!(gateway.hub().counters().silent_clients.get(), 1);
}

#[test]
fn a_client_that_answers_only_websocket_pings_stays_connected() {
    let gateway = gateway(|s| {
        s.activity_timeout = Duration::from_secs(1);
        s.pong_timeout = Duration::from_secs(1);
    });
    let mut phone = TestClient::connect(&gateway);
    phone.subscribe("private-a", None);
    let started = Instant::now();
    let (mut pings, mut events) = (0, 0);
    while started.elapsed() < Duration::from_secs(5) {
        send(&gateway, "a", "data", json!(1));
        match phone.next(Duration::from_millis(100)) {
            Frame::Ping => {
                pings += 1;
                phone.frame(0x8A, b"");
            }
            Frame::Text(text) if text.contains("pusher:ping") => {}
            Frame::Text(_) => events += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(pings >= 3 && events > 10, "{pings} pings, {events} events");
}

#[test]
fn private_and_public_channels_require_what_is_documented() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-user.1", None);
    client.subscribe("public.news", None);
    client.send("pusher:subscribe", &json!({"channel": "user.1"}));
    let error = client.expect("pusher:subscription_error", "user.1");
    assert_eq!(error["status"], 403);
    assert!(error["error"].as_str().unwrap().contains("public_channels"));
    client.send(
        "pusher:subscribe",
        &json!({"channel": "private-user.2", "auth": "app-key:00"}),
    );
    let error = client.expect("pusher:subscription_error", "private-user.2");
    assert_eq!(
        (error["type"].as_str(), error["status"].as_u64()),
        (Some("AuthError"), Some(401))
    );
    client.send("pusher:subscribe", &json!({"channel": "private-a b"}));
    let error = client.expect("pusher:subscription_error", "private-a b");
    assert_eq!(
        (error["type"].as_str(), error["status"].as_u64()),
        (Some("InvalidChannel"), Some(400))
    );

    assert_eq!(
        send(&gateway, "user.1", "order.created", json!({"id": 7})),
        1
    );
    let event = client.event();
    assert_eq!(
        event,
        json!({"event": "order.created", "channel": "private-user.1", "data": "{\"id\":7}"})
    );
    assert_eq!(send(&gateway, "public.news", "n", json!("123")), 1);
    // Clients parse one level of JSON: a string stays a string.
    assert_eq!(client.event()["data"], "\"123\"");
    assert_eq!(send(&gateway, "user.2", "n", json!(null)), 0);

    // A second subscribe is answered and changes nothing.
    client.subscribe("private-user.1", None);
    assert_eq!(send(&gateway, "user.1", "n", json!(null)), 1);
    assert_eq!(client.event()["data"], "null");
    client.unsubscribe("private-user.1");
    eventually("unsubscribed", || {
        send(&gateway, "user.1", "n", json!(null)) == 0
    });
}

#[test]
fn a_signature_for_another_socket_or_channel_is_rejected() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    let other = TestClient::connect(&gateway);
    let auth = |text: &str| {
        format!(
            "{KEY}:{}",
            crate::gateway::protocol::auth::signature(SECRET, text)
        )
    };
    for text in [
        format!("{}:private-a", other.id),
        format!("{}:private-b", client.id),
        format!("{}:private-a:", client.id),
        format!("{}::user::private-a", client.id),
    ] {
        client.send(
            "pusher:subscribe",
            &json!({"channel": "private-a", "auth": auth(&text)}),
        );
        client.expect_refused("private-a", 401);
    }
    // A signature without member data is not valid with any.
    let data = r#"{"user_id":"admin"}"#;
    let plain = auth(&format!("{}:presence-a", client.id));
    client.send(
        "pusher:subscribe",
        &json!({"channel": "presence-a", "auth": plain, "channel_data": data}),
    );
    client.expect_refused("presence-a", 401);
    client.send(
        "pusher:subscribe",
        &json!({"channel": "presence-a", "auth": plain}),
    );
    client.expect_refused("presence-a", 401);
}

#[test]
fn a_cache_channel_sends_its_last_event() {
    let gateway = gateway(|_| {});
    send(&gateway, "user.1", "old", json!(1));
    send(&gateway, "user.1", "new", json!(2));
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-cache-user.1", None);
    assert_eq!(client.expect("new", "private-cache-user.1"), json!(2));
    client.subscribe("presence-cache-user.1", Some(r#"{"user_id":1}"#));
    client.expect("new", "presence-cache-user.1");
    client.subscribe("private-cache-user.2", None);
    client.expect("pusher:cache_miss", "private-cache-user.2");
    // A public cache channel receives only public events.
    send(&gateway, "public.a", "p", json!(3));
    client.subscribe("cache-public.a", None);
    client.expect("p", "cache-public.a");
    // The cache honours the excluded socket, too.
    gateway
        .broadcast_locally("user.3", "own", b"1", Some(client.id))
        .unwrap();
    client.subscribe("private-cache-user.3", None);
    client.expect("pusher:cache_miss", "private-cache-user.3");
    let mut other = TestClient::connect(&gateway);
    other.subscribe("private-cache-user.3", None);
    other.expect("own", "private-cache-user.3");
}

#[test]
fn encrypted_channels_accept_only_encrypted_data() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-encrypted-a", None);
    assert_eq!(
        send(&gateway, "private-encrypted-a", "e", json!({"plain": 1})),
        0
    );
    assert_eq!(send(&gateway, "encrypted-a", "e", json!({"plain": 1})), 0);
    assert_eq!(gateway.hub().counters().plain_to_encrypted.get(), 1);
    let key = MasterKey::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    let encrypted = key
        .encrypt("private-encrypted-a", b"{\"secret\":1}")
        .unwrap();
    assert_eq!(send(&gateway, "private-encrypted-a", "e", &encrypted), 1);
    let got = client.expect("e", "private-encrypted-a");
    assert_eq!(
        key.decrypt("private-encrypted-a", &got.to_string())
            .unwrap(),
        b"{\"secret\":1}"
    );
    client.client_event("client-x", "private-encrypted-a", &json!(1));
    assert_eq!(client.expect("pusher:error", "")["code"], 4301);
}

#[test]
fn excluded_socket_public_mark_and_exact_channel_are_honoured() {
    let gateway = gateway(|s| {
        s.public_by_mark = true;
        s.channels = vec![ChannelPattern::parse("order.*").unwrap()];
    });
    let (mut a, mut b) = (TestClient::connect(&gateway), TestClient::connect(&gateway));
    for client in [&mut a, &mut b] {
        client.subscribe("private-order.1", None);
        client.subscribe("order.1", None);
    }
    let mut broadcast = Broadcast::new("order.1", "e", "1", "1");
    broadcast.except = Some(a.id);
    assert_eq!(deliver(&gateway, broadcast.clone()).sockets, 1);
    b.expect("e", "private-order.1");
    broadcast.public = true;
    assert_eq!(deliver(&gateway, broadcast.clone()).sockets, 2);
    b.expect("e", "private-order.1");
    b.expect("e", "order.1");
    a.expect_silence();
    broadcast.exact = true;
    broadcast.public = false;
    broadcast.except = None;
    assert_eq!(deliver(&gateway, broadcast).sockets, 2);
    a.expect("e", "order.1");
    // A channel that another gateway serves.
    a.send_subscribe("private-user.1", None);
    let error = a.expect("pusher:subscription_error", "private-user.1");
    assert_eq!(error["status"], 403);
    assert!(error["error"].as_str().unwrap().contains("ws-channels"));
}

#[test]
fn reserved_event_names_are_rejected_from_every_source() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-a", None);
    for event in [
        "pusher:error",
        "pusher_internal:subscription_succeeded",
        "realtime:recovered",
    ] {
        assert!(gateway.broadcast_locally("a", event, b"1", None).is_err());
        client.client_event(event, "private-a", &json!({}));
        client.expect("pusher:error", "");
    }
    assert_eq!(gateway.hub().counters().reserved_events.get(), 3);
}

#[test]
fn data_that_is_not_json_reaches_no_client_and_replaces_no_last_event() {
    let gateway = gateway(|_| {});
    let bad_records = || gateway.hub().counters().bad_records.get();
    let unsubscribed = || {
        eventually("unsubscribed", || {
            gateway.hub().counters().channels.get() == 0
        });
    };
    let deliver = |data: &str| {
        let broadcast = Broadcast::new("news", "e", "1", data);
        deliver(&gateway, broadcast).sockets
    };
    // Stored as the last event, and found to be broken when a client subscribes.
    assert_eq!(deliver("{nonsense"), 0);
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-cache-news", None);
    client.expect("pusher:cache_miss", "private-cache-news");
    client.unsubscribe("private-cache-news");
    unsubscribed();
    // With and without a subscriber.
    assert_eq!(
        (deliver("1"), deliver("{nonsense"), deliver("nothing")),
        (0, 0, 0)
    );
    client.subscribe("private-cache-news", None);
    assert_eq!(client.expect("e", "private-cache-news"), json!(1));
    assert_eq!((deliver("2"), deliver("{nonsense")), (1, 0));
    assert_eq!(client.expect("e", "private-cache-news"), json!(2));
    assert_eq!(bad_records(), 1);
    let mut late = TestClient::connect(&gateway);
    late.subscribe("private-cache-news", None);
    assert_eq!(late.expect("e", "private-cache-news"), json!(2));
    late.unsubscribe("private-cache-news");
    client.unsubscribe("private-cache-news");
    unsubscribed();
    // A burst without a subscriber.
    assert!((0..200_000).all(|_| deliver("{nonsense") == 0));
    client.subscribe("private-cache-news", None);
    assert_eq!(client.expect("e", "private-cache-news"), json!(2));
    assert!(bad_records() > 199_900);
}

#[test]
fn a_channel_is_heard_from_each_of_its_sources_until_it_is_empty() {
    let gateway = gateway(|_| {});
    let unheard = || gateway.hub().counters().broadcasts_unheard.get();
    let deliver = |channel: &str| {
        let broadcast = Broadcast::new(channel, "e", "1", "1");
        deliver(&gateway, broadcast).sockets
    };
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-cache-a", None);
    client.expect("pusher:cache_miss", "private-cache-a");
    client.subscribe("private-a", None);
    let reached: Vec<usize> = ["private-cache-a", "private-a", "a", "b"]
        .map(deliver)
        .into();
    assert_eq!((reached, unheard()), (vec![1, 1, 2, 0], 1));
    client.unsubscribe("private-a");
    until("left", || deliver("a") == 1);
    client.unsubscribe("private-cache-a");
    until("empty", || deliver("a") == 0);
}
