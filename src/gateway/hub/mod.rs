//! The sockets, channels and presence members of this gateway, and the delivery of events to them.

mod cache;
mod channel;
mod channels;
mod deliver;
pub mod presence;

pub use channel::{Channel, Delivery};

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::cache::Cache;
use self::channel::{ChannelState, HeldEvents, RecoveryState, Subscriber};
use self::channels::Channels;
use self::presence::{NodeId, Presence};
use super::backend::{
    AdminRequest, AdminResponse, Cluster, ConnectionInfo, History, SocketEvent, Target,
};
use super::limits::{Limit, LimitWarnings, TokenBucket};
use super::protocol::incoming::Member;
use super::protocol::{frame, Close, SocketId};
use super::session::Socket;
use crate::config::gateway_settings::{EventKind, Settings};
use crate::metrics::catalog::Counters;
use crate::topic::socket_channel::UndeliverableLog;
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
    node: NodeId,
    channels: Channels,
    sockets: Mutex<HashMap<SocketId, Arc<Socket>>>,
    users: Mutex<HashMap<Box<str>, HashSet<SocketId>>>,
    presence: Presence,
    presence_joins: Mutex<TokenBucket>,
    cache: Mutex<Cache>,
    undeliverable: UndeliverableLog,
    limit_warnings: LimitWarnings,
    cluster: OnceLock<Arc<dyn Cluster>>,
    history: OnceLock<Arc<dyn History>>,
}

impl Hub {
    /// Creates an empty hub. [`Self::attach`] must be called before the first socket.
    #[must_use]
    pub fn new(settings: Arc<Settings>, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new_cyclic(|hub| Self {
            node: NodeId::new(),
            channels: Channels::new(settings.max_channels, &counters),
            sockets: Mutex::default(),
            users: Mutex::default(),
            presence: Presence::new(hub.clone()),
            presence_joins: Mutex::new(TokenBucket::new(
                PRESENCE_JOINS_PER_SECOND,
                PRESENCE_JOINS_BURST,
                Instant::now(),
            )),
            cache: Mutex::new(Cache::new(settings.max_cache, settings.cache_ttl)),
            undeliverable: UndeliverableLog::default(),
            limit_warnings: LimitWarnings::default(),
            cluster: OnceLock::new(),
            history: OnceLock::new(),
            settings,
            counters,
        })
    }

    /// Sets the connection to the other gateways and the history; only the first call has an effect.
    pub fn attach(&self, cluster: Arc<dyn Cluster>, history: Arc<dyn History>) {
        let _ = self.cluster.set(cluster);
        let _ = self.history.set(history);
    }

    /// Counts a presence subscription; returns the time for which its socket must not be read.
    pub fn charge_presence_join(&self, now: Instant) -> Duration {
        self.presence_joins
            .lock()
            .charge_at_most(now, MAX_PRESENCE_JOIN_DELAY)
    }

    /// Logs that a limit was reached.
    pub(in crate::gateway) fn warn_limit(&self, limit: Limit<'_>) {
        self.limit_warnings.warn(limit, &self.settings);
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
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Presence members of all gateways.
    #[must_use]
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// `None` before [`Self::attach`].
    #[must_use]
    pub fn cluster(&self) -> Option<&Arc<dyn Cluster>> {
        self.cluster.get()
    }

    /// `None` before [`Self::attach`].
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
                self.presence.join(self, socket, name, member, holding)
            }
            _ => self.add_subscriber(socket, name, b"\"{}\"", holding),
        }
    }

    /// Adds a subscriber and sends it `subscription_succeeded` with the data `success`.
    pub(in crate::gateway) fn add_subscriber(
        &self,
        socket: &Arc<Socket>,
        name: &Name<'_>,
        success: &[u8],
        holding: bool,
    ) -> Result<Arc<Channel>, JoinError> {
        loop {
            let channel = self
                .channels
                .find_or_create(name)
                .ok_or(JoinError::TooManyChannels)?;
            let mut state = channel.state.lock();
            if state.removed {
                continue;
            }
            if state.subscribers.contains_key(&socket.id) {
                socket.push(succeeded_frame(name.full, success));
                drop(state);
                return Ok(channel);
            }
            if !socket.track(&channel) {
                // The connection ended at the same time.
                self.remove_if_empty(&channel, &mut state);
                return Err(JoinError::Closed);
            }
            socket.push(succeeded_frame(name.full, success));
            let recovery = holding.then(|| {
                Box::new(RecoveryState::Holding {
                    events: HeldEvents::new(socket),
                    overflow: false,
                })
            });
            state.subscribers.insert(
                socket.id,
                Subscriber {
                    socket: Arc::clone(socket),
                    recovery,
                },
            );
            self.counters.subscriptions.add_one();
            if name.cache && !holding {
                self.send_cached(socket, name, &channel);
            }
            let subscribers = state.subscribers.len();
            if subscribers == 1 || self.settings.subscription_count {
                if let Some(cluster) = self.cluster() {
                    cluster.occupied(name.full, subscribers);
                }
            }
            drop(state);
            return Ok(channel);
        }
    }

    fn send_cached(&self, socket: &Socket, name: &Name<'_>, channel: &Arc<Channel>) {
        let cached = self.cached_event(name).map(|(broadcast, _)| broadcast);
        if let Some(broadcast) = cached.filter(|b| !socket.is_excluded(b.except)) {
            channel.push(socket, channel.frame(&broadcast), &broadcast);
            return;
        }
        socket.push(frame::event(
            "pusher:cache_miss",
            name.full,
            Some(b"\"{}\""),
            None,
        ));
        if self.settings.has_webhook(EventKind::CacheMiss) {
            if let Some(cluster) = self.cluster() {
                cluster.socket_event(SocketEvent::CacheMiss {
                    channel: name.full.to_owned(),
                });
            }
        }
    }

    /// Ends a recovery with the result of [`crate::gateway::backend::History`].
    pub(in crate::gateway) fn finish_replay(
        &self,
        channel: &Arc<Channel>,
        socket: SocketId,
        replay: &crate::gateway::backend::Replay,
    ) {
        let name = Name::parse(channel.name()).filter(|name| name.cache);
        let recovered = channel.finish_replay(socket, replay, |socket| {
            if let Some(name) = &name {
                self.send_cached(socket, name, channel);
            }
        });
        match recovered {
            Some(true) => self.counters.recovered.add_one(),
            Some(false) => self.counters.not_recovered.add_one(),
            None => {}
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

    pub(super) fn remove_subscriber(&self, channel: &Arc<Channel>, id: SocketId) {
        if channel.kind() == ChannelKind::Presence {
            self.presence.leave(self, channel, id);
        } else {
            self.drop_subscriber(channel, id);
        }
    }

    /// Removes a subscriber, and the channel after its last subscriber.
    pub(in crate::gateway) fn drop_subscriber(&self, channel: &Arc<Channel>, id: SocketId) {
        let mut state = channel.state.lock();
        if state.subscribers.remove(&id).is_none() {
            return;
        }
        self.counters.subscriptions.sub(1);
        let subscribers = state.subscribers.len();
        if subscribers == 0 || self.settings.subscription_count {
            if let Some(cluster) = self.cluster() {
                cluster.occupied(channel.name(), subscribers);
            }
        }
        self.remove_if_empty(channel, &mut state);
    }

    fn remove_if_empty(&self, channel: &Arc<Channel>, state: &mut ChannelState) {
        if state.subscribers.is_empty() {
            state.removed = true;
            self.channels.remove(channel);
        } else if state.subscribers.capacity() > 64
            && state.subscribers.len() * 4 < state.subscribers.capacity()
        {
            state.subscribers.shrink_to_fit();
        }
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
                socket.push(crate::gateway::protocol::frame::subscription_error(
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
        target.socket.is_none_or(|id| id == socket.id)
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
            self.presence
                .user_of(&self.node, channel.name(), socket.id)
                .as_deref()
                == Some(user)
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

/// Why the hub refused a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinError {
    /// The gateway has reached `max_channels`.
    TooManyChannels,
    /// The presence channel has reached `max_members`.
    TooManyMembers,
    /// The presence channel's member list has reached `max_presence_bytes`.
    MemberListTooLarge,
    /// The connection has ended.
    Closed,
}

fn succeeded_frame(channel: &str, data: &[u8]) -> bytes::Bytes {
    frame::event(
        "pusher_internal:subscription_succeeded",
        channel,
        Some(data),
        None,
    )
}

fn disconnect(socket: &Socket, why: &str) {
    socket.push(crate::gateway::protocol::frame::error(
        Close::Unauthorized.code(),
        why,
    ));
    socket.close(Close::Unauthorized, why);
}
