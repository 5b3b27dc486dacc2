//! Parses messages of clients, within bounds.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::topic::socket_channel::{is_reserved_event, is_user_id};

/// A JSON object with the members of `T`. Serde alone accepts an array of the members as well.
pub(in crate::gateway) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// Parses a JSON object.
pub(in crate::gateway) fn object<'a, T: Deserialize<'a>>(json: &'a str) -> serde_json::Result<T> {
    serde_json::from_str::<Object<T>>(json).map(|object| object.0)
}

/// A client's message. Duplicates of the listed fields are an error.
#[derive(Debug, Deserialize)]
pub struct Incoming<'a> {
    #[serde(borrow)]
    pub event: std::borrow::Cow<'a, str>,
    /// Channel of a client event.
    #[serde(borrow, default)]
    pub channel: Option<std::borrow::Cow<'a, str>>,
    /// The data as received.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "auth")]
    _auth: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "user_id")]
    _user_id: Option<&'a RawValue>,
}

/// Data of `pusher:subscribe` and `pusher:unsubscribe`.
#[derive(Debug, Deserialize)]
pub struct Subscribe<'a> {
    #[serde(borrow)]
    pub channel: std::borrow::Cow<'a, str>,
    /// `key:signature`.
    #[serde(borrow, default)]
    pub auth: Option<std::borrow::Cow<'a, str>>,
    /// The presence member, as signed.
    #[serde(borrow, default)]
    pub channel_data: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default, rename = "event")]
    _event: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "user_id")]
    _user_id: Option<&'a RawValue>,
}

/// Data of `pusher:signin`.
#[derive(Debug, Deserialize)]
pub struct SignIn<'a> {
    /// `key:signature`.
    #[serde(borrow)]
    pub auth: std::borrow::Cow<'a, str>,
    /// The user data, as signed.
    #[serde(borrow)]
    pub user_data: std::borrow::Cow<'a, str>,
}

/// A member of a presence channel.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct Member {
    /// The user id in its string form.
    pub user_id: String,
    /// The JSON of `user_info`, if given.
    pub user_info: Option<String>,
}

#[derive(Deserialize)]
struct RawMember<'a> {
    #[serde(borrow)]
    user_id: &'a RawValue,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawUser<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
}

/// The nesting of brackets outside of strings, counted in constant memory.
pub(in crate::gateway) fn depth(text: &str) -> usize {
    let (mut now, mut most, mut quoted, mut escaped) = (0_usize, 0_usize, false, false);
    for b in text.bytes() {
        if quoted {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match b {
            b'"' => quoted = true,
            b'[' | b'{' => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Parses the data of an event as `T`.
#[must_use]
pub fn data<'a, T: Deserialize<'a>>(incoming: &Incoming<'a>) -> Option<T> {
    object(incoming.data?.get()).ok()
}

/// The presence member in `channel_data`; `None` if its id or info is invalid or too large.
#[must_use]
pub fn member(channel_data: &str, max_info: usize) -> Option<Member> {
    if depth(channel_data) > 32 {
        return None;
    }
    let raw: RawMember<'_> = object(channel_data).ok()?;
    let user_id = id_in_string_form(raw.user_id.get())?;
    let user_info = raw
        .user_info
        .map(RawValue::get)
        .filter(|info| *info != "null")
        .map(str::to_owned);
    if user_info.as_ref().is_some_and(|info| info.len() > max_info) {
        return None;
    }
    Some(Member { user_id, user_info })
}

/// `7` and `"7"` are the same user; other JSON types are invalid.
fn id_in_string_form(json: &str) -> Option<String> {
    let id = match json.bytes().next()? {
        b'"' => serde_json::from_str::<String>(json).ok()?,
        b'-' | b'0'..=b'9' => json.to_owned(),
        _ => return None,
    };
    is_user_id(&id).then_some(id)
}

/// The id in the user data of a sign-in: a non-empty string.
#[must_use]
pub fn signed_in_user(user_data: &str) -> Option<String> {
    if depth(user_data) > 32 {
        return None;
    }
    let raw: RawUser<'_> = object(user_data).ok()?;
    is_user_id(&raw.id).then(|| raw.id.into_owned())
}

/// The `user_info` in the user data of a sign-in, unless it is larger than `max`.
#[must_use]
pub fn user_info(user_data: &str, max: usize) -> Option<String> {
    #[derive(Deserialize)]
    struct Info<'a> {
        #[serde(borrow, default)]
        user_info: Option<&'a RawValue>,
    }
    let info = object::<Info<'_>>(user_data).ok()?.user_info?.get();
    (info != "null" && info.len() <= max).then(|| info.to_owned())
}

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
        /// `null` if the client sent none.
        data: &'a RawValue,
    },
    /// An event name that is reserved for the server.
    Reserved,
    /// Not a valid message, or an unknown event.
    Invalid(&'static str),
}

/// Parses a text message. No side effects, so the fuzz test can run it on any input.
#[must_use]
pub fn action(text: &str, max_depth: usize) -> Action<'_> {
    // Before parsing, because the parser is recursive.
    if depth(text) > max_depth {
        return Action::Invalid("The message is nested too deeply.");
    }
    let Ok(incoming) = object::<Incoming<'_>>(text) else {
        return Action::Invalid(
            "A message must be a JSON object with an event and without duplicate fields.",
        );
    };
    match incoming.event.as_ref() {
        "pusher:ping" => Action::Ping,
        "pusher:pong" => Action::Pong,
        "pusher:subscribe" => data(&incoming).map_or(
            Action::Invalid(
                "pusher:subscribe needs data with a channel and without duplicate fields.",
            ),
            Action::Subscribe,
        ),
        "pusher:unsubscribe" => data::<Subscribe<'_>>(&incoming).map_or(
            Action::Invalid("pusher:unsubscribe needs data with a channel."),
            |data| Action::Unsubscribe(data.channel.into_owned()),
        ),
        "pusher:signin" => data(&incoming).map_or(
            Action::Invalid("pusher:signin needs data with auth and user_data."),
            Action::SignIn,
        ),
        "realtime:resume" => data(&incoming).map_or(
            Action::Invalid("realtime:resume needs data with a token for each channel."),
            Action::Resume,
        ),
        event if is_client_event(event) => match incoming.channel {
            Some(channel) => Action::ClientEvent {
                event: event.to_owned(),
                channel: channel.into_owned(),
                data: incoming.data.unwrap_or(RawValue::NULL),
            },
            None => Action::Invalid("A client event needs a channel."),
        },
        event if is_reserved_event(event) => Action::Reserved,
        _ => Action::Invalid(
            "Clients may only send events whose names begin with client- and have at most 200 bytes.",
        ),
    }
}

/// True for `client-` followed by at least one character, up to [`MAX_EVENT_NAME`].
fn is_client_event(event: &str) -> bool {
    event.len() <= MAX_EVENT_NAME
        && event
            .strip_prefix("client-")
            .is_some_and(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_do_not_count_as_nesting() {
        assert_eq!(depth(r#"{"a":[1,{"b":"[[[[\"{{"}]}"#), 3);
        let is_too_deep = |text: &str, max| matches!(action(text, max), Action::Invalid(why) if why.contains("nested"));
        assert!(is_too_deep(&"[".repeat(16_000), 32));
        let nested = format!(
            "{{\"event\":\"x\",\"data\":{}1{}}}",
            "[".repeat(31),
            "]".repeat(31)
        );
        assert!(!is_too_deep(&nested, 32) && is_too_deep(&nested, 31));
    }

    #[test]
    fn member_and_user_ids_are_validated() {
        let id = |json: &str| member(json, 1024).map(|m| m.user_id);
        assert_eq!(id(r#"{"user_id":7}"#).as_deref(), Some("7"));
        assert_eq!(
            id(r#"{"user_id":"7","user_info":{"n":1}}"#).as_deref(),
            Some("7")
        );
        for bad in [
            r#"{"user_id":""}"#,
            r#"{"user_id":null}"#,
            r#"{"user_id":{}}"#,
            "{}",
            "x",
            "[1]",
            r#"{"user_id":1,"user_id":2}"#,
        ] {
            assert_eq!(id(bad), None, "{bad}");
        }
        assert_eq!(
            id(&format!("{{\"user_id\":\"{}\"}}", "x".repeat(129))),
            None
        );
        let info = format!("{{\"user_id\":1,\"user_info\":\"{}\"}}", "x".repeat(1024));
        assert_eq!(id(&info), None);
        assert_eq!(
            signed_in_user(r#"{"id":"u","name":"x"}"#).as_deref(),
            Some("u")
        );
        assert_eq!(signed_in_user(r#"{"id":7}"#), None);
        assert_eq!(signed_in_user(r#"["u"]"#), None);
        assert_eq!(user_info("[1]", 10), None);
    }

    #[test]
    fn an_array_of_the_members_is_no_message() {
        let invalid = |text: &str| matches!(action(text, 32), Action::Invalid(_));
        assert!(invalid(r#"["pusher:ping"]"#));
        assert!(invalid(r#"["client-a","private-a",1]"#));
        for event in ["subscribe", "unsubscribe", "signin"] {
            let text = format!(r#"{{"event":"pusher:{event}","data":["a","b","c"]}}"#);
            assert!(invalid(&text), "{text}");
        }
    }
}
