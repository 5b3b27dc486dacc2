//! Members and occupied channels of a node, from single records and from snapshots.

use super::super::webhook_state::WebhookEvent;
use super::super::wire::PresenceMember;
use super::{ClusterState, Effect, PartialSnapshot};
use crate::gateway::protocol::SocketId;

impl ClusterState {
    pub(super) fn join(&mut self, id: &str, member: PresenceMember, cause: &str) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let channel_members = node.members.entry(member.c.clone()).or_default();
        if channel_members.insert(member.s, member.m.clone()).is_none() {
            let events = self
                .webhook_state
                .add_member(&member.c, &member.m.user_id, cause);
            self.emit_webhook(events);
            if id != self.own {
                let node = id.to_owned();
                self.effects.push(Effect::AddMember { node, member });
            }
        }
    }

    pub(super) fn leave(&mut self, id: &str, channel: &str, socket: SocketId, cause: &str) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let Some(channel_members) = node.members.get_mut(channel) else {
            return;
        };
        let Some(member) = channel_members.remove(&socket) else {
            return;
        };
        if channel_members.is_empty() {
            node.members.remove(channel);
        }
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

    pub(super) fn occupied(&mut self, id: &str, channel: &str, sockets: usize, cause: &str) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let before = if sockets == 0 {
            node.channels.remove(channel)
        } else {
            node.channels.insert(channel.to_owned(), sockets)
        };
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

    pub(super) fn snapshot(
        &mut self,
        id: &str,
        part: u32,
        of: u32,
        members: Vec<PresenceMember>,
        channels: Vec<(String, usize)>,
        cause: &str,
    ) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        if node.synced {
            return;
        }
        if part == 0 {
            node.partial_snapshot = Some(PartialSnapshot::default());
        }
        let Some(partial_snapshot) = &mut node.partial_snapshot else {
            return;
        };
        if partial_snapshot.next != part {
            node.partial_snapshot = None;
            return;
        }
        partial_snapshot.next += 1;
        partial_snapshot.members.extend(members);
        partial_snapshot.channels.extend(channels);
        if partial_snapshot.next < of {
            return;
        }
        let Some(complete) = node.partial_snapshot.take() else {
            return;
        };
        node.synced = true;
        node.snapshot_requested = None;
        self.replace(id, complete, cause);
    }

    /// Adds the new members before it removes the old ones: a user in both did not leave.
    pub(super) fn replace(&mut self, id: &str, complete: PartialSnapshot, cause: &str) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let old_members = std::mem::take(&mut node.members);
        let old_channels = std::mem::take(&mut node.channels);
        for member in &complete.members {
            let channel_members = node.members.entry(member.c.clone()).or_default();
            channel_members.insert(member.s, member.m.clone());
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
        let by_absence = id == self.own || self.removed_sequence(id) > 0;
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
}
