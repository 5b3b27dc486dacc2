//! The effects of records and of time on this gateway, and the timing of the state machine.

use super::super::webhook_state::WebhookEvent;
use super::super::wire::PresenceMember;
use crate::config::gateway_settings::Settings;
use crate::gateway::backend::{AdminRequest, AdminResponse};
use crate::gateway::protocol::SocketId;

/// Timeouts and intervals, in ms.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub heartbeat: u64,
    /// A node without a record for this long is removed.
    pub node_timeout: u64,
    /// The members of a draining node stay this long.
    pub drain_members: u64,
    /// Maximum wait for the snapshots of the known nodes.
    pub presence_wait: u64,
    /// A missing snapshot is requested again after this.
    pub resync_interval: u64,
}

impl Timing {
    /// Reads the timing from the settings.
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

/// Work that results from a record or from time.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A member of another gateway joined.
    AddMember {
        node: String,
        member: PresenceMember,
    },
    /// A member of another gateway left.
    RemoveMember {
        node: String,
        channel: String,
        socket: SocketId,
    },
    /// A snapshot of another gateway is complete.
    ReplaceMembers {
        node: String,
        members: Vec<PresenceMember>,
    },
    /// Another gateway was removed.
    RemoveNode {
        node: String,
    },
    /// This gateway must send a snapshot.
    SendSnapshot,
    /// This gateway must request a snapshot.
    RequestSnapshot {
        of: String,
    },
    Webhook(WebhookEvent),
    /// The number of subscriptions of a channel changed.
    SubscriptionsChanged {
        channel: String,
    },
    /// A request of another gateway.
    AdminRequest {
        from: String,
        id: u64,
        request: AdminRequest,
    },
    /// A part of the response to this gateway's request.
    AdminResponse {
        from: String,
        /// The number of the request.
        id: u64,
        /// True for the last part.
        last: bool,
        response: AdminResponse,
    },
    /// No record arrived within the node timeout: this gateway is isolated.
    Isolated,
    Reconnected,
}
