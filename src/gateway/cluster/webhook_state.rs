//! Channels and users over all gateways together: what was first and what was last, for webhooks.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::gateway::protocol::frame::Member;
use crate::gateway::protocol::SocketId;

/// What happened to a channel or a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The first socket came.
    Occupied,
    /// The last one went.
    Vacated,
    /// A user's first socket came.
    MemberAdded,
    /// A user's last socket went.
    MemberRemoved,
}

impl EventKind {
    /// Pusher's name of the webhook.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Occupied => "channel_occupied",
            Self::Vacated => "channel_vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        let all = [
            Self::Occupied,
            Self::Vacated,
            Self::MemberAdded,
            Self::MemberRemoved,
        ];
        all.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One event for webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookEvent {
    /// What.
    pub kind: EventKind,
    /// Where.
    pub channel: String,
    /// Who.
    pub user: Option<String>,
    /// The same on every gateway, so that it is told once: a hash of what happened and of its cause.
    pub id: String,
    /// A node fell silent: on another gateway the same may have another cause, and so another id.
    pub by_timeout: bool,
}

impl WebhookEvent {
    fn new(kind: EventKind, channel: &str, user: Option<&str>, cause: &str) -> Self {
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
            by_timeout: false,
        }
    }
}

/// The counts.
#[derive(Debug, Default)]
pub(super) struct WebhookState {
    /// Nodes with sockets on a channel.
    nodes: HashMap<String, usize>,
    /// Sockets of a user on a channel.
    members: HashMap<(String, String), usize>,
}

impl WebhookState {
    /// One node more has sockets there.
    pub fn occupy(&mut self, channel: &str, cause: &str) -> Option<WebhookEvent> {
        let count = self.nodes.entry(channel.to_owned()).or_default();
        *count += 1;
        (*count == 1).then(|| WebhookEvent::new(EventKind::Occupied, channel, None, cause))
    }

    /// One node less.
    pub fn vacate(&mut self, channel: &str, cause: &str) -> Option<WebhookEvent> {
        let count = self.nodes.get_mut(channel)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.nodes.remove(channel);
        Some(WebhookEvent::new(EventKind::Vacated, channel, None, cause))
    }

    /// One seat more.
    pub fn add_member(&mut self, channel: &str, user: &str, cause: &str) -> Option<WebhookEvent> {
        let key = (channel.to_owned(), user.to_owned());
        let count = self.members.entry(key).or_default();
        *count += 1;
        (*count == 1).then(|| WebhookEvent::new(EventKind::MemberAdded, channel, Some(user), cause))
    }

    /// One seat less.
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

    /// All that a node had is gone.
    pub fn clear(
        &mut self,
        members: &HashMap<String, HashMap<SocketId, Member>>,
        channels: &HashMap<String, usize>,
        cause: &str,
    ) -> Vec<WebhookEvent> {
        let mut events = Vec::new();
        for (channel, room) in members {
            for member in room.values() {
                events.extend(self.remove_member(channel, &member.user_id, cause));
            }
        }
        for channel in channels.keys() {
            events.extend(self.vacate(channel, cause));
        }
        events
    }
}
