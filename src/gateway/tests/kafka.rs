//! End to end: Kafka, gateways, sockets. A client recovers across restarts of gateways: no event is lost, duplicated or
//! out of order.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{json, Value};

use super::test_brokers::{brokers, config, configs, unique, until, Sender};
use super::{settings, Frame, TestClient};
use crate::config::BrokerConfig;
use crate::gateway::Gateway;

const CHANNEL: &str = "private-user.1";

fn start(config: &Arc<BrokerConfig>) -> Gateway {
    Gateway::start(settings(), config).expect("a gateway")
}

#[test]
fn a_broadcast_reaches_sockets_through_kafka() {
    for config in configs("through") {
        let sender = Sender::start(&config);
        sender.send("user.1", "before", "0");
        sender.flush();
        let gateway = start(&config);
        let mut client = TestClient::connect(&gateway);
        client.subscribe(CHANNEL, None);
        let mut member = TestClient::connect(&gateway);
        let joined = member.subscribe("presence-room", Some(r#"{"user_id":"7"}"#));
        assert_eq!(joined["presence"]["ids"], json!(["7"]));
        sender.send("user.1", "order.created", r#"{"id":7}"#);
        assert_eq!(
            client.expect("order.created", CHANNEL),
            json!({"id": 7}),
            "{}",
            config.brokers
        );
        // The excluded socket.
        let except = |id: String| [("x-realtime-socket".to_owned(), Some(id.into_bytes()))];
        let headers = except(client.id.to_string());
        sender.send_with("user.1", "not.to.me", "1", 0, &headers);
        sender.send("user.1", "last", "1");
        client.expect("last", CHANNEL);
        // Another gateway also has the member, and the last event of a cache channel from before its start.
        sender.send("user.1", "first", "1");
        sender.send("user.1", "kept", "2");
        client.expect("first", CHANNEL);
        client.expect("kept", CHANNEL);
        let other = start(&config);
        let mut late = TestClient::connect(&other);
        late.subscribe("private-cache-user.1", None);
        assert_eq!(late.expect("kept", "private-cache-user.1"), json!(2));
        late.subscribe("private-cache-user.2", None);
        late.expect("pusher:cache_miss", "private-cache-user.2");
        drop(late);
        let mut second = TestClient::connect(&other);
        let joined = second.subscribe("presence-room", Some(r#"{"user_id":"8"}"#));
        assert_eq!(joined["presence"]["ids"], json!(["7", "8"]));
        let added = member.expect("pusher_internal:member_added", "presence-room");
        assert_eq!(added["user_id"], "8");
        // Client events reach the other gateway.
        second.client_event("client-typing", "presence-room", &json!({"x": 1}));
        assert_eq!(
            member.expect("client-typing", "presence-room"),
            json!({"x": 1})
        );
        assert!(gateway.stats().ready && other.stats().ready);
        // The other gateway keeps the member for a moment, so a restart causes no events.
        gateway.stop(Duration::from_millis(200));
        drop(second);
        other.stop(Duration::from_millis(200));
    }
}

/// State of a recovering client.
struct Reader {
    gateway: Arc<Mutex<Option<Gateway>>>,
    token: Option<String>,
    got: Vec<u64>,
    since: Vec<u64>,
    reconnects: usize,
    subscribed: Arc<AtomicU64>,
}

impl Reader {
    /// One connection, until it ends or all events have arrived.
    fn connection(&mut self, wanted: usize) {
        let client = self.gateway.lock().as_ref().map(TestClient::connect);
        let Some(mut client) = client else {
            return;
        };
        let resume = match &self.token {
            Some(token) => json!({ CHANNEL: token }),
            None => json!({}),
        };
        let resumes = self.token.is_some();
        client.send("realtime:resume", &resume);
        client.send_subscribe(CHANNEL, None);
        let mut replaying = false;
        while self.got.len() < wanted {
            match client.next(Duration::from_secs(20)) {
                Frame::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    let data = match &frame["data"] {
                        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
                        other => other.clone(),
                    };
                    match frame["event"].as_str().unwrap_or_default() {
                        "pusher_internal:subscription_succeeded" => {
                            replaying = resumes;
                            self.subscribed.fetch_add(1, Ordering::Release);
                        }
                        "realtime:recovered" => {
                            let said = crate::runtime::current().log.drain();
                            assert_eq!(
                                data["recovered"],
                                true,
                                "after {}: {said:?}",
                                self.got.len()
                            );
                            replaying = false;
                            self.since.clear();
                        }
                        "realtime:position" => {
                            if let Some(token) = data[CHANNEL].as_str() {
                                self.token = Some(token.to_owned());
                                self.since.clear();
                            }
                        }
                        "e" => {
                            let n = data.as_u64().expect("a number");
                            // The connection ended within a batch: these events arrived without a position.
                            if replaying && self.since.contains(&n) {
                                continue;
                            }
                            self.since.push(n);
                            self.got.push(n);
                        }
                        _ => {}
                    }
                }
                Frame::Ping | Frame::Pong(_) => {}
                Frame::Close(..) | Frame::Disconnected => break,
                Frame::Timeout => panic!("silence after {} of {wanted}", self.got.len()),
            }
        }
        self.reconnects += 1;
    }
}

/// Starts `restarts` gateways one after the other while `messages` are sent.
fn restarted(brokers: &str, messages: u64, restarts: u64, in_order: bool) {
    let config = config(brokers, &unique("restarts"));
    let sender = Sender::start(&config);
    sender.send("user.1", "before", "0");
    sender.flush();
    let gateway = Arc::new(Mutex::new(Some(start(&config))));
    let mut reader = Reader {
        gateway: Arc::clone(&gateway),
        token: None,
        got: Vec::new(),
        since: Vec::new(),
        reconnects: 0,
        subscribed: Arc::default(),
    };
    let started = Instant::now();
    let (done, subscribed) = (Arc::<AtomicU64>::default(), Arc::clone(&reader.subscribed));
    // The sender waits for a slow restart, so that every gateway delivers some events.
    let share = messages / (restarts + 1);
    let most = Arc::new(AtomicU64::new(2 * share));
    std::thread::scope(|scope| {
        let (sent, may_send) = (Arc::clone(&done), Arc::clone(&most));
        let own = &sender;
        let wanted = usize::try_from(messages).expect("small");
        let reading = scope.spawn(move || {
            while reader.got.len() < wanted {
                reader.connection(wanted);
            }
            reader
        });
        scope.spawn(move || {
            // The first position must have arrived.
            std::thread::sleep(Duration::from_millis(500));
            for n in 0..messages {
                until("the restart", || n < may_send.load(Ordering::Acquire));
                own.send("user.1", "e", &n.to_string());
                sent.store(n + 1, Ordering::Release);
                if n % 20 == 19 {
                    std::thread::sleep(Duration::from_millis(4));
                }
            }
        });
        for round in 1..=restarts {
            until("more are sent, and the client is there", || {
                done.load(Ordering::Acquire) >= share * round
                    && subscribed.load(Ordering::Acquire) >= round
            });
            let successor = if in_order { Some(start(&config)) } else { None };
            let old = std::mem::replace(&mut *gateway.lock(), successor);
            if let Some(old) = old {
                old.stop(Duration::from_millis(if in_order { 300 } else { 0 }));
            }
            if !in_order {
                *gateway.lock() = Some(start(&config));
            }
            most.store(share * (round + 2), Ordering::Release);
        }
        most.store(messages, Ordering::Release);
        let reader = reading.join().expect("the client");
        let right: Vec<u64> = (0..messages).collect();
        assert_eq!(reader.got, right, "on {}", config.brokers);
        let line = format!(
            "{messages} messages, {restarts} restarts ({}), {} connections on {brokers}: none lost, none twice, none \
            out of order, {:.1?}\n",
            if in_order { "successor first" } else { "stopped first" },
            reader.reconnects,
            started.elapsed()
        );
        let _ = std::io::stderr().write_all(line.as_bytes());
        assert!(reader.reconnects > usize::try_from(restarts / 2).unwrap_or(0));
    });
    if let Some(gateway) = gateway.lock().take() {
        gateway.stop(Duration::from_millis(100));
    };
}

#[test]
fn a_client_recovers_across_gateway_restarts() {
    let many = std::env::var("REALTIME_TEST_MESSAGES");
    let many = many.ok().and_then(|n| n.parse().ok()).unwrap_or(5_000);
    for brokers in brokers() {
        restarted(&brokers, many, 10, true);
        restarted(&brokers, many / 5, 3, false);
    }
}

/// The first messages of a channel create its topic. One of two gateways finds the topic first, and its clients move to
/// the other.
#[test]
fn events_of_a_new_topic_are_not_duplicated_by_a_later_gateway() {
    for config in configs("later") {
        let sender = Sender::start(&config);
        let quick = start(&config);
        let mut slow = settings();
        slow.topic_refresh = Duration::from_secs(60);
        let slow = Gateway::start(slow, &config).expect("a gateway");
        let mut client = TestClient::connect(&quick);
        client.send("realtime:resume", &json!({}));
        client.subscribe(CHANNEL, None);
        for n in 0..3 {
            sender.send("user.1", "e", &n.to_string());
        }
        sender.flush();
        let mut token = None;
        let mut got = 0;
        while got < 3 || token.is_none() {
            let frame = client.event();
            match frame["event"].as_str().unwrap_or_default() {
                "e" => {
                    got += 1;
                    token = None;
                }
                "realtime:position" => token = Some(frame["data"][CHANNEL].clone()),
                _ => {}
            }
        }
        drop(client);
        sender.send("user.1", "e", "3");
        sender.flush();
        let mut client = TestClient::connect(&slow);
        client.send("realtime:resume", &json!({ CHANNEL: token }));
        client.subscribe(CHANNEL, None);
        let mut came = Vec::new();
        while came.last().is_none_or(|last| last != "last") {
            let frame = client.event();
            let event = frame["event"].as_str().unwrap_or_default();
            match event {
                "realtime:recovered" => {
                    assert_eq!(frame["data"]["recovered"], true, "on {}", config.brokers);
                    came.push(event.to_owned());
                    sender.send("user.1", "last", "4");
                }
                "e" => came.push(format!("e {}", frame["data"])),
                "last" => came.push(event.to_owned()),
                _ => {}
            }
        }
        assert_eq!(
            came,
            ["e \"3\"", "realtime:recovered", "last"],
            "on {}",
            config.brokers
        );
        drop(client);
        quick.stop(Duration::from_millis(100));
        slow.stop(Duration::from_millis(100));
    }
}

#[test]
fn subscribers_are_told_the_number_of_subscriptions_on_all_gateways() {
    let config = config(&brokers()[0], &unique("counts"));
    let start = || {
        let mut settings = settings();
        settings.subscription_count = true;
        Gateway::start(settings, &config).expect("a gateway")
    };
    let (one, two) = (start(), start());
    until("both are ready", || one.stats().ready && two.stats().ready);
    let count = |client: &mut TestClient, wanted: u64| {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let event = client.expect("pusher_internal:subscription_count", CHANNEL);
            if event == json!({ "subscription_count": wanted }) {
                return;
            }
            assert!(Instant::now() < until, "{wanted}: {event}");
        }
    };
    let mut a = TestClient::connect(&one);
    a.subscribe(CHANNEL, None);
    count(&mut a, 1);
    let mut b = TestClient::connect(&one);
    b.subscribe(CHANNEL, None);
    count(&mut a, 2);
    let mut c = TestClient::connect(&two);
    c.subscribe(CHANNEL, None);
    for client in [&mut a, &mut b, &mut c] {
        count(client, 3);
    }
    drop(b);
    count(&mut a, 2);
    count(&mut c, 2);
    two.stop(Duration::from_millis(100));
    one.stop(Duration::from_millis(100));
}
