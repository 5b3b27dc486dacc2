//! Recovery on one connection: accepts tokens, runs replays one after another, sends positions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::client::Session;
use crate::gateway::backend::{BoxFuture, Replay};
use crate::gateway::broadcast::Position;
use crate::gateway::hub::Channel;

/// How often the positions of quiet channels are sent again: a token expires after ten minutes.
const POSITION_REFRESH: Duration = Duration::from_secs(60);
/// The window of the replay limits.
const MINUTE: Duration = Duration::from_secs(60);

impl Session {
    pub(super) fn resume(&mut self, tokens: BTreeMap<String, String>) {
        if !self.hub.settings().recovery {
            return;
        }
        let is_first = !self.socket.wants_positions();
        self.socket.enable_positions();
        let history = self.hub.history().cloned();
        for (channel, token) in tokens {
            if self.socket.channel(&channel).is_none() {
                let previous_socket = history
                    .as_ref()
                    .and_then(|h| h.previous_socket(&token, &channel));
                if let Some(previous) = previous_socket {
                    self.socket.resume_from(previous);
                }
                self.tokens
                    .insert(&channel, &token, previous_socket.is_some());
            }
        }
        // Sent once here; afterwards only when they change.
        if is_first {
            self.due_positions = self.live_channels();
        }
    }

    /// Subscribed channels whose positions may be sent: all but those with a replay queued or running.
    fn live_channels(&self) -> Vec<Arc<Channel>> {
        let mut channels = self.socket.channels();
        channels.retain(|channel| !self.replays.contains(channel));
        channels
    }

    /// Marks the positions of all live channels as due, once per [`POSITION_REFRESH`].
    pub(super) fn refresh_positions(&mut self, now: Instant) {
        if self.socket.wants_positions()
            && now.duration_since(self.positions_refreshed) >= POSITION_REFRESH
        {
            self.positions_refreshed = now;
            self.due_positions = self.live_channels();
        }
    }

    pub(super) fn mark_position_due(&mut self, channel: &Arc<Channel>) {
        if self.socket.wants_positions()
            && !self.due_positions.iter().any(|c| Arc::ptr_eq(c, channel))
        {
            self.due_positions.push(Arc::clone(channel));
        }
    }

    pub(super) fn has_due_positions(&self) -> bool {
        !self.due_positions.is_empty()
    }

    /// Current positions of the channels that have records in the next batch or whose position is due.
    pub(super) fn take_positions(&mut self) -> Vec<(Arc<Channel>, Position)> {
        let Some(history) = self.hub.history().cloned() else {
            self.due_positions.clear();
            return Vec::new();
        };
        let mut channels = std::mem::take(&mut self.due_positions);
        self.socket.peek(|queued| {
            if let Some(record_at) = &queued.record_at {
                if !channels.iter().any(|c| Arc::ptr_eq(c, &record_at.0)) {
                    channels.push(Arc::clone(&record_at.0));
                }
            }
        });
        channels.retain(|c| {
            self.socket
                .channel(c.name())
                .is_some_and(|subscribed| Arc::ptr_eq(&subscribed, c))
        });
        channels
            .into_iter()
            .map(|channel| {
                let position = history.position(channel.name());
                (channel, position)
            })
            .collect()
    }

    /// Ready when a replay or the presence wait has finished; [`Self::complete_work`] handles the result.
    pub(super) fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(waiting) = &mut self.presence_wait {
            if waiting.as_mut().poll(cx).is_ready() {
                self.presence_wait = None;
                self.presence_wait_over = true;
            }
        }
        if self.replays.poll(cx).is_ready() || self.presence_wait_over {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Handles a finished presence wait or replay.
    pub(super) fn complete_work(&mut self) {
        if std::mem::take(&mut self.presence_wait_over) {
            self.complete_pending_joins();
        }
        if let Some((channel, replay)) = self.replays.take_finished() {
            if replay.scanned {
                self.count_kafka_replay();
            }
            self.hub.finish_replay(&channel, self.socket.id, &replay);
            self.mark_position_due(&channel);
            self.start_next_replay();
        }
    }

    /// A reconnecting client needs one replay per channel. Repeated replays, also those from memory, are limited per
    /// minute.
    fn allow_replay(&mut self, channel: &Channel) -> bool {
        let settings = self.hub.settings();
        let is_first = self.replayed_channels.len() < settings.max_subscriptions
            && self.replayed_channels.insert(channel.name().into());
        if is_first {
            return true;
        }
        let now = Instant::now();
        let allowed = self
            .repeat_replays
            .allows(settings.replays_per_minute, MINUTE, now);
        if allowed {
            self.repeat_replays.count(settings.replays_per_minute, now);
        }
        allowed
    }

    fn count_kafka_replay(&mut self) {
        let limit = self.hub.settings().replays_per_minute;
        self.kafka_replays.count(limit, Instant::now());
    }

    /// Cancels the replay of a channel after an unsubscribe. It counts against the limit of Kafka reads, because a read
    /// continues.
    pub(super) fn cancel_replay(&mut self, channel: &str) {
        if self.replays.cancel(channel) {
            self.count_kafka_replay();
        }
    }

    /// Starts the next replay; one runs at a time.
    pub(super) fn start_next_replay(&mut self) {
        while let Some(queued) = self.replays.next() {
            let history = self.hub.history().cloned();
            let Some(history) = history.filter(|_| self.allow_replay(&queued.channel)) else {
                self.hub
                    .finish_replay(&queued.channel, self.socket.id, &Replay::default());
                self.mark_position_due(&queued.channel);
                continue;
            };
            let limit = self.hub.settings().replays_per_minute;
            let may_scan = self.kafka_replays.allows(limit, MINUTE, Instant::now());
            let user = self.socket.user().map(str::to_owned);
            let channel = queued.channel.name().to_owned();
            let replay = history.replay(queued.token.clone(), channel, user, may_scan);
            self.replays.start(queued, replay);
        }
    }
}

// The replays of one connection: queued in the order of the subscriptions, run one at a time.
//
// A channel with an entry here holds back its live events, so every entry leaves the queue in one of two ways: with a
// result, which the caller passes to the hub, or by [`ReplayQueue::cancel`] after an unsubscribe.
//
// ```text
// push ─▶ queued ─▶ next ─▶ (refused: the caller ends the recovery)
//                     └────▶ start ─▶ running ─▶ finished ─▶ take_finished
//                                        └─ deadline ─▶ finished with `recovered: false`
// ```

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
