//! Recovery on one connection: accepts tokens, runs replays one after another, sends positions.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::socket::Socket;
use crate::gateway::backend::{BoxFuture, Replay};
use crate::gateway::broadcast::Position;
use crate::gateway::hub::{Channel, Hub};
use crate::gateway::limits::SlidingWindow;
use crate::topic::socket_channel::Name;

/// How often the positions of quiet channels are sent again: a token expires after ten minutes.
const POSITION_REFRESH: Duration = Duration::from_secs(60);
/// The window of the replay limits.
const MINUTE: Duration = Duration::from_secs(60);

/// Maximum length of a token.
const MAX_TOKEN: usize = 8192;
/// Average budget per allowed subscription; a token for one topic of twelve partitions has about 150 bytes.
const BYTES_PER_SUBSCRIPTION: usize = 512;
/// Approximate cost of an entry in addition to its strings.
const ENTRY_OVERHEAD: usize = 96;

/// The recovery of one connection's client: its tokens, replays and positions.
pub(super) struct SessionRecovery {
    hub: Arc<Hub>,
    socket: Arc<Socket>,
    /// Tokens of `realtime:resume`, by channel, until the client subscribes.
    tokens: ResumeTokens,
    replays: ReplayQueue,
    kafka_replays: SlidingWindow,
    /// Channels that were replayed on this connection, and the times of repeated replays.
    replayed_channels: HashSet<Box<str>>,
    repeat_replays: SlidingWindow,
    /// Channels whose position has to be sent.
    due_positions: Vec<Arc<Channel>>,
    positions_refreshed: Instant,
}

impl SessionRecovery {
    /// `hold_timeout`: a channel that still holds back its events this long after the subscription goes live without a
    /// recovery.
    pub fn new(hub: &Arc<Hub>, socket: &Arc<Socket>, now: Instant, hold_timeout: Duration) -> Self {
        Self {
            tokens: ResumeTokens::new(hub.settings().max_subscriptions),
            replays: ReplayQueue::new(hold_timeout),
            kafka_replays: SlidingWindow::default(),
            replayed_channels: HashSet::new(),
            repeat_replays: SlidingWindow::default(),
            due_positions: Vec::new(),
            positions_refreshed: now,
            hub: Arc::clone(hub),
            socket: Arc::clone(socket),
        }
    }

    pub fn resume(&mut self, tokens: BTreeMap<String, String>) {
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
    pub fn refresh_positions(&mut self, now: Instant) {
        if self.socket.wants_positions()
            && now.duration_since(self.positions_refreshed) >= POSITION_REFRESH
        {
            self.positions_refreshed = now;
            self.due_positions = self.live_channels();
        }
    }

    pub fn mark_position_due(&mut self, channel: &Arc<Channel>) {
        if self.socket.wants_positions()
            && !self.due_positions.iter().any(|c| Arc::ptr_eq(c, channel))
        {
            self.due_positions.push(Arc::clone(channel));
        }
    }

    pub fn has_due_positions(&self) -> bool {
        !self.due_positions.is_empty()
    }

    /// Current positions of the channels that have records in the next batch or whose position is due.
    pub fn take_positions(&mut self) -> Vec<(Arc<Channel>, Position)> {
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

    /// Ready when a replay has finished; [`Self::complete`] handles the result.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.replays.poll(cx)
    }

    pub fn complete(&mut self) {
        if let Some((channel, replay)) = self.replays.take_finished() {
            if replay.scanned {
                self.count_kafka_replay();
            }
            self.hub
                .channels()
                .finish_replay(&channel, self.socket.id, &replay);
            self.mark_position_due(&channel);
            self.start_next();
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

    /// The token of a channel that is being subscribed; see [`ResumeTokens::remove`].
    pub fn take_token(&mut self, channel: &str) -> Option<String> {
        self.tokens.remove(channel)
    }

    /// A channel was subscribed. It holds back its events if there was a token.
    pub fn subscribed(&mut self, channel: Arc<Channel>, token: Option<String>) {
        match token {
            Some(token) => {
                self.replays.push(channel, token);
                self.start_next();
            }
            None => self.mark_position_due(&channel),
        }
    }

    /// Cancels the replay of a channel that is being unsubscribed. It counts against the limit of Kafka reads, because
    /// a read continues.
    pub fn unsubscribe(&mut self, channel: &str) {
        if self.replays.cancel(channel) {
            self.count_kafka_replay();
        }
        self.due_positions.retain(|due| due.name() != channel);
    }

    /// The client closes the connection: no more replays are started.
    pub fn clear_queued(&mut self) {
        self.replays.queued.clear();
    }

    /// Starts the next replay; one runs at a time.
    pub fn start_next(&mut self) {
        while let Some(queued) = self.replays.next() {
            let history = self.hub.history().cloned();
            let Some(history) = history.filter(|_| self.allow_replay(&queued.channel)) else {
                self.hub.channels().finish_replay(
                    &queued.channel,
                    self.socket.id,
                    &Replay::default(),
                );
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

/// A replay that has not started.
struct QueuedReplay {
    pub channel: Arc<Channel>,
    pub token: String,
    deadline: Instant,
}

enum Progress {
    Running(BoxFuture<Replay>),
    Finished(Replay),
}

/// The replays of one connection: queued in the order of the subscriptions, run one at a time.
///
/// A channel with an entry here holds back its live events, so every entry leaves the queue in one of two ways: with a
/// result, which is passed to the hub, or by [`Self::cancel`] after an unsubscribe.
///
/// ```text
/// push ─▶ queued ─▶ next ─▶ (refused: the caller ends the recovery)
///                     └────▶ start ─▶ running ─▶ finished ─▶ take_finished
///                                        └─ deadline ─▶ finished with `recovered: false`
/// ```
struct ReplayQueue {
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
}

/// The tokens of `realtime:resume`. Clients can send them before any authorization, so they are validated when they
/// arrive, and bounded in number and bytes.
struct ResumeTokens {
    tokens: BTreeMap<Box<str>, Box<str>>,
    bytes: usize,
    /// Hashes of channels whose token was rejected: their recovery is answered with `recovered: false`. A hash takes
    /// 8 bytes however long the name is.
    rejected: HashSet<u64>,
    hasher: RandomState,
    max_entries: usize,
}

impl ResumeTokens {
    pub fn new(max_subscriptions: usize) -> Self {
        Self {
            tokens: BTreeMap::new(),
            bytes: 0,
            rejected: HashSet::new(),
            hasher: RandomState::new(),
            max_entries: max_subscriptions,
        }
    }

    /// Keeps a token if `is_valid` and within the budget; else only that the channel has asked. Invalid names are
    /// ignored.
    pub fn insert(&mut self, channel: &str, token: &str, is_valid: bool) {
        if Name::parse(channel).is_none() {
            return;
        }
        self.remove(channel);
        let cost = channel.len() + token.len() + ENTRY_OVERHEAD;
        if token.len() <= MAX_TOKEN
            && self.tokens.len() < self.max_entries
            && self.bytes + cost <= self.max_bytes()
            && is_valid
        {
            self.bytes += cost;
            self.tokens.insert(channel.into(), token.into());
        } else if self.rejected.len() < self.max_entries {
            self.rejected.insert(self.hasher.hash_one(channel));
        }
    }

    /// Removes the token of a channel. An empty token, which no history accepts, marks a rejected one.
    pub fn remove(&mut self, channel: &str) -> Option<String> {
        if let Some(token) = self.tokens.remove(channel) {
            self.bytes -= channel.len() + token.len() + ENTRY_OVERHEAD;
            return Some(token.into());
        }
        self.rejected
            .remove(&self.hasher.hash_one(channel))
            .then(String::new)
    }

    fn max_bytes(&self) -> usize {
        self.max_entries * BYTES_PER_SUBSCRIPTION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_bounded_in_number_and_bytes() {
        let mut tokens = ResumeTokens::new(100);
        for i in 0..1000 {
            tokens.insert(&format!("private-{i}"), &"x".repeat(8000), true);
        }
        assert!(tokens.bytes <= 100 * BYTES_PER_SUBSCRIPTION);
        assert_eq!(tokens.rejected.len(), 100);
        for i in 0..1000 {
            tokens.insert(&format!("private-{i}"), "t", true);
        }
        assert_eq!(tokens.tokens.len(), 100);
        for i in 0..1000 {
            tokens.remove(&format!("private-{i}"));
        }
        assert_eq!((tokens.bytes, tokens.tokens.len()), (0, 0));
    }

    #[test]
    fn a_rejected_token_is_answered_and_an_invalid_name_is_ignored() {
        let mut tokens = ResumeTokens::new(10);
        tokens.insert("private-a", "forged", false);
        tokens.insert("private-b", &"x".repeat(MAX_TOKEN + 1), true);
        tokens.insert("private-c", "good", true);
        tokens.insert("not a name", "good", true);
        assert_eq!(tokens.remove("private-a").as_deref(), Some(""));
        assert_eq!(tokens.remove("private-a"), None);
        assert_eq!(tokens.remove("private-b").as_deref(), Some(""));
        assert_eq!(tokens.remove("private-c").as_deref(), Some("good"));
        assert_eq!(tokens.remove("not a name"), None);
    }
}
