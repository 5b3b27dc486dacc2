//! Nodes that come, go, fall silent, and are cut off, without any Kafka.

use super::totals::What;
use super::view::{Effect, Timing, View};
use super::wire::{Body, Record, Seat};
use crate::gateway::protocol::frame::Member;
use crate::gateway::settings::Settings;

/// A view with a log that it reads.
struct Stage {
    view: View,
    now: u64,
    offset: i64,
    sequences: std::collections::HashMap<String, u64>,
}

fn seat(channel: &str, socket: &str, user: &str) -> Seat {
    Seat {
        c: channel.to_owned(),
        s: socket.parse().expect("an id"),
        m: Member {
            user_id: user.to_owned(),
            user_info: None,
        },
    }
}

impl Stage {
    fn new(own: &str) -> Self {
        Self {
            view: View::new(own, Timing::of(&Settings::default()), 1_000),
            now: 1_000,
            offset: 0,
            sequences: std::collections::HashMap::new(),
        }
    }

    fn say(&mut self, node: &str, body: Body) -> Vec<Effect> {
        let sequence = self.sequences.entry(node.to_owned()).or_default();
        *sequence += 1;
        let sequence = *sequence;
        self.record(node, sequence, body)
    }

    fn record(&mut self, node: &str, sequence: u64, body: Body) -> Vec<Effect> {
        self.offset += 1;
        let record = Record {
            node: node.to_owned(),
            sequence,
            body,
        };
        self.view.apply(record, self.offset, self.now);
        self.view.effects()
    }

    /// Something is said and never arrives.
    fn lose(&mut self, node: &str) {
        *self.sequences.entry(node.to_owned()).or_default() += 1;
    }

    fn wait(&mut self, ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        for _ in 0..ms / 100 {
            self.now += 100;
            self.view.tick(self.now);
            effects.extend(self.view.effects());
        }
        effects
    }

    /// Time in which these nodes send heartbeats, with what they have.
    fn live(&mut self, ms: u64, nodes: &[(&str, usize, usize)]) -> Vec<Effect> {
        let mut effects = Vec::new();
        for _ in 0..ms / 2_000 {
            for (node, m, c) in nodes {
                effects.extend(self.say(node, Body::Beat { m: *m, c: *c }));
            }
            effects.extend(self.wait(2_000));
        }
        effects
    }

    fn settled(own: &str) -> Self {
        let mut stage = Self::new(own);
        stage.say(own, Body::Hello);
        stage.wait(100);
        assert!(stage.view.is_whole());
        stage
    }
}

fn snapshot(seats: Vec<Seat>, channels: &[(&str, usize)]) -> Body {
    let own = |(c, n): &(&str, usize)| ((*c).to_owned(), *n);
    Body::Snapshot {
        part: 0,
        of: 1,
        m: seats,
        o: channels.iter().map(own).collect(),
    }
}

fn happened(effects: &[Effect]) -> Vec<(What, String)> {
    let each = effects.iter().filter_map(|effect| match effect {
        Effect::Happened(happening) => {
            let who = happening.user.clone().unwrap_or_default();
            Some((happening.what, format!("{} {who}", happening.channel)))
        }
        _ => None,
    });
    each.collect()
}

#[test]
fn presence_is_whole_once_all_nodes_heard_from_have_told() {
    let mut stage = Stage::new("c");
    for (node, sequence) in [("a", 40), ("b", 7)] {
        let record = Record {
            node: node.to_owned(),
            sequence,
            body: Body::Beat { m: 1, c: 1 },
        };
        stage.view.preview(&record, stage.now);
        stage.sequences.insert(node.to_owned(), sequence);
    }
    stage.say("c", Body::Hello);
    stage.wait(500);
    assert!(!stage.view.is_whole());
    let told = snapshot(vec![seat("presence-x", "1.1", "7")], &[("presence-x", 1)]);
    let effects = stage.say("a", told);
    assert!(matches!(&effects[..], [Effect::Replace { node, .. }] if node == "a"));
    stage.wait(100);
    assert!(!stage.view.is_whole());
    stage.say("b", snapshot(vec![], &[]));
    stage.wait(100);
    assert!(stage.view.is_whole());
    assert_eq!(stage.view.others(), ["a", "b"]);
    assert!(stage.view.is_elsewhere("presence-x") && !stage.view.is_elsewhere("y"));
}

#[test]
fn a_node_that_never_tells_is_waited_for_three_seconds_and_asked_again() {
    let mut stage = Stage::new("c");
    stage.say("c", Body::Hello);
    let record = Record {
        node: "a".to_owned(),
        sequence: 5,
        body: Body::Beat { m: 1, c: 1 },
    };
    stage.view.preview(&record, stage.now);
    let effects = stage.wait(2_900);
    assert!(!stage.view.is_whole());
    assert!(effects.contains(&Effect::AskGap { of: "a".to_owned() }));
    stage.wait(200);
    assert!(stage.view.is_whole());
}

#[test]
fn a_hello_is_answered_and_a_gap_is_asked_about() {
    let mut stage = Stage::settled("b");
    assert_eq!(stage.say("a", Body::Hello), [Effect::Tell]);
    assert_eq!(stage.view.others(), ["a"]);
    stage.live(2_000, &[("b", 0, 0), ("a", 0, 0)]);
    let came = seat("presence-x", "1.1", "7");
    let effects = stage.say("a", Body::Join(came.clone()));
    assert!(effects.contains(&Effect::Add {
        node: "a".to_owned(),
        seat: came.clone()
    }));
    stage.lose("a");
    let effects = stage.say("a", Body::Beat { m: 2, c: 0 });
    assert_eq!(effects, [Effect::AskGap { of: "a".to_owned() }]);
    let second = seat("presence-x", "2.2", "8");
    let effects = stage.say("a", snapshot(vec![came, second], &[]));
    assert_eq!(happened(&effects).len(), 1);
    // What was seen before is not taken again.
    let effects = stage.record("a", 1, Body::Hello);
    assert_eq!(effects, []);
    let effects = stage.say("b", Body::Gap { of: "b".to_owned() });
    assert_eq!(effects, [Effect::Tell]);
}

#[test]
fn counts_that_do_not_fit_are_found_by_the_next_heartbeat() {
    let mut stage = Stage::settled("b");
    stage.say("a", Body::Hello);
    stage.live(4_000, &[("b", 0, 0), ("a", 0, 0)]);
    let effects = stage.say("a", Body::Beat { m: 1, c: 0 });
    assert_eq!(effects, [Effect::AskGap { of: "a".to_owned() }]);
}

#[test]
fn a_silent_node_is_gone_after_ten_seconds_and_comes_back_by_a_snapshot() {
    let mut stage = Stage::settled("b");
    stage.say("a", Body::Hello);
    stage.say("a", Body::Join(seat("presence-x", "1.1", "7")));
    stage.say(
        "a",
        Body::Occupied {
            c: "presence-x".to_owned(),
            n: 1,
        },
    );
    let early = stage.live(8_000, &[("b", 0, 0)]);
    assert_eq!(happened(&early), []);
    let late = stage.live(4_000, &[("b", 0, 0)]);
    assert!(late.contains(&Effect::Drop {
        node: "a".to_owned()
    }));
    assert_eq!(
        happened(&late),
        [
            (What::MemberRemoved, "presence-x 7".to_owned()),
            (What::Vacated, "presence-x ".to_owned())
        ]
    );
    assert!(stage.view.is_whole());
    // An old record does not bring it back, a new one does.
    assert_eq!(stage.record("a", 2, Body::Beat { m: 1, c: 1 }), []);
    assert!(stage.view.others().is_empty());
    let effects = stage.say("a", Body::Beat { m: 1, c: 1 });
    assert_eq!(effects, [Effect::AskGap { of: "a".to_owned() }]);
    let told = snapshot(vec![seat("presence-x", "1.1", "7")], &[("presence-x", 1)]);
    let effects = stage.say("a", told);
    assert_eq!(
        happened(&effects),
        [
            (What::MemberAdded, "presence-x 7".to_owned()),
            (What::Occupied, "presence-x ".to_owned())
        ]
    );
}

#[test]
fn who_hears_nobody_is_the_one_that_is_unreachable() {
    let mut stage = Stage::settled("b");
    stage.say("a", Body::Hello);
    stage.say("a", Body::Join(seat("presence-x", "1.1", "7")));
    stage.live(2_000, &[("a", 1, 0), ("b", 0, 0)]);
    let effects = stage.wait(60_000);
    assert_eq!(effects, [Effect::Isolated]);
    assert!(!stage.view.is_whole() && stage.view.is_isolated());
    assert_eq!(stage.view.others(), ["a"]);
    assert!(!stage.view.is_heard(stage.now));
    let effects = stage.say("a", Body::Beat { m: 1, c: 0 });
    assert_eq!(effects, [Effect::Back]);
    // The others get their time again.
    assert!(!stage
        .wait(5_000)
        .iter()
        .any(|effect| matches!(effect, Effect::Drop { .. })));
    assert!(stage.view.is_whole());
}

#[test]
fn a_process_that_was_stopped_blames_nobody() {
    let mut stage = Stage::settled("b");
    stage.say("a", Body::Hello);
    stage.live(2_000, &[("a", 0, 0), ("b", 0, 0)]);
    stage.now += 60_000;
    stage.view.tick(stage.now);
    assert_eq!(stage.view.effects(), []);
    assert!(stage.view.is_whole());
    let effects = stage.live(14_000, &[("b", 0, 0)]);
    assert!(effects.contains(&Effect::Drop {
        node: "a".to_owned()
    }));
}

#[test]
fn who_ends_in_order_is_missed_after_five_seconds() {
    let mut stage = Stage::settled("b");
    stage.say("a", Body::Hello);
    stage.say("a", Body::Join(seat("presence-x", "1.1", "7")));
    stage.say("a", Body::Bye);
    assert!(stage.view.others().is_empty());
    // The user comes back to this gateway meanwhile: nobody was added, and nobody will be removed.
    stage.say("b", Body::Beat { m: 0, c: 0 });
    let effects = stage.say("b", Body::Join(seat("presence-x", "9.9", "7")));
    assert_eq!(happened(&effects), []);
    let early = stage.wait(4_900);
    assert_eq!(early, []);
    let late = stage.wait(200);
    assert_eq!(
        late,
        [Effect::Drop {
            node: "a".to_owned()
        }]
    );
}

#[test]
fn the_lowest_live_node_speaks_for_all() {
    let mut stage = Stage::settled("b");
    assert!(stage.view.leads());
    stage.say("a", Body::Hello);
    assert!(!stage.view.leads());
    stage.say("c", Body::Hello);
    stage.say("a", Body::Bye);
    assert!(stage.view.leads());
}

#[test]
fn first_and_last_are_counted_over_all_nodes() {
    let mut stage = Stage::settled("b");
    stage.say("a", Body::Hello);
    let occupied = |n| Body::Occupied {
        c: "news".to_owned(),
        n,
    };
    assert_eq!(
        happened(&stage.say("a", occupied(1))),
        [(What::Occupied, "news ".to_owned())]
    );
    assert_eq!(happened(&stage.say("b", occupied(3))), []);
    assert_eq!(happened(&stage.say("a", occupied(0))), []);
    assert_eq!(
        happened(&stage.say("b", occupied(0))),
        [(What::Vacated, "news ".to_owned())]
    );
}

#[test]
fn a_snapshot_in_parts_counts_when_it_is_whole() {
    let mut stage = Stage::settled("b");
    stage.live(4_000, &[("b", 0, 0)]);
    stage.sequences.insert("a".to_owned(), 9);
    let part = |part, seats| Body::Snapshot {
        part,
        of: 2,
        m: seats,
        o: vec![],
    };
    stage.say("a", Body::Beat { m: 2, c: 0 });
    let effects = stage.say("a", part(0, vec![seat("presence-x", "1.1", "7")]));
    assert_eq!(effects, []);
    // The second part is lost: it begins anew.
    stage.lose("a");
    stage.say("a", part(0, vec![seat("presence-x", "1.1", "7")]));
    let effects = stage.say("a", part(1, vec![seat("presence-x", "2.2", "8")]));
    assert!(effects
        .iter()
        .any(|e| matches!(e, Effect::Replace { seats, .. } if seats.len() == 2)));
}
