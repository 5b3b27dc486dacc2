//! Admin calls: describe clusters, groups and topics, read offsets and records, create and delete topics.
//!
//! Uses a client without a group, which joins nothing and commits nothing. Every call has a time limit, and polls the
//! host for interrupts while it waits.

mod groups;
mod offsets;
mod probe;
#[cfg(test)]
mod tests;
mod topic_reader;
mod topics;

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::client::{self, AdminRequests, Client, ClientEvent, EventQueue, TopicHandle, TopicInfo};
use super::embedded::{self, EmbeddedCluster};
use super::StandaloneConsumer;
use crate::config::BrokerConfig;
use crate::error::{Error, Kind};

pub use super::client::{BrokerNode, GroupDescription, GroupListing, GroupMember};
pub use groups::{CommittedOffset, GroupOffsets, GroupSubscriptions};
pub use offsets::{OffsetRange, TopicOffsets};
pub use probe::{probe, BrokerProbe};
pub use topic_reader::{ReadStep, TopicReader};
pub use topics::{ClusterDescription, NewTopic};

/// Time limit of a call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval at which interrupts are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Timeout of one metadata request, so that a broker that is down does not use up the time of the whole call.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a call failed.
#[derive(Debug)]
pub enum AdminError {
    Error(Error),
    /// The host interrupted the call, for example because an exception is pending.
    Interrupted,
}

impl From<Error> for AdminError {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

pub type AdminResult<T> = Result<T, AdminError>;

/// Polls the host for interrupts; false aborts the call.
pub type PollInterrupts<'a> = &'a dyn Fn() -> bool;

/// Deadline and interrupt callback of one call.
#[derive(Clone, Copy)]
struct AdminCall<'a> {
    until: Instant,
    poll_interrupts: PollInterrupts<'a>,
}

impl<'a> AdminCall<'a> {
    fn new(poll_interrupts: PollInterrupts<'a>) -> Self {
        Self {
            until: Instant::now() + CALL_TIMEOUT,
            poll_interrupts,
        }
    }

    fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn poll_interrupts(&self) -> AdminResult<()> {
        if (self.poll_interrupts)() {
            Ok(())
        } else {
            Err(AdminError::Interrupted)
        }
    }
}

pub struct Admin {
    client: Client,
    error_queue: EventQueue,
    config: Arc<BrokerConfig>,
    /// Created on first use, for the offsets of groups.
    group_client: OnceCell<Client>,
    read_committed: bool,
    /// The last error reported by the client.
    last_client_error: RefCell<Option<String>>,
}

impl Admin {
    /// Creates the client, which connects in the background.
    ///
    /// # Errors
    /// Configuration: properties librdkafka rejects.
    pub fn start(config: &Arc<BrokerConfig>) -> crate::error::Result<Self> {
        // Skips records that are deleted while a topic is read.
        let made = StandaloneConsumer::start(config, &[("auto.offset.reset", "earliest")])?;
        Ok(Self {
            client: made.client,
            error_queue: made.error_queue,
            group_client: OnceCell::new(),
            config: Arc::clone(config),
            read_committed: made.read_committed,
            last_client_error: RefCell::default(),
        })
    }

    /// True in a forked child: the client belongs to the parent.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.client.is_inherited()
    }

    /// The embedded broker, if it runs in this process.
    fn local_embedded(&self) -> Option<Arc<EmbeddedCluster>> {
        embedded::local(&self.config.brokers)
    }

    /// Stores errors reported by the client. Errors that a retry cannot resolve end the call.
    fn check_client_errors(&self, action: &str) -> AdminResult<()> {
        while let Some(complaint) = self.error_queue.poll(Duration::ZERO) {
            let Some((code, detail)) = complaint.error() else {
                continue;
            };
            if matches!(
                code,
                Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL
            ) {
                return Err(self.error_for(code, action, &detail).into());
            }
            if code != Code::AllBrokersDown {
                let detail = detail.split(" (after ").next().unwrap_or_default();
                *self.last_client_error.borrow_mut() = Some(detail.to_owned());
            }
        }
        Ok(())
    }

    /// Checks for client errors, interrupts and the deadline; called in every wait loop.
    fn check_deadline(&self, call: &AdminCall<'_>, action: &str) -> AdminResult<()> {
        self.check_client_errors(action)?;
        call.poll_interrupts()?;
        if call.remaining().is_zero() {
            return Err(self.timeout_error(action).into());
        }
        Ok(())
    }

    /// Waits until a broker has reported the cluster id.
    fn wait_for_cluster_id(&self, call: &AdminCall<'_>, action: &str) -> AdminResult<String> {
        loop {
            if let Some(id) = self.client.cluster_id(POLL_INTERVAL) {
                return Ok(id);
            }
            self.check_deadline(call, action)?;
        }
    }

    /// Metadata of one topic, or of all.
    fn request_metadata(
        &self,
        only: Option<&TopicHandle>,
        call: &AdminCall<'_>,
        action: &str,
    ) -> AdminResult<Vec<TopicInfo>> {
        self.wait_for_cluster_id(call, action)?;
        loop {
            match client::metadata(&self.client, only, call.remaining().min(METADATA_TIMEOUT)) {
                Ok(topics) => return Ok(topics),
                Err(code) if is_transient(code) => self.check_deadline(call, action)?,
                Err(code) => return Err(self.error_for(code, action, "").into()),
            }
        }
    }

    /// Sends an admin request, whose timeout is the time left, and waits for the response.
    fn request(
        &self,
        call: &AdminCall<'_>,
        action: &str,
        send: impl FnOnce(&AdminRequests<'_>),
    ) -> AdminResult<ClientEvent> {
        self.try_request(call, action, |request| {
            send(request);
            Ok(())
        })
    }

    /// As [`Self::request`], for a request that librdkafka may refuse.
    fn try_request(
        &self,
        call: &AdminCall<'_>,
        action: &str,
        send: impl FnOnce(&AdminRequests<'_>) -> Result<(), String>,
    ) -> AdminResult<ClientEvent> {
        let queue = EventQueue::new(&self.client);
        send(&AdminRequests::new(&self.client, &queue, call.remaining()))
            .map_err(|reason| Error::configuration(format!("{action}: {reason}.")))?;
        self.await_response(&queue, call, action)
    }

    /// Waits for the response to an admin request.
    fn await_response(
        &self,
        queue: &EventQueue,
        call: &AdminCall<'_>,
        action: &str,
    ) -> AdminResult<ClientEvent> {
        loop {
            let response = queue.poll(POLL_INTERVAL);
            if let Some(response) = response {
                return match response.error() {
                    None => Ok(response),
                    Some((code, _)) if is_transient(code) => Err(self.timeout_error(action).into()),
                    Some((code, detail)) => Err(self.error_for(code, action, &detail).into()),
                };
            }
            self.check_client_errors(action)?;
            call.poll_interrupts()?;
            // The request has the same time limit and its error explains more, so it is waited for slightly longer.
            if Instant::now() > call.until + Duration::from_secs(1) {
                return Err(self.timeout_error(action).into());
            }
        }
    }

    /// The error for requests that the mock cluster does not implement.
    fn refuse_mock(&self, call: &AdminCall<'_>, action: &str) -> AdminResult<()> {
        if client::is_mock(&self.wait_for_cluster_id(call, action)?) {
            return Err(Error::configuration(format!(
                "{action}: the embedded broker has no admin API. Use a real Kafka."
            ))
            .into());
        }
        Ok(())
    }

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
