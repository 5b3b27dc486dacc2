//! The state of all gateways: a state machine over their records and time, without I/O. Its results are effects.
//!
//! All gateways read the same records in the same order, their own among them, so they reach the same state.

use std::collections::BTreeMap;

use super::node::{Node, PartialSnapshot, RemovedNodes};
use super::webhook_events::{WebhookEvent, WebhookState};
use super::wire::{Body, ControlRecord};
use super::{ClusterTiming, Effect};
use crate::gateway::hub::presence::Membership;
use crate::gateway::protocol::SocketId;

/// A tick delayed by this much means that the process was suspended, ms.
pub(super) const SUSPENDED_AFTER: u64 = 3_000;

pub struct ClusterState {
    own: String,
    timing: ClusterTiming,
    nodes: BTreeMap<String, Node>,
    removed_nodes: RemovedNodes,
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
    pub fn new(own: &str, timing: ClusterTiming, now: u64) -> Self {
        Self {
            own: own.to_owned(),
            timing,
            nodes: BTreeMap::new(),
            removed_nodes: RemovedNodes::default(),
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
            .filter(|(id, node)| **id != self.own && node.is_alive())
            .map(|(id, _)| id.as_str())
            .collect()
    }

    /// True if this is the lowest live node, which writes the webhooks.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        let mut alive = self.nodes.iter().filter(|(_, n)| n.is_alive());
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
            .filter(|node| node.synced && node.heard_at > since && node.is_alive());
        alive.any(|node| node.is_present(channel, user))
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
            self.removed_nodes.add(&record.node, record.sequence);
            return;
        }
        if self.removed_nodes.sequence(&record.node) >= record.sequence {
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

    fn join(&mut self, id: &str, member: Membership, cause: &str) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        if node.join(&member) {
            let events =
                self.webhook_state
                    .add_member(&member.channel, &member.member.user_id, cause);
            self.emit_webhook(events);
            if id != self.own {
                let node = id.to_owned();
                self.effects.push(Effect::AddMember { node, member });
            }
        }
    }

    fn leave(&mut self, id: &str, channel: &str, socket: SocketId, cause: &str) {
        let node = self.nodes.get_mut(id);
        let Some(member) = node.and_then(|node| node.leave(channel, socket)) else {
            return;
        };
        let events = self
            .webhook_state
            .remove_member(channel, &member.user_id, cause);
        self.emit_webhook(events);
        if id != self.own {
            self.effects.push(Effect::RemoveMember {
                node: id.to_owned(),
                channel: channel.to_owned(),
                socket,
            });
        }
    }

    fn occupied(&mut self, id: &str, channel: &str, sockets: usize, cause: &str) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let before = node.occupy(channel, sockets);
        let events = match (before, sockets) {
            (None, 1..) => self.webhook_state.occupy(channel, cause),
            (Some(_), 0) => self.webhook_state.vacate(channel, cause),
            _ => None,
        };
        self.emit_webhook(events);
        if before.unwrap_or(0) != sockets {
            self.subscriptions_changed([&channel.to_owned()]);
        }
    }

    fn snapshot(
        &mut self,
        id: &str,
        part: u32,
        of: u32,
        members: Vec<Membership>,
        channels: Vec<(String, usize)>,
        cause: &str,
    ) {
        let node = self.nodes.get_mut(id);
        if let Some(complete) = node.and_then(|node| node.add_part(part, of, members, channels)) {
            self.replace(id, complete, cause);
        }
    }

    /// Adds the new members before it removes the old ones: a user in both did not leave.
    fn replace(&mut self, id: &str, complete: PartialSnapshot, cause: &str) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let old_members = std::mem::take(&mut node.members);
        let old_channels = std::mem::take(&mut node.channels);
        for member in &complete.members {
            node.join(member);
        }
        node.channels = complete.channels.into_iter().collect();
        let mut events = Vec::new();
        for (channel, channel_members) in &node.members {
            for member in channel_members.values() {
                events.extend(
                    self.webhook_state
                        .add_member(channel, &member.user_id, cause),
                );
            }
        }
        for channel in node.channels.keys() {
            events.extend(self.webhook_state.occupy(channel, cause));
        }
        events.extend(self.webhook_state.clear(&old_members, &old_channels, cause));
        let mut changed = old_channels.clone();
        changed.extend(node.channels.clone());
        changed.retain(|channel, _| old_channels.get(channel) != node.channels.get(channel));
        self.subscriptions_changed(changed.keys());
        // The other gateways may have removed the node and read it as a new one; it has not removed itself.
        let by_absence = id == self.own || self.removed_nodes.sequence(id) > 0;
        for one in events {
            self.emit_webhook(Some(WebhookEvent { by_absence, ..one }));
        }
        if id != self.own {
            self.effects.push(Effect::ReplaceMembers {
                node: id.to_owned(),
                members: complete.members,
            });
        }
    }

    /// False for a record that was handled before. A gap in the numbers means that records are missing.
    fn check_sequence(&mut self, id: &str, sequence: u64, body: &Body, now: u64) -> bool {
        let begins = matches!(body, Body::Hello) && sequence == 1;
        match self.nodes.get_mut(id) {
            Some(node) if sequence <= node.sequence => return false,
            Some(node) => node.read(sequence, now),
            None => {
                if self.removed_nodes.sequence(id) >= sequence {
                    return false;
                }
                let mut node = Node::default();
                node.read(sequence, now);
                node.synced = begins;
                self.nodes.insert(id.to_owned(), node);
            }
        }
        // During a snapshot no other is requested.
        if !matches!(body, Body::Snapshot { .. } | Body::Hello | Body::Bye) {
            self.request_snapshot(id, now);
        }
        true
    }

    /// Requests the snapshot of an unsynchronized node, unless it was requested recently, also by the own hello.
    fn request_snapshot(&mut self, id: &str, now: u64) {
        let Some(hello_received) = self.hello_received else {
            return;
        };
        let again = self.timing.heartbeat;
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let snapshot_requested = node.snapshot_requested.unwrap_or(hello_received);
        let is_new =
            node.snapshot_requested.is_none() && now.saturating_sub(hello_received) >= again;
        if node.synced || !(is_new || now.saturating_sub(snapshot_requested) >= again) {
            return;
        }
        node.snapshot_requested = Some(now);
        self.effects.push(if id == self.own {
            Effect::SendSnapshot
        } else {
            Effect::RequestSnapshot { of: id.to_owned() }
        });
    }

    fn record_activity(&mut self, id: &str, now: u64) {
        if self.is_frozen(now) {
            // The other nodes were not silent: this node received nothing. They get the full time to send again.
            self.reset_deadlines(now);
        }
        self.last_record_at = now;
        if id == self.own {
            self.own_record_at = Some(now);
        }
        if std::mem::take(&mut self.isolated) {
            self.effects.push(Effect::Reconnected);
        }
    }

    fn reset_deadlines(&mut self, now: u64) {
        self.last_record_at = now;
        let drain_until = now + self.timing.drain_members;
        for node in self.nodes.values_mut() {
            node.last_seen = now;
            node.leaving_until = node.leaving_until.map(|_| drain_until);
        }
    }

    fn hello(&mut self, id: &str, now: u64) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.synced = true;
        }
        if id == self.own {
            self.hello_received = Some(now);
        } else if self.hello_received.is_some() {
            self.effects.push(Effect::SendSnapshot);
        }
    }

    fn heartbeat(&mut self, id: &str, members: usize, channels: usize, now: u64) {
        if let Some(node) = self.nodes.get_mut(id) {
            if node.synced && !node.has(members, channels) {
                node.synced = false;
                self.request_snapshot(id, now);
            }
        }
    }

    /// True when no record of any node, this one included, has arrived for half of the node timeout. The members then
    /// stay as they are: without its own heartbeats this node cannot tell an outage of Kafka from the failure of other
    /// nodes. Half of the timeout is before any node can expire, and after more than one heartbeat.
    fn is_frozen(&self, now: u64) -> bool {
        now.saturating_sub(self.last_record_at) >= self.timing.node_timeout / 2
    }

    /// Removes expired nodes, completes presence, and requests missing snapshots.
    pub fn tick(&mut self, now: u64) {
        let slept = self
            .last_tick
            .replace(now)
            .is_some_and(|before| now.saturating_sub(before) > SUSPENDED_AFTER);
        if slept {
            // This process was suspended, not the other nodes: their records have not been read yet.
            self.reset_deadlines(now);
        }
        if self.isolated {
            return;
        }
        let silent = self.timing.node_timeout;
        if now.saturating_sub(self.last_record_at) >= silent {
            self.isolated = true;
            self.effects.push(Effect::Isolated);
            return;
        }
        let is_frozen = self.is_frozen(now);
        let expired: Vec<String> = self
            .nodes
            .iter()
            .filter(|_| !is_frozen)
            .filter(|(id, node)| {
                let is_left = node.leaving_until.is_some_and(|until| now >= until);
                let is_silent = now.saturating_sub(node.last_seen) >= silent;
                **id != self.own && (is_left || is_silent)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in expired {
            self.remove_node(&id);
        }
        if let (false, Some(hello_received)) = (self.presence_complete, self.hello_received) {
            let all = self.nodes.values().all(|node| node.synced);
            self.presence_complete =
                all || now.saturating_sub(hello_received) >= self.timing.presence_wait;
        }
        let unsynced: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| !node.synced)
            .map(|(id, _)| id.clone())
            .collect();
        for id in unsynced {
            self.request_snapshot(&id, now);
        }
    }

    fn remove_node(&mut self, id: &str) {
        let Some(node) = self.nodes.remove(id) else {
            return;
        };
        self.removed_nodes.add(id, node.sequence);
        // The same cause on every gateway, although each uses its own clock.
        let cause = format!("gone {id}");
        let events = self
            .webhook_state
            .clear(&node.members, &node.channels, &cause);
        for one in events {
            self.emit_webhook(Some(WebhookEvent {
                by_absence: true,
                ..one
            }));
        }
        self.subscriptions_changed(node.channels.keys());
        self.effects.push(Effect::RemoveNode {
            node: id.to_owned(),
        });
    }

    fn emit_webhook(&mut self, events: Option<WebhookEvent>) {
        // Events from before this gateway was ready were written by others.
        if self.presence_complete {
            self.effects.extend(events.map(Effect::Webhook));
        }
    }
}
