//! What the view asks for: the effects of records and of the clock, and the numbers it goes by.

use super::super::webhook_state::WebhookEvent;
use super::super::wire::PresenceMember;
use crate::gateway::admin_api::{AdminRequest, AdminResponse};
use crate::gateway::protocol::SocketId;
use crate::gateway::settings::Settings;

/// The numbers, in ms.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between two heartbeats.
    pub heartbeat: u64,
    /// A node that is silent for so long is gone.
    pub node_timeout: u64,
    /// The members of a node that ended in order stay for so long.
    pub drain_members: u64,
    /// Presence waits so long for the nodes heard from.
    pub presence_wait: u64,
    /// A snapshot that did not come is asked for again after this.
    pub resync_interval: u64,
}

impl Timing {
    /// As the settings have them.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            heartbeat: ms(settings.heartbeat),
            node_timeout: ms(settings.node_timeout),
            drain_members: ms(settings.drain_members),
            presence_wait: ms(settings.presence_wait),
            resync_interval: ms(settings.heartbeat),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A seat of another gateway was taken.
    AddMember {
        /// Whose.
        node: String,
        /// Which.
        member: PresenceMember,
    },
    /// A seat of another gateway is free.
    RemoveMember {
        /// Whose.
        node: String,
        /// The channel.
        channel: String,
        /// The socket.
        socket: SocketId,
    },
    /// Everything another gateway has was told anew.
    ReplaceMembers {
        /// Whose.
        node: String,
        /// Its seats.
        members: Vec<PresenceMember>,
    },
    /// Another gateway is gone.
    RemoveNode {
        /// Which.
        node: String,
    },
    /// This gateway is to tell all it has.
    SendSnapshot,
    /// This gateway is to ask a node for all it has.
    RequestSnapshot {
        /// Which.
        of: String,
    },
    /// Something for the webhooks.
    Webhook(WebhookEvent),
    /// A question of another gateway.
    AdminRequest {
        /// Who asks.
        from: String,
        /// Its number.
        id: u64,
        /// What.
        request: AdminRequest,
    },
    /// An answer to a question of this gateway.
    AdminResponse {
        /// Who answers.
        from: String,
        /// The question's number.
        id: u64,
        /// True for the last part.
        last: bool,
        /// What.
        answer: AdminResponse,
    },
    /// Nobody was heard for long: this is the one that is cut off.
    Isolated,
    /// Somebody is heard again.
    Reconnected,
}
