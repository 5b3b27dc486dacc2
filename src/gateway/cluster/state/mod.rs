//! The state of all gateways: a state machine over their records and time, without I/O. Its results are effects.
//!
//! All gateways read the same records in the same order, their own among them, so they reach the same state.

mod effect;
mod members;
mod nodes;

pub use effect::{Effect, Timing};
pub(super) use nodes::SUSPENDED_AFTER;

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::webhook_state::WebhookState;
use super::wire::{Body, ControlRecord, PresenceMember};
use crate::gateway::protocol::frame::Member;
use crate::gateway::protocol::SocketId;

#[derive(Debug, Default)]
struct Node {
    sequence: u64,
    last_seen: u64,
    /// Time of the last record that was read from the node.
    heard_at: u64,
    /// No record of the node is missing.
    synced: bool,
    /// Time of the last request for its snapshot.
    snapshot_requested: Option<u64>,
    leaving_until: Option<u64>,
    partial_snapshot: Option<PartialSnapshot>,
    members: HashMap<String, HashMap<SocketId, Member>>,
    channels: HashMap<String, usize>,
}

#[derive(Debug, Default)]
struct PartialSnapshot {
    next: u32,
    members: Vec<PresenceMember>,
    channels: Vec<(String, usize)>,
}

pub struct ClusterState {
    own: String,
    timing: Timing,
    nodes: BTreeMap<String, Node>,
    removed_nodes: VecDeque<(String, u64)>,
    webhook_state: WebhookState,
    last_record_at: u64,
    own_record_at: Option<u64>,
    /// Time at which the own hello was read.
    hello_received: Option<u64>,
    presence_complete: bool,
    isolated: bool,
    last_tick: Option<u64>,
    effects: Vec<Effect>,
}

impl ClusterState {
    /// Creates the state of a node that knows no others.
    #[must_use]
    pub fn new(own: &str, timing: Timing, now: u64) -> Self {
        Self {
            own: own.to_owned(),
            timing,
            nodes: BTreeMap::new(),
            removed_nodes: VecDeque::new(),
            webhook_state: WebhookState::default(),
            last_record_at: now,
            own_record_at: None,
            hello_received: None,
            presence_complete: false,
            isolated: false,
            last_tick: None,
            effects: Vec::new(),
        }
    }

    /// Takes the effects since the last call.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// True when the members of all known nodes are known and this gateway is not isolated.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.presence_complete && !self.isolated
    }

    /// True while this gateway reads its own records.
    #[must_use]
    pub fn receives_own_records(&self, now: u64) -> bool {
        self.own_record_at
            .is_some_and(|read_at| now.saturating_sub(read_at) < self.timing.node_timeout)
    }

    /// True when no record arrived within the node timeout.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// The other live nodes.
    #[must_use]
    pub fn other_nodes(&self) -> Vec<&str> {
        let other_nodes = self.nodes.iter();
        other_nodes
            .filter(|(id, node)| **id != self.own && node.leaving_until.is_none())
            .map(|(id, _)| id.as_str())
            .collect()
    }

    /// True if this is the lowest live node, which writes the webhooks.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        let mut alive = self.nodes.iter().filter(|(_, n)| n.leaving_until.is_none());
        self.is_complete() && alive.next().is_some_and(|(id, _)| *id == self.own)
    }

    /// Sequence number of the last own record that was read.
    #[must_use]
    pub fn own_sequence(&self) -> u64 {
        self.nodes.get(&self.own).map_or(0, |node| node.sequence)
    }

    /// True if another node has sockets on the channel.
    #[must_use]
    pub fn has_remote_subscribers(&self, channel: &str) -> bool {
        self.nodes
            .iter()
            .any(|(id, node)| *id != self.own && node.channels.contains_key(channel))
    }

    /// True if a node that was heard after `since` has the user on the channel, or without a user any socket.
    #[must_use]
    pub fn is_present(&self, channel: &str, user: Option<&str>, since: u64) -> bool {
        let mut alive = self
            .nodes
            .values()
            .filter(|node| node.synced && node.heard_at > since && node.leaving_until.is_none());
        alive.any(|node| match user {
            None => node.channels.contains_key(channel),
            Some(user) => node
                .members
                .get(channel)
                .is_some_and(|sockets| sockets.values().any(|member| member.user_id == user)),
        })
    }

    /// The number of subscriptions of a channel on all nodes, as they announced it.
    #[must_use]
    pub fn subscriptions(&self, channel: &str) -> usize {
        let nodes = self.nodes.values();
        nodes.filter_map(|node| node.channels.get(channel)).sum()
    }

    fn subscriptions_changed<'a>(&mut self, channels: impl IntoIterator<Item = &'a String>) {
        let effects = channels
            .into_iter()
            .map(|channel| Effect::SubscriptionsChanged {
                channel: channel.clone(),
            });
        self.effects.extend(effects);
    }

    /// Handles a record from before the start: its node may be alive.
    pub fn apply_history(&mut self, record: &ControlRecord, now: u64) {
        if matches!(record.body, Body::Bye) {
            self.nodes.remove(&record.node);
            self.remember_removed(&record.node, record.sequence);
            return;
        }
        if self.removed_sequence(&record.node) >= record.sequence {
            return;
        }
        let node = self.nodes.entry(record.node.clone()).or_default();
        node.sequence = node.sequence.max(record.sequence);
        node.last_seen = now;
    }

    /// Handles a record, in the order of the topic.
    pub fn apply(&mut self, record: ControlRecord, offset: i64, now: u64) {
        let ControlRecord {
            node: id,
            sequence,
            issued_ms: _,
            body,
        } = record;
        if !self.check_sequence(&id, sequence, &body, now) {
            return;
        }
        self.record_activity(&id, now);
        let cause = offset.to_string();
        match body {
            Body::Hello => self.hello(&id, now),
            Body::Heartbeat { m, c } => self.heartbeat(&id, m, c, now),
            Body::Join(member) => self.join(&id, member, &cause),
            Body::Leave { c, s } => self.leave(&id, &c, s, &cause),
            Body::Occupied { c, n } => self.occupied(&id, &c, n, &cause),
            Body::Snapshot { part, of, m, o } => self.snapshot(&id, part, of, m, o, &cause),
            Body::Gap { of } => {
                if of == self.own {
                    self.effects.push(Effect::SendSnapshot);
                }
            }
            Body::Bye => {
                let until = now + self.timing.drain_members;
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.leaving_until = Some(until);
                }
            }
            Body::Request { id: number, q } => {
                if id != self.own {
                    self.effects.push(Effect::AdminRequest {
                        from: id,
                        id: number,
                        request: q,
                    });
                }
            }
            Body::Response {
                id: number,
                to,
                last,
                a,
            } => {
                if to == self.own {
                    self.effects.push(Effect::AdminResponse {
                        from: id,
                        id: number,
                        last,
                        response: a,
                    });
                }
            }
            // Sent on the client topic only.
            Body::Client { .. } => {}
        }
    }
}
