//! The transactional calls of a producer. The crate has them as methods of its own producers only.
#![allow(unsafe_code)]

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::TopicPartitionList;
use rdkafka_sys as sys;

use super::handle::{ms, NativeClient};
use super::{take_error, text};

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

/// Takes an error object; `None` for null.
///
/// # Safety
/// `error` must be null or an error object owned by the caller.
unsafe fn result_of(error: *mut sys::rd_kafka_error_t) -> Result<(), CallError> {
    if error.is_null() {
        return Ok(());
    }
    let is_fatal = sys::bindings::rd_kafka_error_is_fatal(error) != 0;
    let is_retriable = sys::bindings::rd_kafka_error_is_retriable(error) != 0;
    let requires_abort = sys::bindings::rd_kafka_error_txn_requires_abort(error) != 0;
    take_error(error).map_or(Ok(()), |(code, reason)| {
        Err(CallError {
            code,
            reason,
            is_fatal,
            is_retriable,
            requires_abort,
        })
    })
}

/// The membership of a consumer in its group, which a transaction commits with its offsets.
pub(in crate::kafka) struct GroupMetadata(*mut sys::rd_kafka_consumer_group_metadata_t);

// SAFETY: plain data of librdkafka with a single owner, not changed any more.
unsafe impl Send for GroupMetadata {}
unsafe impl Sync for GroupMetadata {}

impl GroupMetadata {
    /// `None` if the consumer has no group, or is not a member of it.
    pub fn of(consumer: &NativeClient) -> Option<Self> {
        // SAFETY: a live consumer; the member id lives as long as the metadata.
        unsafe {
            let raw = sys::bindings::rd_kafka_consumer_group_metadata(consumer.raw());
            if raw.is_null() {
                return None;
            }
            let member = Self(raw);
            let id = text(sys::bindings::rd_kafka_consumer_group_metadata_member_id(
                raw,
            ));
            let generation = sys::bindings::rd_kafka_consumer_group_metadata_generation_id(raw);
            (!id.is_empty() && generation >= 0).then_some(member)
        }
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::bindings::rd_kafka_consumer_group_metadata_destroy(self.0) };
    }
}

impl NativeClient {
    pub(in crate::kafka) fn init_transactions(&self, wait: Duration) -> Result<(), CallError> {
        // SAFETY: a live producer; the error is ours. The same in the calls below.
        unsafe {
            result_of(sys::bindings::rd_kafka_init_transactions(
                self.raw(),
                ms(wait),
            ))
        }
    }

    pub(in crate::kafka) fn begin_transaction(&self) -> Result<(), CallError> {
        // SAFETY: as above.
        unsafe { result_of(sys::bindings::rd_kafka_begin_transaction(self.raw())) }
    }

    pub(in crate::kafka) fn commit_transaction(&self, wait: Duration) -> Result<(), CallError> {
        // SAFETY: as above.
        unsafe {
            result_of(sys::bindings::rd_kafka_commit_transaction(
                self.raw(),
                ms(wait),
            ))
        }
    }

    pub(in crate::kafka) fn abort_transaction(&self, wait: Duration) -> Result<(), CallError> {
        // SAFETY: as above.
        unsafe {
            result_of(sys::bindings::rd_kafka_abort_transaction(
                self.raw(),
                ms(wait),
            ))
        }
    }

    pub(in crate::kafka) fn send_offsets_to_transaction(
        &self,
        offsets: &TopicPartitionList,
        member: &GroupMetadata,
        wait: Duration,
    ) -> Result<(), CallError> {
        // SAFETY: as above; the list and the metadata are copied.
        unsafe {
            result_of(sys::bindings::rd_kafka_send_offsets_to_transaction(
                self.raw(),
                offsets.ptr(),
                member.0,
                ms(wait),
            ))
        }
    }
}
