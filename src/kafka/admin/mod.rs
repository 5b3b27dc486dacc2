//! Admin calls: describe clusters, groups and topics, read offsets and records, create and delete topics.
//!
//! Uses a client without a group, which joins nothing and commits nothing. Every call has a time limit, and polls the
//! host for interrupts while it waits.

pub mod groups;
pub mod offsets;
mod probe;
#[cfg(test)]
mod tests;
mod topic_reader;
pub mod topics;

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::client::{self, AdminRequests, Client, ClientEvent, EventQueue, TopicHandle, TopicInfo};
use super::StandaloneConsumer;
use crate::config::BrokerConfig;
use crate::error::{Error, Kind, Result};

pub use super::client::{
    BrokerNode, ClusterDescription, GroupDescription, GroupListing, GroupMember, NewTopic,
};
pub use groups::{CommittedOffset, GroupOffsets, GroupSubscriptions};
pub use offsets::{OffsetRange, TopicOffsets};
pub use probe::{probe, BrokerProbe};
pub use topic_reader::{ReadStep, TopicReader};

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

pub type AdminResult<T> = std::result::Result<T, AdminError>;

/// Polls the host for interrupts; false aborts the call.
pub type PollInterrupts<'a> = &'a dyn Fn() -> bool;

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
    pub fn start(config: &Arc<BrokerConfig>) -> Result<Self> {
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

    /// A second client with a group id, which it never joins: the application's group, for which it has permissions.
    ///
    /// When the coordinator moves, librdkafka 2.12 continues a `ListConsumerGroupOffsets` request with the client's own
    /// group, and dereferences a null pointer if the client has none (`rd_kafka_handle_OffsetFetch`).
    fn group_client(&self) -> Result<&Client> {
        if let Some(made) = self.group_client.get() {
            return Ok(made);
        }
        let group = Some(self.config.consumer_group.as_str()).filter(|name| !name.is_empty());
        let ours = [("group.id", group.unwrap_or("toporia-realtime"))];
        let made = StandaloneConsumer::start(&self.config, &ours)?.client;
        // There is no group to leave.
        made.destroy_with(client::NO_CONSUMER_CLOSE);
        Ok(self.group_client.get_or_init(|| made))
    }

    /// Begins a call. `action`: the begin of its errors, such as "The topics cannot be listed".
    fn call<'a>(
        &'a self,
        action: impl Into<Cow<'a, str>>,
        poll_interrupts: PollInterrupts<'a>,
    ) -> AdminCall<'a> {
        AdminCall {
            admin: self,
            action: action.into(),
            until: Instant::now() + CALL_TIMEOUT,
            poll_interrupts,
        }
    }
}

/// One call: its deadline, the host's interrupts, and its errors.
struct AdminCall<'a> {
    admin: &'a Admin,
    action: Cow<'a, str>,
    until: Instant,
    poll_interrupts: PollInterrupts<'a>,
}

impl<'a> AdminCall<'a> {
    /// The same call, whose errors begin with another action: that for one of several objects.
    fn about(&self, action: impl Into<Cow<'a, str>>) -> Self {
        Self {
            action: action.into(),
            ..*self
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

    /// Stores errors reported by the client. Errors that a retry cannot resolve end the call.
    fn check_client_errors(&self) -> AdminResult<()> {
        while let Some(complaint) = self.admin.error_queue.poll(Duration::ZERO) {
            let Some((code, detail)) = complaint.error() else {
                continue;
            };
            if matches!(
                code,
                Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL
            ) {
                return Err(self.error(code, &detail).into());
            }
            if code != Code::AllBrokersDown {
                let detail = detail.split(" (after ").next().unwrap_or_default();
                self.note(detail.to_owned());
            }
        }
        Ok(())
    }

    /// Notes why the call may take too long.
    fn note(&self, detail: String) {
        *self.admin.last_client_error.borrow_mut() = Some(detail);
    }

    /// Checks for client errors, interrupts and the deadline; called in every wait loop.
    fn check_deadline(&self) -> AdminResult<()> {
        self.check_client_errors()?;
        self.poll_interrupts()?;
        if self.remaining().is_zero() {
            return Err(self.timeout().into());
        }
        Ok(())
    }

    /// Waits before a request is repeated.
    fn pause(&self) -> AdminResult<()> {
        self.check_deadline()?;
        std::thread::sleep(POLL_INTERVAL);
        Ok(())
    }

    /// Waits until a broker has reported the cluster id.
    fn wait_for_cluster_id(&self) -> AdminResult<String> {
        loop {
            if let Some(id) = self.admin.client.cluster_id(POLL_INTERVAL) {
                return Ok(id);
            }
            self.check_deadline()?;
        }
    }

    /// True for an embedded broker, which has no admin API.
    fn is_mock(&self) -> AdminResult<bool> {
        Ok(client::is_mock(&self.wait_for_cluster_id()?))
    }

    /// The error for requests that the mock cluster does not implement.
    fn refuse_mock(&self) -> AdminResult<()> {
        if self.is_mock()? {
            let none = "the embedded broker has no admin API. Use a real Kafka.";
            return Err(self.wrong(none).into());
        }
        Ok(())
    }

    /// Repeats a metadata request until it succeeds.
    fn repeat<T>(
        &self,
        request: impl Fn(Duration) -> std::result::Result<T, Code>,
    ) -> AdminResult<T> {
        loop {
            match request(self.remaining().min(METADATA_TIMEOUT)) {
                Ok(found) => return Ok(found),
                Err(code) if is_transient(code) => self.check_deadline()?,
                Err(code) => return Err(self.error(code, "").into()),
            }
        }
    }

    /// Metadata of one topic, or of all.
    fn request_metadata(&self, only: Option<&TopicHandle>) -> AdminResult<Vec<TopicInfo>> {
        self.wait_for_cluster_id()?;
        self.repeat(|bound| client::metadata(&self.admin.client, only, bound))
    }

    /// Sends an admin request, whose timeout is the time left, and waits for the response.
    fn request(&self, send: impl FnOnce(&AdminRequests<'_>)) -> AdminResult<ClientEvent> {
        self.try_request(|request| {
            send(request);
            Ok(())
        })
    }

    /// As [`Self::request`], for a request that librdkafka may refuse.
    fn try_request(
        &self,
        send: impl FnOnce(&AdminRequests<'_>) -> std::result::Result<(), String>,
    ) -> AdminResult<ClientEvent> {
        let client = &self.admin.client;
        let queue = EventQueue::new(client);
        send(&AdminRequests::new(client, &queue, self.remaining()))
            .map_err(|reason| self.wrong(format_args!("{reason}.")))?;
        loop {
            let Some(response) = self.poll(&queue)? else {
                continue;
            };
            return match response.error() {
                None => Ok(response),
                Some((code, _)) if is_transient(code) => Err(self.timeout().into()),
                Some((code, detail)) => Err(self.error(code, &detail).into()),
            };
        }
    }

    /// The next response to admin requests; `None` after an interval without one.
    fn poll(&self, queue: &EventQueue) -> AdminResult<Option<ClientEvent>> {
        if let Some(response) = queue.poll(POLL_INTERVAL) {
            return Ok(Some(response));
        }
        self.check_client_errors()?;
        self.poll_interrupts()?;
        // The request has the same time limit and its error explains more, so it is waited for slightly longer.
        if Instant::now() > self.until + Duration::from_secs(1) {
            return Err(self.timeout().into());
        }
        Ok(None)
    }

    /// A mistake of the caller, or what the cluster does not support.
    fn wrong(&self, what: impl std::fmt::Display) -> Error {
        Error::configuration(format!("{}: {what}", self.action))
    }

    /// The error for a code.
    fn error(&self, code: Code, detail: &str) -> Error {
        let error = client::to_error(code, &self.action, detail, &self.admin.config.brokers);
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

    fn timeout(&self) -> Error {
        let last_client_error = self.admin.last_client_error.borrow();
        let detail = last_client_error
            .as_ref()
            .map_or_else(String::new, |detail| format!(" ({detail})"));
        Error::connection(format!(
            "{}: Kafka at {} did not respond within {} s{detail}. Is a broker running there, and reachable from here?",
            self.action,
            self.admin.config.brokers,
            CALL_TIMEOUT.as_secs()
        ))
    }

    fn unknown_topic(&self, topic: &str) -> Error {
        Error::new(
            Kind::UnknownTopic,
            format!(
                "{}: Kafka at {} has no topic \"{topic}\". \
                 Create it with Admin::createTopic(), or check the name with Admin::topics().",
                self.action, self.admin.config.brokers
            ),
        )
    }

    /// The error for a response about a group or topic, including missing permissions.
    fn response_error(&self, code: Code, detail: &str) -> Error {
        match code {
            Code::InvalidGroupId => self.wrong(format_args!("{}.", client::describe(code))),
            code if is_transient(code) => self.timeout(),
            // librdkafka's text only repeats the name of the request.
            Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed => self.error(code, ""),
            code => self.error(code, detail),
        }
    }
}

/// True for errors that a retry may resolve.
fn is_transient(code: Code) -> bool {
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
fn is_unknown_topic(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopicOrPartition
            | Code::UnknownTopicId
            | Code::UnknownTopic
            | Code::UnknownPartition
    )
}
