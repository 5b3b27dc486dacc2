//! One socket channel: who listens, and how a broadcast reaches them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::gateway::broadcast::{Broadcast, Position};
use crate::gateway::connection::{EnqueueResult, Socket};
use crate::gateway::protocol::channel::{ChannelKind, Name};
use crate::gateway::protocol::{frame, SocketId};
use crate::gateway::seam::Replay;

/// A socket channel that somebody listens to.
pub struct Channel {
    name: Box<str>,
    kind: ChannelKind,
    pub(super) state: Mutex<ChannelState>,
}

/// What changes on a channel; its lock keeps subscribing and delivering apart, so nothing comes before success.
#[derive(Default)]
pub(super) struct ChannelState {
    pub subscribers: HashMap<SocketId, Subscriber>,
    /// The last one left and the channel is out of the table: look it up again.
    pub removed: bool,
}

/// One subscription.
pub(super) struct Subscriber {
    pub socket: Arc<Socket>,
    /// `None`: everything as it comes.
    pub recovery: Option<Box<RecoveryState>>,
}

/// A subscription that is being recovered, or was a moment ago.
pub(super) enum RecoveryState {
    /// Live events wait until the replay is through.
    Holding {
        events: Vec<Arc<Broadcast>>,
        bytes: usize,
        /// More than a queue holds came meanwhile: this cannot be recovered.
        overflow: bool,
    },
    /// The replay went that far; what lies below comes a second time.
    Skipping(Position),
}

/// How a broadcast was received.
#[derive(Default)]
pub(super) struct Delivery {
    pub sockets: usize,
    pub overflows: u64,
}

impl Channel {
    pub(super) fn new(name: &Name<'_>) -> Self {
        Self {
            name: name.full.into(),
            kind: name.kind,
            state: Mutex::default(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What guards it.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        self.kind
    }

    /// Gives a broadcast to everybody who listens; the frame is encoded once.
    pub(super) fn deliver(self: &Arc<Self>, broadcast: &Arc<Broadcast>) -> Delivery {
        let mut reached = Delivery::default();
        let mut state = self.state.lock();
        if state.subscribers.is_empty() {
            return reached;
        }
        let frame = self.frame(broadcast);
        for subscriber in state.subscribers.values_mut() {
            if broadcast.except == Some(subscriber.socket.id) {
                continue;
            }
            if subscriber.recovery.is_some() && !subscriber.accept_live(broadcast) {
                reached.sockets += 1;
                continue;
            }
            match self.push(&subscriber.socket, frame.clone(), broadcast) {
                EnqueueResult::Queued => reached.sockets += 1,
                EnqueueResult::Overflow => reached.overflows += 1,
                EnqueueResult::Closed => {}
            }
        }
        reached
    }

    /// The frame of a broadcast on this channel.
    pub(super) fn frame(&self, broadcast: &Broadcast) -> Bytes {
        frame::event(&broadcast.event, &self.name, Some(&broadcast.data), None)
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

    /// Gives a frame to everybody but `except`; how many got it.
    pub(super) fn relay(&self, frame: &Bytes, except: Option<SocketId>) -> usize {
        let state = self.state.lock();
        state
            .subscribers
            .values()
            .filter(|s| Some(s.socket.id) != except)
            .filter(|s| s.socket.push(frame.clone()) == EnqueueResult::Queued)
            .count()
    }

    /// Ends a recovery: replay, the verdict, what was held, live. Returns the verdict; `None` where the subscription is gone.
    pub(super) fn finish_replay(self: &Arc<Self>, id: SocketId, replay: &Replay) -> Option<bool> {
        let mut state = self.state.lock();
        let subscriber = state.subscribers.get_mut(&id)?;
        let Some(RecoveryState::Holding {
            events, overflow, ..
        }) = subscriber.recovery.take().map(|boxed| *boxed)
        else {
            return None;
        };
        let socket = &subscriber.socket;
        let frames: Vec<_> = replay
            .events
            .iter()
            .filter(|event| event.except != Some(id))
            .map(|event| (self.frame(event), event))
            .collect();
        let size: usize = frames.iter().map(|(frame, _)| frame.len()).sum();
        let held: usize = events.iter().map(|event| event.data.len() + 256).sum();
        // More than the queue takes would close the connection, and the client would come back for the same again.
        let fits = socket.queued() + size + held <= socket.max_queue();
        let recovered = replay.recovered && !overflow && fits;
        let replayed: &[Arc<Broadcast>] = if recovered { &replay.events } else { &[] };
        if recovered {
            for (frame, event) in frames {
                self.push(socket, frame, event);
            }
        }
        let verdict: &[u8] = if recovered {
            br#"{"recovered":true}"#
        } else {
            br#"{"recovered":false}"#
        };
        socket.push(frame::event(
            "realtime:recovered",
            &self.name,
            Some(verdict),
            None,
        ));
        let seen: std::collections::HashSet<&str> = replayed.iter().map(|e| &*e.id).collect();
        for event in &events {
            let twice = recovered && (seen.contains(&*event.id) || event.is_below(&replay.up_to));
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
    /// Whether a live event goes out now; one that has to wait is kept.
    fn accept_live(&mut self, broadcast: &Arc<Broadcast>) -> bool {
        let max = self.socket.max_queue();
        match self.recovery.as_deref_mut() {
            None => true,
            Some(RecoveryState::Holding {
                events,
                bytes,
                overflow,
            }) => {
                *bytes += broadcast.data.len() + broadcast.event.len() + 128;
                if *bytes > max {
                    *overflow = true;
                }
                if *overflow && *bytes > 2 * max {
                    // Nothing may be lost from what is live: this client reads, or rather replays, too slowly.
                    self.socket.close(
                        crate::gateway::protocol::Close::OverCapacity,
                        "RecoveryState too slowly",
                    );
                    events.clear();
                } else {
                    events.push(Arc::clone(broadcast));
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
