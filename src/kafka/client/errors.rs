//! Converts librdkafka's error codes into our errors: what failed, and what to try next.
#![allow(unsafe_code)]

use std::ffi::{c_char, CStr};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use super::owned::{copied, Owned};
use crate::error::{Error, Kind};

/// The error of a call, which is ours; `None` for success.
pub(super) type Failure = Option<Owned<'static, sys::rd_kafka_error_t>>;

// SAFETY: as librdkafka has them. A text is the error's own or static, or for an unknown code a buffer of this thread.
unsafe extern "C" {
    safe fn rd_kafka_error_code(error: &sys::rd_kafka_error_t) -> RDKafkaRespErr;
    safe fn rd_kafka_error_string(error: &sys::rd_kafka_error_t) -> *const c_char;
    safe fn rd_kafka_err2str(code: RDKafkaRespErr) -> *const c_char;
}

/// librdkafka's description of an error code.
#[must_use]
pub fn describe(code: Code) -> String {
    // SAFETY: the text of a code.
    unsafe { copied(rd_kafka_err2str(raw_code(code))) }
}

/// The code as librdkafka takes it.
pub(super) fn raw_code(code: Code) -> RDKafkaRespErr {
    RDKafkaRespErr::try_from(code as i32).unwrap_or(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN)
}

/// Code and text of an error; `None` for success.
pub(super) fn take_error(error: Failure) -> Option<(Code, String)> {
    error.map(|error| read_error(&error))
}

pub(super) fn read_error(error: &sys::rd_kafka_error_t) -> (Code, String) {
    // SAFETY: the text of a live error.
    let reason = unsafe { copied(rd_kafka_error_string(error)) };
    (rd_kafka_error_code(error).into(), reason)
}

/// All errors that librdkafka knows, under its names.
pub fn error_names() -> Vec<(&'static str, Code)> {
    let (mut table, mut count) = (std::ptr::null(), 0);
    // SAFETY: a static table of `count` entries with static names; gaps have none.
    unsafe {
        sys::rd_kafka_get_err_descs(&raw mut table, &raw mut count);
        let named = std::slice::from_raw_parts(table, count).iter();
        let named = named.filter(|entry| !entry.name.is_null());
        let named = named.filter_map(|entry| {
            let name = CStr::from_ptr(entry.name).to_str().ok()?;
            Some((name, entry.code.into()))
        });
        named.collect()
    }
}

/// Part of the text of the fatal error that stops a producer after a refused batch.
pub(crate) const REFUSED_BATCH: &str = "refused batch";

/// The error for a librdkafka code. `action` says what failed; `reason` is librdkafka's text, if it gave one.
#[must_use]
pub fn to_error(code: Code, action: &str, reason: &str, brokers: &str) -> Error {
    use Code::{
        AllBrokersDown, Authentication, BrokerTransportFailure, ClusterAuthorizationFailed,
        Conflict, CoordinatorNotAvailable, GroupAuthorizationFailed, InvalidArgument, InvalidTopic,
        MessageBatchTooLarge, MessageSizeTooLarge, OperationTimedOut, QueueFull, Resolve,
        SaslAuthenticationFailed, TopicAuthorizationFailed, UnknownPartition, UnknownTopic,
        UnknownTopicOrPartition, WaitingForCoordinator, SSL,
    };
    let detail = if reason.is_empty() {
        describe(code)
    } else {
        reason.to_owned()
    };
    let (kind, advice) = match code {
        BrokerTransportFailure
        | Code::MessageTimedOut
        | Code::PurgeQueue
        | Code::PurgeInflight
        | AllBrokersDown
        | Resolve
        | OperationTimedOut
        | WaitingForCoordinator
        | CoordinatorNotAvailable => (
            Kind::Connection,
            format!(" Is a broker running at {brokers}, and reachable from here?"),
        ),
        Authentication | SaslAuthenticationFailed => (
            Kind::Connection,
            " Check security.mechanism, security.username and security.password.".to_owned(),
        ),
        SSL => (
            Kind::Connection,
            " Check security.protocol and security.ca.".to_owned(),
        ),
        TopicAuthorizationFailed
        | GroupAuthorizationFailed
        | ClusterAuthorizationFailed => (
            Kind::Connection,
            " The ACLs of the cluster do not allow it for this user.".to_owned(),
        ),
        MessageSizeTooLarge | MessageBatchTooLarge => (
            Kind::MessageTooLarge,
            " Raise producer_config \"message.max.bytes\" and the topic's max.message.bytes, or send less.".to_owned(),
        ),
        UnknownTopicOrPartition
        | UnknownTopic
        | UnknownPartition => (
            Kind::UnknownTopic,
            " Create the topic, or allow its creation \
             (auto_create_topics, and auto.create.topics.enable of the broker).".to_owned(),
        ),
        QueueFull => (
            Kind::QueueFull,
            " Messages are produced faster than Kafka accepts them.".to_owned(),
        ),
        InvalidTopic => (Kind::InvalidChannel, String::new()),
        Code::AutoOffsetReset => (
            Kind::Configuration,
            " The consumer group has no offset there, and auto.offset.reset is \"error\". Set it in consumer_config to \
             \"earliest\" or \"latest\", or reset the offsets of the group.".to_owned(),
        ),
        Code::InvalidSessionTimeout => (
            Kind::Configuration,
            " Set session.timeout.ms in consumer_config to a value between group.min.session.timeout.ms and \
             group.max.session.timeout.ms of the brokers (6 s and 30 min by default).".to_owned(),
        ),
        Code::InconsistentGroupProtocol => (
            Kind::Configuration,
            " The other members have none of its assignors: give all members the same \
             partition.assignment.strategy (stop all of them to change it), or use another consumer_group.".to_owned(),
        ),
        InvalidArgument | Conflict => (Kind::Configuration, String::new()),
        _ => (Kind::Delivery, String::new()),
    };
    let detail = detail.trim_end_matches('.');
    Error::new(kind, format!("{action}: {detail}.{advice}"))
}

/// True if sending the same record again can never succeed.
#[must_use]
pub fn is_permanent(code: Code) -> bool {
    use Code::{
        BadMessage, InvalidArgument, InvalidMessageSize, InvalidRecord, InvalidTimestamp,
        InvalidTopic, MessageBatchTooLarge, MessageSizeTooLarge, PolicyViolation,
        UnsupportedForMessageFormat,
    };
    matches!(
        code,
        MessageSizeTooLarge
            | MessageBatchTooLarge
            | InvalidTopic
            | InvalidRecord
            | InvalidMessageSize
            | InvalidTimestamp
            | PolicyViolation
            | UnsupportedForMessageFormat
            | InvalidArgument
            | BadMessage
    )
}

/// True if a message with this error must not block those after it: permanent errors, and a topic or partition that a
/// reachable Kafka does not have.
#[must_use]
pub fn is_undeliverable(code: Code) -> bool {
    is_permanent(code)
        || matches!(
            code,
            Code::UnknownPartition | Code::UnknownTopic | Code::UnknownTopicOrPartition
        )
}

/// True if the result of a record cannot be delivered for good, which is that record's permanent failure. Includes a
/// topic that this user may not write to: librdkafka does not retry that either.
#[must_use]
pub fn is_refused(code: Code) -> bool {
    is_undeliverable(code) || code == Code::TopicAuthorizationFailed
}
