//! Errors of admin calls.

use rdkafka::error::RDKafkaErrorCode as Code;

use super::{Admin, CALL_TIMEOUT};
use crate::error::{Error, Kind};
use crate::kafka::client;

impl Admin {
    /// The error for a code.
    pub(super) fn error_for(&self, code: Code, action: &str, detail: &str) -> Error {
        let error = client::to_error(code, action, detail, &self.config.brokers);
        let kind = match code {
            Code::InvalidConfig
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidRequest
            | Code::OffsetOutOfRange
            | Code::PolicyViolation
            | Code::TopicDeletionDisabled
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature => Kind::Configuration,
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
            Code::InvalidGroupId => Error::new(
                Kind::Configuration,
                format!("{action}: {}.", client::describe(code)),
            ),
            code if is_transient(code) => self.timeout_error(action),
            // librdkafka's text only repeats the name of the request.
            Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed => {
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
        Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::WaitCache
            | Code::WaitingForCoordinator
            | Code::BrokerNotAvailable
            | Code::FencedLeaderEpoch
            | Code::LeaderNotAvailable
            | Code::NetworkException
            | Code::NotController
            | Code::NotLeaderForPartition
            | Code::OffsetNotAvailable
            | Code::ReplicaNotAvailable
            | Code::RequestTimedOut
            | Code::UnknownLeaderEpoch
    )
}

/// True if the topic does not exist.
pub(super) fn is_unknown_topic(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopicOrPartition
            | Code::UnknownTopicId
            | Code::UnknownTopic
            | Code::UnknownPartition
    )
}
