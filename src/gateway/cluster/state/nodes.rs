//! Nodes: sequence checks, snapshot requests, timeouts and removal.

use std::collections::HashMap;

use super::super::wire::Body;
use super::{ClusterState, Effect, Node};
use crate::gateway::cluster::webhook_state::WebhookEvent;

/// A tick delayed by this much means that the process was suspended, ms.
pub(in crate::gateway::cluster) const SUSPENDED_AFTER: u64 = 3_000;
/// Number of removed nodes whose last sequence is kept, so that old records do not add them again.
const MAX_REMOVED_NODES: usize = 1_000;

impl ClusterState {
    /// False for a record that was handled before. A gap in the numbers means that records are missing.
    pub(super) fn check_sequence(
        &mut self,
        id: &str,
        sequence: u64,
        body: &Body,
        now: u64,
    ) -> bool {
        let begins = matches!(body, Body::Hello) && sequence == 1;
        match self.nodes.get_mut(id) {
            Some(node) if sequence <= node.sequence => return false,
            Some(node) => {
                if sequence > node.sequence + 1 {
                    node.synced = false;
                    node.partial_snapshot = None;
                }
                node.sequence = sequence;
                node.last_seen = now;
                node.heard_at = now;
            }
            None => {
                if self.removed_sequence(id) >= sequence {
                    return false;
                }
                let node = Node {
                    sequence,
                    last_seen: now,
                    heard_at: now,
                    synced: begins,
                    ..Node::default()
                };
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
    pub(super) fn request_snapshot(&mut self, id: &str, now: u64) {
        let Some(hello_received) = self.hello_received else {
            return;
        };
        let again = self.timing.resync_interval;
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

    pub(super) fn record_activity(&mut self, id: &str, now: u64) {
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

    pub(super) fn reset_deadlines(&mut self, now: u64) {
        self.last_record_at = now;
        let drain_until = now + self.timing.drain_members;
        for node in self.nodes.values_mut() {
            node.last_seen = now;
            node.leaving_until = node.leaving_until.map(|_| drain_until);
        }
    }

    pub(super) fn hello(&mut self, id: &str, now: u64) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.synced = true;
        }
        if id == self.own {
            self.hello_received = Some(now);
        } else if self.hello_received.is_some() {
            self.effects.push(Effect::SendSnapshot);
        }
    }

    pub(super) fn heartbeat(&mut self, id: &str, members: usize, channels: usize, now: u64) {
        if let Some(node) = self.nodes.get_mut(id) {
            let counted: usize = node.members.values().map(HashMap::len).sum();
            if node.synced && (counted != members || node.channels.len() != channels) {
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

    pub(super) fn remove_node(&mut self, id: &str) {
        let Some(node) = self.nodes.remove(id) else {
            return;
        };
        self.remember_removed(id, node.sequence);
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

    pub(super) fn emit_webhook(&mut self, events: Option<WebhookEvent>) {
        // Events from before this gateway was ready were written by others.
        if self.presence_complete {
            self.effects.extend(events.map(Effect::Webhook));
        }
    }

    pub(super) fn remember_removed(&mut self, id: &str, sequence: u64) {
        self.removed_nodes.retain(|(known, _)| known != id);
        self.removed_nodes.push_back((id.to_owned(), sequence));
        if self.removed_nodes.len() > MAX_REMOVED_NODES {
            self.removed_nodes.pop_front();
        }
    }

    pub(super) fn removed_sequence(&self, id: &str) -> u64 {
        let mut removed_nodes = self.removed_nodes.iter();
        removed_nodes
            .find(|(known, _)| known == id)
            .map_or(0, |(_, sequence)| *sequence)
    }
}
