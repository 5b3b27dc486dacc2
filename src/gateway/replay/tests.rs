//! Replays from the buffer and from Kafka.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::gateway::backend::TokenSubject;
use crate::gateway::tests::test_brokers::{configs, runtime, until, Node, Sender};
use crate::topic::ChannelPattern;

fn holder(channel: &str, user: Option<&str>) -> TokenSubject {
    TokenSubject {
        channel: channel.to_owned(),
        socket: "1.2".parse().expect("an id"),
        user: user.map(str::to_owned),
    }
}

fn token(node: &Node, channel: &str, user: Option<&str>) -> String {
    let history = node.kafka.history().expect("it recovers");
    let position = history.position(channel);
    history
        .token(&holder(channel, user), &position)
        .expect("a token")
}

fn replay(node: &Node, token: &str, channel: &str, user: Option<&str>) -> Replay {
    let history = node.kafka.history().expect("it recovers");
    let user = user.map(str::to_owned);
    let replay = history.replay(token.to_owned(), channel.to_owned(), user, true);
    runtime().block_on(replay)
}

fn ids(replay: &Replay) -> Vec<String> {
    let events = replay.events.iter();
    events.map(|event| event.id().to_owned()).collect()
}

fn records(node: &Node) -> u64 {
    node.hub.counters().records.get()
}

#[test]
fn missed_events_are_replayed_in_order_and_once() {
    for config in configs("replay") {
        let sender = Sender::start(&config);
        sender.send("user.1", "before", "1");
        sender.flush();
        let node = Node::start(&config);
        let before = records(&node);
        let mark = token(&node, "private-user.1", Some("7"));
        let sent: Vec<String> = (0..50)
            .map(|n| sender.send("user.1", "e", &n.to_string()))
            .collect();
        sender.send("user.2", "other", "1");
        let except = ("x-realtime-socket".to_owned(), Some(b"1.2".to_vec()));
        sender.send_with("user.1", "withheld", "1", 0, &[except]);
        let direct = sender.send("private-user.1", "direct", "1");
        sender.flush();
        // One of the four topics may not have been found yet.
        until("all were read", || records(&node) >= before + 53);
        let found = replay(&node, &mark, "private-user.1", Some("7"));
        assert!(found.recovered && !found.scanned, "on {}", config.brokers);
        let mut expected = sent.clone();
        expected.push(direct);
        let mut got = ids(&found);
        assert_eq!(got[..50], expected[..50]);
        got.sort_unstable();
        expected.sort_unstable();
        assert_eq!(got, expected);
        // There are no events after the new position.
        let now = token(&node, "private-user.1", Some("7"));
        let nothing = replay(&node, &now, "private-user.1", Some("7"));
        assert!(nothing.recovered && nothing.events.is_empty());
        // Another user, no user, another channel, an invalid token.
        for (token, channel, user) in [
            (&mark, "private-user.1", Some("8")),
            (&mark, "private-user.1", None),
            (&mark, "private-user.2", Some("7")),
            (&"rubbish".to_owned(), "private-user.1", Some("7")),
        ] {
            let refused = replay(&node, token, channel, user);
            assert!(!refused.recovered && refused.events.is_empty());
        }
        // The events were not public, so the public channel has none.
        let public = token(&node, "user.1", None);
        sender.send("user.1", "later", "1");
        sender.flush();
        until("one more", || records(&node) >= before + 54);
        let found = replay(&node, &public, "user.1", None);
        assert!(found.recovered && found.events.is_empty());
    }
}

#[test]
fn tokens_are_valid_on_other_and_restarted_gateways() {
    for config in configs("again") {
        let sender = Sender::start(&config);
        sender.send("user.1", "before", "1");
        sender.flush();
        let node = Node::start(&config);
        let mark = token(&node, "private-user.1", None);
        drop(node);
        let sent: Vec<String> = (0..20).map(|_| sender.send("user.1", "e", "1")).collect();
        sender.flush();
        let node = Node::start(&config);
        let found = replay(&node, &mark, "private-user.1", None);
        assert!(found.recovered && !found.scanned);
        assert_eq!(ids(&found), sent, "on {}", config.brokers);
    }
}

#[test]
fn evicted_events_are_scanned_from_kafka_within_limits() {
    for config in configs("scan") {
        let sender = Sender::start(&config);
        sender.send("user.1", "before", "1");
        sender.flush();
        let node = Node::start_with(&config, |settings| settings.replay_memory = 1_000);
        let before = records(&node);
        let mark = token(&node, "private-user.1", None);
        let sent: Vec<String> = (0..100).map(|_| sender.send("user.1", "e", "1")).collect();
        sender.flush();
        until("all were read", || records(&node) >= before + 100);
        assert!(buffered(&node) < 20);
        let history = node.kafka.history().expect("it recovers");
        let not =
            Arc::clone(&history).replay(mark.clone(), "private-user.1".to_owned(), None, false);
        assert!(!runtime().block_on(not).recovered);
        let found = replay(&node, &mark, "private-user.1", None);
        assert!(found.recovered && found.scanned, "on {}", config.brokers);
        assert_eq!(ids(&found), sent);
        // Many clients with the same position share one scan.
        let runtime = runtime();
        let many: Vec<_> = (0..100)
            .map(|_| {
                let history = Arc::clone(&history);
                let channel = "private-user.1".to_owned();
                runtime.spawn(history.replay(mark.clone(), channel, None, true))
            })
            .collect();
        for one in many {
            let found = runtime.block_on(one).expect("no panic");
            assert!(found.recovered && found.events.len() == 100);
        }
        drop(node);
        // Over the limits: not recovered.
        let node = Node::start_with(&config, |settings| {
            settings.replay_memory = 1_000;
            settings.replay_scan_records = 50;
        });
        let found = replay(&node, &mark, "private-user.1", None);
        assert!(!found.recovered && found.events.is_empty());
    }
}

#[test]
fn topics_created_after_the_token_are_replayed() {
    for config in configs("appears") {
        let sender = Sender::start(&config);
        let node = Node::start(&config);
        let mark = token(&node, "private-new.1", None);
        let sent: Vec<String> = (0..3).map(|_| sender.send("new.1", "e", "1")).collect();
        sender.flush();
        until("they were read", || buffered(&node) == 3);
        let found = replay(&node, &mark, "private-new.1", None);
        assert!(found.recovered, "on {}", config.brokers);
        assert_eq!(ids(&found), sent);
    }
}

#[test]
fn a_replay_waits_for_a_topic_known_to_another_gateway() {
    for config in configs("first") {
        let sender = Sender::start(&config);
        let quick = Node::start(&config);
        let slow = Node::start_with(&config, |settings| {
            settings.topic_refresh = Duration::from_secs(60);
        });
        let had: Vec<String> = (0..3).map(|_| sender.send("new.1", "e", "1")).collect();
        sender.flush();
        until("one has it", || buffered(&quick) == had.len());
        let mark = token(&quick, "private-new.1", None);
        let missed = sender.send("new.1", "e", "2");
        sender.flush();
        assert_eq!(records(&slow), 0);
        let found = replay(&slow, &mark, "private-new.1", None);
        assert!(found.recovered, "on {}", config.brokers);
        // Records that the client already has are skipped by their offsets.
        let topic = slow
            .kafka
            .positions
            .find(&config.topics.topic_for("new.1").expect("a topic"));
        let topic = topic.expect("found").number;
        assert!(found
            .up_to
            .iter()
            .any(|(number, _, next)| *number == topic && *next >= 3));
        assert!(found.events.iter().all(|event| event.id() == missed));
    }
}

#[test]
fn an_unread_topic_is_awaited_only_while_it_may_be_new() {
    for config in configs("gone") {
        let sender = Sender::start(&config);
        sender.send("user.1", "e", "1");
        sender.flush();
        let node = Node::start(&config);
        let other = Node::start_with(&config, |settings| {
            settings.channels = vec![ChannelPattern::parse("order.1").expect("a pattern")];
        });
        let channel = "private-user.1";
        let history = Recovery::new(
            &config,
            node.hub.settings(),
            &node.kafka.positions,
            &Arc::new(ReplayBuffer::new(Duration::ZERO, 0)),
        );
        let mark = |ago_ms: u64| {
            let now = token(&node, channel, None);
            let keys = &history.keys;
            let mut token = Token::decode(&now, channel, keys, unix_ms(), 60_000).expect("ours");
            token.issued_ms -= ago_ms;
            token.encode(channel, keys).expect("a token")
        };
        for (ago_ms, waits) in [(0, true), (20_000, false)] {
            let mark = mark(ago_ms);
            let started = Instant::now();
            let found = replay(&other, &mark, channel, None);
            assert!(!found.recovered && found.events.is_empty());
            assert_eq!(
                started.elapsed() >= CATCH_UP_TIMEOUT,
                waits,
                "{:?}",
                started.elapsed()
            );
        }
    }
}

#[test]
fn a_recreated_topic_is_not_recovered() {
    // Deleting needs an admin API: real Kafka only.
    for config in configs("deleted").skip(1) {
        let sender = Sender::start(&config);
        sender.send("user.1", "e", "1");
        sender.flush();
        let node = Node::start(&config);
        let mark = token(&node, "private-user.1", None);
        node.kafka.stop();
        let topic = config.topics.topic_for("user.1").expect("a topic");
        let admin = crate::kafka::admin::Admin::start(&config).expect("an admin");
        crate::kafka::admin::topics::delete(&admin, &topic, &|| true).expect("deleted");
        drop(sender);
        let sender = Sender::start(&config);
        sender.send("user.1", "e", "1");
        sender.send("user.1", "e", "2");
        sender.flush();
        let node = Node::start(&config);
        let found = replay(&node, &mark, "private-user.1", None);
        assert!(!found.recovered && found.events.is_empty());
    }
}

#[test]
fn deleted_offsets_are_not_recovered() {
    for config in configs("expired").skip(1) {
        let sender = Sender::start(&config);
        sender.send("user.1", "e", "1");
        sender.flush();
        let node = Node::start_with(&config, |settings| settings.replay_memory = 1_000);
        let before = records(&node);
        let mark = token(&node, "private-user.1", None);
        for _ in 0..100 {
            sender.send("user.1", "e", "1");
        }
        sender.flush();
        until("all were read", || records(&node) >= before + 100);
        let topic = config.topics.topic_for("user.1").expect("a topic");
        let admin = crate::kafka::admin::Admin::start(&config).expect("an admin");
        crate::kafka::admin::offsets::delete_records(&admin, &topic, &[(0, 50)], &|| true)
            .expect("deleted");
        let found = replay(&node, &mark, "private-user.1", None);
        assert!(!found.recovered && found.events.is_empty());
    }
}

#[test]
fn eviction_is_visible_to_replays() {
    use crate::gateway::broadcast::{At, Broadcast};
    let replay_buffer = ReplayBuffer::new(Duration::from_secs(120), 2_000);
    let key = (0, 0);
    replay_buffer.start_partition(key, 10, 1_000);
    let push = |offset: i64, channel: &str| {
        let mut broadcast = Broadcast::new(channel, "e", &offset.to_string(), "1");
        broadcast.at = Some(At {
            topic: 0,
            partition: 0,
            offset,
        });
        replay_buffer.push(&Arc::new(broadcast), 1_000 + offset);
    };
    let find = |from| {
        let channels = ["a".to_owned(), "b".to_owned()];
        let found = replay_buffer.find(&channels, &[(key, from)]);
        (found.events.len(), found.missing.len(), found.up_to[0])
    };
    push(10, "a");
    push(12, "b");
    assert_eq!(find(ReplayFrom::Offset(10)), (2, 0, 13));
    assert_eq!(find(ReplayFrom::Offset(11)), (1, 0, 13));
    assert_eq!(find(ReplayFrom::Offset(9)), (2, 1, 13));
    assert_eq!(find(ReplayFrom::Time(1_000)), (2, 0, 13));
    assert_eq!(find(ReplayFrom::Time(999)).1, 1);
    for offset in 13..40 {
        push(offset, if offset % 2 == 0 { "a" } else { "b" });
    }
    let (count, bytes) = replay_buffer.size();
    assert!(bytes <= 2_000 && count > 5);
    let first = 40 - i64::try_from(count).expect("small");
    assert_eq!(find(ReplayFrom::Offset(first)), (count, 0, 40));
    assert_eq!(find(ReplayFrom::Offset(first - 1)).1, 1);
    // A restarted partition has no entries.
    replay_buffer.start_partition(key, 100, 5_000);
    assert_eq!(replay_buffer.size(), (0, 0));
    assert_eq!(find(ReplayFrom::Offset(100)), (0, 0, 100));
    push(100, "a");
    assert_eq!(find(ReplayFrom::Offset(100)), (1, 0, 101));
    replay_buffer.stop_partition(key);
    assert_eq!(find(ReplayFrom::Offset(100)), (0, 1, -1));
}

/// Number of broadcasts in the replay buffer.
fn buffered(node: &Node) -> usize {
    let replay_buffer = node.kafka.replay_buffer.as_ref();
    replay_buffer.map_or(0, |replay_buffer| replay_buffer.size().0)
}
