//! The replays of one connection: queued in the order of the subscriptions, run one at a time.
//!
//! A channel with an entry here holds back its live events, so every entry leaves the queue in one of two ways: with a
//! result, which the caller passes to the hub, or by [`ReplayQueue::cancel`] after an unsubscribe.
//!
//! ```text
//! push ─▶ queued ─▶ next ─▶ (refused: the caller ends the recovery)
//!                     └────▶ start ─▶ running ─▶ finished ─▶ take_finished
//!                                        └─ deadline ─▶ finished with `recovered: false`
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::gateway::backend::{BoxFuture, Replay};
use crate::gateway::hub::Channel;

/// A channel that still holds back its events this long after the subscription goes live without a recovery.
pub(super) const HOLD_TIMEOUT: Duration = Duration::from_secs(30);

/// A replay that has not started.
pub(super) struct QueuedReplay {
    pub channel: Arc<Channel>,
    pub token: String,
    deadline: Instant,
}

enum Progress {
    Running(BoxFuture<Replay>),
    Finished(Replay),
}

pub(super) struct ReplayQueue {
    queued: VecDeque<QueuedReplay>,
    current: Option<(Arc<Channel>, Progress)>,
    hold_timeout: Duration,
}

impl ReplayQueue {
    pub fn new(hold_timeout: Duration) -> Self {
        Self {
            queued: VecDeque::new(),
            current: None,
            hold_timeout,
        }
    }

    pub fn push(&mut self, channel: Arc<Channel>, token: String) {
        self.queued.push_back(QueuedReplay {
            channel,
            token,
            deadline: Instant::now() + self.hold_timeout,
        });
    }

    /// True while the channel's replay is queued, running, or finished and not taken.
    pub fn contains(&self, channel: &Arc<Channel>) -> bool {
        let queued = self.queued.iter().map(|queued| &queued.channel);
        let current = self.current.iter().map(|(channel, _)| channel);
        queued.chain(current).any(|c| Arc::ptr_eq(c, channel))
    }

    /// The next replay, unless one is running. The caller must [`Self::start`] it or end the channel's recovery.
    pub fn next(&mut self) -> Option<QueuedReplay> {
        if self.current.is_some() {
            return None;
        }
        self.queued.pop_front()
    }

    /// Runs a replay until its deadline.
    pub fn start(&mut self, queued: QueuedReplay, replay: BoxFuture<Replay>) {
        let deadline = queued.deadline.into();
        let bounded = async move {
            tokio::time::timeout_at(deadline, replay)
                .await
                .unwrap_or_default()
        };
        self.current = Some((queued.channel, Progress::Running(Box::pin(bounded))));
    }

    /// Ready when [`Self::take_finished`] returns a result.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((_, progress)) = &mut self.current else {
            return Poll::Pending;
        };
        if let Progress::Running(replay) = progress {
            match replay.as_mut().poll(cx) {
                Poll::Ready(replay) => *progress = Progress::Finished(replay),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// The finished replay with its channel. A running replay stays.
    pub fn take_finished(&mut self) -> Option<(Arc<Channel>, Replay)> {
        match self.current.take()? {
            (channel, Progress::Finished(replay)) => Some((channel, replay)),
            running => {
                self.current = Some(running);
                None
            }
        }
    }

    /// Removes a channel's replay after an unsubscribe; true if it had been started.
    pub fn cancel(&mut self, channel: &str) -> bool {
        self.queued
            .retain(|queued| queued.channel.name() != channel);
        let is_current = |(c, _): &(Arc<Channel>, Progress)| c.name() == channel;
        let started = self.current.as_ref().is_some_and(is_current);
        if started {
            self.current = None;
        }
        started
    }

    /// Removes the replays that have not started.
    pub fn clear_queued(&mut self) {
        self.queued.clear();
    }
}
