//! The names of requests and errors, for injecting faults.

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::config::nearest;
use crate::error::{Error, Result};
use crate::kafka::client;

/// The requests the mock cluster implements, with Kafka's names and API keys.
const REQUESTS: &[(&str, i16)] = &[
    ("Produce", 0),
    ("Fetch", 1),
    ("ListOffsets", 2),
    ("Metadata", 3),
    ("OffsetCommit", 8),
    ("OffsetFetch", 9),
    ("FindCoordinator", 10),
    ("JoinGroup", 11),
    ("Heartbeat", 12),
    ("LeaveGroup", 13),
    ("SyncGroup", 14),
    ("ApiVersions", 18),
    ("InitProducerId", 22),
    ("OffsetForLeaderEpoch", 23),
    ("AddPartitionsToTxn", 24),
    ("AddOffsetsToTxn", 25),
    ("EndTxn", 26),
    ("TxnOffsetCommit", 28),
    ("ConsumerGroupHeartbeat", 68),
];

/// Kafka's current names for errors that librdkafka lists under an older name.
const ALIASES: &[(&str, &str)] = &[
    ("CORRUPT_MESSAGE", "INVALID_MSG"),
    ("INVALID_FETCH_SIZE", "INVALID_MSG_SIZE"),
    ("INVALID_TOPIC_EXCEPTION", "TOPIC_EXCEPTION"),
    ("MESSAGE_TOO_LARGE", "MSG_SIZE_TOO_LARGE"),
    ("NOT_LEADER_OR_FOLLOWER", "NOT_LEADER_FOR_PARTITION"),
    ("TRANSPORT", "_TRANSPORT"),
    ("UNKNOWN_SERVER_ERROR", "UNKNOWN"),
    ("UNKNOWN_TOPIC_OR_PARTITION", "UNKNOWN_TOPIC_OR_PART"),
];

/// Upper limit of the latency; clients time out long before.
pub const MAX_LATENCY_MS: i64 = 600_000;
/// Upper limit of faults per call.
pub const MAX_TIMES: i64 = 100_000;

/// A request type, such as `Produce`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestKind(i16);

impl RequestKind {
    /// Kafka's API key.
    pub(super) const fn key(self) -> i16 {
        self.0
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        REQUESTS.iter().map(|(_, key)| Self(*key))
    }

    /// Parses Kafka's name of a request, in any case.
    ///
    /// # Errors
    /// Configuration: the mock cluster does not implement the request; the error suggests the nearest name.
    pub fn parse(name: &str) -> Result<Self> {
        let found = REQUESTS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name.trim()));
        found.map(|(_, key)| Self(*key)).ok_or_else(|| {
            let names: Vec<&str> = REQUESTS.iter().map(|(known, _)| *known).collect();
            Error::configuration(format!(
                "The embedded broker does not implement the request \"{name}\".{} It implements {}.",
                hint(name, &names),
                names.join(", ")
            ))
        })
    }
}

/// An error response, or a dropped connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault(Code);

impl Fault {
    pub(super) const fn code(self) -> Code {
        self.0
    }

    /// Parses Kafka's or librdkafka's name of an error, in any case; `_TRANSPORT` drops the connection.
    ///
    /// # Errors
    /// Configuration: unknown (the error suggests the nearest name), or not an error that brokers return.
    pub fn parse(name: &str) -> Result<Self> {
        let given = name.trim().to_ascii_uppercase();
        let given = given
            .strip_prefix("RD_KAFKA_RESP_ERR_")
            .unwrap_or(given.as_str());
        let given = ALIASES
            .iter()
            .find(|(alias, _)| *alias == given)
            .map_or(given, |(_, known)| *known);
        let known = errors();
        if let Some((_, code)) = known.iter().find(|(known, _)| *known == given) {
            return Ok(Self(*code));
        }
        if given.starts_with('_') {
            return Err(Error::configuration(format!(
                "\"{name}\" is a client-side error. Of these, the embedded broker supports only _TRANSPORT, \
                 which drops \
                 the connection. For timeouts use setLatency() or down()."
            )));
        }
        let names: Vec<&str> = known.iter().map(|(known, _)| *known).collect();
        Err(Error::configuration(format!(
            "Kafka has no error \"{name}\".{} See https://kafka.apache.org/protocol#protocol_error_codes.",
            hint(given, &names)
        )))
    }
}

fn hint(word: &str, known: &[&str]) -> String {
    // Names are compared in lower case.
    let lower: Vec<String> = known.iter().map(|name| name.to_ascii_lowercase()).collect();
    let texts: Vec<&str> = lower.iter().map(String::as_str).collect();
    let near = nearest(word.trim(), &texts)
        .and_then(|near| texts.iter().position(|text| *text == near))
        .map(|place| known[place]);
    near.map_or_else(String::new, |near| format!(" Did you mean \"{near}\"?"))
}

/// The errors a broker can return, plus `_TRANSPORT`, under librdkafka's names.
fn errors() -> Vec<(&'static str, Code)> {
    let sent_by_brokers = |name: &str| !name.starts_with('_') || name == "_TRANSPORT";
    let mut names = client::error_names();
    names.retain(|(name, _)| sent_by_brokers(name) && *name != "NO_ERROR");
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_errors_are_parsed_by_kafka_name_in_any_case() {
        assert_eq!(
            RequestKind::parse("produce").unwrap(),
            RequestKind::parse("Produce").unwrap()
        );
        for name in ["NOT_LEADER_FOR_PARTITION", "not_leader_or_follower"] {
            assert_eq!(
                Fault::parse(name).unwrap(),
                Fault::parse("RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION").unwrap()
            );
        }
        for name in [
            "_TRANSPORT",
            "unknown_topic_or_partition",
            "PRODUCER_FENCED",
        ] {
            Fault::parse(name).unwrap();
        }
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let message_of = |error: Error| error.message().to_owned();
        let message = message_of(RequestKind::parse("OfsetCommit").unwrap_err());
        assert!(
            message.contains("Did you mean \"OffsetCommit\"?"),
            "{message}"
        );
        let message = message_of(Fault::parse("NOT_LEADER_FOR_PARTITON").unwrap_err());
        assert!(
            message.contains("Did you mean \"NOT_LEADER_FOR_PARTITION\"?"),
            "{message}"
        );
        let message = message_of(Fault::parse("_TIMED_OUT").unwrap_err());
        assert!(message.contains("setLatency()"), "{message}");
        assert!(Fault::parse("NO_ERROR").is_err());
    }
}
