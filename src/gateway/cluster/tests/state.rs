//! Nodes that start, drain, time out and are isolated, without Kafka.

use crate::config::gateway_settings::{EventKind, Settings};
use crate::gateway::cluster::state::ClusterState;
use crate::gateway::cluster::wire::{Body, ControlRecord};
use crate::gateway::cluster::{ClusterTiming, Effect};
use crate::gateway::hub::presence::Membership;
use crate::gateway::protocol::incoming::Member;

/// A cluster state and the log that it reads.
struct Stage {
    state: ClusterState,
    now: u64,
    offset: i64,
    sequences: std::collections::HashMap<String, u64>,
}

fn member(channel: &str, socket: &str, user: &str) -> Membership {
    Membership {
        channel: channel.to_owned(),
        socket: socket.parse().expect("an id"),
        member: Member {
            user_id: user.to_owned(),
            user_info: None,
        },
    }
}

fn control_record(node: &str, sequence: u64, body: Body) -> ControlRecord {
    ControlRecord {
        node: node.to_owned(),
        sequence,
        issued_ms: 0,
        body,
    }
}

impl Stage {
    fn new(own: &str) -> Self {
        Self {
            state: ClusterState::new(own, ClusterTiming::of(&Settings::default()), 1_000),
            now: 1_000,
            offset: 0,
            sequences: std::collections::HashMap::new(),
        }
    }

    fn receive(&mut self, node: &str, body: Body) -> Vec<Effect> {
        let sequence = self.sequences.entry(node.to_owned()).or_default();
        *sequence += 1;
        let sequence = *sequence;
        self.record(node, sequence, body)
    }

    fn record(&mut self, node: &str, sequence: u64, body: Body) -> Vec<Effect> {
        self.offset += 1;
        let record = control_record(node, sequence, body);
        self.state.apply(record, self.offset, self.now);
        self.state.effects()
    }

    /// A record of the node that is lost.
    fn remove_node(&mut self, node: &str) {
        *self.sequences.entry(node.to_owned()).or_default() += 1;
    }

    fn wait(&mut self, ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        for _ in 0..ms / 100 {
            self.now += 100;
            self.state.tick(self.now);
            effects.extend(self.state.effects());
        }
        effects
    }

    /// Lets time pass in which these nodes send heartbeats with their numbers of members and channels.
    fn live(&mut self, ms: u64, nodes: &[(&str, usize, usize)]) -> Vec<Effect> {
        let mut effects = Vec::new();
        for _ in 0..ms / 2_000 {
            for (node, m, c) in nodes {
                effects.extend(self.receive(node, Body::Heartbeat { m: *m, c: *c }));
            }
            effects.extend(self.wait(2_000));
        }
        effects
    }

    fn presence_complete(own: &str) -> Self {
        let mut stage = Self::new(own);
        stage.receive(own, Body::Hello);
        stage.wait(100);
        assert!(stage.state.is_complete());
        stage
    }
}

fn snapshot(members: Vec<Membership>, channels: &[(&str, usize)]) -> Body {
    let own = |(c, n): &(&str, usize)| ((*c).to_owned(), *n);
    Body::Snapshot {
        part: 0,
        of: 1,
        m: members,
        o: channels.iter().map(own).collect(),
    }
}

fn events(effects: &[Effect]) -> Vec<(EventKind, String)> {
    let each = effects.iter().filter_map(|effect| match effect {
        Effect::Webhook(event) => {
            let who = event.user.clone().unwrap_or_default();
            Some((event.kind, format!("{} {who}", event.channel)))
        }
        _ => None,
    });
    each.collect()
}

#[test]
fn presence_is_complete_after_all_snapshots() {
    let mut stage = Stage::new("c");
    for (node, sequence) in [("a", 40), ("b", 7)] {
        let record = control_record(node, sequence, Body::Heartbeat { m: 1, c: 1 });
        stage.state.apply_history(&record, stage.now);
        stage.sequences.insert(node.to_owned(), sequence);
    }
    stage.receive("c", Body::Hello);
    stage.wait(500);
    assert!(!stage.state.is_complete());
    let sent = snapshot(vec![member("presence-x", "1.1", "7")], &[("presence-x", 1)]);
    let effects = stage.receive("a", sent);
    let is_count = |effect: &Effect| matches!(effect, Effect::SubscriptionsChanged { .. });
    let others: Vec<&Effect> = effects.iter().filter(|effect| !is_count(effect)).collect();
    assert!(matches!(&others[..], [Effect::ReplaceMembers { node, .. }] if node == "a"));
    stage.wait(100);
    assert!(!stage.state.is_complete());
    stage.receive("b", snapshot(vec![], &[]));
    stage.wait(100);
    assert!(stage.state.is_complete());
    assert_eq!(stage.state.other_nodes(), ["a", "b"]);
    assert!(
        stage.state.has_remote_subscribers("presence-x")
            && !stage.state.has_remote_subscribers("y")
    );
}

#[test]
fn a_missing_snapshot_is_requested_again_and_bounded() {
    let mut stage = Stage::new("c");
    stage.receive("c", Body::Hello);
    let record = control_record("a", 5, Body::Heartbeat { m: 1, c: 1 });
    stage.state.apply_history(&record, stage.now);
    let effects = stage.wait(2_900);
    assert!(!stage.state.is_complete());
    assert!(effects.contains(&Effect::RequestSnapshot { of: "a".to_owned() }));
    stage.wait(200);
    assert!(stage.state.is_complete());
}

#[test]
fn a_hello_gets_a_snapshot_and_a_sequence_gap_requests_one() {
    let mut stage = Stage::presence_complete("b");
    assert_eq!(stage.receive("a", Body::Hello), [Effect::SendSnapshot]);
    assert_eq!(stage.state.other_nodes(), ["a"]);
    stage.live(2_000, &[("b", 0, 0), ("a", 0, 0)]);
    let joined = member("presence-x", "1.1", "7");
    let effects = stage.receive("a", Body::Join(joined.clone()));
    assert!(effects.contains(&Effect::AddMember {
        node: "a".to_owned(),
        member: joined.clone()
    }));
    stage.remove_node("a");
    let effects = stage.receive("a", Body::Heartbeat { m: 2, c: 0 });
    assert_eq!(effects, [Effect::RequestSnapshot { of: "a".to_owned() }]);
    let second = member("presence-x", "2.2", "8");
    let effects = stage.receive("a", snapshot(vec![joined, second], &[]));
    assert_eq!(events(&effects).len(), 1);
    // A record that was handled before is ignored.
    let effects = stage.record("a", 1, Body::Hello);
    assert_eq!(effects, []);
    let effects = stage.receive("b", Body::Gap { of: "b".to_owned() });
    assert_eq!(effects, [Effect::SendSnapshot]);
}

#[test]
fn heartbeat_counts_detect_a_divergence() {
    let mut stage = Stage::presence_complete("b");
    stage.receive("a", Body::Hello);
    stage.live(4_000, &[("b", 0, 0), ("a", 0, 0)]);
    let effects = stage.receive("a", Body::Heartbeat { m: 1, c: 0 });
    assert_eq!(effects, [Effect::RequestSnapshot { of: "a".to_owned() }]);
}

#[test]
fn a_silent_node_is_removed_and_returns_with_a_snapshot() {
    let mut stage = Stage::presence_complete("b");
    stage.receive("a", Body::Hello);
    stage.receive("a", Body::Join(member("presence-x", "1.1", "7")));
    stage.receive(
        "a",
        Body::Occupied {
            c: "presence-x".to_owned(),
            n: 1,
        },
    );
    let early = stage.live(8_000, &[("b", 0, 0)]);
    assert_eq!(events(&early), []);
    let late = stage.live(4_000, &[("b", 0, 0)]);
    assert!(late.contains(&Effect::RemoveNode {
        node: "a".to_owned()
    }));
    assert_eq!(
        events(&late),
        [
            (EventKind::MemberRemoved, "presence-x 7".to_owned()),
            (EventKind::Vacated, "presence-x ".to_owned())
        ]
    );
    assert!(stage.state.is_complete());
    // An old record does not add the node again, a new one does.
    assert_eq!(stage.record("a", 2, Body::Heartbeat { m: 1, c: 1 }), []);
    assert!(stage.state.other_nodes().is_empty());
    let effects = stage.receive("a", Body::Heartbeat { m: 1, c: 1 });
    assert_eq!(effects, [Effect::RequestSnapshot { of: "a".to_owned() }]);
    let sent = snapshot(vec![member("presence-x", "1.1", "7")], &[("presence-x", 1)]);
    let effects = stage.receive("a", sent);
    assert_eq!(
        events(&effects),
        [
            (EventKind::MemberAdded, "presence-x 7".to_owned()),
            (EventKind::Occupied, "presence-x ".to_owned())
        ]
    );
    let by_absence = |effect: &Effect| match effect {
        Effect::Webhook(event) => event.by_absence,
        _ => true,
    };
    assert!(effects.iter().all(by_absence));
    // Present on a node that has been heard since then.
    let is_present = |stage: &Stage, user, since| stage.state.is_present("presence-x", user, since);
    let now = stage.now;
    assert!(is_present(&stage, Some("7"), now - 1) && is_present(&stage, None, now - 1));
    assert!(!is_present(&stage, Some("8"), now - 1));
    assert!(!is_present(&stage, Some("7"), now) && !is_present(&stage, None, now));
}

#[test]
fn own_records_that_were_lost_are_events_of_an_absence() {
    let mut stage = Stage::presence_complete("b");
    stage.receive("b", Body::Join(member("presence-x", "1.1", "7")));
    // Kafka did not take the leave; the others have removed this node, the member with it.
    stage.remove_node("b");
    stage.wait(5_000);
    let effects = stage.receive("b", Body::Heartbeat { m: 0, c: 0 });
    assert_eq!(effects, [Effect::SendSnapshot]);
    let effects = stage.receive("b", snapshot(Vec::new(), &[]));
    assert_eq!(
        events(&effects),
        [(EventKind::MemberRemoved, "presence-x 7".to_owned())]
    );
    let Some(Effect::Webhook(event)) = effects
        .into_iter()
        .find(|effect| matches!(effect, Effect::Webhook(_)))
    else {
        panic!("no event");
    };
    assert!(event.by_absence);
}

#[test]
fn a_node_that_receives_nothing_is_isolated() {
    let mut stage = Stage::presence_complete("b");
    stage.receive("a", Body::Hello);
    stage.receive("a", Body::Join(member("presence-x", "1.1", "7")));
    stage.live(2_000, &[("a", 1, 0), ("b", 0, 0)]);
    let effects = stage.wait(60_000);
    assert_eq!(effects, [Effect::Isolated]);
    assert!(!stage.state.is_complete() && stage.state.is_isolated());
    assert_eq!(stage.state.other_nodes(), ["a"]);
    assert!(!stage.state.receives_own_records(stage.now));
    let effects = stage.receive("a", Body::Heartbeat { m: 1, c: 0 });
    assert_eq!(effects, [Effect::Reconnected]);
    // The other nodes have the full timeout again.
    assert!(!stage
        .wait(5_000)
        .iter()
        .any(|effect| matches!(effect, Effect::RemoveNode { .. })));
    assert!(stage.state.is_complete());
}

#[test]
fn a_suspended_process_removes_no_nodes() {
    let mut stage = Stage::presence_complete("b");
    stage.receive("a", Body::Hello);
    stage.live(2_000, &[("a", 0, 0), ("b", 0, 0)]);
    stage.now += 60_000;
    stage.state.tick(stage.now);
    assert_eq!(stage.state.effects(), []);
    assert!(stage.state.is_complete());
    let effects = stage.live(14_000, &[("b", 0, 0)]);
    assert!(effects.contains(&Effect::RemoveNode {
        node: "a".to_owned()
    }));
}

#[test]
fn members_of_a_draining_node_stay_five_seconds() {
    let mut stage = Stage::presence_complete("b");
    stage.receive("a", Body::Hello);
    stage.receive("a", Body::Join(member("presence-x", "1.1", "7")));
    stage.receive("a", Body::Bye);
    assert!(stage.state.other_nodes().is_empty());
    // The user reconnects to this gateway in this time: no member is added, and none will be removed.
    stage.receive("b", Body::Heartbeat { m: 0, c: 0 });
    let effects = stage.receive("b", Body::Join(member("presence-x", "9.9", "7")));
    assert_eq!(events(&effects), []);
    let early = stage.wait(2_500);
    assert_eq!(early, []);
    stage.receive("b", Body::Heartbeat { m: 1, c: 0 });
    let early = stage.wait(2_400);
    assert_eq!(early, []);
    let late = stage.wait(200);
    assert_eq!(
        late,
        [Effect::RemoveNode {
            node: "a".to_owned()
        }]
    );
}

#[test]
fn the_lowest_live_node_is_the_leader() {
    let mut stage = Stage::presence_complete("b");
    assert!(stage.state.is_leader());
    stage.receive("a", Body::Hello);
    assert!(!stage.state.is_leader());
    stage.receive("c", Body::Hello);
    stage.receive("a", Body::Bye);
    assert!(stage.state.is_leader());
}

#[test]
fn webhooks_count_over_all_nodes() {
    let mut stage = Stage::presence_complete("b");
    stage.receive("a", Body::Hello);
    let occupied = |n| Body::Occupied {
        c: "news".to_owned(),
        n,
    };
    assert_eq!(
        events(&stage.receive("a", occupied(1))),
        [(EventKind::Occupied, "news ".to_owned())]
    );
    assert_eq!(events(&stage.receive("b", occupied(3))), []);
    assert_eq!(events(&stage.receive("a", occupied(0))), []);
    assert_eq!(
        events(&stage.receive("b", occupied(0))),
        [(EventKind::Vacated, "news ".to_owned())]
    );
}

#[test]
fn a_partial_snapshot_has_no_effect() {
    let mut stage = Stage::presence_complete("b");
    stage.live(4_000, &[("b", 0, 0)]);
    stage.sequences.insert("a".to_owned(), 9);
    let part = |part, members| Body::Snapshot {
        part,
        of: 2,
        m: members,
        o: vec![],
    };
    stage.receive("a", Body::Heartbeat { m: 2, c: 0 });
    let effects = stage.receive("a", part(0, vec![member("presence-x", "1.1", "7")]));
    assert_eq!(effects, []);
    // The second part is lost: the snapshot starts again.
    stage.remove_node("a");
    stage.receive("a", part(0, vec![member("presence-x", "1.1", "7")]));
    let effects = stage.receive("a", part(1, vec![member("presence-x", "2.2", "8")]));
    assert!(effects
        .iter()
        .any(|e| matches!(e, Effect::ReplaceMembers { members, .. } if members.len() == 2)));
}

/// Heartbeats of three nodes, 600 ms apart, for some rounds of 2 s.
fn staggered_heartbeats(stage: &mut Stage, rounds: usize) -> Vec<Effect> {
    let mut effects = Vec::new();
    for _ in 0..rounds {
        for node in ["a", "b", "c"] {
            let own_members = usize::from(node != "b");
            effects.extend(stage.receive(
                node,
                Body::Heartbeat {
                    m: own_members,
                    c: 0,
                },
            ));
            effects.extend(stage.wait(600));
        }
        effects.extend(stage.wait(200));
    }
    effects
}

#[test]
fn an_outage_of_kafka_changes_no_members() {
    for outage in [1, 5, 7, 8, 9, 10, 11, 12, 20, 60] {
        let mut stage = Stage::presence_complete("b");
        for (node, socket, user) in [("a", "1.1", "7"), ("c", "3.3", "9")] {
            stage.receive(node, Body::Hello);
            stage.receive(node, Body::Join(member("presence-x", socket, user)));
        }
        staggered_heartbeats(&mut stage, 3);
        let mut effects = stage.wait(outage * 1_000);
        // The heartbeats of the outage have expired. The own producer is connected again first, the others follow.
        for node in ["a", "b", "c"] {
            stage.remove_node(node);
        }
        effects.extend(stage.receive("b", Body::Heartbeat { m: 0, c: 0 }));
        effects.extend(stage.wait(4_000));
        effects.extend(stage.receive("b", Body::Heartbeat { m: 0, c: 0 }));
        for (node, socket, user) in [("a", "1.1", "7"), ("c", "3.3", "9")] {
            effects.extend(stage.receive(node, Body::Heartbeat { m: 1, c: 0 }));
            let members = vec![member("presence-x", socket, user)];
            effects.extend(stage.receive(node, snapshot(members, &[])));
        }
        effects.extend(staggered_heartbeats(&mut stage, 2));
        assert_eq!(events(&effects), [], "after {outage} s");
        let removed = effects
            .iter()
            .any(|effect| matches!(effect, Effect::RemoveNode { .. }));
        assert!(!removed, "after {outage} s");
        assert!(stage.state.is_complete());
        // A node that does not return is removed.
        let effects = stage.live(14_000, &[("a", 1, 0), ("b", 0, 0)]);
        assert_eq!(
            events(&effects),
            [(EventKind::MemberRemoved, "presence-x 9".to_owned())]
        );
    }
}
