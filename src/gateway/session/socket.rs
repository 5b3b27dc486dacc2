//! A connection as the hub sees it: its id, its subscriptions and its bounded send queue.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::gateway::broadcast::At;
use crate::gateway::hub::Channel;
use crate::gateway::protocol::{Close, SocketId};

/// Approximate memory of a queued frame in addition to its bytes: queue slot, allocation headers, position. Without
/// it a client that does not read could make small frames take many times `max_queue`.
const FRAME_OVERHEAD: usize = 192;

/// A frame in the send queue.
pub struct QueuedFrame {
    /// The encoded frame, shared by all sockets that receive it.
    pub frame: Bytes,
    /// For sockets that asked for positions: the channel, and where the record is in Kafka.
    pub record_at: Option<Box<(Arc<Channel>, At)>>,
}

/// Everything the writer takes from the queue in one call.
pub struct WriteBatch {
    pub frames: VecDeque<QueuedFrame>,
    /// Code and reason of the close frame that follows the frames.
    pub close: Option<(u16, String)>,
    /// Frames were discarded: no position may be sent any more, it would cover them.
    pub dropped: bool,
}

#[derive(Default)]
struct SendQueue {
    frames: VecDeque<QueuedFrame>,
    /// Bytes queued here or held by the writer.
    bytes: usize,
    close: Option<(u16, String)>,
    /// The queue overflowed and its frames were discarded.
    dropped: bool,
    /// No more frames are accepted.
    shut: bool,
}

/// A connection, shared by its task, the hub and the channels.
pub struct Socket {
    pub id: SocketId,
    /// The id that signatures and tokens contain: `id`, and for an event stream the id of its ticket, which stays the
    /// same when the client reconnects.
    pub authorized_id: SocketId,
    pub address: IpAddr,
    pub opened: Instant,
    queue: Mutex<SendQueue>,
    waker: AtomicWaker,
    user: OnceLock<Box<str>>,
    /// The socket whose tokens this one presented: events that exclude it are withheld here as well.
    resumed_from: OnceLock<SocketId>,
    /// Subscribed channels in the order of their subscriptions; `None` after the connection ended.
    channels: Mutex<Option<Vec<Arc<Channel>>>>,
    wants_positions: AtomicBool,
    /// Bytes of live events held back on all channels that are being recovered.
    held: AtomicUsize,
    max_queue: usize,
}

/// Result of queueing a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnqueueResult {
    Queued,
    /// Queued; more than half of the queue is used.
    NearlyFull,
    /// The queue was full; the socket is being closed with 4100.
    Overflow,
    /// The socket accepts no more frames.
    Closed,
}

impl Socket {
    /// Creates a socket with an empty queue of at most `max_queue` bytes.
    #[must_use]
    pub fn new(id: SocketId, address: IpAddr, max_queue: usize) -> Self {
        Self {
            id,
            authorized_id: id,
            address,
            opened: Instant::now(),
            queue: Mutex::new(SendQueue::default()),
            waker: AtomicWaker::new(),
            user: OnceLock::new(),
            resumed_from: OnceLock::new(),
            channels: Mutex::new(Some(Vec::new())),
            wants_positions: AtomicBool::new(false),
            held: AtomicUsize::new(0),
            max_queue,
        }
    }

    /// Queues a frame and wakes the writer. Never blocks.
    pub fn push(&self, frame: Bytes) -> EnqueueResult {
        self.push_record(frame, None)
    }

    /// As [`Self::push`], with the Kafka position of the frame's record.
    pub fn push_record(
        &self,
        frame: Bytes,
        record_at: Option<Box<(Arc<Channel>, At)>>,
    ) -> EnqueueResult {
        let mut queue = self.queue.lock();
        // While a requested close has not been taken by the writer, frames are still accepted: a position that is sent
        // before the close covers them.
        if queue.shut || queue.dropped {
            return EnqueueResult::Closed;
        }
        if queue.bytes + cost(&frame) > self.max_queue {
            // The queued frames are not sent: the client reconnects and subscribes again.
            queue.frames = VecDeque::new();
            queue.dropped = true;
            queue.close.get_or_insert_with(|| {
                (
                    Close::OverCapacity.code(),
                    "The client reads too slowly".to_owned(),
                )
            });
            drop(queue);
            self.waker.wake();
            return EnqueueResult::Overflow;
        }
        queue.bytes += cost(&frame);
        let was_empty = queue.frames.is_empty();
        queue.frames.push_back(QueuedFrame { frame, record_at });
        let nearly_full = queue.bytes > self.max_queue / 2;
        drop(queue);
        if was_empty {
            self.waker.wake();
        }
        if nearly_full {
            EnqueueResult::NearlyFull
        } else {
            EnqueueResult::Queued
        }
    }

    /// Closes the connection after the queue is written; the first call decides code and reason.
    pub fn close(&self, close: Close, reason: &str) {
        self.close_with(close.code(), reason);
    }

    /// Answers the client's close frame with its own code, or 1000 if it has none.
    pub(super) fn reply_to_close(&self, code: Option<u16>) {
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

    /// Ready when there is something to write. To be called by the connection's own task only.
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

    /// Takes all queued frames; after a close no more are accepted.
    pub fn take(&self) -> WriteBatch {
        let mut queue = self.queue.lock();
        queue.shut |= queue.close.is_some();
        WriteBatch {
            dropped: queue.dropped,
            frames: std::mem::take(&mut queue.frames),
            close: queue.close.clone(),
        }
    }

    /// Calls `each` with every queued frame.
    pub fn peek(&self, mut each: impl FnMut(&QueuedFrame)) {
        self.queue.lock().frames.iter().for_each(&mut each);
    }

    /// Counts a frame that the writer adds behind the frames it took.
    pub(super) fn count_appended(&self, frame: &Bytes) {
        self.queue.lock().bytes += cost(frame);
    }

    /// Replaces the cost of frames that the writer has encoded again.
    pub(super) fn recount(&self, before: usize, after: usize) {
        let mut queue = self.queue.lock();
        queue.bytes = (queue.bytes + after).saturating_sub(before);
    }

    /// Releases `bytes` that were written, and the overhead of `frames` that are complete.
    pub fn written(&self, bytes: usize, frames: usize) {
        let mut queue = self.queue.lock();
        queue.bytes = queue.bytes.saturating_sub(bytes + frames * FRAME_OVERHEAD);
    }

    /// Discards the queue and accepts no more frames.
    pub fn shut(&self) {
        let mut queue = self.queue.lock();
        queue.shut = true;
        queue.frames = VecDeque::new();
        queue.bytes = 0;
    }

    /// Ready once a close was requested. To be called by the connection's own task only.
    pub fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.is_closing() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// True if a close was requested.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.queue.lock().close.is_some()
    }

    /// Bytes in the queue and in the writer.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.lock().bytes
    }

    /// True if `frames` frames of `bytes` bytes in total fit into the queue.
    #[must_use]
    pub fn fits(&self, frames: usize, bytes: usize) -> bool {
        self.queued() + bytes + frames * FRAME_OVERHEAD <= self.max_queue
    }

    /// Adds to the bytes of held live events, and returns their sum over all channels.
    pub(in crate::gateway) fn hold(&self, bytes: usize) -> usize {
        self.held.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    pub(in crate::gateway) fn release_held(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Id of the signed-in user.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.get().map(AsRef::as_ref)
    }

    /// Sets the signed-in user; false if there is one already.
    pub(in crate::gateway) fn sign_in(&self, user: &str) -> bool {
        self.user.set(user.into()).is_ok()
    }

    /// Sets the socket that the client had before it reconnected; the first call decides.
    pub(in crate::gateway) fn resume_from(&self, previous: SocketId) {
        let _ = self.resumed_from.set(previous);
    }

    /// True if an event that excludes the socket `except` is not for this client.
    #[must_use]
    pub fn is_excluded(&self, except: Option<SocketId>) -> bool {
        except.is_some_and(|id| {
            id == self.id || id == self.authorized_id || self.resumed_from.get() == Some(&id)
        })
    }

    /// True if the client asked for positions (`realtime:resume`).
    #[must_use]
    pub fn wants_positions(&self) -> bool {
        self.wants_positions.load(Ordering::Relaxed)
    }

    pub(in crate::gateway) fn enable_positions(&self) {
        self.wants_positions.store(true, Ordering::Relaxed);
    }

    /// The channel, if the socket is subscribed to it.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<Arc<Channel>> {
        let channels = self.channels.lock();
        channels
            .iter()
            .flatten()
            .find(|c| c.name() == name)
            .cloned()
    }

    /// Subscribed channels in the order of their subscriptions.
    #[must_use]
    pub fn channels(&self) -> Vec<Arc<Channel>> {
        self.channels.lock().clone().unwrap_or_default()
    }

    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.channels.lock().as_ref().map_or(0, Vec::len)
    }

    /// Adds a subscription; false after the connection ended.
    pub(in crate::gateway) fn track(&self, channel: &Arc<Channel>) -> bool {
        match &mut *self.channels.lock() {
            Some(channels) => {
                channels.push(Arc::clone(channel));
                true
            }
            None => false,
        }
    }

    pub(in crate::gateway) fn untrack(&self, name: &str) -> Option<Arc<Channel>> {
        let mut channels = self.channels.lock();
        let list = channels.as_mut()?;
        let at = list.iter().position(|c| c.name() == name)?;
        Some(list.remove(at))
    }

    /// Removes all subscriptions and accepts no more.
    pub(in crate::gateway) fn untrack_all(&self) -> Vec<Arc<Channel>> {
        self.channels.lock().take().unwrap_or_default()
    }

    /// Maximum size of the queue, in bytes.
    #[must_use]
    pub fn max_queue(&self) -> usize {
        self.max_queue
    }
}

/// The memory of a queued frame.
pub(super) fn cost(frame: &Bytes) -> usize {
    frame.len() + FRAME_OVERHEAD
}
