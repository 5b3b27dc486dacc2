//! Runs one transactional call of librdkafka with a reliable timeout.
//!
//! Each call runs in a thread of its own, because librdkafka's calls do not always respect their timeout: while no
//! broker is up, `send_offsets_to_transaction` waits indefinitely for the group coordinator (its coordinator requests
//! store their timeout but never check it). A call that does not return keeps its client alive, and ends when Kafka is
//! reachable again.
//!
//! Each call is made once, with all the time that is left, because a request that is abandoned early and sent again may
//! reach a busy Kafka twice. Without a new epoch per transaction (KIP-890, not supported by this librdkafka) the second
//! request applies to the transaction that is open by then and commits or aborts part of it. Without a response, the
//! caller therefore continues with another client, whose new epoch makes Kafka reject requests that are still in
//! flight.

use std::sync::mpsc::{sync_channel, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::POLL_INTERVAL;
use crate::kafka::client::{CallError, NativeClient};
use crate::kafka::producer::Producer;
use crate::{runtime, runtime::clock};

/// Extra time for librdkafka to report the timeout itself.
const GRACE: Duration = Duration::from_millis(200);
/// Longest wait for Kafka once the process was asked to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs the call on the client with a timeout.
pub(super) type TransactionCall =
    Box<dyn FnOnce(&NativeClient, Duration) -> Result<(), CallError> + Send>;

/// Waits until the call returns, `until` is reached, or the shutdown deadline has passed.
pub(super) fn call_with_timeout(
    producer: &Arc<Producer>,
    until: Instant,
    step: TransactionCall,
) -> Result<(), TransactionError> {
    let mut until = until;
    apply_shutdown_deadline(&mut until);
    let left = until.saturating_duration_since(Instant::now());
    let wait = left.max(Duration::from_millis(1));
    let (sender, response) = sync_channel(1);
    let own = Arc::clone(producer);
    let thread = runtime::spawn("rt-transaction", move || {
        let result = step(own.client(), wait);
        // Released before the result is sent: the receiver may expect to hold the last reference.
        drop(own);
        let _ = sender.send(result);
    });
    if let Err(error) = thread {
        return Err(TransactionError::no_response(error.message()));
    }
    loop {
        match response.recv_timeout(POLL_INTERVAL) {
            Ok(result) => return result.map_err(TransactionError::from),
            Err(RecvTimeoutError::Timeout) => {
                apply_shutdown_deadline(&mut until);
                if Instant::now() < until + GRACE {
                    continue;
                }
            }
            Err(RecvTimeoutError::Disconnected) => {}
        }
        return Err(TransactionError::no_response(
            "Kafka did not respond in time",
        ));
    }
}

/// Cuts the time if a signal has asked the process to end.
pub(super) fn apply_shutdown_deadline(until: &mut Instant) {
    if clock::is_signalled() {
        clock::begin_shutdown();
        *until = (*until).min(Instant::now() + clock::bounded(SHUTDOWN_TIMEOUT));
    }
}

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
