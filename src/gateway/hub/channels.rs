//! The channels of this gateway: their subscribers, and the delivery of broadcasts, client events and presence events
//! to them. All methods can be called from any thread and never wait for a socket.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use serde_json::value::RawValue;

use super::cache::Cache;
use super::channel::{Channel, ChannelState, Delivery, HeldEvents, RecoveryState, Subscriber};
use crate::config::gateway_settings::{EventKind, Settings};
use crate::gateway::backend::{Cluster, Replay, SocketEvent};
use crate::gateway::broadcast::{hash_of, Broadcast, HashTable};
use crate::gateway::limits::{Limit, LimitWarnings};
use crate::gateway::protocol::{frame, SocketId};
use crate::gateway::session::Socket;
use crate::metrics::catalog::Counters;
use crate::topic::socket_channel::{is_subscribable, source_channels, target_channels, Name};
use crate::topic::socket_channel::{Reason, Undeliverable, UndeliverableLog};

/// Number of channel tables, so that subscribing rarely blocks delivering.
const SHARDS: usize = 32;

type Shard = Mutex<HashMap<Box<str>, Arc<Channel>>>;

/// Channels by name.
pub struct Channels {
    shards: Vec<Shard>,
    /// The broadcast channels whose records can reach a socket of this gateway: most records reach none, which is known
    /// after one look-up. Counts the socket channels by the hash of each broadcast channel that reaches them; two
    /// channels with one hash only cost a look-up by name.
    sources: RwLock<HashTable<u32>>,
    cache: Mutex<Cache>,
    undeliverable: UndeliverableLog,
    limit_warnings: LimitWarnings,
    cluster: OnceLock<Arc<dyn Cluster>>,
    settings: Arc<Settings>,
    counters: Arc<Counters>,
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

impl Channels {
    pub(super) fn new(settings: &Arc<Settings>, counters: &Arc<Counters>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            sources: RwLock::default(),
            cache: Mutex::new(Cache::new(settings.max_cache, settings.cache_ttl)),
            undeliverable: UndeliverableLog::default(),
            limit_warnings: LimitWarnings::default(),
            cluster: OnceLock::new(),
            settings: Arc::clone(settings),
            counters: Arc::clone(counters),
        }
    }

    pub(super) fn attach(&self, cluster: Arc<dyn Cluster>) {
        let _ = self.cluster.set(cluster);
    }

    pub(super) fn cluster(&self) -> Option<&Arc<dyn Cluster>> {
        self.cluster.get()
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Logs that a limit was reached.
    pub(in crate::gateway) fn warn_limit(&self, limit: Limit<'_>) {
        self.limit_warnings.warn(limit, &self.settings);
    }

    /// Local channels and their numbers of sockets.
    pub(super) fn occupancy(&self) -> Vec<(String, usize)> {
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

    fn shard(&self, name: &str) -> &Shard {
        let hash = hash_of(name);
        // The table itself hashes with another seed.
        &self.shards[usize::try_from(hash % (SHARDS as u64)).unwrap_or(0)]
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Channel>> {
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
        let mut sources = self.sources.write();
        source_channels(name, |source| {
            *sources.entry(hash_of(source)).or_default() += 1;
        });
        drop(sources);
        shard.insert(name.full.into(), Arc::clone(&channel));
        Some(channel)
    }

    /// Removes an empty channel. To be called with its state locked and `removed` set.
    fn remove(&self, channel: &Arc<Channel>) {
        let mut shard = self.shard(channel.name()).lock();
        if shard
            .get(channel.name())
            .is_some_and(|found| Arc::ptr_eq(found, channel))
        {
            shard.remove(channel.name());
            self.remove_sources(channel.name());
            self.counters.channels.sub(1);
        }
    }

    fn remove_sources(&self, name: &str) {
        let Some(name) = Name::parse(name) else {
            return;
        };
        let mut sources = self.sources.write();
        source_channels(&name, |source| {
            let hash = hash_of(source);
            if let Some(count) = sources.get_mut(&hash) {
                *count -= 1;
                if *count == 0 {
                    sources.remove(&hash);
                }
            }
        });
    }

    /// Adds a subscriber and sends it `subscription_succeeded` with the data `success`.
    pub(super) fn add_subscriber(
        &self,
        socket: &Arc<Socket>,
        name: &Name<'_>,
        success: &[u8],
        holding: bool,
    ) -> Result<Arc<Channel>, JoinError> {
        loop {
            let channel = self
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

    /// Ends a recovery with the result of [`super::History`].
    pub(in crate::gateway) fn finish_replay(
        &self,
        channel: &Arc<Channel>,
        socket: SocketId,
        replay: &Replay,
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

    /// Removes a subscriber, and the channel after its last subscriber.
    pub(super) fn drop_subscriber(&self, channel: &Arc<Channel>, id: SocketId) {
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
            self.remove(channel);
        } else if state.subscribers.capacity() > 64
            && state.subscribers.len() * 4 < state.subscribers.capacity()
        {
            state.subscribers.shrink_to_fit();
        }
    }

    /// Queues a broadcast for every socket that it reaches. To be called in the order in which
    /// clients receive the events. Never waits for a socket.
    pub fn deliver(&self, broadcast: &Arc<Broadcast>) -> Delivery {
        let counters = &self.counters;
        counters.broadcasts.add_one();
        if let Some(reason) = broadcast.rejection(self.settings.max_event) {
            self.count_rejected(broadcast, reason);
            return Delivery::default();
        }
        let public = self
            .settings
            .is_public_broadcast(broadcast.channel(), broadcast.public);
        if !broadcast.exact && !is_subscribable(broadcast.channel(), public) {
            self.warn_undeliverable(broadcast, Reason::ChannelName);
        }
        let sources = self.sources.read();
        let mut total = Delivery::default();
        if sources.contains_key(&broadcast.hash()) {
            drop(sources);
            if !broadcast.has_json() {
                self.count_rejected(broadcast, Reason::NotJson);
                return total;
            }
            self.cache_event(broadcast, Instant::now(), None);
            total = self.fan_out(broadcast, public);
        } else {
            // A client that subscribes now waits until the event is in the cache.
            self.cache_event(broadcast, Instant::now(), Some(sources));
        }
        if total.sockets == 0 {
            counters.broadcasts_unheard.add_one();
        }
        total
    }

    /// Queues a broadcast for the subscribers of its channels.
    fn fan_out(&self, broadcast: &Arc<Broadcast>, public: bool) -> Delivery {
        let counters = &self.counters;
        let mut total = Delivery::default();
        target_channels(broadcast.channel(), broadcast.exact, public, |name| {
            if let Some(channel) = self.find(name) {
                let reached = channel.deliver(broadcast);
                total.sockets += reached.sockets;
                total.overflows += reached.overflows;
                total.nearly_full |= reached.nearly_full;
            }
        });
        counters.frames_queued.add(total.sockets as u64);
        counters.slow_clients.add(total.overflows);
        if total.overflows > 0 {
            let channel = broadcast.channel();
            self.warn_limit(Limit::Queue { channel });
        }
        total
    }

    /// Stores a broadcast from before the start of this gateway as the last event of its cache channels. It is not
    /// delivered.
    pub fn cache_past_event(&self, broadcast: &Arc<Broadcast>, age: Duration) {
        let since = Instant::now().checked_sub(age);
        if let Some(since) =
            since.filter(|_| broadcast.rejection(self.settings.max_event).is_none())
        {
            self.cache_event(broadcast, since, None);
        }
    }

    /// Stores a broadcast as the last event of its channel. `sources` are locked until then, and not while data is
    /// validated.
    fn cache_event(
        &self,
        broadcast: &Arc<Broadcast>,
        since: Instant,
        sources: Option<RwLockReadGuard<'_, HashTable<u32>>>,
    ) {
        if self.settings.max_cache == 0 {
            return;
        }
        let mut broken = Vec::new();
        let mut cache = self.cache.lock();
        let unchecked = cache.put(broadcast, since);
        if !unchecked.is_empty() {
            drop(cache);
            drop(sources);
            let _ = unchecked.iter().any(|earlier| earlier.has_json());
            cache = self.cache.lock();
            broken = cache.settle(broadcast);
        }
        let evicted = cache.evict(since);
        self.counters.cache_bytes.set(cache.bytes() as u64);
        drop(cache);
        if evicted > 0 {
            self.counters.cache_evictions.add(evicted);
            self.warn_limit(Limit::Cache);
        }
        for broadcast in &broken {
            self.count_rejected(broadcast, Reason::NotJson);
        }
    }

    #[cold]
    fn count_rejected(&self, broadcast: &Broadcast, reason: Reason) {
        let counters = &self.counters;
        let counter = match reason {
            Reason::ReservedEvent => &counters.reserved_events,
            Reason::NotJson => &counters.bad_records,
            Reason::TooLarge { .. } => &counters.oversized_events,
            Reason::ChannelName | Reason::PlainData => &counters.plain_to_encrypted,
        };
        counter.add_one();
        self.warn_undeliverable(broadcast, reason);
    }

    #[cold]
    fn warn_undeliverable(&self, broadcast: &Broadcast, reason: Reason) {
        self.undeliverable.warn(
            &crate::runtime::current().log,
            &Undeliverable {
                channel: broadcast.channel(),
                event: broadcast.event(),
                reason,
            },
        );
    }

    /// The last event of a cache channel, and how long it is still kept.
    pub(in crate::gateway) fn cached_event(
        &self,
        name: &Name<'_>,
    ) -> Option<(Arc<Broadcast>, Duration)> {
        let now = Instant::now();
        let cache = self.cache.lock();
        let ttl = cache.ttl();
        let mut sources = vec![cache.get(name.full, true, now)];
        source_channels(name, |source| sources.push(cache.get(source, false, now)));
        drop(cache);
        sources
            .into_iter()
            .filter_map(|events| events.into_iter().find(|e| e.broadcast.has_json()))
            .filter(|event| event.broadcast.reaches(name.full, &self.settings))
            .max_by_key(|event| event.number)
            .map(|event| {
                let age = now.saturating_duration_since(event.since);
                (event.broadcast, ttl.saturating_sub(age))
            })
    }

    /// Relays a client event of a local socket to the other subscribers, on all gateways. `user`: the sender, on a
    /// presence channel.
    pub(super) fn client_event(
        &self,
        sender: &Socket,
        channel: &Channel,
        event: &str,
        data: &RawValue,
        user: Option<String>,
    ) {
        let json = data.get().as_bytes();
        let frame = frame::event(event, channel.name(), Some(json), user.as_deref());
        self.relay(channel, &frame, Some(sender.id));
        self.counters.client_events.add_one();
        if let Some(cluster) = self.cluster() {
            cluster.client_event(channel.name(), event, data, user.as_deref());
            if self.settings.has_webhook(EventKind::ClientEvent) {
                cluster.socket_event(SocketEvent::ClientEvent {
                    channel: channel.name().to_owned(),
                    event: event.to_owned(),
                    data: data.get().to_owned(),
                    socket: sender.id,
                    user,
                });
            }
        }
    }

    /// Relays a client event that another gateway received.
    pub fn client_event_from_remote(
        &self,
        channel: &str,
        event: &str,
        data: &RawValue,
        user_id: Option<&str>,
    ) {
        if let Some(found) = self.find(channel) {
            let frame = frame::event(event, channel, Some(data.get().as_bytes()), user_id);
            self.relay(&found, &frame, None);
        }
    }

    /// Sends an event of the protocol to the local subscribers of a channel but `except`.
    pub(in crate::gateway) fn send_to_subscribers(
        &self,
        channel: &str,
        event: &str,
        data: &str,
        except: Option<SocketId>,
    ) {
        if let Some(found) = self.find(channel) {
            let frame = frame::event(event, channel, Some(&frame::quoted(data)), None);
            self.relay(&found, &frame, except);
        }
    }

    fn relay(&self, channel: &Channel, frame: &Bytes, except: Option<SocketId>) {
        let reached = channel.relay(frame, except);
        self.counters.frames_queued.add(reached as u64);
    }
}

fn succeeded_frame(channel: &str, data: &[u8]) -> bytes::Bytes {
    frame::event(
        "pusher_internal:subscription_succeeded",
        channel,
        Some(data),
        None,
    )
}
