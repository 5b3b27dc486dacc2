//! One socket channel: its subscribers, and the delivery of broadcasts to them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::gateway::backend::Replay;
use crate::gateway::broadcast::{Broadcast, Position};
use crate::gateway::protocol::{frame, SocketId};
use crate::gateway::session::{EnqueueResult, Socket};
use crate::topic::socket_channel::{ChannelKind, Name};

/// Approximate memory of a held event in addition to its data and name.
const HELD_OVERHEAD: usize = 128;

/// A socket channel with subscribers.
pub struct Channel {
    name: Box<str>,
    kind: ChannelKind,
    pub(super) state: Mutex<ChannelState>,
}

/// A channel's subscribers. The lock serializes subscribing and delivering, so that no event precedes
/// `subscription_succeeded`.
#[derive(Default)]
pub(super) struct ChannelState {
    pub subscribers: HashMap<SocketId, Subscriber>,
    /// The channel was empty and is no longer in the table: it must be looked up again.
    pub removed: bool,
}

pub(super) struct Subscriber {
    pub socket: Arc<Socket>,
    /// `None` for live delivery.
    pub recovery: Option<Box<RecoveryState>>,
}

/// A subscription during or shortly after its recovery.
pub(super) enum RecoveryState {
    /// Live events are held back until the replay has finished.
    Holding {
        events: HeldEvents,
        /// More events arrived than the send queue can hold: the recovery has failed.
        overflow: bool,
    },
    /// Live events below this position are duplicates of the replay and are skipped.
    Skipping(Position),
}

/// Live events held back during a replay, counted on their socket.
pub(super) struct HeldEvents {
    events: Vec<Arc<Broadcast>>,
    bytes: usize,
    socket: Arc<Socket>,
}

impl HeldEvents {
    pub fn new(socket: &Arc<Socket>) -> Self {
        Self {
            events: Vec::new(),
            bytes: 0,
            socket: Arc::clone(socket),
        }
    }

    /// Holds an event, and returns the bytes held for the socket on all its channels.
    fn push(&mut self, broadcast: &Arc<Broadcast>) -> usize {
        let bytes = broadcast.bytes() + HELD_OVERHEAD;
        self.bytes += bytes;
        self.events.push(Arc::clone(broadcast));
        self.socket.hold(bytes)
    }
}

impl Drop for HeldEvents {
    fn drop(&mut self) {
        self.socket.release_held(self.bytes);
    }
}

/// Result of a delivery.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Sockets whose queue took the event, or that hold it back during a recovery.
    pub sockets: usize,
    /// Sockets that are closed because their queue was full.
    pub overflows: u64,
    /// More than half of a send queue is used.
    pub nearly_full: bool,
}

impl Channel {
    pub(super) fn new(name: &Name<'_>) -> Self {
        Self {
            name: name.full.into(),
            kind: name.kind,
            state: Mutex::default(),
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        self.kind
    }

    /// Queues a broadcast for every subscriber. The frame is encoded once.
    pub(super) fn deliver(self: &Arc<Self>, broadcast: &Arc<Broadcast>) -> Delivery {
        let mut reached = Delivery::default();
        let mut state = self.state.lock();
        if state.subscribers.is_empty() {
            return reached;
        }
        let frame = self.frame(broadcast);
        for subscriber in state.subscribers.values_mut() {
            if subscriber.socket.is_excluded(broadcast.except) {
                continue;
            }
            if subscriber.recovery.is_some() && !subscriber.accept_live(broadcast) {
                reached.sockets += 1;
                continue;
            }
            match self.push(&subscriber.socket, frame.clone(), broadcast) {
                EnqueueResult::Queued => reached.sockets += 1,
                EnqueueResult::NearlyFull => {
                    reached.sockets += 1;
                    reached.nearly_full = true;
                }
                EnqueueResult::Overflow => reached.overflows += 1,
                EnqueueResult::Closed => {}
            }
        }
        reached
    }

    /// Encodes a broadcast for this channel.
    pub(super) fn frame(&self, broadcast: &Broadcast) -> Bytes {
        frame::broadcast(broadcast, &self.name)
    }

    pub(super) fn push(
        self: &Arc<Self>,
        socket: &Socket,
        frame: Bytes,
        broadcast: &Broadcast,
    ) -> EnqueueResult {
        let record_at = match broadcast.at {
            Some(at) if socket.wants_positions() => Some(Box::new((Arc::clone(self), at))),
            _ => None,
        };
        socket.push_record(frame, record_at)
    }

    /// Queues a frame for every subscriber but `except`; returns how many accepted it.
    pub(super) fn relay(&self, frame: &Bytes, except: Option<SocketId>) -> usize {
        let state = self.state.lock();
        state
            .subscribers
            .values()
            .filter(|s| Some(s.socket.id) != except)
            .filter(|s| {
                matches!(
                    s.socket.push(frame.clone()),
                    EnqueueResult::Queued | EnqueueResult::NearlyFull
                )
            })
            .count()
    }

    /// Ends a recovery: queues the replayed events, `realtime:recovered` and the events held back. `send_cached`
    /// is called after a failure without such events. Returns whether the recovery succeeded; `None` if there is no
    /// such subscription.
    pub(super) fn finish_replay(
        self: &Arc<Self>,
        id: SocketId,
        replay: &Replay,
        send_cached: impl FnOnce(&Socket),
    ) -> Option<bool> {
        let mut state = self.state.lock();
        let subscriber = state.subscribers.get_mut(&id)?;
        let Some(RecoveryState::Holding {
            events: held,
            overflow,
            ..
        }) = subscriber.recovery.take().map(|boxed| *boxed)
        else {
            return None;
        };
        let socket = &subscriber.socket;
        let frames: Vec<_> = replay
            .events
            .iter()
            .filter(|event| !socket.is_excluded(event.except))
            .map(|event| (self.frame(event), event))
            .collect();
        let size: usize = frames.iter().map(|(frame, _)| frame.len()).sum();
        let events = &held.events;
        let held_bytes: usize = events.iter().map(|event| event.encoded_bytes() + 256).sum();
        // A replay that overflows the queue would close the connection, and the client would request it again.
        let fits = socket.fits(frames.len() + events.len(), size + held_bytes);
        let recovered = replay.recovered && !overflow && fits;
        let replayed: &[Arc<Broadcast>] = if recovered { &replay.events } else { &[] };
        if recovered {
            for (frame, event) in frames {
                self.push(socket, frame, event);
            }
        }
        let result: &[u8] = if recovered {
            br#"{"recovered":true}"#
        } else {
            br#"{"recovered":false}"#
        };
        socket.push(frame::event(
            "realtime:recovered",
            &self.name,
            Some(result),
            None,
        ));
        if !recovered && events.is_empty() {
            send_cached(socket);
        }
        let seen: std::collections::HashSet<&str> = replayed.iter().map(|e| e.id()).collect();
        for event in events {
            let twice = recovered && (seen.contains(event.id()) || event.is_below(&replay.up_to));
            if !twice {
                self.push(socket, self.frame(event), event);
            }
        }
        if recovered && !replay.up_to.is_empty() {
            subscriber.recovery = Some(Box::new(RecoveryState::Skipping(replay.up_to.clone())));
        }
        Some(recovered)
    }
}

impl Subscriber {
    /// True if a live event is sent now; during a replay it is held back.
    fn accept_live(&mut self, broadcast: &Arc<Broadcast>) -> bool {
        let max = self.socket.max_queue();
        match self.recovery.as_deref_mut() {
            None => true,
            Some(RecoveryState::Holding {
                events, overflow, ..
            }) => {
                let held = events.push(broadcast);
                *overflow |= held > max;
                if held > 2 * max {
                    // Live events must not be lost, so a client whose replay takes too long is disconnected.
                    self.socket.close(
                        crate::gateway::protocol::Close::OverCapacity,
                        "The recovery takes too long",
                    );
                    *events = HeldEvents::new(&self.socket);
                }
                false
            }
            Some(RecoveryState::Skipping(position)) => {
                if broadcast.is_below(position) {
                    return false;
                }
                if let Some(at) = broadcast.at {
                    position.retain(|&(topic, partition, _)| {
                        (topic, partition) != (at.topic, at.partition)
                    });
                }
                if position.is_empty() {
                    self.recovery = None;
                }
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_events_count_on_their_socket_over_all_channels_until_they_are_dropped() {
        let id = "1.2".parse().unwrap();
        let socket = Arc::new(Socket::new(id, "127.0.0.1".parse().unwrap(), 1000));
        let broadcast = Arc::new(Broadcast::new("a", "e", "1", &"x".repeat(100)));
        let each = 100 + 3 + HELD_OVERHEAD;
        let (mut one, mut two) = (HeldEvents::new(&socket), HeldEvents::new(&socket));
        assert_eq!(one.push(&broadcast), each);
        assert_eq!(two.push(&broadcast), 2 * each);
        drop(one);
        assert_eq!(two.push(&broadcast), 2 * each);
        drop(two);
        assert_eq!(socket.hold(0), 0);
    }
}
