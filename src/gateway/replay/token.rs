//! Tokens: a client's position on a channel. Opaque and signed: a token cannot be forged, used for another channel, or
//! used after ten minutes.
//!
//! The bytes, before base64: version, time of issue, socket, signed-in user, and for each topic that feeds the channel
//! a short hash of its name, its id and the next offset of each partition; then 16 bytes of HMAC-SHA256 over the socket
//! channel and these bytes.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Version of the format.
const VERSION: u8 = 1;
/// Maximum length of a token in characters; a longer one is rejected before it is decoded.
const MAX_TOKEN_LENGTH: usize = 8192;
/// Maximum difference between the clocks of two servers, ms.
const SKEW_MS: u64 = 60_000;

/// Length of a token's signature, and minimum length of any, in bytes.
pub(super) const MAC: usize = 16;

/// The position in one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPosition {
    /// First 8 bytes of the hash of the topic name.
    pub name: u64,
    /// Kafka's topic id; 0 if it has none.
    pub id: u128,
    /// Partitions with their next offsets.
    pub next: Vec<(i32, i64)>,
}

/// The contents of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Unix ms.
    pub issued_ms: u64,
    /// The socket that received the token.
    pub socket: String,
    /// The user signed in on that socket.
    pub user: Option<String>,
    /// One position for each topic that feeds the channel.
    pub topics: Vec<TopicPosition>,
}

/// The reason for rejecting a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// Invalid signature, or a token of another channel.
    Forged,
    /// Issued too long ago, or in the future.
    Stale,
}

/// The hash that represents a topic name in a token.
#[must_use]
pub fn short_hash(name: &str) -> u64 {
    let hash = Sha256::digest(name.as_bytes());
    hash.iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

impl Token {
    /// Encodes and signs the token; `None` if it exceeds [`MAX_TOKEN_LENGTH`], with about a thousand partitions.
    #[must_use]
    pub fn encode(&self, channel: &str, keys: &Keys) -> Option<String> {
        let mut bytes = vec![VERSION];
        number(&mut bytes, self.issued_ms);
        text(&mut bytes, &self.socket);
        match &self.user {
            None => bytes.push(0),
            Some(user) => {
                bytes.push(1);
                text(&mut bytes, user);
            }
        }
        number(&mut bytes, self.topics.len() as u64);
        for place in &self.topics {
            bytes.extend_from_slice(&place.name.to_be_bytes());
            bytes.extend_from_slice(&place.id.to_be_bytes());
            number(&mut bytes, place.next.len() as u64);
            for (partition, next) in &place.next {
                number(&mut bytes, u64::try_from(*partition).unwrap_or(0));
                number(&mut bytes, u64::try_from(*next).unwrap_or(0));
            }
        }
        let signature = keys.sign(&[channel.as_bytes(), &bytes]);
        bytes.extend_from_slice(&signature[..MAC]);
        let text = URL_SAFE_NO_PAD.encode(bytes);
        (text.len() <= MAX_TOKEN_LENGTH).then_some(text)
    }

    /// Decodes a token of this channel that was issued within the last `max_age_ms`.
    ///
    /// # Errors
    /// The reason for rejecting the token.
    pub fn decode(
        text: &str,
        channel: &str,
        keys: &Keys,
        now_ms: u64,
        max_age_ms: u64,
    ) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN_LENGTH {
            return Err(TokenError::Forged);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| TokenError::Forged)?;
        let end = bytes.len().checked_sub(MAC).ok_or(TokenError::Forged)?;
        let (body, signature) = bytes.split_at(end);
        if !keys.verify(&[channel.as_bytes(), body], signature) {
            return Err(TokenError::Forged);
        }
        let token = Self::read(&mut TokenReader(body)).ok_or(TokenError::Forged)?;
        let age = now_ms.saturating_sub(token.issued_ms);
        if age > max_age_ms || token.issued_ms > now_ms + SKEW_MS {
            return Err(TokenError::Stale);
        }
        Ok(token)
    }

    fn read(from: &mut TokenReader<'_>) -> Option<Self> {
        if from.byte()? != VERSION {
            return None;
        }
        let issued_ms = from.number()?;
        let socket = from.text()?;
        let user = match from.byte()? {
            0 => None,
            1 => Some(from.text()?),
            _ => return None,
        };
        let mut topics = Vec::new();
        for _ in 0..from.number()? {
            let name = u64::from_be_bytes(from.take(8)?.try_into().ok()?);
            let id = u128::from_be_bytes(from.take(16)?.try_into().ok()?);
            let mut next = Vec::new();
            for _ in 0..from.number()? {
                let partition = i32::try_from(from.number()?).ok()?;
                next.push((partition, i64::try_from(from.number()?).ok()?));
            }
            topics.push(TopicPosition { name, id, next });
        }
        from.0.is_empty().then_some(Self {
            issued_ms,
            socket,
            user,
            topics,
        })
    }
}

/// Appends a varint: seven bits a byte, the lowest first.
#[allow(clippy::cast_possible_truncation)] // masked
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn text(out: &mut Vec<u8>, text: &str) {
    number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

struct TokenReader<'a>(&'a [u8]);

impl<'a> TokenReader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }
}

/// Keys derived from the application's secrets: the first signs, all are accepted.
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// Derives the keys. `purpose` separates the keys of tokens from those of control records.
    #[must_use]
    pub fn new<S: AsRef<str>>(secrets: &[S], purpose: &str) -> Self {
        let keys = secrets.iter().map(|secret| {
            let mut hmac = keyed(secret.as_ref().as_bytes());
            hmac.update(purpose.as_bytes());
            hmac.finalize().into_bytes().into()
        });
        Self(keys.collect())
    }

    /// Signs these parts with their lengths, so that different lists of parts never have the same signature.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.0.first().map_or([0; 32], |key| mac(key, parts))
    }

    /// True if one of the keys made the signature, which may be truncated to [`MAC`] bytes.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        (MAC..=32).contains(&signature.len())
            && self.0.iter().any(|key| {
                let right = mac(key, parts);
                bool::from(right[..signature.len()].ct_eq(signature))
            })
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC accepts keys of any length, so the error cannot happen.
    Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&[0; 64].into()))
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut hmac = keyed(key);
    for part in parts {
        hmac.update(&(part.len() as u64).to_be_bytes());
        hmac.update(part);
    }
    hmac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const MAX_AGE_MS: u64 = 600_000;

    fn keys(secret: &str) -> Keys {
        Keys::new(&[secret], "tests")
    }

    fn token() -> Token {
        Token {
            issued_ms: NOW,
            socket: "123.456".to_owned(),
            user: Some("7".to_owned()),
            topics: vec![
                TopicPosition {
                    name: short_hash("realtime_user_1"),
                    id: 1 << 100 | 5,
                    next: vec![(0, 0), (3, i64::MAX)],
                },
                TopicPosition {
                    name: 9,
                    id: 0,
                    next: vec![],
                },
            ],
        }
    }

    #[test]
    fn a_token_survives_a_round_trip() {
        let keys = keys("s");
        let sealed = token()
            .encode("private-user.1", &keys)
            .expect("short enough");
        let opened = Token::decode(&sealed, "private-user.1", &keys, NOW + 599_000, MAX_AGE_MS);
        assert_eq!(opened, Ok(token()));
    }

    #[test]
    fn forged_tokens_are_rejected() {
        let (ours, theirs) = (keys("s"), keys("t"));
        let sealed = token().encode("private-a", &ours).expect("short enough");
        let decode = |text: &str, channel: &str, keys: &Keys| {
            Token::decode(text, channel, keys, NOW, MAX_AGE_MS)
        };
        assert_eq!(decode(&sealed, "private-b", &ours), Err(TokenError::Forged));
        assert_eq!(
            decode(&sealed, "private-a", &theirs),
            Err(TokenError::Forged)
        );
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).expect("base64");
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let text = URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(decode(&text, "private-a", &ours), Err(TokenError::Forged));
            let text = URL_SAFE_NO_PAD.encode(&bytes[..place]);
            assert_eq!(decode(&text, "private-a", &ours), Err(TokenError::Forged));
        }
        for text in ["", "x", "....", &"A".repeat(100_000)] {
            assert_eq!(decode(text, "private-a", &ours), Err(TokenError::Forged));
        }
    }

    #[test]
    fn an_old_secret_is_accepted_and_the_first_one_signs() {
        let before = keys("old");
        let sealed = token().encode("a", &before).expect("short enough");
        let after = Keys::new(&["new", "old"], "tests");
        assert!(Token::decode(&sealed, "a", &after, NOW, MAX_AGE_MS).is_ok());
        let sealed = token().encode("a", &after).expect("short enough");
        assert!(Token::decode(&sealed, "a", &keys("new"), NOW, MAX_AGE_MS).is_ok());
        assert!(Token::decode(&sealed, "a", &before, NOW, MAX_AGE_MS).is_err());
        let other = Keys::new(&["new"], "something else");
        assert!(Token::decode(&sealed, "a", &other, NOW, MAX_AGE_MS).is_err());
    }

    #[test]
    fn tokens_expire_after_ten_minutes() {
        let keys = keys("s");
        let sealed = token().encode("a", &keys).expect("short enough");
        let at = |now| Token::decode(&sealed, "a", &keys, now, MAX_AGE_MS);
        assert!(at(NOW + MAX_AGE_MS).is_ok());
        assert_eq!(at(NOW + MAX_AGE_MS + 1), Err(TokenError::Stale));
        assert!(at(NOW - SKEW_MS).is_ok());
        assert_eq!(at(NOW - SKEW_MS - 1), Err(TokenError::Stale));
    }

    #[test]
    fn oversized_tokens_are_not_issued() {
        let keys = keys("s");
        let of = |partitions: i32| {
            let mut token = token();
            token.topics[1].next = (0..partitions).map(|p| (p, 1 << 40)).collect();
            token.encode("a", &keys)
        };
        let most = of(700).expect("short enough");
        assert!(Token::decode(&most, "a", &keys, NOW, MAX_AGE_MS).is_ok());
        assert_eq!(of(2000), None);
    }

    #[test]
    fn varints_round_trip_and_overflow_is_rejected() {
        for value in [0, 127, 128, u64::MAX] {
            let mut bytes = Vec::new();
            number(&mut bytes, value);
            assert_eq!(TokenReader(&bytes).number(), Some(value));
        }
        assert_eq!(TokenReader(&[0xff; 11]).number(), None);
    }
}
