//! Subscribing and unsubscribing. A client always receives `subscription_succeeded`, the cached event and live events
//! in this order.

use std::sync::Arc;

use super::channel::{Channel, ChannelState, HeldEvents, RecoveryState, Subscriber};
use super::Hub;
use crate::config::gateway_settings::EventKind;
use crate::gateway::backend::SocketEvent;
use crate::gateway::protocol::frame::{self, Member};
use crate::gateway::protocol::SocketId;
use crate::gateway::session::Socket;
use crate::topic::socket_channel::ChannelKind;
use crate::topic::socket_channel::Name;

pub struct Joined {
    pub channel: Arc<Channel>,
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

impl Hub {
    /// Subscribes an authorized socket to a channel. `holding`: live events are held back for a replay.
    ///
    /// # Errors
    /// [`JoinError`]; nothing was changed.
    pub fn subscribe(
        &self,
        socket: &Arc<Socket>,
        name: &Name<'_>,
        member: Option<&Member>,
        holding: bool,
    ) -> Result<Joined, JoinError> {
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
    ) -> Result<Joined, JoinError> {
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
                return Ok(Joined { channel });
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
            return Ok(Joined { channel });
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
            self.remove_channel(channel);
        } else if state.subscribers.capacity() > 64
            && state.subscribers.len() * 4 < state.subscribers.capacity()
        {
            state.subscribers.shrink_to_fit();
        }
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
