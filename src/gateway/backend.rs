//! The interfaces between the hub and Kafka: [`Cluster`] for the other gateways, [`History`] for missed events.
//! Requests of operators and of the HTTP API, which all gateways answer or carry out together, are here too.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::broadcast::{Broadcast, Position};
use super::protocol::incoming::Member;
use super::protocol::SocketId;
use crate::error::Result;

pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An event of the HTTP API, to be published to all gateways.
#[derive(Debug, Clone)]
pub struct ApiEvent {
    /// The exact name of the socket channel.
    pub channel: String,
    /// Name of the event.
    pub event: String,
    /// The JSON in the caller's data string; a JSON string if it contains no JSON.
    pub data: Box<RawValue>,
    /// True if it contains no JSON.
    pub is_text: bool,
    /// The socket to leave out.
    pub except: Option<SocketId>,
}

/// An event of one socket that webhooks are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketEvent {
    ClientEvent {
        channel: String,
        event: String,
        /// JSON.
        data: String,
        socket: SocketId,
        /// The sending user, on presence channels.
        user: Option<String>,
    },
    /// The socket subscribed to a cache channel that has no event.
    CacheMiss { channel: String },
}

/// The other gateways. Without any, most calls have nothing to do.
pub trait Cluster: Send + Sync {
    /// A socket of this gateway joined a presence channel.
    fn joined(&self, _channel: &str, _socket: SocketId, _member: &Member) {}
    /// A socket of this gateway left a presence channel.
    fn left(&self, _channel: &str, _socket: SocketId) {}
    /// The number of this gateway's sockets on a channel changed. Called for 0 → 1 and 1 → 0 only.
    fn occupied(&self, _channel: &str, _sockets: usize) {}
    /// Sends a client event to the sockets of other gateways.
    fn client_event(&self, _channel: &str, _event: &str, _data: &RawValue, _user: Option<&str>) {}
    /// An event of a socket of this gateway, for webhooks.
    fn socket_event(&self, _event: SocketEvent) {}
    /// True once the members of all known gateways are known.
    fn presence_ready(&self) -> watch::Receiver<bool>;
    /// Publishes events of the HTTP API to all gateways. Ready once Kafka has acknowledged them. An error of the kinds
    /// `InvalidChannel` and `MessageTooLarge` is the caller's; nothing was sent.
    fn publish(&self, events: Vec<ApiEvent>) -> BoxFuture<Result<()>>;
    /// Sends a request to all gateways and merges the responses that arrive in time.
    fn send_admin_request(&self, request: AdminRequest) -> BoxFuture<AdminResponse>;
    /// The gateway is about to close its sockets: the other gateways keep its members for a moment, so that clients can
    /// reconnect there.
    fn drain(&self) {}
    /// Ok if Kafka is reachable and presence is complete; otherwise the reason as text.
    fn ready(&self) -> std::result::Result<(), String>;
}

/// The channel, socket and user that a token is issued for.
#[derive(Debug, Clone)]
pub struct TokenSubject {
    pub channel: String,
    pub socket: SocketId,
    pub user: Option<String>,
}

/// The events that a client missed on a channel.
#[derive(Debug, Default)]
pub struct Replay {
    /// True if no event is missing.
    pub recovered: bool,
    /// The events in order: only those that reach the channel, without duplicates and without events that excluded the
    /// old socket.
    pub events: Vec<Arc<Broadcast>>,
    /// All records below are among the events or do not concern the channel.
    pub up_to: Position,
    /// True if Kafka was read for the replay.
    pub scanned: bool,
}

/// Positions, and the events after them.
///
/// The feed first stores each record here, then lets the hub deliver it, then advances the position. A subscriber is
/// added before its replay starts, so no record is missed in between.
pub trait History: Send + Sync {
    /// Next offsets of all partitions that feed the channel: all records below were delivered by the hub.
    fn position(&self, channel: &str) -> Position;
    /// The position as an opaque token; `None` if the channel cannot be recovered.
    fn token(&self, subject: &TokenSubject, position: &Position) -> Option<String>;
    /// The socket that received the token, if [`Self::replay`] would accept it for this channel now. Cheap: called for
    /// every token a client sends.
    fn previous_socket(&self, token: &str, channel: &str) -> Option<SocketId>;
    /// The events after a token, for the same channel and user. Without `may_scan` only from memory, because the socket
    /// has reached its limit of Kafka reads.
    fn replay(
        self: Arc<Self>,
        token: String,
        channel: String,
        user: Option<String>,
        may_scan: bool,
    ) -> BoxFuture<Replay>;
}

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
