//! One connection as everybody else sees it: its id and the bounded queue of frames that wait for it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::gateway::broadcast::At;
use crate::gateway::hub::Channel;
use crate::gateway::protocol::{Close, SocketId};

/// A frame that waits.
pub struct QueuedFrame {
    /// The whole frame, shared by all sockets that get it.
    pub frame: Bytes,
    /// For sockets that asked for positions: what it record_at, and how far.
    pub record_at: Option<Box<(Arc<Channel>, At)>>,
}

/// What the writer takes from a queue at once.
pub struct WriteBatch {
    /// The frames.
    pub frames: VecDeque<QueuedFrame>,
    /// The close that comes after them: its code and words.
    pub close: Option<(u16, String)>,
    /// Frames were thrown away: no position may be told any more, it would cover them.
    pub dropped: bool,
}

#[derive(Default)]
struct SendQueue {
    frames: VecDeque<QueuedFrame>,
    /// Bytes that wait here or in the writer's hand.
    bytes: usize,
    close: Option<(u16, String)>,
    /// Frames were thrown away.
    dropped: bool,
    /// Nothing is taken any more.
    shut: bool,
}

/// A connection.
pub struct Socket {
    /// Its id.
    pub id: SocketId,
    /// The client's address.
    pub address: IpAddr,
    /// When it was opened.
    pub opened: Instant,
    queue: Mutex<SendQueue>,
    waker: AtomicWaker,
    user: OnceLock<Box<str>>,
    /// Its channels, in the order they were subscribed; `None` once it has left.
    channels: Mutex<Option<Vec<Arc<Channel>>>>,
    wants_positions: AtomicBool,
    max_queue: usize,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnqueueResult {
    /// It waits.
    Queued,
    /// The queue was full: the socket is being closed with 4100.
    Overflow,
    /// The socket is closing.
    Closed,
}

impl Socket {
    /// A socket with an empty queue.
    #[must_use]
    pub fn new(id: SocketId, address: IpAddr, max_queue: usize) -> Self {
        Self {
            id,
            address,
            opened: Instant::now(),
            queue: Mutex::new(SendQueue::default()),
            waker: AtomicWaker::new(),
            user: OnceLock::new(),
            channels: Mutex::new(Some(Vec::new())),
            wants_positions: AtomicBool::new(false),
            max_queue,
        }
    }

    /// Queues a frame and wakes the writer. Never blocks.
    pub fn push(&self, frame: Bytes) -> EnqueueResult {
        self.push_record(frame, None)
    }

    /// As [`Self::push`], with the position that the frame record_at.
    pub fn push_record(
        &self,
        frame: Bytes,
        record_at: Option<Box<(Arc<Channel>, At)>>,
    ) -> EnqueueResult {
        let mut queue = self.queue.lock();
        // A close that was ordered and not taken yet refuses nothing: a position that is told before it covers what comes now.
        if queue.shut || queue.dropped {
            return EnqueueResult::Closed;
        }
        if queue.bytes + frame.len() > self.max_queue {
            // What waits is not worth sending: the client comes back and begins anew.
            queue.frames = VecDeque::new();
            queue.dropped = true;
            queue.close.get_or_insert_with(|| {
                (Close::OverCapacity.code(), "Reading too slowly".to_owned())
            });
            drop(queue);
            self.waker.wake();
            return EnqueueResult::Overflow;
        }
        queue.bytes += frame.len();
        let was_empty = queue.frames.is_empty();
        queue.frames.push_back(QueuedFrame { frame, record_at });
        drop(queue);
        if was_empty {
            self.waker.wake();
        }
        EnqueueResult::Queued
    }

    /// Closes the connection once what waits is written; the first reason counts.
    pub fn close(&self, close: Close, reason: &str) {
        self.close_with(close.code(), reason);
    }

    /// The client closes: answered with its own code, or with 1000 where it gave none.
    pub(super) fn answer_close(&self, code: Option<u16>) {
        self.close_with(code.unwrap_or(Close::Normal.code()), "");
    }

    fn close_with(&self, code: u16, reason: &str) {
        let mut queue = self.queue.lock();
        if !queue.shut && queue.close.is_none() {
            queue.close = Some((code, reason.to_owned()));
            drop(queue);
            self.waker.wake();
        }
    }

    /// Ready when there is something to write. Only the connection's own task asks.
    pub fn poll_queued(&self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = |queue: &SendQueue| !queue.frames.is_empty() || queue.close.is_some();
        if ready(&self.queue.lock()) {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if ready(&self.queue.lock()) {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Takes everything that waits; with a close nothing comes after it.
    pub fn take(&self) -> WriteBatch {
        let mut queue = self.queue.lock();
        queue.shut |= queue.close.is_some();
        WriteBatch {
            dropped: queue.dropped,
            frames: std::mem::take(&mut queue.frames),
            close: queue.close.clone(),
        }
    }

    /// Calls `each` with what would be taken now.
    pub fn peek(&self, mut each: impl FnMut(&QueuedFrame)) {
        self.queue.lock().frames.iter().for_each(&mut each);
    }

    /// That many bytes were written, or thrown away.
    pub fn written(&self, bytes: usize) {
        let mut queue = self.queue.lock();
        queue.bytes = queue.bytes.saturating_sub(bytes);
    }

    /// Takes no more frames and forgets those that wait.
    pub fn shut(&self) {
        let mut queue = self.queue.lock();
        queue.shut = true;
        queue.frames = VecDeque::new();
        queue.bytes = 0;
    }

    /// Ready once a close was ordered, whatever waits. Only the connection's own task asks.
    pub fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.is_closing() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Whether a close was ordered.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.queue.lock().close.is_some()
    }

    /// Bytes that wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.lock().bytes
    }

    /// The signed-in user.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.get().map(AsRef::as_ref)
    }

    /// Signs a user in; false where one is already.
    pub(in crate::gateway) fn sign_in(&self, user: &str) -> bool {
        self.user.set(user.into()).is_ok()
    }

    /// Whether the client asked for positions.
    #[must_use]
    pub fn wants_positions(&self) -> bool {
        self.wants_positions.load(Ordering::Relaxed)
    }

    /// The client asked for positions.
    pub(in crate::gateway) fn enable_positions(&self) {
        self.wants_positions.store(true, Ordering::Relaxed);
    }

    /// The channel, where it is subscribed to it.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<Arc<Channel>> {
        let channels = self.channels.lock();
        channels
            .iter()
            .flatten()
            .find(|c| c.name() == name)
            .cloned()
    }

    /// Its channels, in the order they were subscribed.
    #[must_use]
    pub fn channels(&self) -> Vec<Arc<Channel>> {
        self.channels.lock().clone().unwrap_or_default()
    }

    /// How many channels it is subscribed to.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.channels.lock().as_ref().map_or(0, Vec::len)
    }

    /// Notes a subscription; false where the socket has left.
    pub(in crate::gateway) fn track(&self, channel: &Arc<Channel>) -> bool {
        match &mut *self.channels.lock() {
            Some(channels) => {
                channels.push(Arc::clone(channel));
                true
            }
            None => false,
        }
    }

    /// Forgets a subscription.
    pub(in crate::gateway) fn untrack(&self, name: &str) -> Option<Arc<Channel>> {
        let mut channels = self.channels.lock();
        let list = channels.as_mut()?;
        let at = list.iter().position(|c| c.name() == name)?;
        Some(list.remove(at))
    }

    /// Forgets all subscriptions and takes no more.
    pub(in crate::gateway) fn untrack_all(&self) -> Vec<Arc<Channel>> {
        self.channels.lock().take().unwrap_or_default()
    }

    /// Most bytes that may wait.
    #[must_use]
    pub fn max_queue(&self) -> usize {
        self.max_queue
    }
}
