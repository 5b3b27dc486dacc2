//! What this gateway knows of all gateways: a state machine over their records and the clock. It does nothing itself; what is to be
//! done comes out as effects.
//!
//! All gateways read the same records in the same order, this one's own among them, so all come to the same state.

mod effect;
mod nodes;
mod seats;

pub use effect::{Effect, Timing};
pub(super) use nodes::SLEPT;

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::totals::Totals;
use super::wire::{Body, Record, Seat};
use crate::gateway::protocol::frame::Member;
use crate::gateway::protocol::SocketId;

#[derive(Debug, Default)]
struct Node {
    sequence: u64,
    heard: u64,
    /// Nothing of it is missing.
    synced: bool,
    /// When its snapshot was asked for.
    asked: Option<u64>,
    leaving: Option<u64>,
    assembly: Option<Assembly>,
    seats: HashMap<String, HashMap<SocketId, Member>>,
    channels: HashMap<String, usize>,
}

#[derive(Debug, Default)]
struct Assembly {
    next: u32,
    seats: Vec<Seat>,
    channels: Vec<(String, usize)>,
}

/// The state.
pub struct View {
    own: String,
    timing: Timing,
    nodes: BTreeMap<String, Node>,
    graves: VecDeque<(String, u64)>,
    totals: Totals,
    heard_any: u64,
    heard_own: Option<u64>,
    /// When the own hello came back.
    greeted: Option<u64>,
    settled: bool,
    isolated: bool,
    ticked: Option<u64>,
    effects: Vec<Effect>,
}

impl View {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(own: &str, timing: Timing, now: u64) -> Self {
        Self {
            own: own.to_owned(),
            timing,
            nodes: BTreeMap::new(),
            graves: VecDeque::new(),
            totals: Totals::default(),
            heard_any: now,
            heard_own: None,
            greeted: None,
            settled: false,
            isolated: false,
            ticked: None,
            effects: Vec::new(),
        }
    }

    /// What is to be done since the last time.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// True once every node heard from has told its members, and while this gateway is not cut off.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.settled && !self.isolated
    }

    /// True while this gateway's own records come back to it.
    #[must_use]
    pub fn is_heard(&self, now: u64) -> bool {
        self.heard_own
            .is_some_and(|heard| now.saturating_sub(heard) < self.timing.silent)
    }

    /// True where nobody was heard for long.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// Other nodes that are alive.
    #[must_use]
    pub fn others(&self) -> Vec<&str> {
        let others = self.nodes.iter();
        others
            .filter(|(id, node)| **id != self.own && node.leaving.is_none())
            .map(|(id, _)| id.as_str())
            .collect()
    }

    /// True where this is the lowest live node, which speaks for all.
    #[must_use]
    pub fn leads(&self) -> bool {
        let mut alive = self.nodes.iter().filter(|(_, n)| n.leaving.is_none());
        self.is_whole() && alive.next().is_some_and(|(id, _)| *id == self.own)
    }

    /// The number of this gateway's own record that came back last.
    #[must_use]
    pub fn own_sequence(&self) -> u64 {
        self.nodes.get(&self.own).map_or(0, |node| node.sequence)
    }

    /// True where another node has told of sockets on this channel.
    #[must_use]
    pub fn is_elsewhere(&self, channel: &str) -> bool {
        self.nodes
            .iter()
            .any(|(id, node)| *id != self.own && node.channels.contains_key(channel))
    }

    /// A record that was there before this gateway started: its node may be alive.
    pub fn preview(&mut self, record: &Record, now: u64) {
        if matches!(record.body, Body::Bye) {
            self.nodes.remove(&record.node);
            self.bury(&record.node, record.sequence);
            return;
        }
        if self.grave(&record.node) >= record.sequence {
            return;
        }
        let node = self.nodes.entry(record.node.clone()).or_default();
        node.sequence = node.sequence.max(record.sequence);
        node.heard = now;
    }

    /// A record, in the order of the topic.
    pub fn apply(&mut self, record: Record, offset: i64, now: u64) {
        let Record {
            node: id,
            sequence,
            body,
        } = record;
        if !self.accept(&id, sequence, &body, now) {
            return;
        }
        self.listen(&id, now);
        let cause = offset.to_string();
        match body {
            Body::Hello => self.hello(&id, now),
            Body::Beat { m, c } => self.beat(&id, m, c, now),
            Body::Join(seat) => self.join(&id, seat, &cause),
            Body::Leave { c, s } => self.leave(&id, &c, s, &cause),
            Body::Occupied { c, n } => self.occupied(&id, &c, n, &cause),
            Body::Snapshot { part, of, m, o } => self.snapshot(&id, part, of, m, o, &cause),
            Body::Gap { of } => {
                if of == self.own {
                    self.effects.push(Effect::Tell);
                }
            }
            Body::Bye => {
                let until = now + self.timing.drain;
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.leaving = Some(until);
                }
            }
            Body::Ask { id: number, q } => {
                if id != self.own {
                    self.effects.push(Effect::Asked {
                        from: id,
                        id: number,
                        question: q,
                    });
                }
            }
            Body::Answer {
                id: number,
                to,
                last,
                a,
            } => {
                if to == self.own {
                    self.effects.push(Effect::Answered {
                        from: id,
                        id: number,
                        last,
                        answer: a,
                    });
                }
            }
            // Not on this topic.
            Body::Client { .. } => {}
        }
    }
}
