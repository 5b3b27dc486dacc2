//! Recovery as a client sees it, with a scripted history: order, duplicates, tokens.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::oneshot;

use super::event_stream::EventClient;
use super::*;
use crate::gateway::backend::{BoxFuture, History, Replay, TokenSubject};
use crate::gateway::bootstrap::SingleNode;
use crate::gateway::broadcast::{Broadcast, Position};
use crate::gateway::protocol::SocketId;
use crate::gateway::Backends;

/// Arguments of a replay: token, channel, user, and whether Kafka may be read.
type ReplayCall = (String, String, Option<String>, bool);

/// A history of one partition whose replays are controlled by the test.
#[derive(Default)]
struct ScriptedHistory {
    next: Mutex<i64>,
    replays: Mutex<VecDeque<oneshot::Receiver<Replay>>>,
    calls: Mutex<Vec<ReplayCall>>,
}

impl History for ScriptedHistory {
    fn position(&self, _: &str) -> Position {
        vec![(1, 0, *self.next.lock())]
    }

    fn token(&self, subject: &TokenSubject, position: &Position) -> Option<String> {
        Some(format!("{}@{}", subject.channel, position[0].2))
    }

    fn previous_socket(&self, _: &str, _: &str) -> Option<SocketId> {
        "1.1".parse().ok()
    }

    fn replay(
        self: Arc<Self>,
        token: String,
        channel: String,
        user: Option<String>,
        may_scan: bool,
    ) -> BoxFuture<Replay> {
        self.calls.lock().push((token, channel, user, may_scan));
        let response = self.replays.lock().pop_front();
        Box::pin(async move {
            match response {
                Some(response) => response.await.unwrap_or_default(),
                None => Replay::default(),
            }
        })
    }
}

impl ScriptedHistory {
    /// The next replay waits for the result that the test sends.
    fn expect(&self) -> oneshot::Sender<Replay> {
        let (sender, receiver) = oneshot::channel();
        self.replays.lock().push_back(receiver);
        sender
    }
}

fn start() -> (Gateway, Arc<ScriptedHistory>) {
    let history = Arc::new(ScriptedHistory::default());
    let own = Arc::clone(&history);
    let gateway = Gateway::start_with(settings(), |hub, _| {
        Ok(Backends {
            cluster: Arc::new(SingleNode::new(hub)),
            history: Some(own),
            stop: None,
        })
    })
    .unwrap();
    (gateway, history)
}

fn event(offset: i64, id: &str) -> Arc<Broadcast> {
    let mut broadcast = Broadcast::new("a", &format!("e{offset}"), id, "1");
    broadcast.at = Some(crate::gateway::broadcast::At {
        topic: 1,
        partition: 0,
        offset,
    });
    Arc::new(broadcast)
}

/// Resumes private-a with a token.
fn resume(client: &mut TestClient, token: &str) {
    client.send("realtime:resume", &json!({ "private-a": token }));
    client.subscribe("private-a", None);
}

fn expect_recovered(client: &mut TestClient, recovered: bool) {
    let result = client.expect("realtime:recovered", "private-a");
    assert_eq!(result, json!({ "recovered": recovered }));
}

/// Delivers an event as the feed does.
fn live(gateway: &Gateway, history: &ScriptedHistory, offset: i64, id: &str) {
    deliver(gateway, event(offset, id));
    *history.next.lock() = offset + 1;
}

#[test]
fn recovery_order_is_success_replay_recovered_live() {
    let (gateway, history) = start();
    let replay = history.expect();
    let mut client = TestClient::connect(&gateway);
    resume(&mut client, "private-a@5");
    eventually("the replay was requested", || {
        history.calls.lock().len() == 1
    });
    assert_eq!(
        history.calls.lock()[0],
        ("private-a@5".into(), "private-a".into(), None, true)
    );
    // Live events during the replay are held back; some are in the replay as well.
    live(&gateway, &history, 6, "id6");
    live(&gateway, &history, 7, "id7");
    client.expect_silence();
    replay
        .send(Replay {
            recovered: true,
            events: vec![event(5, "id5"), event(6, "id6")],
            up_to: vec![(1, 0, 9)],
            scanned: false,
        })
        .unwrap();
    client.expect("e5", "private-a");
    client.expect("e6", "private-a");
    expect_recovered(&mut client, true);
    // 7 and 8 lie below the position that the replay covers, so they are not delivered again.
    live(&gateway, &history, 8, "id8");
    live(&gateway, &history, 9, "id9");
    let mut events = Vec::new();
    while events
        .last()
        .is_none_or(|e: &serde_json::Value| e["event"] != "e9")
    {
        let event = client.event();
        if event["event"] != "realtime:position" {
            events.push(event);
        }
    }
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(gateway.hub().counters().recovered.get(), 1);
}

#[test]
fn a_failed_recovery_is_reported_and_live_events_continue() {
    let (gateway, history) = start();
    let replay = history.expect();
    let mut client = TestClient::connect(&gateway);
    resume(&mut client, "old");
    live(&gateway, &history, 3, "id3");
    drop(replay);
    expect_recovered(&mut client, false);
    client.expect("e3", "private-a");
    // A token is used once.
    client.unsubscribe("private-a");
    let mut next = client.event();
    while next["event"] == "realtime:position" {
        client.send_subscribe("private-a", None);
        next = client.event();
    }
    assert_eq!(next["event"], "pusher_internal:subscription_succeeded");
    assert_eq!(history.calls.lock().len(), 1);
}

#[test]
fn an_unauthorized_subscription_starts_no_replay() {
    let (gateway, history) = start();
    let mut client = TestClient::connect(&gateway);
    client.send("realtime:resume", &json!({"private-a": "token"}));
    client.send(
        "pusher:subscribe",
        &json!({"channel": "private-a", "auth": "app-key:00"}),
    );
    client.expect("pusher:subscription_error", "private-a");
    assert!(history.calls.lock().is_empty());
}

#[test]
fn positions_are_sent_on_request_and_never_ahead_of_events() {
    let (gateway, history) = start();
    *history.next.lock() = 10;
    let (mut with_positions, mut plain) =
        (TestClient::connect(&gateway), TestClient::connect(&gateway));
    with_positions.send("realtime:resume", &json!({}));
    with_positions.subscribe("private-a", None);
    plain.subscribe("private-a", None);
    assert_eq!(
        with_positions.expect("realtime:position", ""),
        json!({"private-a": "private-a@10"})
    );
    // Delivered before the position has advanced: the token covers the delivered event.
    deliver(&gateway, event(10, "id10"));
    with_positions.expect("e10", "private-a");
    assert_eq!(
        with_positions.expect("realtime:position", ""),
        json!({"private-a": "private-a@11"})
    );
    // Other records advanced the position: it is sent with the next event.
    *history.next.lock() = 50;
    live(&gateway, &history, 60, "id60");
    with_positions.expect("e60", "private-a");
    assert_eq!(
        with_positions.expect("realtime:position", ""),
        json!({"private-a": "private-a@61"})
    );
    plain.expect("e10", "private-a");
    plain.expect("e60", "private-a");
    plain.expect_silence();
    // Once per batch, not once per event.
    for offset in 61..100 {
        live(&gateway, &history, offset, &format!("id{offset}"));
    }
    let (mut events, mut last, mut tokens) = (60, 61, 0);
    while events < 99 || last < 100 {
        let got = with_positions.event();
        if got["event"] == "realtime:position" {
            let token = got["data"]["private-a"].as_str().unwrap().to_owned();
            last = token.rsplit('@').next().unwrap().parse().unwrap();
            tokens += 1;
            assert_eq!(
                last,
                events + 1,
                "a token covers exactly the events sent before it"
            );
        } else {
            events += 1;
            assert_eq!(got["event"], format!("e{events}"));
        }
    }
    assert!(tokens <= 39);
}

#[test]
fn replays_run_one_at_a_time_and_kafka_scans_are_limited() {
    let (gateway, history) = start();
    let tokens: serde_json::Map<String, serde_json::Value> = (0..30)
        .map(|i| (format!("private-{i}"), json!("t")))
        .collect();
    let responses: Vec<_> = (0..30).map(|_| history.expect()).collect();
    let mut client = TestClient::connect(&gateway);
    client.send("realtime:resume", &json!(tokens));
    for i in 0..30 {
        client.subscribe(&format!("private-{i}"), None);
    }
    for (i, response) in responses.into_iter().enumerate() {
        eventually("the next is requested", || {
            history.calls.lock().len() == i + 1
        });
        response
            .send(Replay {
                recovered: true,
                scanned: i < 12,
                ..Replay::default()
            })
            .unwrap();
    }
    let allowed: Vec<bool> = history.calls.lock().iter().map(|a| a.3).collect();
    assert!(
        allowed[..10].iter().all(|a| *a) && allowed[10..].iter().all(|a| !a),
        "{allowed:?}"
    );
    eventually("all are recovered", || {
        gateway.hub().counters().recovered.get() == 30
    });
}

#[test]
fn repeated_replays_of_a_channel_are_limited() {
    let (gateway, history) = start();
    let mut client = TestClient::connect(&gateway);
    let mut verdicts = Vec::new();
    for _ in 0..13 {
        let response = history.expect();
        let _ = response.send(Replay {
            recovered: true,
            ..Replay::default()
        });
        client.send("realtime:resume", &json!({"private-a": "t"}));
        client.send_subscribe("private-a", None);
        loop {
            let event = client.event();
            if event["event"] == "realtime:recovered" {
                verdicts.push(event["data"]["recovered"].as_bool().unwrap());
                break;
            }
        }
        client.unsubscribe("private-a");
    }
    // The first replay of the channel, and ten more within a minute.
    assert_eq!(verdicts, [&[true; 11][..], &[false; 2]].concat());
    assert_eq!(history.calls.lock().len(), 11);
    // The first replay of another channel is not limited.
    client.send("realtime:resume", &json!({"private-b": "t"}));
    client.send_subscribe("private-b", None);
    eventually("it is requested", || history.calls.lock().len() == 12);
}

#[test]
fn cancelled_scans_count_against_the_limit() {
    let (gateway, history) = start();
    let mut client = TestClient::connect(&gateway);
    let mut open = Vec::new();
    for i in 0..12 {
        let channel = format!("private-{i}");
        // A scan that never ends.
        open.push(history.expect());
        client.send("realtime:resume", &json!({(channel.as_str()): "t"}));
        client.subscribe(&channel, None);
        eventually("it is requested", || history.calls.lock().len() == i + 1);
        client.unsubscribe(&channel);
    }
    let allowed: Vec<bool> = history.calls.lock().iter().map(|a| a.3).collect();
    assert_eq!(allowed, [&[true; 10][..], &[false; 2]].concat());
}

#[test]
fn repeated_resume_sends_positions_once() {
    let (gateway, _history) = start();
    let mut client = TestClient::connect(&gateway);
    for i in 0..20 {
        client.subscribe(&format!("private-{i}"), None);
    }
    client.send("realtime:resume", &json!({}));
    let positions = client.expect("realtime:position", "");
    assert_eq!(positions.as_object().unwrap().len(), 20);
    for _ in 0..10 {
        client.send("realtime:resume", &json!({}));
    }
    client.expect_silence();
}

#[test]
fn without_history_recovered_is_false() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    resume(&mut client, "token");
    expect_recovered(&mut client, false);
    send(&gateway, "a", "e", "1");
    client.expect("e", "private-a");
    client.expect_silence();
}

#[test]
fn a_replay_larger_than_the_queue_is_not_recovered() {
    let (gateway, history) = start();
    let replay = history.expect();
    let mut client = TestClient::connect(&gateway);
    resume(&mut client, "t");
    let large = |offset: i64| {
        let data = format!("\"{}\"", "x".repeat(200 << 10));
        let mut large = Broadcast::new("a", "e", &offset.to_string(), &data);
        large.at = event(offset, "").at;
        Arc::new(large)
    };
    let sent = replay.send(Replay {
        recovered: true,
        events: (0..6).map(large).collect(),
        up_to: vec![(1, 0, 6)],
        scanned: false,
    });
    assert!(sent.is_ok());
    expect_recovered(&mut client, false);
    assert_eq!(gateway.hub().counters().slow_clients.get(), 0);
}

/// An event that excludes the socket whose tokens [`ScriptedHistory`] accepts.
fn excluding(offset: i64) -> Arc<Broadcast> {
    let mut event = (*event(offset, &offset.to_string())).clone();
    event.except = "1.1".parse().ok();
    Arc::new(event)
}

#[test]
fn events_that_exclude_the_previous_socket_are_withheld_while_held_back_and_live() {
    let (gateway, history) = start();
    let replay = history.expect();
    let mut client = TestClient::connect(&gateway);
    let mut witness = TestClient::connect(&gateway);
    witness.subscribe("private-a", None);
    resume(&mut client, "t");
    deliver(&gateway, excluding(1));
    let sent = replay.send(Replay {
        recovered: true,
        events: vec![excluding(0)],
        ..Replay::default()
    });
    assert!(sent.is_ok());
    expect_recovered(&mut client, true);
    deliver(&gateway, excluding(2));
    live(&gateway, &history, 3, "id3");
    let mut next = client.event();
    while next["event"] == "realtime:position" {
        next = client.event();
    }
    assert_eq!(next["event"], "e3");
    for event in ["e1", "e2", "e3"] {
        witness.expect(event, "private-a");
    }
}

#[test]
fn a_failed_recovery_of_a_cache_channel_sends_the_last_event_or_a_cache_miss() {
    let (gateway, history) = start();
    let mut client = TestClient::connect(&gateway);
    client.send(
        "realtime:resume",
        &json!({"private-cache-a": "t", "private-cache-b": "t"}),
    );
    deliver(&gateway, event(1, "id1"));
    for (channel, sent) in [
        ("private-cache-a", "e1"),
        ("private-cache-b", "pusher:cache_miss"),
    ] {
        drop(history.expect());
        client.subscribe(channel, None);
        let result = client.expect("realtime:recovered", channel);
        assert_eq!(result, json!({"recovered": false}));
        client.expect(sent, channel);
        loop {
            if client.event()["event"] == "realtime:position" {
                break;
            }
        }
    }
    // The live event that was held back is the last event.
    let replay = history.expect();
    client.unsubscribe("private-cache-a");
    client.send("realtime:resume", &json!({"private-cache-a": "t"}));
    client.subscribe("private-cache-a", None);
    live(&gateway, &history, 2, "id2");
    drop(replay);
    client.expect("realtime:recovered", "private-cache-a");
    client.expect("e2", "private-cache-a");
}

#[test]
fn an_event_stream_resumes_from_its_last_id() {
    let (gateway, history) = start();
    let replay = history.expect();
    let path = format!(
        "/sse?channels=private-a,private-b&socket_id=1.1&ticket=expired&auth[private-a]={}&auth[private-b]={}",
        authorization("1.1", "private-a"),
        authorization("1.1", "private-b"),
    );
    let last_id = "Last-Event-ID: {\"private-a\":\"private-a@5\"}\r\n";
    let mut client = EventClient::get(&gateway, &path, last_id);
    assert!(client.head.starts_with("HTTP/1.1 200 "), "{}", client.head);
    eventually("the replay was requested", || {
        history.calls.lock().len() == 1
    });
    let sent = replay.send(Replay {
        recovered: true,
        events: vec![event(5, "id5")],
        ..Replay::default()
    });
    assert!(sent.is_ok());
    *history.next.lock() = 6;
    let (mut received, mut id) = (Vec::new(), String::new());
    while received.len() < 6 || !id.contains("private-b") {
        let block = client.block().unwrap();
        if let Some(last) = block.strip_prefix("id: ") {
            id = last.to_owned();
        } else if let Some(data) = block.strip_prefix("data: ") {
            let event: serde_json::Value = serde_json::from_str(data).unwrap();
            received.push(format!("{} {}", event["channel"], event["event"]).replace('"', ""));
        }
    }
    received.retain(|event| event.starts_with("private-a"));
    assert_eq!(
        received,
        [
            "private-a pusher_internal:subscription_succeeded",
            "private-a e5",
            "private-a realtime:recovered"
        ]
    );
    assert!(id.contains(r#""private-a":"private-a@"#), "{id}");
    // Without a position of this id, the expired ticket is refused.
    let client = EventClient::get(&gateway, &path.replace("1.1", "1.2"), last_id);
    assert!(client.head.starts_with("HTTP/1.1 401 "), "{}", client.head);
}

fn authorization(socket: &str, channel: &str) -> String {
    use crate::gateway::protocol::auth::{signature, subscription_text};
    let text = subscription_text(socket.parse().unwrap(), channel, None);
    format!("{KEY}:{}", signature(SECRET, &text))
}
