//! Subscriptions, step by step: name, limits, authorization, presence, recovery.

use std::sync::Arc;
use std::time::Instant;

use super::client::Session;
use super::subscription_error;
use crate::gateway::hub::JoinError;
use crate::gateway::limit_warnings::Limit;
use crate::gateway::protocol::auth;
use crate::gateway::protocol::frame::{self, Member, Subscribe};
use crate::topic::socket_channel::Name;
use crate::topic::socket_channel::{source_channels, ChannelKind};

/// Status and text of a `pusher:subscription_error`.
struct SubscribeError(u16, String);

impl Session {
    /// Subscribes, or sends an error on the channel; the connection stays open.
    pub(super) fn subscribe(&mut self, request: &Subscribe<'_>, now: Instant) {
        if let Err(SubscribeError(status, why)) = self.try_subscribe(request, now) {
            self.hub.counters().subscriptions_refused.add_one();
            // Truncated, because an invalid name can be as long as a message.
            let channel: String = request.channel.chars().take(200).collect();
            self.send(subscription_error(&channel, status, &why));
        }
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
                    Some(data) => frame::member(data, settings.max_user_info),
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
            self.tokens.remove(name.full)
        };
        let settings = Arc::clone(self.hub.settings());
        let joined = self
            .hub
            .subscribe(&self.socket, name, member, token.is_some())
            .inspect_err(|why| {
                let channel = name.full;
                let limit = match why {
                    JoinError::TooManyChannels => Limit::Channels,
                    JoinError::TooManyMembers => Limit::Members { channel },
                    JoinError::MemberListTooLarge => Limit::MemberList { channel },
                    JoinError::Closed => return,
                };
                self.hub.warn_limit(limit);
            })
            .map_err(|why| match why {
                JoinError::TooManyChannels => SubscribeError(
                    429,
                    "This gateway has reached its maximum number of channels \
                     (realtime.gateway.max_channels)."
                        .into(),
                ),
                JoinError::TooManyMembers => SubscribeError(
                    429,
                    format!(
                        "The channel already has the maximum of {} members \
                     (realtime.gateway.max_members).",
                        settings.max_members
                    ),
                ),
                JoinError::MemberListTooLarge => SubscribeError(
                    429,
                    "The channel's member list has reached its maximum size \
                     (realtime.gateway.max_presence_bytes)."
                        .into(),
                ),
                JoinError::Closed => SubscribeError(410, "The connection is closing.".into()),
            })?;
        match token {
            Some(token) => {
                self.replays.push(joined.channel, token);
                self.start_next_replay();
            }
            None => self.mark_position_due(&joined.channel),
        }
        Ok(())
    }

    /// Ends a subscription, also a pending one. There is no response.
    pub(super) fn unsubscribe(&mut self, channel: &str) {
        self.pending_joins.retain(|(name, _)| name != channel);
        self.cancel_replay(channel);
        self.due_positions.retain(|due| due.name() != channel);
        self.hub.unsubscribe_socket(&self.socket, channel);
        self.start_next_replay();
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

    /// Joins the pending presence channels, in the order they were requested, after the other gateways answered or the
    /// wait timed out.
    pub(super) fn complete_pending_joins(&mut self) {
        for (channel, member) in std::mem::take(&mut self.pending_joins) {
            let Some(name) = Name::parse(&channel) else {
                continue;
            };
            if let Err(SubscribeError(status, why)) = self.join(&name, Some(&member)) {
                self.send(subscription_error(&channel, status, &why));
            }
        }
    }
}
