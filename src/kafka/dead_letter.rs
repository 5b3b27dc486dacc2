//! The dead-letter record of a message whose handling failed: the original record plus headers that describe the
//! failure.

use crate::config::BrokerConfig;
use crate::envelope::headers;
use crate::ids;
use crate::message::Header;

/// Longer exception messages are truncated.
const MAX_REASON_BYTES: usize = 1024;

/// Origin of the record and reason of the failure.
pub struct Failure<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Timestamp of the record in ms.
    pub timestamp_ms: i64,
    /// Exception class, or one of our own failure kinds.
    pub class: &'a str,
    pub reason: &'a str,
    /// The exception with its previous ones: class, message, file and line of each; empty if there was none.
    pub chain: &'a str,
    /// Number of attempts; 0 if no callback received the record.
    pub attempts: u32,
}

/// The dead-letter topic of `topic`.
#[must_use]
pub fn topic(config: &BrokerConfig, topic: &str) -> String {
    format!("{}.{topic}", config.dlq_prefix)
}

/// The record's own headers followed by ours. `x-original-*` headers of an earlier failure are kept.
#[must_use]
pub fn headers(own: Vec<Header>, group: &str, failure: &Failure<'_>) -> Vec<Header> {
    let ours = [
        ("x-original-topic", failure.topic.to_owned()),
        ("x-original-partition", failure.partition.to_string()),
        ("x-original-offset", failure.offset.to_string()),
        ("x-original-timestamp", failure.timestamp_ms.to_string()),
        ("x-original-group", group.to_owned()),
    ];
    let latest = [
        ("x-exception-class", failure.class.to_owned()),
        ("x-exception-message", cut(failure.reason).to_owned()),
        (headers::EXCEPTION_CHAIN, failure.chain.to_owned()),
        ("x-attempts", failure.attempts.to_string()),
        ("x-failed-at", (ids::unix_ms() / 1000).to_string()),
    ];
    let mut all = own;
    // The replay was addressed to one group; this dead letter is about the failure in that group.
    all.retain(|(name, _)| name != headers::REPLAY_GROUP);
    for (name, value) in ours {
        if !all.iter().any(|(known, _)| known == name) {
            all.push((name.to_owned(), Some(value.into_bytes())));
        }
    }
    for (name, value) in latest {
        all.retain(|(known, _)| known != name);
        if name == headers::EXCEPTION_CHAIN && value.is_empty() {
            continue;
        }
        all.push((name.to_owned(), Some(value.into_bytes())));
    }
    if !all.iter().any(|(known, _)| known == headers::REPLAYS) {
        all.push((headers::REPLAYS.to_owned(), Some(b"0".to_vec())));
    }
    all
}

fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use super::{cut, headers, Failure, MAX_REASON_BYTES};

    fn failure() -> Failure<'static> {
        Failure {
            topic: "realtime_user_1",
            partition: 2,
            offset: 7,
            timestamp_ms: 5,
            class: "DomainException",
            reason: "no",
            chain: "",
            attempts: 4,
        }
    }

    fn value<'a>(all: &'a [super::Header], name: &str) -> &'a str {
        let found = all
            .iter()
            .find(|(known, _)| known == name)
            .and_then(|(_, value)| value.as_deref());
        std::str::from_utf8(found.unwrap_or_default()).unwrap_or_default()
    }

    #[test]
    fn original_headers_are_kept_and_the_latest_failure_is_recorded() {
        let first = headers(vec![("own".into(), None)], "g", &failure());
        let again = headers(
            first,
            "g",
            &Failure {
                topic: "dlq.realtime_user_1",
                attempts: 1,
                ..failure()
            },
        );
        assert_eq!(again[0], ("own".to_owned(), None));
        assert_eq!(value(&again, "x-original-topic"), "realtime_user_1");
        assert_eq!(value(&again, "x-original-offset"), "7");
        assert_eq!(value(&again, "x-attempts"), "1");
        assert_eq!(
            again
                .iter()
                .filter(|(name, _)| name == "x-exception-class")
                .count(),
            1
        );
    }

    #[test]
    fn a_long_reason_is_truncated_at_a_character_boundary() {
        let long = "ü".repeat(MAX_REASON_BYTES);
        assert_eq!(cut(&long).len(), MAX_REASON_BYTES);
        let odd = format!("a{long}");
        assert_eq!(cut(&odd).len(), MAX_REASON_BYTES - 1);
    }
}
