//! The id of a connection: two numbers from the system's random source, never counted and never derived.
//!
//! Signatures of subscriptions have no expiry, so an id that came again would make every old signature valid again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What one half may be at most: 2^32 − 1. Two halves carry 64 bits, and both stay exact in a JavaScript number.
const HALF: u64 = u32::MAX as u64;

/// Id of a connection, `123.456` in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    high: u64,
    low: u64,
}

impl SocketId {
    /// A new id of 64 random bits.
    ///
    /// # Errors
    /// The system's own error where it gives no randomness; the connection is refused then.
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

/// Text that is not `digits.digits`, or whose numbers do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotASocketId;

impl FromStr for SocketId {
    type Err = NotASocketId;

    /// Reads `\A\d+\.\d+\z`, ASCII digits only, in the spelling that [`fmt::Display`] gives: `01.2` is another string than `1.2` in a
    /// signature, so it is no id at all.
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

#[cfg(test)]
mod tests {
    use super::SocketId;
    use std::collections::HashSet;

    #[test]
    fn ids_are_random_and_read_back() {
        let ids: HashSet<SocketId> = (0..10_000).map(|_| SocketId::random().unwrap()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in &ids {
            assert_eq!(id.to_string().parse::<SocketId>(), Ok(*id));
        }
        // Every one of the 64 bits moves: at least 53 are asked for.
        let (mut ones, mut zeros) = (0_u64, 0_u64);
        for id in &ids {
            let bits = (id.high << 32) | id.low;
            ones |= bits;
            zeros |= !bits;
        }
        assert_eq!((ones, zeros), (u64::MAX, u64::MAX));
    }

    #[test]
    fn only_two_plain_numbers_are_an_id() {
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
