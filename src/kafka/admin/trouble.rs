//! What can go wrong with a question to the cluster, in our words.

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::{Admin, BOUND};
use crate::error::{Error, Kind};
use crate::kafka::native;

impl Admin {
    /// One of our errors for a code.
    pub(super) fn failed(&self, code: Code, doing: &str, words: &str) -> Error {
        let error = native::to_error(code, doing, words, &self.config.brokers);
        let kind = match code {
            Code::RD_KAFKA_RESP_ERR_INVALID_CONFIG
            | Code::RD_KAFKA_RESP_ERR_INVALID_PARTITIONS
            | Code::RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR
            | Code::RD_KAFKA_RESP_ERR_INVALID_REQUEST
            | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
            | Code::RD_KAFKA_RESP_ERR_POLICY_VIOLATION
            | Code::RD_KAFKA_RESP_ERR_TOPIC_DELETION_DISABLED
            | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION
            | Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE => Kind::Configuration,
            // Nothing is delivered here.
            _ if error.kind() == Kind::Delivery => Kind::Connection,
            _ => return error,
        };
        Error::new(kind, error.message())
    }

    pub(super) fn silence(&self, doing: &str) -> Error {
        let heard = self.heard.borrow();
        let words = heard
            .as_ref()
            .map_or_else(String::new, |words| format!(" ({words})"));
        Error::connection(format!(
            "{doing}: Kafka at {} did not answer within {} s{words}. Is a broker running there, and reachable from here?",
            self.config.brokers,
            BOUND.as_secs()
        ))
    }

    pub(super) fn unknown(&self, topic: &str, doing: &str) -> Error {
        Error::new(
            Kind::UnknownTopic,
            format!(
                "{doing}: Kafka at {} has no topic \"{topic}\". Create it with Admin::createTopic(), or check the name with Admin::topics().",
                self.config.brokers
            ),
        )
    }

    /// The error for a group or topic that may not be seen, or whatever else Kafka says of it.
    pub(super) fn refused(&self, code: Code, doing: &str, words: &str) -> Error {
        match code {
            Code::RD_KAFKA_RESP_ERR_INVALID_GROUP_ID => Error::new(
                Kind::Configuration,
                format!("{doing}: {}.", native::describe(code)),
            ),
            code if passes(code) => self.silence(doing),
            // The words name the request, which helps nobody.
            Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => self.failed(code, doing, ""),
            code => self.failed(code, doing, words),
        }
    }
}

/// True where waiting helps.
pub(super) fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR__TRANSPORT
            | Code::RD_KAFKA_RESP_ERR__TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
            | Code::RD_KAFKA_RESP_ERR__RESOLVE
            | Code::RD_KAFKA_RESP_ERR__WAIT_CACHE
            | Code::RD_KAFKA_RESP_ERR__WAIT_COORD
            | Code::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH
            | Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION
            | Code::RD_KAFKA_RESP_ERR_NOT_CONTROLLER
            | Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
            | Code::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH
    )
}

/// True where the topic is not there.
pub(super) fn is_missing(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
    )
}
