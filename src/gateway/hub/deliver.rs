//! Delivery of events to sockets: broadcasts, and client events of this and other gateways.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::{Delivery, Hub};
use crate::config::gateway_settings::EventKind;
use crate::gateway::backend::SocketEvent;
use crate::gateway::broadcast::Broadcast;
use crate::gateway::limits::Limit;
use crate::gateway::protocol::frame;
use crate::gateway::session::Socket;
use crate::topic::socket_channel::{is_subscribable, target_channels, ChannelKind};
use crate::topic::socket_channel::{Reason, Undeliverable};

impl Hub {
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
        if !self.cache_event(broadcast, Instant::now()) {
            self.count_rejected(broadcast, Reason::NotJson);
            return Delivery::default();
        }
        let mut total = Delivery::default();
        if self.channels.may_reach(broadcast.hash()) {
            if !broadcast.has_json() {
                self.count_rejected(broadcast, Reason::NotJson);
                return total;
            }
            total = self.fan_out(broadcast, public);
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
            if let Some(channel) = self.channels.find(name) {
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
            self.cache_event(broadcast, since);
        }
    }

    /// False if the data is known not to be JSON.
    fn cache_event(&self, broadcast: &Arc<Broadcast>, since: Instant) -> bool {
        if self.settings.max_cache == 0 {
            return true;
        }
        let mut cache = self.cache.lock();
        let stored = cache.put(broadcast, since);
        self.counters.cache_bytes.set(cache.bytes() as u64);
        drop(cache);
        if let Some(evicted @ 1..) = stored {
            self.counters.cache_evictions.add(evicted);
            self.warn_limit(Limit::Cache);
        }
        stored.is_some()
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
        name: &crate::topic::socket_channel::Name<'_>,
    ) -> Option<(Arc<Broadcast>, Duration)> {
        let now = Instant::now();
        let mut last: Option<(u64, Arc<Broadcast>, Instant)> = None;
        let cache = self.cache.lock();
        let mut consider = |source: &str, exact: bool| {
            let Some((number, broadcast, since)) = cache.get(source, exact, now) else {
                return;
            };
            let reaches = broadcast.reaches(name.full, &self.settings);
            if reaches && broadcast.has_json() && last.as_ref().is_none_or(|(n, _, _)| *n < number)
            {
                last = Some((number, broadcast, since));
            }
        };
        consider(name.full, true);
        crate::topic::socket_channel::source_channels(name, |source| consider(source, false));
        last.map(|(_, broadcast, since)| {
            let age = now.saturating_duration_since(since);
            (broadcast, cache.ttl().saturating_sub(age))
        })
    }

    /// Relays a client event of a local socket to the other subscribers, on all gateways.
    pub(in crate::gateway) fn client_event(
        &self,
        sender: &Socket,
        channel: &super::Channel,
        event: &str,
        data: &RawValue,
    ) {
        let user = (channel.kind() == ChannelKind::Presence)
            .then(|| self.presence.user_of(&self.node, channel.name(), sender.id))
            .flatten();
        let json = data.get().as_bytes();
        let frame = frame::event(event, channel.name(), Some(json), user.as_deref());
        let reached = channel.relay(&frame, Some(sender.id));
        self.counters.client_events.add_one();
        self.counters.frames_queued.add(reached as u64);
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
        if let Some(found) = self.channels.find(channel) {
            let frame = frame::event(event, channel, Some(data.get().as_bytes()), user_id);
            let reached = found.relay(&frame, None);
            self.counters.frames_queued.add(reached as u64);
        }
    }

    /// Sends a presence event to the local subscribers of the channel but `except`.
    pub(in crate::gateway) fn send_to_members(
        &self,
        channel: &str,
        event: &str,
        data: &str,
        except: Option<crate::gateway::protocol::SocketId>,
    ) {
        if let Some(found) = self.channels.find(channel) {
            let frame = frame::event(event, channel, Some(&frame::quoted(data)), None);
            let reached = found.relay(&frame, except);
            self.counters.frames_queued.add(reached as u64);
        }
    }
}
