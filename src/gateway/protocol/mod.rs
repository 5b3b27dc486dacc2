//! The Pusher Channels protocol, versions 5 to 7: frames, signatures, close codes. Without sockets and Kafka.

pub mod auth;
pub mod frame;
pub mod incoming;

pub use crate::topic::socket_channel::{is_reserved_event, ChannelKind, Name};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Maximum of one half: 2^32 − 1. Two halves have 64 bits, and each is exact as a JavaScript number.
const HALF: u64 = u32::MAX as u64;

/// Id of a connection, such as `123.456`: two random numbers from the system, never counted and never derived from node
/// or time. Subscription signatures do not expire, so a repeated id would make its old signatures valid again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    high: u64,
    low: u64,
}

impl SocketId {
    /// Creates an id of 64 random bits.
    ///
    /// # Errors
    /// The system provides no random numbers; the connection is refused.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(e.to_string()))?;
        let bits = u64::from_le_bytes(bytes);
        Ok(Self {
            high: bits >> 32,
            low: bits & HALF,
        })
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.high, self.low)
    }
}

/// The text is not `digits.digits`, or a number is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotASocketId;

impl FromStr for SocketId {
    type Err = NotASocketId;

    /// Parses `\A\d+\.\d+\z` with ASCII digits, in the spelling of [`fmt::Display`] only: `01.2` is invalid, because in
    /// a signature it is a different string than `1.2`.
    fn from_str(text: &str) -> Result<Self, NotASocketId> {
        let (high, low) = text.split_once('.').ok_or(NotASocketId)?;
        Ok(Self {
            high: number(high)?,
            low: number(low)?,
        })
    }
}

fn number(text: &str) -> Result<u64, NotASocketId> {
    let plain = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    if !plain {
        return Err(NotASocketId);
    }
    text.parse().map_err(|_| NotASocketId)
}

impl Serialize for SocketId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SocketId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse()
            .map_err(|NotASocketId| serde::de::Error::custom("not a socket id"))
    }
}

/// Why the server closes a connection, or refuses a request on it. pusher-js gives up after 4001 to 4099 and from 4300;
/// it reconnects after a second after 4100 to 4199 and codes of the WebSocket protocol, and immediately and without
/// jitter after 4200 to 4299: such closes must be spread over time, and never precede `connection_established`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Close {
    Normal = 1000,
    /// A violation of the WebSocket protocol: reserved bits, unmasked frames, invalid control frames.
    ProtocolError = 1002,
    Unsupported = 1003,
    /// Text that is not UTF-8.
    BadData = 1007,
    /// An invalid message: too deeply nested, duplicate keys, unknown event.
    Policy = 1008,
    /// A message over the limit.
    TooBig = 1009,
    /// No application with this key.
    NoApp = 4001,
    Path = 4005,
    /// The protocol version is not a number.
    VersionFormat = 4006,
    /// The protocol version is not supported.
    UnsupportedProtocol = 4007,
    /// The protocol version is missing.
    NoProtocol = 4008,
    /// Not allowed: origin, sign-in, terminated by the application.
    Unauthorized = 4009,
    /// Over capacity: too many connections, or a client that reads too slowly.
    OverCapacity = 4100,
    /// Please reconnect: this server is being restarted.
    Reconnect = 4200,
    /// No pong in time.
    NoPong = 4201,
    /// Client events faster than allowed; an error frame, not a close.
    ClientEventRate = 4301,
}

impl Close {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The default text for the close frame and `pusher:error`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "Closed",
            Self::ProtocolError => "Violation of the WebSocket protocol",
            Self::Unsupported => "Only text frames are supported",
            Self::BadData => "Text is not valid UTF-8",
            Self::Policy => "Message not allowed",
            Self::TooBig => "Message exceeds the size limit",
            Self::NoApp => "No application with this key",
            Self::Path => "Unknown path; connect to /app/{key}",
            Self::VersionFormat => "Invalid protocol version",
            Self::UnsupportedProtocol => "Protocol version not supported; use 5, 6 or 7",
            Self::NoProtocol => "Protocol version missing; add ?protocol=7",
            Self::Unauthorized => "Not authorized",
            Self::OverCapacity => "Over capacity",
            Self::Reconnect => "Server is restarting, please reconnect",
            Self::NoPong => "No pong in time",
            Self::ClientEventRate => "Client event rate exceeded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_random_and_parse_back() {
        let ids: HashSet<SocketId> = (0..10_000).map(|_| SocketId::random().unwrap()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in &ids {
            assert_eq!(id.to_string().parse::<SocketId>(), Ok(*id));
        }
        // All 64 bits vary; the protocol requires at least 53.
        let (mut ones, mut zeros) = (0_u64, 0_u64);
        for id in &ids {
            let bits = (id.high << 32) | id.low;
            ones |= bits;
            zeros |= !bits;
        }
        assert_eq!((ones, zeros), (u64::MAX, u64::MAX));
    }

    #[test]
    fn a_reason_fits_into_a_close_frame() {
        let source = include_str!("mod.rs").lines();
        let arms = source.filter(|line| line.trim_start().starts_with("Self::"));
        let reasons: Vec<_> = arms.filter_map(|line| line.split('"').nth(1)).collect();
        assert!(reasons.contains(&Close::OverCapacity.reason()) && reasons.len() > 10);
        for reason in reasons {
            assert_eq!(frame::close(4200, reason).len(), 4 + reason.len());
        }
    }

    #[test]
    fn only_two_canonical_numbers_are_a_socket_id() {
        assert!("1234.1234".parse::<SocketId>().is_ok());
        assert!("0.0".parse::<SocketId>().is_ok());
        let bad = [
            "",
            ".",
            "1",
            "1.",
            ".1",
            "1.2.3",
            "1.2\n",
            " 1.2",
            "-1.2",
            "+1.2",
            "1.2:presence-room",
            "01.2",
            "1.02",
            "１.２",
            "99999999999999999999999.1",
            "1,2",
            "1.2\0",
        ];
        for text in bad {
            assert!(text.parse::<SocketId>().is_err(), "{text:?}");
        }
    }
}
