//! Counts channels and users over all gateways, to derive webhooks from the first and the last.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::socket_events::webhook_envelope;
use crate::config::gateway_settings::EventKind;
use crate::envelope::write_php_string;
use crate::gateway::protocol::frame::Member;
use crate::gateway::protocol::SocketId;

/// One event for webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookEvent {
    pub kind: EventKind,
    pub channel: String,
    pub user: Option<String>,
    /// A hash of the event and its cause. It is the same on every gateway, so that the event is written once.
    pub id: String,
    /// Caused by the timeout or return of a node: another gateway may derive the same event from another cause, with
    /// another id.
    pub by_absence: bool,
}

impl WebhookEvent {
    pub(super) fn new(kind: EventKind, channel: &str, user: Option<&str>, cause: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [kind.as_str(), channel, user.unwrap_or_default(), cause] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self {
            kind,
            channel: channel.to_owned(),
            user: user.map(str::to_owned),
            id: hex::encode(&hash.finalize()[..16]),
            by_absence: false,
        }
    }

    /// The record value: an envelope whose event is the name of the webhook.
    pub(super) fn envelope(&self) -> Vec<u8> {
        let data = self.user.as_ref().map(|user| {
            let mut data = b"{\"user_id\":".to_vec();
            write_php_string(&mut data, user);
            data.push(b'}');
            data
        });
        webhook_envelope(&self.id, self.kind, &self.channel, data.as_deref())
    }
}

#[derive(Debug, Default)]
pub(super) struct WebhookState {
    /// Number of nodes with sockets on a channel.
    nodes: HashMap<String, usize>,
    /// Number of a user's sockets on a channel.
    members: HashMap<(String, String), usize>,
}

impl WebhookState {
    /// Adds a node with sockets on the channel.
    pub fn occupy(&mut self, channel: &str, cause: &str) -> Option<WebhookEvent> {
        let count = self.nodes.entry(channel.to_owned()).or_default();
        *count += 1;
        (*count == 1).then(|| WebhookEvent::new(EventKind::Occupied, channel, None, cause))
    }

    /// Removes a node from the channel.
    pub fn vacate(&mut self, channel: &str, cause: &str) -> Option<WebhookEvent> {
        let count = self.nodes.get_mut(channel)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.nodes.remove(channel);
        Some(WebhookEvent::new(EventKind::Vacated, channel, None, cause))
    }

    /// Adds a user's socket.
    pub fn add_member(&mut self, channel: &str, user: &str, cause: &str) -> Option<WebhookEvent> {
        let key = (channel.to_owned(), user.to_owned());
        let count = self.members.entry(key).or_default();
        *count += 1;
        (*count == 1).then(|| WebhookEvent::new(EventKind::MemberAdded, channel, Some(user), cause))
    }

    /// Removes a user's socket.
    pub fn remove_member(
        &mut self,
        channel: &str,
        user: &str,
        cause: &str,
    ) -> Option<WebhookEvent> {
        let key = (channel.to_owned(), user.to_owned());
        let count = self.members.get_mut(&key)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.members.remove(&key);
        Some(WebhookEvent::new(
            EventKind::MemberRemoved,
            channel,
            Some(user),
            cause,
        ))
    }

    /// Removes everything of a node.
    pub fn clear(
        &mut self,
        members: &HashMap<String, HashMap<SocketId, Member>>,
        channels: &HashMap<String, usize>,
        cause: &str,
    ) -> Vec<WebhookEvent> {
        let mut events = Vec::new();
        for (channel, channel_members) in members {
            for member in channel_members.values() {
                events.extend(self.remove_member(channel, &member.user_id, cause));
            }
        }
        for channel in channels.keys() {
            events.extend(self.vacate(channel, cause));
        }
        events
    }
}
