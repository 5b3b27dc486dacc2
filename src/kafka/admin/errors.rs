//! Errors of admin calls.

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::{Admin, CALL_TIMEOUT};
use crate::error::{Error, Kind};
use crate::kafka::client;

impl Admin {
    /// The error for a code.
    pub(super) fn error_for(&self, code: Code, action: &str, detail: &str) -> Error {
        let error = client::to_error(code, action, detail, &self.config.brokers);
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
            // No delivery takes place here.
            _ if error.kind() == Kind::Delivery => Kind::Connection,
            _ => return error,
        };
        Error::new(kind, error.message())
    }

    pub(super) fn timeout_error(&self, action: &str) -> Error {
        let last_client_error = self.last_client_error.borrow();
        let detail = last_client_error
            .as_ref()
            .map_or_else(String::new, |detail| format!(" ({detail})"));
        Error::connection(format!(
            "{action}: Kafka at {} did not respond within {} s{detail}. Is a broker running there, and reachable from \
             here?",
            self.config.brokers,
            CALL_TIMEOUT.as_secs()
        ))
    }

    pub(super) fn unknown_topic(&self, topic: &str, action: &str) -> Error {
        Error::new(
            Kind::UnknownTopic,
            format!(
                "{action}: Kafka at {} has no topic \"{topic}\". \
                 Create it with Admin::createTopic(), or check the name with Admin::topics().",
                self.config.brokers
            ),
        )
    }

    /// The error for a response about a group or topic, including missing permissions.
    pub(super) fn response_error(&self, code: Code, action: &str, detail: &str) -> Error {
        match code {
            Code::RD_KAFKA_RESP_ERR_INVALID_GROUP_ID => Error::new(
                Kind::Configuration,
                format!("{action}: {}.", client::describe(code)),
            ),
            code if is_transient(code) => self.timeout_error(action),
            // librdkafka's text only repeats the name of the request.
            Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => {
                self.error_for(code, action, "")
            }
            code => self.error_for(code, action, detail),
        }
    }
}

/// True for errors that a retry may resolve.
pub(super) fn is_transient(code: Code) -> bool {
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

/// True if the topic does not exist.
pub(super) fn is_unknown_topic(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
    )
}
