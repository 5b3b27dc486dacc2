//! Messages on a socket: what a client may send, read within bounds, and what the server sends, encoded once as a whole frame.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::channel::is_user_id;

/// A message of a client. Fields that count may stand there once.
#[derive(Debug, Deserialize)]
pub struct Incoming<'a> {
    /// Name of the event.
    #[serde(borrow)]
    pub event: std::borrow::Cow<'a, str>,
    /// The channel, for client events.
    #[serde(borrow, default)]
    pub channel: Option<std::borrow::Cow<'a, str>>,
    /// Whatever it carries, as it came.
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
    /// The channel's name.
    #[serde(borrow)]
    pub channel: std::borrow::Cow<'a, str>,
    /// `key:signature`.
    #[serde(borrow, default)]
    pub auth: Option<std::borrow::Cow<'a, str>>,
    /// The member, as signed.
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
    /// The user, as signed.
    #[serde(borrow)]
    pub user_data: std::borrow::Cow<'a, str>,
}

/// A member of a presence channel.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct Member {
    /// The user's id in its string form.
    pub user_id: String,
    /// JSON of the user's info; `None` where none was given.
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

/// Why a text is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Nested deeper than allowed.
    TooDeep,
    /// Not JSON, no event, or a field twice.
    NotAMessage,
}

/// Reads a client's text. The depth is counted before anything is parsed.
///
/// # Errors
/// [`Malformed`]; the connection is told and stays.
pub fn read(text: &str, max_depth: usize) -> Result<Incoming<'_>, Malformed> {
    if depth(text) > max_depth {
        return Err(Malformed::TooDeep);
    }
    serde_json::from_str(text).map_err(|_| Malformed::NotAMessage)
}

/// How deep brackets nest outside of strings; needs no memory.
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

/// Reads the data of an event as `T`.
#[must_use]
pub fn data<'a, T: Deserialize<'a>>(incoming: &Incoming<'a>) -> Option<T> {
    serde_json::from_str(incoming.data?.get()).ok()
}

/// The member in a subscription's `channel_data`, where id and info keep to their limits.
#[must_use]
pub fn member(channel_data: &str, max_info: usize) -> Option<Member> {
    if depth(channel_data) > 32 {
        return None;
    }
    let raw: RawMember<'_> = serde_json::from_str(channel_data).ok()?;
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

/// `7` and `"7"` are one user. Anything else is none.
fn id_in_string_form(json: &str) -> Option<String> {
    let id = match json.bytes().next()? {
        b'"' => serde_json::from_str::<String>(json).ok()?,
        b'-' | b'0'..=b'9' => json.to_owned(),
        _ => return None,
    };
    is_user_id(&id).then_some(id)
}

/// The id in the data of a sign-in: a non-empty string.
#[must_use]
pub fn signed_in_user(user_data: &str) -> Option<String> {
    if depth(user_data) > 32 {
        return None;
    }
    let raw: RawUser<'_> = serde_json::from_str(user_data).ok()?;
    is_user_id(&raw.id).then(|| raw.id.into_owned())
}

/// The `user_info` in the data of a sign-in, where it keeps to its limit.
#[must_use]
pub fn user_info(user_data: &str, max: usize) -> Option<String> {
    #[derive(Deserialize)]
    struct Info<'a> {
        #[serde(borrow, default)]
        user_info: Option<&'a RawValue>,
    }
    let info = serde_json::from_str::<Info<'_>>(user_data)
        .ok()?
        .user_info?;
    let info = info.get();
    (info != "null" && info.len() <= max).then(|| info.to_owned())
}

/// The tokens in `realtime:resume`: channel to token.
#[must_use]
pub fn resume(incoming: &Incoming<'_>) -> Option<BTreeMap<String, String>> {
    data(incoming)
}

/// `text` as a JSON string.
#[must_use]
pub fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    quote_into(&mut out, text.as_bytes());
    out
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `bytes` (UTF-8) as a JSON string, escaping what JSON demands and nothing more.
pub fn quote_into(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for &b in bytes {
        match b {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..=0x1f => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(b >> 4)]);
                out.push(HEX[usize::from(b & 15)]);
            }
            _ => out.push(b),
        }
    }
    out.push(b'"');
}

/// A text frame of the server (never masked) around `json`.
#[must_use]
pub fn text(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len() + 10);
    header(&mut out, 0x1, json.len());
    out.extend_from_slice(json);
    Bytes::from(out)
}

/// A frame's first bytes: final, no reserved bits, `opcode`, length.
pub fn header(out: &mut Vec<u8>, opcode: u8, len: usize) {
    out.push(0x80 | opcode);
    if let Ok(small) = u8::try_from(len) {
        if small < 126 {
            out.push(small);
            return;
        }
    }
    if let Ok(middle) = u16::try_from(len) {
        out.push(126);
        out.extend_from_slice(&middle.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

/// An event on a channel as a whole frame; `data` is JSON already (for broadcasts a string that holds JSON), `user_id` the sender of
/// a client event on a presence channel.
#[must_use]
pub fn event(event: &str, channel: &str, data: Option<&[u8]>, user_id: Option<&str>) -> Bytes {
    let mut json =
        Vec::with_capacity(event.len() + channel.len() + data.map_or(0, <[u8]>::len) + 48);
    json.extend_from_slice(b"{\"event\":");
    quote_into(&mut json, event.as_bytes());
    json.extend_from_slice(b",\"channel\":");
    quote_into(&mut json, channel.as_bytes());
    if let Some(data) = data {
        json.extend_from_slice(b",\"data\":");
        json.extend_from_slice(data);
    }
    if let Some(user) = user_id {
        json.extend_from_slice(b",\"user_id\":");
        quote_into(&mut json, user.as_bytes());
    }
    json.push(b'}');
    text(&json)
}

/// An event of the connection itself: no channel, `data` is JSON.
#[must_use]
pub fn connection_event(event: &str, data: &[u8]) -> Bytes {
    let mut json = Vec::with_capacity(event.len() + data.len() + 32);
    json.extend_from_slice(b"{\"event\":");
    quote_into(&mut json, event.as_bytes());
    json.extend_from_slice(b",\"data\":");
    json.extend_from_slice(data);
    json.push(b'}');
    text(&json)
}

/// `pusher:error` with a code and words.
#[must_use]
pub fn error(code: u16, message: &str) -> Bytes {
    let mut data = format!("{{\"code\":{code},\"message\":").into_bytes();
    quote_into(&mut data, message.as_bytes());
    data.push(b'}');
    connection_event("pusher:error", &data)
}

/// A close frame.
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut cut = reason.len().min(123);
    while !reason.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut out = Vec::with_capacity(cut + 4);
    header(&mut out, 0x8, cut + 2);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..cut]);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings_only() {
        assert_eq!(depth(r#"{"a":[1,{"b":"[[[[\"{{"}]}"#), 3);
        assert!(matches!(
            read(&"[".repeat(16_000), 32),
            Err(Malformed::TooDeep)
        ));
        let nested = format!(
            "{{\"event\":\"x\",\"data\":{}1{}}}",
            "[".repeat(31),
            "]".repeat(31)
        );
        assert!(read(&nested, 32).is_ok());
        assert!(matches!(read(&nested, 31), Err(Malformed::TooDeep)));
    }

    #[test]
    fn a_field_that_counts_stands_there_once() {
        for text in [
            r#"{"event":"a","event":"b"}"#,
            r#"{"event":"a","\u0065vent":"b"}"#,
            r#"{"event":"a","channel":"x","channel":"y"}"#,
            r#"{"event":"a","auth":1,"auth":2}"#,
            r#"{"event":"a","user_id":1,"user_id":2}"#,
            r#"{"event":7}"#,
            r#"{"data":{}}"#,
            "[]",
            "",
            "{\"event\":\"a\"} x",
        ] {
            assert!(
                matches!(read(text, 32), Err(Malformed::NotAMessage)),
                "{text}"
            );
        }
        let text = r#"{"event":"pusher:subscribe","data":{"channel":"a","channel":"b"}}"#;
        assert!(data::<Subscribe<'_>>(&read(text, 32).unwrap()).is_none());
        let text = r#"{"event":"pusher:subscribe","data":{"channel":"a","auth":"1","auth":"2"}}"#;
        assert!(data::<Subscribe<'_>>(&read(text, 32).unwrap()).is_none());
    }

    #[test]
    fn members_and_users() {
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
    }

    #[test]
    fn frames_carry_their_length_and_quote_what_they_are_given() {
        for (len, head) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let frame = text(&vec![b'x'; len]);
            assert_eq!(frame.len(), len + head);
            assert_eq!(frame[0], 0x81);
        }
        let frame = event("a\"b", "c\\d", Some(b"\"{}\""), Some("u\n"));
        let json: serde_json::Value = serde_json::from_slice(&frame[2..]).unwrap();
        assert_eq!(json["event"], "a\"b");
        assert_eq!(json["channel"], "c\\d");
        assert_eq!(json["data"], "{}");
        assert_eq!(json["user_id"], "u\n");
        let close = close(4200, &"ä".repeat(100));
        assert_eq!(&close[2..4], &4200_u16.to_be_bytes());
        assert!(close.len() <= 127 && std::str::from_utf8(&close[4..]).is_ok());
    }
}
