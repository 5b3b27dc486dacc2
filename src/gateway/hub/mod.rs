//! The sockets, channels and presence members of this gateway, and the delivery of events to them.

mod admin;
mod cache;
mod channel;
mod deliver;
mod sources;
mod subscribe;

pub use channel::{Channel, Delivery};
pub use subscribe::{JoinError, Joined};

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::backend::{Cluster, History};
use super::broadcast::hash_of;
use super::limit_warnings::{Limit, LimitWarnings};
use super::presence::{NodeId, Presence};
use super::protocol::SocketId;
use super::session::limits::TokenBucket;
use super::session::Socket;
use crate::config::gateway_settings::Settings;
use crate::metrics::gateway_counters::Counters;
use crate::topic::socket_channel::Name;
use crate::topic::undeliverable::UndeliverableLog;
use cache::Cache;
use sources::Sources;

/// Presence subscriptions of all sockets: per second, and in a burst such as that of clients that reconnect after a
/// restart. Above, reading is delayed. Each costs two records in Kafka, and a message to every member of its channel.
const PRESENCE_JOINS_PER_SECOND: f64 = 1_000.0;
const PRESENCE_JOINS_BURST: u32 = 50_000;
/// Shorter than the silence after which clients believe that the gateway is gone: a paused socket answers no ping.
const MAX_PRESENCE_JOIN_DELAY: Duration = Duration::from_secs(20);

/// Number of channel tables, so that subscribing rarely blocks delivering.
const SHARDS: usize = 32;

type Shard = Mutex<HashMap<Box<str>, Arc<Channel>>>;

/// The hub. All methods can be called from any thread and never wait for a socket.
pub struct Hub {
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    node: NodeId,
    shards: Vec<Shard>,
    sources: Sources,
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
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            sources: Sources::default(),
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

    /// Local channels and their numbers of sockets.
    #[must_use]
    pub fn occupancy(&self) -> Vec<(String, usize)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let channels: Vec<Arc<Channel>> = shard.lock().values().cloned().collect();
            for channel in channels {
                let sockets = channel.state.lock().subscribers.len();
                if sockets > 0 {
                    all.push((channel.name().to_owned(), sockets));
                }
            }
        }
        all
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

    fn shard(&self, name: &str) -> &Shard {
        let hash = hash_of(name);
        // The table itself hashes with another seed.
        &self.shards[usize::try_from(hash % (SHARDS as u64)).unwrap_or(0)]
    }

    fn find(&self, name: &str) -> Option<Arc<Channel>> {
        self.shard(name).lock().get(name).cloned()
    }

    /// Finds or creates a channel; `None` when the maximum number of channels is reached.
    fn find_or_create(&self, name: &Name<'_>) -> Option<Arc<Channel>> {
        let mut shard = self.shard(name.full).lock();
        if let Some(channel) = shard.get(name.full) {
            return Some(Arc::clone(channel));
        }
        if self.counters.channels.get() >= self.settings.max_channels as u64 {
            return None;
        }
        self.counters.channels.add_one();
        let channel = Arc::new(Channel::new(name));
        // First: a delivery looks at the sources before the channels.
        self.sources.add(name);
        shard.insert(name.full.into(), Arc::clone(&channel));
        Some(channel)
    }

    /// Removes an empty channel from the table. To be called with its state locked and `removed` set.
    fn remove_channel(&self, channel: &Arc<Channel>) {
        let mut shard = self.shard(channel.name()).lock();
        if shard
            .get(channel.name())
            .is_some_and(|found| Arc::ptr_eq(found, channel))
        {
            shard.remove(channel.name());
            self.sources.remove(channel.name());
            self.counters.channels.sub(1);
        }
    }
}
