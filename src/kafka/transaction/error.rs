//! Errors of transactional calls.

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::kafka::client::{CallError, NativeClient};

/// The error of a transactional call.
pub(super) struct TransactionError {
    pub code: Code,
    pub reason: String,
    /// The client is unusable.
    pub is_fatal: bool,
    retriable: bool,
}

impl From<CallError> for TransactionError {
    fn from(error: CallError) -> Self {
        Self {
            code: error.code,
            reason: error.reason,
            is_fatal: error.is_fatal,
            retriable: error.is_retriable,
        }
    }
}

impl TransactionError {
    /// The fatal error of the client, if it has one.
    pub fn of(client: &NativeClient) -> Option<Self> {
        client.fatal_error().map(|(code, reason)| Self {
            code,
            reason,
            is_fatal: true,
            retriable: false,
        })
    }

    /// The error of the open transaction, if it can only be aborted: another begin is refused with it, and changes
    /// nothing while the transaction is open.
    pub fn of_transaction(client: &NativeClient) -> Option<Self> {
        let error = client.begin_transaction().err()?;
        (error.requires_abort || error.is_fatal).then(|| error.into())
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
