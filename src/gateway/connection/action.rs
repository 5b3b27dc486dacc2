//! Parses a client's text message into an [`Action`]. No side effects, so the fuzz test can run it on any input.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::gateway::protocol::frame::{self, Malformed, SignIn, Subscribe};
use crate::gateway::protocol::is_reserved_event;

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
