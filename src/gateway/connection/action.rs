//! From a client's text to what it wants. Pure: the fuzz loop runs it on anything.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::gateway::protocol::frame::{self, Malformed, SignIn, Subscribe};
use crate::gateway::protocol::is_reserved_event;

/// Longest name of a client event.
pub const MAX_EVENT_NAME: usize = 200;

/// What a client wants.
#[derive(Debug)]
pub enum Action<'a> {
    /// An answer, to see whether anybody is there.
    Ping,
    /// Nothing: it answered.
    Pong,
    /// To hear a channel.
    Subscribe(Subscribe<'a>),
    /// To hear it no more.
    Unsubscribe(String),
    /// To be a user.
    SignIn(SignIn<'a>),
    /// To get what it missed on these channels, and positions from now on.
    Resume(BTreeMap<String, String>),
    /// To tell the others on a channel something.
    ClientEvent {
        /// Name of the event.
        event: String,
        /// The channel.
        channel: String,
        /// What it carries.
        data: Option<&'a RawValue>,
    },
    /// Something that only the server may say, or nobody.
    Reserved,
    /// No message, or nothing known.
    Invalid(&'static str),
}

/// Reads a text.
#[must_use]
pub fn action(text: &str, max_depth: usize) -> Action<'_> {
    let incoming = match frame::read(text, max_depth) {
        Ok(incoming) => incoming,
        Err(Malformed::TooDeep) => return Action::Invalid("The message is nested too deeply."),
        Err(Malformed::NotAMessage) => {
            return Action::Invalid("A message is a JSON object with an event, and no field twice.")
        }
    };
    match incoming.event.as_ref() {
        "pusher:ping" => Action::Ping,
        "pusher:pong" => Action::Pong,
        "pusher:subscribe" => frame::data(&incoming).map_or(
            Action::Invalid("pusher:subscribe needs data with a channel, and no field twice."),
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
        _ => Action::Invalid("Clients may send events that begin with client- only."),
    }
}

/// Whether clients may send it: `client-` and something after it, short enough.
fn is_client_event(event: &str) -> bool {
    event.len() <= MAX_EVENT_NAME
        && event
            .strip_prefix("client-")
            .is_some_and(|rest| !rest.is_empty())
}
