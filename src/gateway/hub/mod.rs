//! The sockets, channels and presence members of this gateway, and the delivery of events to them.

mod cache;
mod channel;
mod channels;
pub mod presence;

pub use channel::{Channel, Delivery};
pub use channels::{Channels, JoinError};

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::value::RawValue;

use self::presence::Presence;
use super::backend::{AdminRequest, AdminResponse, Cluster, ConnectionInfo, History, Target};
use super::limits::TokenBucket;
use super::protocol::frame;
use super::protocol::incoming::Member;
use super::protocol::{Close, SocketId};
use super::session::Socket;
use crate::config::gateway_settings::Settings;
use crate::metrics::catalog::Counters;
use crate::topic::socket_channel::{ChannelKind, Name};

/// Presence subscriptions of all sockets: per second, and in a burst such as that of clients that reconnect after a
/// restart. Above, reading is delayed. Each costs two records in Kafka, and a message to every member of its channel.
const PRESENCE_JOINS_PER_SECOND: f64 = 1_000.0;
const PRESENCE_JOINS_BURST: u32 = 50_000;
/// Shorter than the silence after which clients believe that the gateway is gone: a paused socket answers no ping.
const MAX_PRESENCE_JOIN_DELAY: Duration = Duration::from_secs(20);

/// The hub. All methods can be called from any thread and never wait for a socket.
pub struct Hub {
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    node: Arc<str>,
    channels: Arc<Channels>,
    sockets: Mutex<HashMap<SocketId, Arc<Socket>>>,
    users: Mutex<HashMap<Box<str>, HashSet<SocketId>>>,
    presence: Presence,
    presence_joins: Mutex<TokenBucket>,
    history: OnceLock<Arc<dyn History>>,
}

impl Hub {
    /// Creates an empty hub. [`Self::attach`] must be called before the first socket.
    #[must_use]
    pub fn new(settings: Arc<Settings>, counters: Arc<Counters>) -> Arc<Self> {
        // Ids sort by their time of creation.
        let node: Arc<str> = crate::ids::new_id().into();
        let channels = Arc::new(Channels::new(&settings, &counters));
        Arc::new(Self {
            sockets: Mutex::default(),
            users: Mutex::default(),
            presence: Presence::new(&channels, Arc::clone(&node)),
            presence_joins: Mutex::new(TokenBucket::new(
                PRESENCE_JOINS_PER_SECOND,
                PRESENCE_JOINS_BURST,
                Instant::now(),
            )),
            channels,
            node,
            history: OnceLock::new(),
            settings,
            counters,
        })
    }

    /// Sets the connection to the other gateways and the history; only the first call has an effect.
    pub fn attach(&self, cluster: Arc<dyn Cluster>, history: Option<Arc<dyn History>>) {
        self.channels.attach(cluster);
        if let Some(history) = history {
            let _ = self.history.set(history);
        }
    }

    /// Counts a presence subscription; returns the time for which its socket must not be read.
    pub fn charge_presence_join(&self, now: Instant) -> Duration {
        self.presence_joins
            .lock()
            .charge_at_most(now, MAX_PRESENCE_JOIN_DELAY)
    }

    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The id of this gateway, new at each start.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    #[must_use]
    pub fn channels(&self) -> &Arc<Channels> {
        &self.channels
    }

    /// Presence members of all gateways.
    #[must_use]
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// `None` before [`Self::attach`].
    #[must_use]
    pub fn cluster(&self) -> Option<&Arc<dyn Cluster>> {
        self.channels.cluster()
    }

    /// `None` before [`Self::attach`], and if nothing can be recovered.
    #[must_use]
    pub fn history(&self) -> Option<&Arc<dyn History>> {
        self.history.get()
    }

    /// Adds an established connection.
    pub fn register(&self, socket: &Arc<Socket>) {
        self.sockets.lock().insert(socket.id, Arc::clone(socket));
    }

    /// Removes a connection with its subscriptions, memberships and sign-in.
    pub fn unregister(&self, socket: &Arc<Socket>) {
        if self.sockets.lock().remove(&socket.id).is_none() {
            return;
        }
        for channel in socket.untrack_all() {
            self.remove_subscriber(&channel, socket.id);
        }
        if let Some(user) = socket.user() {
            let mut users = self.users.lock();
            if let Some(sockets) = users.get_mut(user) {
                sockets.remove(&socket.id);
                if sockets.is_empty() {
                    users.remove(user);
                }
            }
        }
    }

    /// Signs a socket in; false if it is already signed in.
    pub fn sign_in(&self, socket: &Arc<Socket>, user: &str) -> bool {
        if !socket.sign_in(user) {
            return false;
        }
        // Under the lock of `sockets`, so that a socket that just disconnected is not added to `users`.
        let sockets = self.sockets.lock();
        if sockets.contains_key(&socket.id) {
            self.users
                .lock()
                .entry(user.into())
                .or_default()
                .insert(socket.id);
        }
        true
    }

    #[must_use]
    pub fn sockets(&self) -> Vec<Arc<Socket>> {
        self.sockets.lock().values().cloned().collect()
    }

    /// Subscribes an authorized socket to a channel. `holding`: live events are held back for a replay. A client
    /// always receives `subscription_succeeded`, the cached event and live events in this order.
    ///
    /// # Errors
    /// [`JoinError`]; nothing was changed.
    pub fn subscribe(
        &self,
        socket: &Arc<Socket>,
        name: &Name<'_>,
        member: Option<&Member>,
        holding: bool,
    ) -> Result<Arc<Channel>, JoinError> {
        match member {
            Some(member) if name.kind == ChannelKind::Presence => {
                self.presence.join(socket, name, member, holding)
            }
            _ => {
                let success = b"\"{}\"";
                self.channels.add_subscriber(socket, name, success, holding)
            }
        }
    }

    /// Ends a subscription; false if there was none.
    pub fn unsubscribe_socket(&self, socket: &Arc<Socket>, name: &str) -> bool {
        let Some(channel) = socket.untrack(name) else {
            return false;
        };
        self.remove_subscriber(&channel, socket.id);
        true
    }

    fn remove_subscriber(&self, channel: &Arc<Channel>, id: SocketId) {
        if channel.kind() == ChannelKind::Presence {
            self.presence.leave(channel, id);
        } else {
            self.channels.drop_subscriber(channel, id);
        }
    }

    /// Relays a client event of a local socket to the other subscribers, on all gateways.
    pub(in crate::gateway) fn client_event(
        &self,
        sender: &Socket,
        channel: &Channel,
        event: &str,
        data: &RawValue,
    ) {
        let user = (channel.kind() == ChannelKind::Presence)
            .then(|| self.presence.user_of(channel.name(), sender.id))
            .flatten();
        self.channels
            .client_event(sender, channel, event, data, user);
    }

    /// Answers a query, or carries out a command, for this gateway.
    pub fn handle_admin_request(&self, request: &AdminRequest) -> AdminResponse {
        let mut response = AdminResponse::default();
        match request {
            AdminRequest::Channels { prefix } => {
                response.channels = self
                    .channels
                    .occupancy()
                    .into_iter()
                    .filter(|(name, _)| name.starts_with(prefix.as_str()))
                    .collect();
            }
            AdminRequest::Channel { name } => {
                let sockets = self
                    .channels
                    .find(name)
                    .map(|c| c.state.lock().subscribers.len());
                if let Some(sockets) = sockets.filter(|n| *n > 0) {
                    response.channels.insert(name.clone(), sockets);
                }
            }
            AdminRequest::Connections { target } => {
                let match_all = target.is_empty();
                response.connections = self
                    .sockets()
                    .iter()
                    .filter(|socket| match_all || self.matches(socket, target))
                    .map(|socket| self.describe(socket))
                    .collect();
            }
            AdminRequest::Terminate { user } => response.count = self.terminate_user(user),
            AdminRequest::Kick { target } => response.count = self.kick(target),
            AdminRequest::Unsubscribe { target, channel } => {
                response.count = self.unsubscribe(target, channel);
            }
        }
        response
    }

    /// Closes the connections of a signed-in user with 4009 and returns their number.
    pub fn terminate_user(&self, user: &str) -> usize {
        let ids: Vec<_> = {
            let users = self.users.lock();
            users.get(user).into_iter().flatten().copied().collect()
        };
        let sockets: Vec<Arc<Socket>> = {
            let all = self.sockets.lock();
            ids.iter().filter_map(|id| all.get(id).cloned()).collect()
        };
        for socket in &sockets {
            disconnect(socket, "Terminated by the application");
        }
        sockets.len()
    }

    /// Closes connections with 4009 and returns their number. An empty target matches none.
    pub fn kick(&self, target: &Target) -> usize {
        let mut count = 0;
        for socket in self.matching_sockets(target) {
            disconnect(&socket, "Closed by an operator");
            count += 1;
        }
        count
    }

    /// Ends subscriptions to a channel and returns their number. Each client receives an error on the channel.
    pub fn unsubscribe(&self, target: &Target, channel: &str) -> usize {
        let mut count = 0;
        for socket in self.matching_sockets(target) {
            if self.unsubscribe_socket(&socket, channel) {
                socket.push(frame::subscription_error(
                    channel,
                    401,
                    "The subscription was ended by the server.",
                ));
                count += 1;
            }
        }
        count
    }

    fn matching_sockets(&self, target: &Target) -> Vec<Arc<Socket>> {
        if target.is_empty() {
            return Vec::new();
        }
        let mut sockets = self.sockets();
        sockets.retain(|socket| self.matches(socket, target));
        sockets
    }

    fn matches(&self, socket: &Socket, target: &Target) -> bool {
        target
            .socket
            .is_none_or(|id| id == socket.id || id == socket.authorized_id)
            && target
                .user
                .as_ref()
                .is_none_or(|user| socket.user() == Some(user) || self.is_member(socket, user))
            && target
                .channel
                .as_ref()
                .is_none_or(|name| socket.channel(name).is_some())
    }

    fn is_member(&self, socket: &Socket, user: &str) -> bool {
        let channels = socket.channels();
        channels.iter().any(|channel| {
            self.presence.user_of(channel.name(), socket.id).as_deref() == Some(user)
        })
    }

    fn describe(&self, socket: &Socket) -> ConnectionInfo {
        ConnectionInfo {
            socket: socket.id,
            node: self.node.to_string(),
            address: socket.address.to_string(),
            user: socket.user().map(str::to_owned),
            channels: socket
                .channels()
                .iter()
                .map(|c| c.name().to_owned())
                .collect(),
            seconds: socket.opened.elapsed().as_secs(),
            queued: socket.queued(),
        }
    }
}

fn disconnect(socket: &Socket, why: &str) {
    socket.push(frame::error(Close::Unauthorized.code(), why));
    socket.close(Close::Unauthorized, why);
}
