//! Subscribing, step by step: name, limits, what guards the channel, presence, recovery.

use std::sync::Arc;
use std::time::Instant;

use super::act::Client;
use super::subscription_error;
use crate::gateway::hub::Refused;
use crate::gateway::protocol::channel::{sources, Guard};
use crate::gateway::protocol::frame::{self, Member, Subscribe};
use crate::gateway::protocol::{auth, Name};

/// Why a subscription is refused, with the status the client is told.
struct No(u16, String);

impl Client {
    /// Subscribes, or says why not on that channel; the connection stays.
    pub(super) fn subscribe(&mut self, wanted: &Subscribe<'_>, now: Instant) {
        if let Err(No(status, why)) = self.try_subscribe(wanted, now) {
            self.hub.counters().subscriptions_refused.add_one();
            // Cut: an invalid name may be as long as a message.
            let channel: String = wanted.channel.chars().take(200).collect();
            self.tell(subscription_error(&channel, status, &why));
        }
    }

    fn try_subscribe(&mut self, wanted: &Subscribe<'_>, now: Instant) -> Result<(), No> {
        let Some(name) = Name::parse(&wanted.channel) else {
            return Err(No(
                400,
                "This is no channel name: at most 164 of A-Z a-z 0-9 _ - = @ , . ;".into(),
            ));
        };
        let settings = Arc::clone(self.hub.settings());
        let there = self.socket.channel(name.full).is_some();
        let waits = self.waiting_joins.iter().any(|(c, _)| c == name.full);
        if !there
            && !waits
            && self.socket.subscriptions() + self.waiting_joins.len() >= settings.max_subscriptions
        {
            return Err(No(
                429,
                format!(
                    "A connection may have {} subscriptions.",
                    settings.max_subscriptions
                ),
            ));
        }
        self.check_served(&name)?;
        let member = self.check_guard(&name, wanted)?;
        if let Some(member) = member {
            if waits {
                return Ok(());
            }
            if !there {
                if !self
                    .joins
                    .allows(settings.presence_joins, settings.presence_join_window, now)
                {
                    return Err(No(
                        429,
                        "Joining presence channels faster than allowed.".into(),
                    ));
                }
                self.joins.count(now);
            }
            if !self.is_presence_ready() {
                self.waiting_joins.push((name.full.to_owned(), member));
                self.wait_for_presence();
                return Ok(());
            }
            return self.enter(&name, Some(&member));
        }
        self.enter(&name, None)
    }

    /// `--ws-channels`: whether this gateway hears what the channel is fed by.
    fn check_served(&self, name: &Name<'_>) -> Result<(), No> {
        let settings = self.hub.settings();
        let mut served = name.guard == Guard::User;
        sources(name, |source| served |= settings.serves(source));
        if served {
            return Ok(());
        }
        Err(No(
            403,
            "This gateway does not serve the channel (--ws-channels, realtime.gateway.ws_channels)."
                .into(),
        ))
    }

    /// Whether the client may hear the channel, and as which member.
    fn check_guard(&self, name: &Name<'_>, wanted: &Subscribe<'_>) -> Result<Option<Member>, No> {
        let settings = self.hub.settings();
        match name.guard {
            Guard::Public => {
                if settings.is_public(name.base)
                    || settings.is_public(name.full)
                    || settings.public_by_mark
                {
                    return Ok(None);
                }
                Err(No(
                    403,
                    "Nobody may hear this plain name: it matches no pattern of realtime.gateway.public_channels. Use private- or presence-, or add a pattern.".into(),
                ))
            }
            Guard::User => {
                if self.socket.user() == Some(name.base) {
                    return Ok(None);
                }
                Err(No(401, "Sign in as this user first.".into()))
            }
            Guard::Private | Guard::Encrypted => {
                self.check_signature(name, wanted, None)?;
                Ok(None)
            }
            Guard::Presence => {
                let data = wanted.channel_data.as_deref();
                self.check_signature(name, wanted, data)?;
                let member = match data {
                    Some(data) => frame::member(data, settings.max_user_info),
                    None => self.signed_in.clone(),
                };
                member.map(Some).ok_or_else(|| {
                    No(401, format!(
                        "A presence channel needs channel_data with a user_id (at most 128 characters) and user_info of at most {} bytes, or a sign-in.",
                        settings.max_user_info
                    ))
                })
            }
        }
    }

    fn check_signature(
        &self,
        name: &Name<'_>,
        wanted: &Subscribe<'_>,
        data: Option<&str>,
    ) -> Result<(), No> {
        let settings = self.hub.settings();
        let text = auth::subscription_text(self.socket.id, name.full, data);
        let auth = wanted.auth.as_deref().unwrap_or_default();
        if auth::is_authorized(&settings.key, &settings.secrets, &text, auth) {
            return Ok(());
        }
        Err(No(
            401,
            "The signature of the subscription is wrong or missing.".into(),
        ))
    }

    fn enter(&mut self, name: &Name<'_>, member: Option<&Member>) -> Result<(), No> {
        let there = self.socket.channel(name.full).is_some();
        let token = if there {
            None
        } else {
            self.tokens.remove(name.full)
        };
        let settings = Arc::clone(self.hub.settings());
        let joined = self
            .hub
            .subscribe(&self.socket, name, member, token.is_some())
            .map_err(|why| match why {
                Refused::TooManyChannels => {
                    No(429, "This gateway has as many channels as it may.".into())
                }
                Refused::TooManyMembers => No(
                    429,
                    format!("The channel has {} members already.", settings.max_members),
                ),
                Refused::TooLarge => No(
                    429,
                    "The channel's member list is as large as it may be.".into(),
                ),
                Refused::Gone => No(410, "The connection is closing.".into()),
            })?;
        match token {
            Some(token) => {
                self.replays.push_back((joined.channel, token));
                self.next_replay();
            }
            None => self.mark_dirty(&joined.channel),
        }
        Ok(())
    }

    /// Ends a subscription, also one that still waits. Has no answer.
    pub(super) fn unsubscribe(&mut self, channel: &str) {
        self.waiting_joins.retain(|(name, _)| name != channel);
        self.forget_replay(channel);
        self.hub.unsubscribe_socket(&self.socket, channel);
        self.next_replay();
    }

    fn is_presence_ready(&self) -> bool {
        self.hub
            .cluster()
            .is_none_or(|cluster| *cluster.presence_ready().borrow())
    }

    fn wait_for_presence(&mut self) {
        if self.waiting.is_some() {
            return;
        }
        let Some(mut ready) = self.hub.cluster().map(|c| c.presence_ready()) else {
            return;
        };
        let wait = self.hub.settings().presence_wait;
        self.waiting = Some(Box::pin(async move {
            let _ = tokio::time::timeout(wait, ready.wait_for(|ready| *ready)).await;
        }));
    }

    /// The other gateways were heard, or the wait was long enough: presence channels are joined in the order they were asked for.
    pub(super) fn join_waiting(&mut self) {
        for (channel, member) in std::mem::take(&mut self.waiting_joins) {
            let Some(name) = Name::parse(&channel) else {
                continue;
            };
            if let Err(No(status, why)) = self.enter(&name, Some(&member)) {
                self.tell(subscription_error(&channel, status, &why));
            }
        }
    }
}
