//! Requests of the HTTP API and of operators that all gateways answer or carry out together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::protocol::SocketId;

/// Selects connections; all given conditions must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Signed in as this user, or member of a presence channel as this user.
    pub user: Option<String>,
    pub socket: Option<SocketId>,
    /// Subscribed to this socket channel.
    pub channel: Option<String>,
}

impl Target {
    /// True without conditions. A command with an empty target matches no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A query or a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminRequest {
    /// Occupied channels whose name begins with `prefix`.
    Channels {
        prefix: String,
    },
    /// The number of subscriptions of a channel.
    Channel {
        name: String,
    },
    Connections {
        /// An empty target selects all connections.
        target: Target,
    },
    /// Close the connections of a signed-in user with 4009.
    Terminate {
        user: String,
    },
    Kick {
        target: Target,
    },
    /// End subscriptions to `channel`.
    Unsubscribe {
        target: Target,
        channel: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionInfo {
    pub socket: SocketId,
    /// Node id of its gateway.
    pub node: String,
    pub address: String,
    pub user: Option<String>,
    pub channels: Vec<String>,
    pub seconds: u64,
    /// Bytes in the send queue.
    pub queued: usize,
}

/// The response of one gateway, or the merged responses of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminResponse {
    /// Channels and their numbers of subscriptions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<String, usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<ConnectionInfo>,
    /// Number of connections closed or subscriptions ended.
    #[serde(default)]
    pub count: usize,
}

impl AdminResponse {
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        for (channel, sockets) in other.channels {
            *self.channels.entry(channel).or_default() += sockets;
        }
        self.connections.extend(other.connections);
        self.count += other.count;
        self
    }
}
