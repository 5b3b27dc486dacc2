//! The state of a connection's client, and its actions: pings, sign-in, client events.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::recover::SessionRecovery;
use super::socket::Socket;
use crate::gateway::backend::BoxFuture;
use crate::gateway::hub::{Hub, JoinError};
use crate::gateway::limits::{Limit, TokenBucket};
use crate::gateway::protocol::incoming::{self, action, Action, Member, SignIn, Subscribe};
use crate::gateway::protocol::{auth, frame, Close};
use crate::topic::socket_channel::{source_channels, ChannelKind, Name};

/// A channel that still holds back its events this long after the subscription goes live without a recovery.
const HOLD_TIMEOUT: Duration = Duration::from_secs(30);

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
    user_member: Option<Member>,
    /// Presence subscriptions that wait for the members of the other gateways.
    pub pending_joins: Vec<(String, Member)>,
    presence_wait: Option<BoxFuture<()>>,
    presence_wait_over: bool,
    pub recovery: SessionRecovery,
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
            presence_wait_over: false,
            recovery: SessionRecovery::new(&hub, &socket, now, HOLD_TIMEOUT),
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
            Action::Resume(tokens) => self.recovery.resume(tokens),
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
        self.recovery.clear_queued();
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
        let Some(id) = incoming::signed_in_user(&user.user_data) else {
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
            user_info: incoming::user_info(&user.user_data, settings.max_user_info),
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

    fn client_event(&mut self, event: &str, channel: &str, data: &RawValue, now: Instant) {
        let refused = if !self.hub.settings().client_events {
            Some("Client events are disabled (realtime.gateway.client_events).")
        } else if !Name::parse(channel).is_some_and(|name| name.takes_client_events()) {
            Some("Client events are allowed on private and presence channels only.")
        } else if self.socket.channel(channel).is_none() {
            Some("Client events are allowed on subscribed channels only.")
        } else if !self.client_event_rate.take(now) {
            Some(Close::ClientEventRate.reason())
        } else {
            None
        };
        if let Some(why) = refused {
            self.hub.counters().client_events_refused.add_one();
            self.send_error(Close::ClientEventRate, why);
            return;
        }
        if let Some(found) = self.socket.channel(channel) {
            self.hub.client_event(&self.socket, &found, event, data);
        }
    }

    /// Subscribes, or sends an error on the channel; the connection stays open.
    pub fn subscribe(&mut self, request: &Subscribe<'_>, now: Instant) {
        if let Err(error) = self.try_subscribe(request, now) {
            self.refuse_subscription(&request.channel, &error);
        }
    }

    fn refuse_subscription(&self, channel: &str, SubscribeError(status, why): &SubscribeError) {
        self.hub.counters().subscriptions_refused.add_one();
        // Truncated, because an invalid name can be as long as a message.
        let channel: String = channel.chars().take(200).collect();
        self.send(frame::subscription_error(&channel, *status, why));
    }

    fn try_subscribe(
        &mut self,
        request: &Subscribe<'_>,
        now: Instant,
    ) -> Result<(), SubscribeError> {
        let Some(name) = Name::parse(&request.channel) else {
            return Err(SubscribeError(
                400,
                "Invalid channel name: at most 164 characters of A-Z a-z 0-9 _ - = @ , . ; are allowed.".into(),
            ));
        };
        let settings = Arc::clone(self.hub.settings());
        let already_subscribed = self.socket.channel(name.full).is_some();
        let is_pending = self.pending_joins.iter().any(|(c, _)| c == name.full);
        if !already_subscribed
            && !is_pending
            && self.socket.subscriptions() + self.pending_joins.len() >= settings.max_subscriptions
        {
            return Err(SubscribeError(
                429,
                format!(
                    "A connection may have at most {} subscriptions (realtime.gateway.max_subscriptions).",
                    settings.max_subscriptions
                ),
            ));
        }
        self.check_served(&name)?;
        let member = self.check_access(&name, request)?;
        if let Some(member) = member {
            if is_pending {
                return Ok(());
            }
            if !already_subscribed {
                self.check_presence_limit()?;
                self.count_presence_join(now);
            }
            if !self.is_presence_ready() {
                self.pending_joins.push((name.full.to_owned(), member));
                self.wait_for_presence();
                return Ok(());
            }
            return self.join(&name, Some(&member));
        }
        self.join(&name, None)
    }

    /// Limits the presence channels of a socket, of which each costs a member entry and a member list.
    fn check_presence_limit(&self) -> Result<(), SubscribeError> {
        let max = self.hub.settings().max_presence_subscriptions;
        let joined = self.socket.channels();
        let joined = joined.iter().filter(|c| c.kind() == ChannelKind::Presence);
        if joined.count() + self.pending_joins.len() < max {
            return Ok(());
        }
        Err(SubscribeError(
            429,
            format!(
                "A connection may have at most {max} presence channels \
             (realtime.gateway.max_presence_subscriptions)."
            ),
        ))
    }

    /// `--ws-channels`: whether this gateway serves any source of the channel.
    fn check_served(&self, name: &Name<'_>) -> Result<(), SubscribeError> {
        let settings = self.hub.settings();
        let mut served = name.kind == ChannelKind::User;
        source_channels(name, |source| served |= settings.serves(source));
        if served {
            return Ok(());
        }
        Err(SubscribeError(
            403,
            "This gateway does not serve the channel (--ws-channels, realtime.gateway.ws_channels)."
                .into(),
        ))
    }

    /// Checks that the client may subscribe; for a presence channel returns the member.
    fn check_access(
        &self,
        name: &Name<'_>,
        request: &Subscribe<'_>,
    ) -> Result<Option<Member>, SubscribeError> {
        let settings = self.hub.settings();
        match name.kind {
            ChannelKind::Public => {
                if settings.is_public(name.base)
                    || settings.is_public(name.full)
                    || settings.public_by_mark
                {
                    return Ok(None);
                }
                Err(SubscribeError(
                    403,
                    format!(
                    "Channel \"{}\" is not public (realtime.gateway.public_channels). Use a private- or \
                     presence- name, or add a pattern.",
                    name.full
                    ),
                ))
            }
            ChannelKind::User => {
                if self.socket.user() == Some(name.base) {
                    return Ok(None);
                }
                Err(SubscribeError(
                    401,
                    "This channel requires a sign-in as the same user (pusher:signin).".into(),
                ))
            }
            ChannelKind::Private | ChannelKind::Encrypted => {
                self.check_signature(name, request, None)?;
                Ok(None)
            }
            ChannelKind::Presence => {
                let data = request.channel_data.as_deref();
                self.check_signature(name, request, data)?;
                let member = match data {
                    Some(data) => incoming::member(data, settings.max_user_info),
                    None => self.user_member.clone(),
                };
                member.map(Some).ok_or_else(|| {
                    SubscribeError(401, format!(
                        "A presence channel needs channel_data with a user_id (at most 128 characters) and a \
                         user_info of at most {} bytes, or a sign-in.",
                        settings.max_user_info
                    ))
                })
            }
        }
    }

    fn check_signature(
        &self,
        name: &Name<'_>,
        request: &Subscribe<'_>,
        data: Option<&str>,
    ) -> Result<(), SubscribeError> {
        let settings = self.hub.settings();
        let text = auth::subscription_text(self.socket.authorized_id, name.full, data);
        let auth = request.auth.as_deref().unwrap_or_default();
        if auth::is_authorized(&settings.key, &settings.secrets, &text, auth) {
            return Ok(());
        }
        Err(SubscribeError(
            401,
            "The signature of the subscription is invalid or missing.".into(),
        ))
    }

    fn join(&mut self, name: &Name<'_>, member: Option<&Member>) -> Result<(), SubscribeError> {
        let already_subscribed = self.socket.channel(name.full).is_some();
        let token = if already_subscribed {
            None
        } else {
            self.recovery.take_token(name.full)
        };
        let joined = self
            .hub
            .subscribe(&self.socket, name, member, token.is_some());
        let joined = joined.map_err(|why| {
            let channel = name.full;
            let (limit, text) = match why {
                JoinError::TooManyChannels => (
                    Limit::Channels,
                    "This gateway has reached its maximum number of channels (realtime.gateway.max_channels)."
                        .to_owned(),
                ),
                JoinError::TooManyMembers => (
                    Limit::Members { channel },
                    format!(
                        "The channel already has the maximum of {} members (realtime.gateway.max_members).",
                        self.hub.settings().max_members
                    ),
                ),
                JoinError::MemberListTooLarge => (
                    Limit::MemberList { channel },
                    "The channel's member list has reached its maximum size \
                     (realtime.gateway.max_presence_bytes)."
                        .to_owned(),
                ),
                JoinError::Closed => {
                    return SubscribeError(410, "The connection is closing.".into())
                }
            };
            self.hub.channels().warn_limit(limit);
            SubscribeError(429, text)
        })?;
        self.recovery.subscribed(joined, token);
        Ok(())
    }

    /// Ends a subscription, also a pending one. There is no response.
    pub fn unsubscribe(&mut self, channel: &str) {
        self.pending_joins.retain(|(name, _)| name != channel);
        self.recovery.unsubscribe(channel);
        self.hub.unsubscribe_socket(&self.socket, channel);
        self.recovery.start_next();
    }

    fn is_presence_ready(&self) -> bool {
        self.hub
            .cluster()
            .is_none_or(|cluster| *cluster.presence_ready().borrow())
    }

    fn wait_for_presence(&mut self) {
        if self.presence_wait.is_some() {
            return;
        }
        let Some(mut ready) = self.hub.cluster().map(|c| c.presence_ready()) else {
            return;
        };
        let wait = self.hub.settings().presence_wait;
        self.presence_wait = Some(Box::pin(async move {
            let _ = tokio::time::timeout(wait, ready.wait_for(|ready| *ready)).await;
        }));
    }

    /// Ready when a replay or the presence wait has finished; [`Self::complete_work`] handles the result.
    pub fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(waiting) = &mut self.presence_wait {
            if waiting.as_mut().poll(cx).is_ready() {
                self.presence_wait = None;
                self.presence_wait_over = true;
            }
        }
        if self.recovery.poll(cx).is_ready() || self.presence_wait_over {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    pub fn complete_work(&mut self) {
        if std::mem::take(&mut self.presence_wait_over) {
            self.complete_pending_joins();
        }
        self.recovery.complete();
    }

    /// Joins the pending presence channels, in the order they were requested, after the other gateways answered or the
    /// wait timed out.
    pub fn complete_pending_joins(&mut self) {
        for (channel, member) in std::mem::take(&mut self.pending_joins) {
            let Some(name) = Name::parse(&channel) else {
                continue;
            };
            if let Err(error) = self.join(&name, Some(&member)) {
                self.refuse_subscription(&channel, &error);
            }
        }
    }
}

/// Status and text of a `pusher:subscription_error`.
struct SubscribeError(u16, String);
