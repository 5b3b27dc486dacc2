//! The dead-letter record of a message that could not be handled: the record as it was, with headers that say what happened.

use crate::config::BrokerConfig;
use crate::envelope::headers;
use crate::ids;
use crate::kafka::producer::delivery::Header;

/// Exception messages are cut to this many bytes.
const MAX_REASON_BYTES: usize = 1024;

/// Where a record came from and why it failed.
pub struct Failure<'a> {
    /// Topic of the record.
    pub topic: &'a str,
    /// Partition of the record.
    pub partition: i32,
    /// Offset of the record.
    pub offset: i64,
    /// Timestamp of the record in ms.
    pub timestamp_ms: i64,
    /// Class of the exception, or a kind of ours.
    pub class: &'a str,
    /// Its message.
    pub reason: &'a str,
    /// How often it was tried; 0 for a record no callback ever saw.
    pub attempts: u32,
}

/// The topic failed records of `topic` go to.
#[must_use]
pub fn topic(config: &BrokerConfig, topic: &str) -> String {
    format!("{}.{topic}", config.dlq_prefix)
}

/// The record's own headers with ours behind them. The `x-original-*` of an earlier failure stay as they are.
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
        ("x-attempts", failure.attempts.to_string()),
        ("x-failed-at", (ids::unix_ms() / 1000).to_string()),
    ];
    let mut all = own;
    // A replay was for one group; this letter is about that one's failure.
    all.retain(|(name, _)| name != headers::REPLAY_GROUP);
    for (name, value) in ours {
        if !all.iter().any(|(known, _)| known == name) {
            all.push((name.to_owned(), Some(value.into_bytes())));
        }
    }
    for (name, value) in latest {
        all.retain(|(known, _)| known != name);
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
