//! The state of a connection's client, and its actions: pings, sign-in, client events.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::limits::{SlidingWindow, TokenBucket};
use super::recover::{ReplayQueue, HOLD_TIMEOUT};
use super::socket::Socket;
use super::tokens::ResumeTokens;
use crate::gateway::backend::BoxFuture;
use crate::gateway::hub::{Channel, Hub};
use crate::gateway::protocol::frame::{self, Malformed, Member, SignIn, Subscribe};
use crate::gateway::protocol::{auth, Close};
use crate::topic::socket_channel::{is_reserved_event, Name};

/// A connection's client: rate limits, pending subscriptions and replays.
pub(super) struct Session {
    pub hub: Arc<Hub>,
    pub socket: Arc<Socket>,
    message_rate: TokenBucket,
    client_event_rate: TokenBucket,
    presence_joins: TokenBucket,
    /// Input is not read before this time, because the client sent faster than allowed.
    pub read_paused_until: Option<Instant>,
    /// The signed-in user as a member of presence channels that are subscribed without `channel_data`.
    pub user_member: Option<Member>,
    /// Presence subscriptions that wait for the members of the other gateways.
    pub pending_joins: Vec<(String, Member)>,
    pub presence_wait: Option<BoxFuture<()>>,
    /// Tokens of `realtime:resume`, by channel, until the client subscribes.
    pub tokens: ResumeTokens,
    pub replays: ReplayQueue,
    pub presence_wait_over: bool,
    pub kafka_replays: SlidingWindow,
    /// Channels that were replayed on this connection, and the times of repeated replays.
    pub replayed_channels: HashSet<Box<str>>,
    pub repeat_replays: SlidingWindow,
    /// Channels whose position has to be sent.
    pub due_positions: Vec<Arc<Channel>>,
    pub positions_refreshed: Instant,
}

impl Session {
    pub fn new(hub: Arc<Hub>, socket: Arc<Socket>, now: Instant) -> Self {
        let settings = hub.settings();
        let events = settings.client_events_per_second;
        Self {
            message_rate: TokenBucket::new(
                f64::from(settings.messages_per_second),
                settings.message_burst,
                now,
            ),
            client_event_rate: TokenBucket::new(f64::from(events), events, now),
            presence_joins: TokenBucket::new(
                f64::from(settings.presence_joins) / settings.presence_join_window.as_secs_f64(),
                settings.presence_joins,
                now,
            ),
            read_paused_until: None,
            user_member: None,
            pending_joins: Vec::new(),
            presence_wait: None,
            tokens: ResumeTokens::new(settings.max_subscriptions),
            replays: ReplayQueue::new(HOLD_TIMEOUT),
            presence_wait_over: false,
            kafka_replays: SlidingWindow::default(),
            replayed_channels: HashSet::new(),
            repeat_replays: SlidingWindow::default(),
            due_positions: Vec::new(),
            positions_refreshed: now,
            hub,
            socket,
        }
    }

    /// Counts a received frame. Above the message rate, reading is delayed (back-pressure).
    pub fn count_frame(&mut self, now: Instant) {
        self.hub.counters().messages_received.add_one();
        let delay = self.message_rate.charge(now);
        self.pause_reading(now, delay);
    }

    /// Counts a presence subscription, which costs more than a message: the members, their list and an event to each.
    pub fn count_presence_join(&mut self, now: Instant) {
        let own = self.presence_joins.charge(now);
        let delay = own.max(self.hub.charge_presence_join(now));
        self.pause_reading(now, delay);
    }

    fn pause_reading(&mut self, now: Instant, delay: Duration) {
        if !delay.is_zero() {
            let until = Some(now + delay);
            self.read_paused_until = self.read_paused_until.max(until);
        }
    }

    /// Handles a text message.
    pub fn handle_message(&mut self, text: &str, now: Instant) {
        match action(text, self.hub.settings().max_depth) {
            Action::Ping => self.send(frame::connection_event("pusher:pong", b"{}")),
            Action::Pong => {}
            Action::Subscribe(wanted) => self.subscribe(&wanted, now),
            Action::Unsubscribe(channel) => self.unsubscribe(&channel),
            Action::SignIn(user) => self.sign_in(&user),
            Action::Resume(tokens) => self.resume(tokens),
            Action::ClientEvent {
                event,
                channel,
                data,
            } => self.client_event(&event, &channel, data, now),
            Action::Reserved => {
                self.hub.counters().reserved_events.add_one();
                self.send_error(Close::Policy, "This event name is reserved for the server.");
            }
            Action::Invalid(why) => self.send_error(Close::Policy, why),
        }
    }

    /// Answers a WebSocket ping with a pong.
    pub fn pong(&self, payload: &[u8]) {
        let mut pong = Vec::with_capacity(payload.len() + 2);
        frame::header(&mut pong, 0xA, payload.len());
        pong.extend_from_slice(payload);
        self.send(pong.into());
    }

    /// Handles the client's close frame.
    pub fn handle_close(&mut self, code: Option<u16>) {
        self.socket.reply_to_close(code);
        self.pending_joins.clear();
        self.replays.clear_queued();
    }

    pub fn send(&self, frame: bytes::Bytes) {
        self.socket.push(frame);
    }

    fn send_error(&self, close: Close, why: &str) {
        self.hub.counters().messages_refused.add_one();
        self.send(frame::error(close.code(), why));
    }

    fn sign_in(&mut self, user: &SignIn<'_>) {
        let settings = Arc::clone(self.hub.settings());
        let text = auth::user_text(self.socket.authorized_id, &user.user_data);
        if !auth::is_authorized(&settings.key, &settings.secrets, &text, &user.auth) {
            self.send_error(
                Close::Unauthorized,
                "The signature of pusher:signin is invalid.",
            );
            return;
        }
        let Some(id) = frame::signed_in_user(&user.user_data) else {
            self.send_error(
                Close::Unauthorized,
                "user_data needs an id: a non-empty string.",
            );
            return;
        };
        if !self.hub.sign_in(&self.socket, &id) {
            self.send_error(Close::Unauthorized, "This connection is already signed in.");
            return;
        }
        self.user_member = Some(Member {
            user_info: frame::user_info(&user.user_data, settings.max_user_info),
            user_id: id,
        });
        let data = [
            b"{\"user_data\":".as_slice(),
            &frame::quoted(&user.user_data),
            b"}",
        ]
        .concat();
        let data = frame::quoted(&String::from_utf8_lossy(&data));
        self.send(frame::connection_event("pusher:signin_success", &data));
    }

    fn client_event(&mut self, event: &str, channel: &str, data: Option<&RawValue>, now: Instant) {
        let refused = if !self.hub.settings().client_events {
            Some((
                Close::ClientEventRate,
                "Client events are disabled (realtime.gateway.client_events).",
            ))
        } else if !Name::parse(channel).is_some_and(|name| name.takes_client_events()) {
            Some((
                Close::ClientEventRate,
                "Client events are allowed on private and presence channels only.",
            ))
        } else if self.socket.channel(channel).is_none() {
            Some((
                Close::ClientEventRate,
                "Client events are allowed on subscribed channels only.",
            ))
        } else if !self.client_event_rate.take(now) {
            Some((Close::ClientEventRate, Close::ClientEventRate.reason()))
        } else {
            None
        };
        if let Some((close, why)) = refused {
            self.hub.counters().client_events_refused.add_one();
            self.send_error(close, why);
            return;
        }
        if let Some(found) = self.socket.channel(channel) {
            self.hub.client_event(&self.socket, &found, event, data);
        }
    }
}

// Parses a client's text message into an [`Action`]. No side effects, so the fuzz test can run it on any input.

/// Maximum length of a client event's name, in bytes.
pub const MAX_EVENT_NAME: usize = 200;

/// A parsed client message.
#[derive(Debug)]
pub enum Action<'a> {
    /// `pusher:ping`: answered with `pusher:pong`.
    Ping,
    /// `pusher:pong`: counts as activity and needs no response.
    Pong,
    Subscribe(Subscribe<'a>),
    Unsubscribe(String),
    SignIn(SignIn<'a>),
    /// `realtime:resume`: replay the missed events of these channels (name to token), and send positions from now on.
    Resume(BTreeMap<String, String>),
    /// `client-…`: an event for the other subscribers of a channel.
    ClientEvent {
        event: String,
        channel: String,
        data: Option<&'a RawValue>,
    },
    /// An event name that is reserved for the server.
    Reserved,
    /// Not a valid message, or an unknown event.
    Invalid(&'static str),
}

/// Parses a text message.
#[must_use]
pub fn action(text: &str, max_depth: usize) -> Action<'_> {
    let incoming = match frame::read(text, max_depth) {
        Ok(incoming) => incoming,
        Err(Malformed::TooDeep) => return Action::Invalid("The message is nested too deeply."),
        Err(Malformed::NotAMessage) => {
            return Action::Invalid(
                "A message must be a JSON object with an event and without duplicate fields.",
            )
        }
    };
    match incoming.event.as_ref() {
        "pusher:ping" => Action::Ping,
        "pusher:pong" => Action::Pong,
        "pusher:subscribe" => frame::data(&incoming).map_or(
            Action::Invalid(
                "pusher:subscribe needs data with a channel and without duplicate fields.",
            ),
            Action::Subscribe,
        ),
        "pusher:unsubscribe" => frame::data::<Subscribe<'_>>(&incoming).map_or(
            Action::Invalid("pusher:unsubscribe needs data with a channel."),
            |data| Action::Unsubscribe(data.channel.into_owned()),
        ),
        "pusher:signin" => frame::data(&incoming).map_or(
            Action::Invalid("pusher:signin needs data with auth and user_data."),
            Action::SignIn,
        ),
        "realtime:resume" => frame::resume(&incoming).map_or(
            Action::Invalid("realtime:resume needs data with a token for each channel."),
            Action::Resume,
        ),
        event if is_client_event(event) => match incoming.channel {
            Some(channel) => Action::ClientEvent {
                event: event.to_owned(),
                channel: channel.into_owned(),
                data: incoming.data,
            },
            None => Action::Invalid("A client event needs a channel."),
        },
        event if is_reserved_event(event) => Action::Reserved,
        _ => Action::Invalid("Clients may only send events whose names begin with client-."),
    }
}

/// True for `client-` followed by at least one character, up to [`MAX_EVENT_NAME`].
fn is_client_event(event: &str) -> bool {
    event.len() <= MAX_EVENT_NAME
        && event
            .strip_prefix("client-")
            .is_some_and(|rest| !rest.is_empty())
}
