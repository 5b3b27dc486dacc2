//! Signatures of subscriptions, sign-ins and the HTTP API: made with the first secret, accepted with any secret of the
//! list.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::SocketId;
use crate::error::{Error, Result};
use crate::topic::socket_channel::{ChannelKind, Name};

/// HMAC-SHA256 of `text` under `secret`.
#[must_use]
pub fn hmac_sha256(secret: &[u8], text: &[u8]) -> [u8; 32] {
    let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(secret) else {
        // Unreachable: HMAC accepts keys of any length.
        return [0; 32];
    };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// The hexadecimal signature of `text`, as in auth strings.
#[must_use]
pub fn signature(secret: &str, text: &str) -> String {
    hex::encode(hmac_sha256(secret.as_bytes(), text.as_bytes()))
}

/// True if `given` is the hexadecimal signature of `text` with any of the secrets. All secrets are compared, in
/// constant time.
#[must_use]
pub fn is_signed<S: AsRef<str>>(secrets: &[S], text: &str, given: &str) -> bool {
    let mut found = subtle::Choice::from(0);
    for secret in secrets {
        let right = signature(secret.as_ref(), text);
        found |= right.as_bytes().ct_eq(given.as_bytes());
    }
    found.into()
}

/// True if `auth` is `key:signature` for `text`.
#[must_use]
pub fn is_authorized<S: AsRef<str>>(key: &str, secrets: &[S], text: &str, auth: &str) -> bool {
    match auth.split_once(':') {
        Some((given, signature)) => given == key && is_signed(secrets, text, signature),
        None => false,
    }
}

/// The text that is signed for a subscription.
#[must_use]
pub fn subscription_text(socket: SocketId, channel: &str, channel_data: Option<&str>) -> String {
    match channel_data {
        Some(data) => format!("{socket}:{channel}:{data}"),
        None => format!("{socket}:{channel}"),
    }
}

/// The text that is signed for a sign-in.
#[must_use]
pub fn user_text(socket: SocketId, user_data: &str) -> String {
    format!("{socket}::user::{user_data}")
}

/// Signs a subscription for an authorization endpoint. Every host uses this function.
///
/// `socket_id` and `channel` are validated strictly, because a signature could otherwise be valid for something else:
/// the socket id `1.2:presence-room` with the channel `{"user_id":"admin"}` would forge a presence member.
///
/// # Errors
/// [`crate::error::Kind::InvalidChannel`]: nothing is signed.
pub fn authorize(
    key: &str,
    secret: &str,
    socket_id: &str,
    channel: &str,
    channel_data: Option<&str>,
) -> Result<String> {
    let socket = socket(socket_id)?;
    let name = Name::parse(channel)
        .filter(|name| !matches!(name.kind, ChannelKind::Public | ChannelKind::User))
        .ok_or_else(|| {
            Error::channel(format!(
                "Cannot sign a subscription to {:?}: only valid channel names that begin with private- or \
                 presence- can be signed.",
                shown(channel)
            ))
        })?;
    if (name.kind == ChannelKind::Presence) != channel_data.is_some() {
        return Err(Error::channel(if channel_data.is_some() {
            format!("Cannot sign presence data for {channel}: only presence channels have members.")
        } else {
            format!("Cannot sign a subscription to {channel} without presence data: a presence channel needs a \
             user_id.")
        }));
    }
    let text = subscription_text(socket, channel, channel_data);
    Ok(format!("{key}:{}", signature(secret, &text)))
}

/// Signs a sign-in for a user authentication endpoint. `user_data` is JSON with a non-empty string `id`.
///
/// # Errors
/// [`crate::error::Kind::InvalidChannel`] for an invalid socket id or user id: nothing is signed.
pub fn authenticate(key: &str, secret: &str, socket_id: &str, user_data: &str) -> Result<String> {
    let socket = socket(socket_id)?;
    if super::incoming::signed_in_user(user_data).is_none() {
        return Err(Error::channel(
            "Cannot sign in a user without an id: the user data needs 'id', a non-empty string of at most 128 \
             characters.",
        ));
    }
    Ok(format!(
        "{key}:{}",
        signature(secret, &user_text(socket, user_data))
    ))
}

fn socket(id: &str) -> Result<SocketId> {
    id.parse().map_err(|_| {
        Error::channel(format!(
            "Cannot sign for the socket id {:?}: it must be two numbers separated by a dot, as pusher-js sends it.",
            shown(id)
        ))
    })
}

/// Truncates a text to 64 characters for error texts.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "278d425bdf160c739803";
    const SECRET: &str = "7ad3773142a6692b25b8";

    #[test]
    fn signatures_match_pushers_published_vectors() {
        let socket: SocketId = "1234.1234".parse().unwrap();
        let private = subscription_text(socket, "private-foobar", None);
        assert_eq!(
            signature(SECRET, &private),
            "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
        let data = r#"{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#;
        let presence = subscription_text(socket, "presence-foobar", Some(data));
        assert_eq!(
            signature(SECRET, &presence),
            "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c"
        );
        assert_eq!(
            authorize(KEY, SECRET, "1234.1234", "private-foobar", None).unwrap(),
            format!("{KEY}:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4")
        );
        assert_eq!(
            user_text(socket, "{\"id\":\"12345\"}"),
            "1234.1234::user::{\"id\":\"12345\"}"
        );
    }

    #[test]
    fn only_signatures_with_a_listed_secret_are_accepted() {
        let secrets = ["new".repeat(12), SECRET.to_owned()];
        let text = "1.2:private-a";
        for secret in &secrets {
            let auth = format!("{KEY}:{}", signature(secret, text));
            assert!(is_authorized(KEY, &secrets, text, &auth));
            assert!(!is_authorized("other", &secrets, text, &auth));
            assert!(!is_authorized(KEY, &secrets, "1.2:private-b", &auth));
            assert!(!is_authorized(KEY, &secrets, text, &auth.to_uppercase()));
            assert!(!is_authorized(KEY, &secrets, text, &auth[..auth.len() - 1]));
        }
        for bad in ["", ":", KEY, &format!("{KEY}:"), &signature(SECRET, text)] {
            assert!(!is_authorized(KEY, &secrets, text, bad), "{bad}");
        }
        assert!(!is_authorized(
            KEY,
            &Vec::<String>::new(),
            text,
            &format!("{KEY}:{}", signature("", text))
        ));
    }

    #[test]
    fn the_authorization_endpoint_signs_only_valid_subscriptions() {
        let refused = [
            ("1.2:presence-room", r#"{"user_id":"admin"}"#, None),
            ("1.2", "news", None),
            ("1.2", "#server-to-user-7", None),
            ("1.2", "private-a\n", None),
            ("1.2", "private-a:b", None),
            ("1.2\n", "private-a", None),
            ("", "private-a", None),
            ("1.2", "private-a", Some("{}")),
            ("1.2", "presence-a", None),
        ];
        for (socket, channel, data) in refused {
            assert!(
                authorize(KEY, SECRET, socket, channel, data).is_err(),
                "{socket} {channel}"
            );
        }
        assert!(authorize(KEY, SECRET, "1.2", "private-encrypted-a", None).is_ok());
        assert!(authenticate(KEY, SECRET, "1.2", r#"{"id":"7"}"#).is_ok());
        for data in [
            r#"{"id":7}"#,
            r#"{"id":""}"#,
            "{}",
            "",
            r#"{"id":"1","id":"2"}"#,
        ] {
            assert!(authenticate(KEY, SECRET, "1.2", data).is_err(), "{data}");
        }
    }
}
