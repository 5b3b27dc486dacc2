//! Fault injection: error responses, dropped connections, latency, an unavailable broker, failing topics.

use rdkafka::error::RDKafkaErrorCode as Code;

use super::EmbeddedCluster;
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

impl EmbeddedCluster {
    /// The next `times` requests of this type fail with `fault`, after faults queued earlier.
    ///
    /// # Errors
    /// Connection: the broker is stopped, or belongs to a parent process.
    pub fn fail_next(&self, request: RequestKind, fault: Fault, times: usize) -> Result<()> {
        self.cluster()?.push_errors(request.0, fault.0, times);
        Ok(())
    }

    /// Delays every response by `ms`; 0 ends the delay.
    ///
    /// # Errors
    /// Connection: see [`EmbeddedCluster::fail_next`].
    pub fn set_latency(&self, ms: i32) -> Result<()> {
        let code = self.cluster()?.set_latency(ms.max(0));
        self.check_result(code, "set the latency")
    }

    /// `false` drops every connection and accepts none until it is set to `true`; the data is kept.
    ///
    /// # Errors
    /// Connection: see [`EmbeddedCluster::fail_next`].
    pub fn set_up(&self, up: bool) -> Result<()> {
        let code = self.cluster()?.set_up(up);
        self.check_result(code, "change its availability")
    }

    /// Every request for the topic fails with this error until it is `None`. Creates the topic if it does not exist.
    ///
    /// # Errors
    /// Connection: see [`EmbeddedCluster::fail_next`]. InvalidChannel: not a valid topic name.
    pub fn fail_topic(&self, topic: &str, fault: Option<Fault>) -> Result<()> {
        crate::topic::validate_kafka_topic(topic)?;
        drop(self.cluster()?);
        let mut failing = self.failing_topics.lock();
        failing.retain(|known| known != topic);
        if fault.is_some() {
            failing.push(topic.to_owned());
        }
        self.set_topic_error(topic, fault)
    }

    /// Removes all faults: the broker is up, without latency, and serves all requests.
    ///
    /// # Errors
    /// Connection: see [`EmbeddedCluster::fail_next`].
    pub fn clear_faults(&self) -> Result<()> {
        for (_, request) in REQUESTS {
            self.cluster()?.clear_errors(*request);
        }
        for topic in std::mem::take(&mut *self.failing_topics.lock()) {
            self.set_topic_error(&topic, None)?;
        }
        self.set_latency(0)?;
        self.set_up(true)
    }

    fn set_topic_error(&self, topic: &str, fault: Option<Fault>) -> Result<()> {
        let code = fault.map_or(Code::NoError, |fault| fault.0);
        self.cluster()?.set_topic_error(topic, code);
        Ok(())
    }

    fn check_result(&self, code: Code, action: &str) -> Result<()> {
        if code == Code::NoError {
            return Ok(());
        }
        Err(Error::connection(format!(
            "The embedded broker at {} cannot {action}: {}.",
            self.address,
            client::describe(code)
        )))
    }
}
