//! Several gateways with a broker: presence, client events, webhooks, admin requests, events of the HTTP API.

mod simulation;
mod state;

use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::*;
use crate::gateway::broadcast::Broadcast;
use crate::gateway::feed::ControlTopics;
use crate::gateway::replay::token::Keys;
use crate::gateway::tests::test_brokers::{
    config, configs, runtime, unique, until, Node, Recording, Sender,
};
use crate::ids::unix_ms;

#[test]
fn presence_is_consistent_on_all_gateways() {
    for config in configs("presence") {
        let a = Node::start(&config);
        a.wait_for_presence();
        a.join("presence-x", "1.1", "ann");
        let began = Instant::now();
        let b = Node::start(&config);
        b.wait_for_presence();
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(b.members("presence-x"), ["ann"], "on {}", config.brokers);
        let c = Node::start(&config);
        c.wait_for_presence();
        let began = Instant::now();
        b.join("presence-x", "2.2", "bob");
        for node in [&a, &c] {
            until("bob is seen", || {
                node.members("presence-x").contains(&"bob".to_owned())
            });
        }
        assert!(began.elapsed() < Duration::from_secs(2));
        assert_eq!(c.members("presence-x"), ["ann", "bob"]);
        b.leave("presence-x", "2.2");
        until("bob is gone", || c.members("presence-x") == ["ann"]);
        assert!(a.kafka.cluster().ready().is_ok());
        // A draining node is removed after five seconds.
        a.kafka.cluster().drain();
        a.leave("presence-x", "1.1");
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(c.members("presence-x"), ["ann"]);
        until("ann is gone", || c.members("presence-x").is_empty());
        assert_eq!(c.hub.counters().nodes.get(), 1);
    }
}

#[test]
fn client_events_need_remote_subscribers_and_webhooks_are_written_once() {
    for config in configs("client") {
        let (a, b) = (Node::start(&config), Node::start(&config));
        a.wait_for_presence();
        b.wait_for_presence();
        let recording = Recording::start(&config, |_| {});
        let data = RawValue::from_string("{\"x\":1}".to_owned()).expect("JSON");
        let cluster = a.kafka.cluster();
        cluster.client_event("private-x", "client-nobody", &data, None);
        b.kafka.cluster().occupied("private-x", 2);
        a.kafka.cluster().occupied("private-x", 1);
        b.join("presence-y", "2.2", "bob");
        std::thread::sleep(Duration::from_millis(500));
        cluster.client_event("private-x", "client-received", &data, None);
        std::thread::sleep(Duration::from_millis(1500));
        let client = recording.control(TopicRole::Client);
        assert_eq!(client.len(), 1, "{client:?}");
        assert!(client[0].contains("client-received"));
        let mut events: Vec<String> = recording
            .control(TopicRole::Events)
            .into_iter()
            .map(|text| {
                let message = crate::message::Message::from_envelope(text.as_bytes());
                let message = message.expect("an envelope");
                let event = message.event().unwrap_or_default();
                format!("{} {event}", message.channel().unwrap_or_default())
            })
            .collect();
        // Channels have no order among each other; a channel is announced before its members.
        events.sort_by_key(|event| event.split(' ').next().map(str::to_owned));
        assert_eq!(
            events,
            [
                "presence-y channel_occupied",
                "presence-y member_added",
                "private-x channel_occupied"
            ]
        );
    }
}

#[test]
fn channels_that_are_vacated_before_kafka_is_reached_are_forgotten() {
    let config = config("127.0.0.1:1", &unique("unreachable"));
    let hub = Hub::new(Arc::default(), Arc::default());
    let gateways = KafkaCluster::new(&config);
    gateways.start(&hub, &Arc::default()).expect("a thread");
    for channel in ["user.1", "user.2"] {
        gateways.occupied(channel, 1);
        gateways.occupied(channel, 0);
    }
    until("they are forgotten", || {
        gateways.status.changed_channels.lock().is_empty()
    });
    gateways.stop();
}

#[test]
fn records_with_a_wrong_signature_are_ignored() {
    for config in configs("forged") {
        let a = Node::start(&config);
        a.wait_for_presence();
        let keys = Keys::new(
            &["another application's secret, 32 chars"],
            "toporia_realtime control",
        );
        let topics = ControlTopics::of(config.topics.prefix());
        let record = wire::ControlRecord {
            node: "00000000-evil".to_owned(),
            sequence: 1,
            issued_ms: unix_ms(),
            body: wire::Body::Hello,
        };
        let value = record.seal(&topics.presence, &keys).expect("JSON");
        let sender = Sender::start(&config);
        sender.raw(&topics.presence, &value);
        sender.raw(&topics.presence, b"rubbish");
        sender.raw(&topics.client, b"");
        until("they are counted", || {
            a.hub.counters().forged_control.get() == 3
        });
        assert_eq!(a.hub.counters().nodes.get(), 0);
    }
}

#[test]
fn captured_records_that_are_written_again_are_ignored() {
    for config in configs("captured") {
        let a = Node::start(&config);
        a.wait_for_presence();
        let secrets = &a.hub.settings().secrets;
        let keys = Keys::new(secrets, "toporia_realtime control");
        let topics = ControlTopics::of(config.topics.prefix());
        let sender = Sender::start(&config);
        // The node is the record key that the sender uses.
        let hello = |issued_ms| wire::ControlRecord {
            node: "user.1".to_owned(),
            sequence: 1,
            issued_ms,
            body: wire::Body::Hello,
        };
        let write = |record: wire::ControlRecord| {
            let value = record.seal(&topics.presence, &keys).expect("JSON");
            sender.raw(&topics.presence, &value);
        };
        write(hello(unix_ms() - 60_000));
        until("it is counted", || {
            a.hub.counters().forged_control.get() == 1
        });
        assert_eq!(a.hub.counters().nodes.get(), 0);
        write(hello(unix_ms()));
        until("a fresh record is accepted", || {
            a.hub.counters().nodes.get() == 1
        });
    }
}

#[test]
fn events_of_the_http_api_go_through_kafka() {
    for config in configs("api") {
        let a = Node::start(&config);
        let recording = Recording::start(&config, |_| {});
        let runtime = runtime();
        let event = |channel: &str| ApiEvent {
            channel: channel.to_owned(),
            event: "created".to_owned(),
            data: RawValue::from_string("{\"a\":\"b\"}".to_owned()).expect("JSON"),
            is_text: false,
            except: "12.34".parse().ok(),
        };
        let text = ApiEvent {
            data: RawValue::from_string("\"a\\nb\"".to_owned()).expect("JSON"),
            is_text: true,
            ..event("public.news")
        };
        let events = vec![event("private-user.1"), text];
        let sent = runtime.block_on(a.kafka.cluster().publish(events));
        assert_eq!(sent, Ok(()), "on {}", config.brokers);
        until("both", || recording.broadcasts().len() == 2);
        let all = recording.broadcasts();
        let text = |one: &Arc<Broadcast>| {
            let except = one.except.map(|id| id.to_string());
            let flags = (one.exact, one.is_text, except);
            format!("{} {} {} {flags:?}", one.channel(), one.event(), one.data())
        };
        let mut all: Vec<String> = all.iter().map(text).collect();
        all.sort_unstable();
        let json = r#"private-user.1 created {"a":"b"} (true, false, Some("12.34"))"#;
        let text = r#"public.news created "a\nb" (true, true, Some("12.34"))"#;
        assert_eq!(all, [json, text]);
        // Accepted means that Kafka has them: nothing is waited for.
        let ends = |channel: &str| {
            let topic = config.topics.topic_for(channel).expect("a topic");
            let partition = a.kafka.positions.find(&topic).map(|t| t.partitions());
            partition.map_or(0, |partitions| {
                partitions.iter().map(|p| p.next().max(0)).sum::<i64>()
            })
        };
        for n in 1..=20 {
            let sent = runtime.block_on(a.kafka.cluster().publish(vec![event("private-user.1")]));
            assert_eq!(sent, Ok(()));
            let client = crate::gateway::feed::FeedConsumer::start(&config).expect("a client");
            let topic = config.topics.topic_for("private-user.1").expect("a topic");
            if n % 10 == 0 {
                let partitions = a
                    .kafka
                    .positions
                    .find(&topic)
                    .expect("it is read")
                    .partitions();
                let keys: Vec<_> = partitions
                    .iter()
                    .map(|p| (topic.clone(), p.number))
                    .collect();
                let which = crate::gateway::feed::OffsetSpec::End;
                let found = client
                    .offsets(&keys, which, Duration::from_secs(5))
                    .expect("ends");
                assert_eq!(found.values().sum::<i64>(), n + 1, "on {}", config.brokers);
            }
        }
        until("the gateway has read them", || ends("private-user.1") == 21);
        // A name that cannot be is refused before anything is sent.
        let events = vec![event("private-user.1"), event("")];
        let refused = runtime.block_on(a.kafka.cluster().publish(events));
        let kind = refused.expect_err("the name is empty").kind();
        assert_eq!(kind, crate::error::Kind::InvalidChannel);
    }
}

#[test]
fn an_api_event_without_kafka_is_an_error() {
    let runtime = runtime();
    let event = |channel: &str| ApiEvent {
        channel: channel.to_owned(),
        event: "created".to_owned(),
        data: RawValue::NULL.to_owned(),
        is_text: false,
        except: None,
    };
    // No broker is there.
    let gateways = KafkaCluster::new(&config("127.0.0.1:1", &unique("away")));
    let started = Instant::now();
    let sent = runtime.block_on(gateways.publish(vec![event("private-a")]));
    let why = sent.expect_err("no broker is there");
    let why = why.message();
    assert!(why.contains("127.0.0.1:1 cannot be reached"), "{why}");
    assert!(started.elapsed() < Duration::from_secs(5));
    gateways.stop();
}

#[test]
fn admin_requests_reach_all_gateways() {
    for config in configs("ask") {
        let (a, b) = (Node::start(&config), Node::start(&config));
        a.wait_for_presence();
        b.wait_for_presence();
        until("they know each other", || {
            a.hub.counters().nodes.get() == 1 && b.hub.counters().nodes.get() == 1
        });
        let runtime = runtime();
        let began = Instant::now();
        let request = AdminRequest::Channels {
            prefix: String::new(),
        };
        let response = runtime.block_on(a.kafka.cluster().send_admin_request(request));
        // Both answered, or it would have waited for the whole time.
        assert!(began.elapsed() < Duration::from_millis(1500));
        assert_eq!(response, AdminResponse::default());
    }
}

/// The secrets of a rolling change, in order: every gateway accepts the new secret before any gateway signs with it,
/// and none signs with the old one when the first gateway stops accepting it.
const ROLL: [&[&str]; 4] = [
    &[OLD_SECRET],
    &[OLD_SECRET, NEW_SECRET],
    &[NEW_SECRET, OLD_SECRET],
    &[NEW_SECRET],
];
const OLD_SECRET: &str = "old-4f9c1d7a20b86e35f1a7c9d2e4b60837";
const NEW_SECRET: &str = "new-8d0b7f6a51e24c9383f5b1d06e7a2c94";

#[test]
fn secrets_are_changed_without_an_outage_in_three_steps() {
    use crate::gateway::protocol::auth;
    for config in configs("roll") {
        let start = |number: usize, secrets: &[&str]| {
            let node = Node::start_with(&config, |settings| {
                settings.secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
            });
            node.wait_for_presence();
            let socket = format!("{}.1", number + 1);
            node.join("presence-x", &socket, &format!("user-{number}"));
            node
        };
        let mut nodes: Vec<Node> = (0..3).map(|number| start(number, ROLL[0])).collect();
        for secrets in &ROLL[1..] {
            for number in 0..3 {
                nodes[number].kafka.stop();
                nodes[number] = start(number, secrets);
                for (other, node) in nodes.iter().enumerate() {
                    // `members` has the users of the other nodes only.
                    until("every node sees the members of the others", || {
                        let members = node.members("presence-x");
                        (0..3)
                            .filter(|number| *number != other)
                            .all(|number| members.contains(&format!("user-{number}")))
                    });
                    let counters = node.hub.counters();
                    assert_eq!(counters.forged_control.get(), 0, "{secrets:?}");
                }
                // A sign-in that one gateway's application signed is valid on every gateway.
                let text = auth::user_text("1.2".parse().expect("an id"), r#"{"id":"7"}"#);
                for signer in &nodes {
                    let signer = &signer.hub.settings().secrets[0];
                    let given = format!("key:{}", auth::signature(signer, &text));
                    for node in &nodes {
                        let accepted = &node.hub.settings().secrets;
                        assert!(auth::is_authorized("key", accepted, &text, &given));
                    }
                }
            }
        }
    }
}
