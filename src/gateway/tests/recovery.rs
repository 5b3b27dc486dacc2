//! Recovery as a client sees it, with a history whose answers the test decides: order, duplicates, tokens.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::oneshot;

use super::*;
use crate::gateway::broadcast::{Broadcast, Position};
use crate::gateway::seam::{Alone, BoxFuture, Forgetful, History, Holder, Replay};
use crate::gateway::Parts;

/// What a replay was asked for: token, channel, user, whether Kafka may be read.
type Asked = (String, String, Option<String>, bool);

/// A history of one partition, where the test says what replays bring and when.
#[derive(Default)]
struct Told {
    next: Mutex<i64>,
    replays: Mutex<VecDeque<oneshot::Receiver<Replay>>>,
    asked: Mutex<Vec<Asked>>,
}

impl History for Told {
    fn position(&self, _: &str) -> Position {
        vec![(1, 0, *self.next.lock())]
    }

    fn token(&self, holder: &Holder, position: &Position) -> Option<String> {
        Some(format!("{}@{}", holder.channel, position[0].2))
    }

    fn replay(
        &self,
        token: String,
        channel: String,
        user: Option<String>,
        may_scan: bool,
    ) -> BoxFuture<Replay> {
        self.asked.lock().push((token, channel, user, may_scan));
        let answer = self.replays.lock().pop_front();
        Box::pin(async move {
            match answer {
                Some(answer) => answer.await.unwrap_or_default(),
                None => Replay::default(),
            }
        })
    }
}

impl Told {
    /// The next replay waits for what the test sends.
    fn expect(&self) -> oneshot::Sender<Replay> {
        let (sender, receiver) = oneshot::channel();
        self.replays.lock().push_back(receiver);
        sender
    }
}

fn start() -> (Gateway, Arc<Told>) {
    let told = Arc::new(Told::default());
    let history = Arc::clone(&told);
    let gateway = Gateway::start_with(settings(), |hub, _| {
        Ok(Parts {
            cluster: Arc::new(Alone::new(hub)),
            history,
            stop: None,
        })
    })
    .unwrap();
    (gateway, told)
}

fn event(offset: i64, id: &str) -> Arc<Broadcast> {
    Arc::new(Broadcast {
        channel: "a".into(),
        event: format!("e{offset}").into(),
        id: id.into(),
        data: b"\"1\"".to_vec().into(),
        except: None,
        public: false,
        exact: false,
        at: Some(crate::gateway::broadcast::At {
            topic: 1,
            partition: 0,
            offset,
        }),
    })
}

/// As the reader of Kafka does it.
fn live(gateway: &Gateway, told: &Told, offset: i64, id: &str) {
    gateway.hub().deliver(&event(offset, id));
    *told.next.lock() = offset + 1;
}

#[test]
fn success_replay_recovered_live_and_nothing_twice() {
    let (gateway, told) = start();
    let replay = told.expect();
    let mut client = TestClient::connect(&gateway);
    client.send("realtime:resume", &json!({"private-a": "private-a@5"}));
    client.subscribe("private-a", None);
    eventually("the replay was asked for", || told.asked.lock().len() == 1);
    assert_eq!(
        told.asked.lock()[0],
        ("private-a@5".into(), "private-a".into(), None, true)
    );
    // Live while the replay is under way: held, some of it in the replay as well.
    live(&gateway, &told, 6, "id6");
    live(&gateway, &told, 7, "id7");
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
    assert_eq!(
        client.expect("realtime:recovered", "private-a"),
        json!({"recovered": true})
    );
    // 7 lies below what the replay covered, so it does not reach the channel or was among it; so does 8, whenever it
    // comes.
    live(&gateway, &told, 8, "id8");
    live(&gateway, &told, 9, "id9");
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
fn what_cannot_be_recovered_is_said_and_live_goes_on() {
    let (gateway, told) = start();
    let replay = told.expect();
    let mut client = TestClient::connect(&gateway);
    client.send("realtime:resume", &json!({"private-a": "old"}));
    client.subscribe("private-a", None);
    live(&gateway, &told, 3, "id3");
    drop(replay);
    assert_eq!(
        client.expect("realtime:recovered", "private-a"),
        json!({"recovered": false})
    );
    client.expect("e3", "private-a");
    // A token counts once.
    client.send("pusher:unsubscribe", &json!({"channel": "private-a"}));
    let mut next = client.event();
    while next["event"] == "realtime:position" {
        client.send_subscribe("private-a", None);
        next = client.event();
    }
    assert_eq!(next["event"], "pusher_internal:subscription_succeeded");
    assert_eq!(told.asked.lock().len(), 1);
}

#[test]
fn a_recovery_by_somebody_without_the_right_is_none() {
    let (gateway, told) = start();
    let mut client = TestClient::connect(&gateway);
    client.send("realtime:resume", &json!({"private-a": "token"}));
    client.send(
        "pusher:subscribe",
        &json!({"channel": "private-a", "auth": "app-key:00"}),
    );
    client.expect("pusher:subscription_error", "private-a");
    assert!(told.asked.lock().is_empty());
}

#[test]
fn positions_go_to_those_who_asked_and_never_run_ahead() {
    let (gateway, told) = start();
    *told.next.lock() = 10;
    let (mut asked, mut plain) = (TestClient::connect(&gateway), TestClient::connect(&gateway));
    asked.send("realtime:resume", &json!({}));
    asked.subscribe("private-a", None);
    plain.subscribe("private-a", None);
    assert_eq!(
        asked.expect("realtime:position", ""),
        json!({"private-a": "private-a@10"})
    );
    // Delivered, while the position has not moved yet: the token is that of what was delivered.
    gateway.hub().deliver(&event(10, "id10"));
    asked.expect("e10", "private-a");
    assert_eq!(
        asked.expect("realtime:position", ""),
        json!({"private-a": "private-a@11"})
    );
    // Other records moved the position: it is taken along with the next event.
    *told.next.lock() = 50;
    live(&gateway, &told, 60, "id60");
    asked.expect("e60", "private-a");
    assert_eq!(
        asked.expect("realtime:position", ""),
        json!({"private-a": "private-a@61"})
    );
    plain.expect("e10", "private-a");
    plain.expect("e60", "private-a");
    plain.expect_silence();
    // Once a batch, not once an event.
    for offset in 61..100 {
        live(&gateway, &told, offset, &format!("id{offset}"));
    }
    let (mut events, mut last, mut tokens) = (60, 61, 0);
    while events < 99 || last < 100 {
        let got = asked.event();
        if got["event"] == "realtime:position" {
            let token = got["data"]["private-a"].as_str().unwrap().to_owned();
            last = token.rsplit('@').next().unwrap().parse().unwrap();
            tokens += 1;
            assert_eq!(
                last,
                events + 1,
                "a token covers what was sent before it, no more and no less"
            );
        } else {
            events += 1;
            assert_eq!(got["event"], format!("e{events}"));
        }
    }
    assert!(tokens <= 39);
}

#[test]
fn replays_come_one_after_another_and_scans_are_limited() {
    let (gateway, told) = start();
    let tokens: serde_json::Map<String, serde_json::Value> = (0..30)
        .map(|i| (format!("private-{i}"), json!("t")))
        .collect();
    let answers: Vec<_> = (0..30).map(|_| told.expect()).collect();
    let mut client = TestClient::connect(&gateway);
    client.send("realtime:resume", &json!(tokens));
    for i in 0..30 {
        client.subscribe(&format!("private-{i}"), None);
    }
    for (i, answer) in answers.into_iter().enumerate() {
        eventually("the next is asked for", || told.asked.lock().len() == i + 1);
        answer
            .send(Replay {
                recovered: true,
                scanned: i < 12,
                ..Replay::default()
            })
            .unwrap();
    }
    let allowed: Vec<bool> = told.asked.lock().iter().map(|a| a.3).collect();
    assert!(
        allowed[..10].iter().all(|a| *a) && allowed[10..].iter().all(|a| !a),
        "{allowed:?}"
    );
    eventually("all are recovered", || {
        gateway.hub().counters().recovered.get() == 30
    });
}

#[test]
fn a_channel_that_is_recovered_again_and_again_is_bounded() {
    let (gateway, told) = start();
    let mut client = TestClient::connect(&gateway);
    let mut verdicts = Vec::new();
    for _ in 0..13 {
        let answer = told.expect();
        let _ = answer.send(Replay {
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
        client.send("pusher:unsubscribe", &json!({"channel": "private-a"}));
    }
    // Once for the channel, and ten times more in a minute.
    assert_eq!(verdicts, [&[true; 11][..], &[false; 2]].concat());
    assert_eq!(told.asked.lock().len(), 11);
    // Another channel has its own.
    client.send("realtime:resume", &json!({"private-b": "t"}));
    client.send_subscribe("private-b", None);
    eventually("it is asked for", || told.asked.lock().len() == 12);
}

#[test]
fn leaving_a_channel_does_not_make_room_for_more_reads_of_kafka() {
    let (gateway, told) = start();
    let mut client = TestClient::connect(&gateway);
    let mut open = Vec::new();
    for i in 0..12 {
        let channel = format!("private-{i}");
        // Kafka is read, and never comes to an end.
        open.push(told.expect());
        client.send("realtime:resume", &json!({(channel.as_str()): "t"}));
        client.subscribe(&channel, None);
        eventually("it is asked for", || told.asked.lock().len() == i + 1);
        client.send("pusher:unsubscribe", &json!({"channel": channel}));
    }
    let allowed: Vec<bool> = told.asked.lock().iter().map(|a| a.3).collect();
    assert_eq!(allowed, [&[true; 10][..], &[false; 2]].concat());
}

#[test]
fn asking_for_positions_again_and_again_tells_them_once() {
    let (gateway, _told) = start();
    let mut client = TestClient::connect(&gateway);
    for i in 0..20 {
        client.subscribe(&format!("private-{i}"), None);
    }
    client.send("realtime:resume", &json!({}));
    let told = client.expect("realtime:position", "");
    assert_eq!(told.as_object().unwrap().len(), 20);
    for _ in 0..10 {
        client.send("realtime:resume", &json!({}));
    }
    client.expect_silence();
}

#[test]
fn without_a_history_nothing_is_promised() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.send("realtime:resume", &json!({"private-a": "token"}));
    client.subscribe("private-a", None);
    assert_eq!(
        client.expect("realtime:recovered", "private-a"),
        json!({"recovered": false})
    );
    gateway.broadcast_locally("a", "e", b"1", None).unwrap();
    client.expect("e", "private-a");
    client.expect_silence();
    assert!(Forgetful.position("private-a").is_empty());
}

#[test]
fn more_than_a_queue_takes_is_no_recovery_and_no_loop() {
    let (gateway, told) = start();
    let replay = told.expect();
    let mut client = TestClient::connect(&gateway);
    client.send("realtime:resume", &json!({"private-a": "t"}));
    client.subscribe("private-a", None);
    let large = |offset: i64| {
        let mut event = (*event(offset, &offset.to_string())).clone();
        event.data = format!("\"{}\"", "x".repeat(200 << 10)).into_bytes().into();
        Arc::new(event)
    };
    let sent = replay.send(Replay {
        recovered: true,
        events: (0..6).map(large).collect(),
        up_to: vec![(1, 0, 6)],
        scanned: false,
    });
    assert!(sent.is_ok());
    assert_eq!(
        client.expect("realtime:recovered", "private-a"),
        json!({"recovered": false})
    );
    assert_eq!(gateway.hub().counters().slow_clients.get(), 0);
}
