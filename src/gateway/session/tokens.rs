//! The recovery tokens of `realtime:resume`, kept until the client subscribes. Clients can send them before any
//! authorization, so they are validated when they arrive and bounded in bytes.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use crate::topic::socket_channel::Name;

/// Maximum length of a token.
const MAX_TOKEN: usize = 8192;
/// Average budget per allowed subscription; a token for one topic of twelve partitions has about 150 bytes.
const BYTES_PER_SUBSCRIPTION: usize = 512;
/// Approximate cost of an entry in addition to its strings.
const ENTRY_OVERHEAD: usize = 96;

/// Tokens by channel, bounded in number and bytes.
pub(super) struct ResumeTokens {
    tokens: BTreeMap<Box<str>, Box<str>>,
    bytes: usize,
    /// Hashes of channels whose token was rejected: their recovery is answered with `recovered: false`. A hash takes
    /// 8 bytes however long the name is.
    rejected: HashSet<u64>,
    hasher: RandomState,
    max_entries: usize,
}

impl ResumeTokens {
    pub fn new(max_subscriptions: usize) -> Self {
        Self {
            tokens: BTreeMap::new(),
            bytes: 0,
            rejected: HashSet::new(),
            hasher: RandomState::new(),
            max_entries: max_subscriptions,
        }
    }

    /// Keeps a token if `is_valid` and within the budget; else only that the channel has asked. Invalid names are
    /// ignored.
    pub fn insert(&mut self, channel: &str, token: &str, is_valid: bool) {
        if Name::parse(channel).is_none() {
            return;
        }
        self.remove(channel);
        let cost = channel.len() + token.len() + ENTRY_OVERHEAD;
        if token.len() <= MAX_TOKEN
            && self.tokens.len() < self.max_entries
            && self.bytes + cost <= self.max_bytes()
            && is_valid
        {
            self.bytes += cost;
            self.tokens.insert(channel.into(), token.into());
        } else if self.rejected.len() < self.max_entries {
            self.rejected.insert(self.hasher.hash_one(channel));
        }
    }

    /// Removes the token of a channel. An empty token, which no history accepts, marks a rejected one.
    pub fn remove(&mut self, channel: &str) -> Option<String> {
        if let Some(token) = self.tokens.remove(channel) {
            self.bytes -= channel.len() + token.len() + ENTRY_OVERHEAD;
            return Some(token.into());
        }
        self.rejected
            .remove(&self.hasher.hash_one(channel))
            .then(String::new)
    }

    fn max_bytes(&self) -> usize {
        self.max_entries * BYTES_PER_SUBSCRIPTION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_bounded_in_number_and_bytes() {
        let mut tokens = ResumeTokens::new(100);
        for i in 0..1000 {
            tokens.insert(&format!("private-{i}"), &"x".repeat(8000), true);
        }
        assert!(tokens.bytes <= 100 * BYTES_PER_SUBSCRIPTION);
        assert_eq!(tokens.rejected.len(), 100);
        for i in 0..1000 {
            tokens.insert(&format!("private-{i}"), "t", true);
        }
        assert_eq!(tokens.tokens.len(), 100);
        for i in 0..1000 {
            tokens.remove(&format!("private-{i}"));
        }
        assert_eq!((tokens.bytes, tokens.tokens.len()), (0, 0));
    }

    #[test]
    fn a_rejected_token_is_answered_and_an_invalid_name_is_ignored() {
        let mut tokens = ResumeTokens::new(10);
        tokens.insert("private-a", "forged", false);
        tokens.insert("private-b", &"x".repeat(MAX_TOKEN + 1), true);
        tokens.insert("private-c", "good", true);
        tokens.insert("not a name", "good", true);
        assert_eq!(tokens.remove("private-a").as_deref(), Some(""));
        assert_eq!(tokens.remove("private-a"), None);
        assert_eq!(tokens.remove("private-b").as_deref(), Some(""));
        assert_eq!(tokens.remove("private-c").as_deref(), Some("good"));
        assert_eq!(tokens.remove("not a name"), None);
    }
}
