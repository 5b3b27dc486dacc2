//! Errors of transactional calls.
#![allow(unsafe_code)]

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka_sys as sys;

use crate::kafka::client;

/// The error of a transactional call.
pub(super) struct TransactionError {
    pub code: Code,
    pub reason: String,
    /// The client is unusable.
    pub is_fatal: bool,
    retriable: bool,
}

impl TransactionError {
    /// Takes ownership of the error object; `None` for null.
    ///
    /// # Safety
    /// `error` must be null or an error object owned by the caller.
    pub unsafe fn take(error: *mut sys::rd_kafka_error_t) -> Option<Self> {
        if error.is_null() {
            return None;
        }
        let is_fatal = sys::bindings::rd_kafka_error_is_fatal(error) != 0;
        let retriable = sys::bindings::rd_kafka_error_is_retriable(error) != 0;
        let (code, reason) = client::take_error(error)?;
        Some(Self {
            code,
            reason,
            is_fatal,
            retriable,
        })
    }

    /// The fatal error of the client, if it has one.
    pub fn of(client: *mut sys::rd_kafka_t) -> Option<Self> {
        let mut text = [0; 512];
        // SAFETY: a live client; the buffer is ours and ends in NUL.
        unsafe {
            let code = sys::bindings::rd_kafka_fatal_error(client, text.as_mut_ptr(), text.len());
            code.is_error().then(|| Self {
                code: code.into(),
                reason: client::text(text.as_ptr()),
                is_fatal: true,
                retriable: false,
            })
        }
    }

    /// The error of the open transaction, if it can only be aborted: another begin is refused with it, and changes
    /// nothing while the transaction is open.
    pub fn of_transaction(client: *mut sys::rd_kafka_t) -> Option<Self> {
        // SAFETY: a live client; the error is ours.
        unsafe {
            let error = sys::bindings::rd_kafka_begin_transaction(client);
            if error.is_null() {
                return None;
            }
            let must_abort = sys::bindings::rd_kafka_error_txn_requires_abort(error) != 0;
            Self::take(error).filter(|error| must_abort || error.is_fatal)
        }
    }

    /// The outcome of the call is unknown, and the client cannot be used any more.
    pub fn no_response(reason: &str) -> Self {
        Self {
            code: Code::OperationTimedOut,
            reason: reason.to_owned(),
            is_fatal: true,
            retriable: false,
        }
    }

    /// True if the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        !self.is_fatal && (self.retriable || self.code == Code::OperationTimedOut)
    }

    /// True if another client must take over. If Kafka did not respond to a commit in time, only a client that
    /// initializes the same transactional.id again can determine the outcome.
    pub fn requires_new_client(&self) -> bool {
        self.is_fatal || self.is_retriable()
    }

    /// True if another client has taken over the transactional.id, or Kafka has expired this one.
    pub fn is_fenced(&self) -> bool {
        matches!(
            self.code,
            Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch
        )
    }
}
