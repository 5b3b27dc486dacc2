//! What Kafka answered where a step of a transaction went wrong.
#![allow(unsafe_code)]

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use crate::kafka::client;

/// What Kafka answered where something went wrong.
pub(super) struct TransactionError {
    pub code: Code,
    pub reason: String,
    /// The client is of no use any more.
    pub is_fatal: bool,
    retriable: bool,
}

impl TransactionError {
    /// What the error says, which is given back; `None` where there is none.
    ///
    /// # Safety
    /// `error` must be null or an error object that nobody else gives back.
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

    /// What ended the client, where something has.
    pub fn of(client: *mut sys::rd_kafka_t) -> Option<Self> {
        let mut text = [0; 512];
        // SAFETY: a live client; the buffer is ours and ends in NUL.
        unsafe {
            let code = sys::bindings::rd_kafka_fatal_error(client, text.as_mut_ptr(), text.len());
            (code != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| Self {
                code,
                reason: client::text(text.as_ptr()),
                is_fatal: true,
                retriable: false,
            })
        }
    }

    /// NoopListener knows what became of it, and nothing more can be asked of the client.
    pub fn no_response(reason: &str) -> Self {
        Self {
            code: Code::RD_KAFKA_RESP_ERR__TIMED_OUT,
            reason: reason.to_owned(),
            is_fatal: true,
            retriable: false,
        }
    }

    /// Asking again may help.
    pub fn is_retriable(&self) -> bool {
        !self.is_fatal && (self.retriable || self.code == Code::RD_KAFKA_RESP_ERR__TIMED_OUT)
    }

    /// Another client has to take over. Where Kafka did not answer a commit in time, only one that takes the name anew makes
    /// sure of what became of it.
    pub fn requires_new_client(&self) -> bool {
        self.is_fatal || self.is_retriable()
    }

    /// Somebody else has the name, or Kafka has given this one up.
    pub fn is_fenced(&self) -> bool {
        matches!(
            self.code,
            Code::RD_KAFKA_RESP_ERR__FENCED
                | Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED
                | Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH
        )
    }
}
