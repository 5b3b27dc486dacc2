//! Questions that are answered by all gateways together, and orders that go to all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::protocol::SocketId;

/// Which connections are meant; every condition given has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Signed in as this user, or member of a presence channel as this user.
    pub user: Option<String>,
    /// This very socket.
    pub socket: Option<SocketId>,
    /// Subscribed to this socket channel.
    pub channel: Option<String>,
}

impl Target {
    /// True where no condition is given: such a target means nobody, never everybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is asked, or ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminRequest {
    /// Occupied channels whose name begins with this.
    Channels {
        /// Empty for all.
        prefix: String,
    },
    /// One channel's subscriptions.
    Channel {
        /// Its name.
        name: String,
    },
    /// Open connections.
    Connections {
        /// Which; an empty target for all.
        target: Target,
    },
    /// Close a user's connections with 4009, as the HTTP API does.
    Terminate {
        /// The signed-in user.
        user: String,
    },
    /// Close connections with 4009.
    Kick {
        /// Which.
        target: Target,
    },
    /// End subscriptions.
    Unsubscribe {
        /// Whose.
        target: Target,
        /// Of which channel.
        channel: String,
    },
}

/// One open connection, for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionInfo {
    /// Its id.
    pub socket: SocketId,
    /// The gateway it is on.
    pub node: String,
    /// The client's address.
    pub address: String,
    /// The signed-in user.
    pub user: Option<String>,
    /// Its channels, at most 100.
    pub channels: Vec<String>,
    /// Seconds since it was opened.
    pub seconds: u64,
    /// Bytes that wait for it.
    pub queued: usize,
}

/// What one gateway answers, or all of them merged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminResponse {
    /// Channels and their subscriptions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<String, usize>,
    /// Connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<ConnectionInfo>,
    /// Connections closed or subscriptions ended.
    #[serde(default)]
    pub count: usize,
}

impl AdminResponse {
    /// Both answers as one.
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
