//! The transactional calls of a producer. The crate has them as methods of its own producers only.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::TopicPartitionList;
use rdkafka_sys::{self as sys, rd_kafka_consumer_group_metadata_t as Membership};

use super::errors::{read_error, Failure};
use super::handle::{ms, NativeClient};
use super::owned::{text, Owned, Text};
use super::partitions::NativeList;

// SAFETY: as librdkafka has them. It checks the kind of the client, and copies list and membership.
unsafe extern "C" {
    safe fn rd_kafka_init_transactions(client: &NativeClient, wait: c_int) -> Failure;
    safe fn rd_kafka_begin_transaction(client: &NativeClient) -> Failure;
    safe fn rd_kafka_commit_transaction(client: &NativeClient, wait: c_int) -> Failure;
    safe fn rd_kafka_abort_transaction(client: &NativeClient, wait: c_int) -> Failure;
    safe fn rd_kafka_send_offsets_to_transaction(
        client: &NativeClient,
        offsets: &NativeList,
        member: &Membership,
        wait: c_int,
    ) -> Failure;
    safe fn rd_kafka_error_is_fatal(error: &sys::rd_kafka_error_t) -> c_int;
    safe fn rd_kafka_error_is_retriable(error: &sys::rd_kafka_error_t) -> c_int;
    safe fn rd_kafka_error_txn_requires_abort(error: &sys::rd_kafka_error_t) -> c_int;
    safe fn rd_kafka_consumer_group_metadata(
        client: &NativeClient,
    ) -> Option<Owned<'static, Membership>>;
    safe fn rd_kafka_consumer_group_metadata_member_id(member: &Membership) -> Option<Text<'_>>;
    safe fn rd_kafka_consumer_group_metadata_generation_id(member: &Membership) -> i32;
}

/// The error of a transactional call.
pub(in crate::kafka) struct CallError {
    pub code: Code,
    pub reason: String,
    /// The client is unusable.
    pub is_fatal: bool,
    /// The same call may succeed later.
    pub is_retriable: bool,
    pub requires_abort: bool,
}

fn result_of(error: Failure) -> Result<(), CallError> {
    let Some(error) = error else {
        return Ok(());
    };
    let (code, reason) = read_error(&error);
    Err(CallError {
        code,
        reason,
        is_fatal: rd_kafka_error_is_fatal(&error) != 0,
        is_retriable: rd_kafka_error_is_retriable(&error) != 0,
        requires_abort: rd_kafka_error_txn_requires_abort(&error) != 0,
    })
}

/// The membership of a consumer in its group, which a transaction commits with its offsets.
pub(in crate::kafka) struct GroupMetadata(Owned<'static, Membership>);

// SAFETY: plain data of librdkafka with a single owner, not changed any more.
unsafe impl Send for GroupMetadata {}
// SAFETY: as above.
unsafe impl Sync for GroupMetadata {}

impl GroupMetadata {
    /// `None` if the consumer has no group, or is not a member of it.
    pub fn of(consumer: &NativeClient) -> Option<Self> {
        let member = rd_kafka_consumer_group_metadata(consumer)?;
        let id = text(rd_kafka_consumer_group_metadata_member_id(&member));
        let generation = rd_kafka_consumer_group_metadata_generation_id(&member);
        (!id.is_empty() && generation >= 0).then_some(Self(member))
    }
}

impl NativeClient {
    pub(in crate::kafka) fn init_transactions(&self, wait: Duration) -> Result<(), CallError> {
        result_of(rd_kafka_init_transactions(self, ms(wait)))
    }

    pub(in crate::kafka) fn begin_transaction(&self) -> Result<(), CallError> {
        result_of(rd_kafka_begin_transaction(self))
    }

    pub(in crate::kafka) fn commit_transaction(&self, wait: Duration) -> Result<(), CallError> {
        result_of(rd_kafka_commit_transaction(self, ms(wait)))
    }

    pub(in crate::kafka) fn abort_transaction(&self, wait: Duration) -> Result<(), CallError> {
        result_of(rd_kafka_abort_transaction(self, ms(wait)))
    }

    pub(in crate::kafka) fn send_offsets_to_transaction(
        &self,
        offsets: &TopicPartitionList,
        member: &GroupMetadata,
        wait: Duration,
    ) -> Result<(), CallError> {
        let offsets = NativeList::of(offsets);
        let sent = rd_kafka_send_offsets_to_transaction(self, offsets, &member.0, ms(wait));
        result_of(sent)
    }
}
