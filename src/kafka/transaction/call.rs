//! One step of a transaction, asked of Kafka once and never waited for longer than there is time.
//!
//! On a thread of its own, because librdkafka's calls take a timeout and do not keep to it: while no broker is up,
//! `send_offsets_to_transaction` waits for the group's coordinator without an end (its coordinator requests note their timeout
//! and never look at it). A call that does not come back keeps its client alive, and ends when Kafka is there again.
//!
//! Once, and with all the time there is, because a request that is given up early and sent again may reach a busy Kafka twice.
//! Without a new epoch for each transaction (KIP-890, which this librdkafka does not speak) the second one counts for whatever
//! is open by then: it commits half of the next transaction, or takes half of it back. So whoever has no answer goes on with
//! another client, whose new epoch makes Kafka refuse what is still on its way.
#![allow(unsafe_code)]

use std::sync::mpsc::{sync_channel, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::error::TransactionError;
use super::POLL_INTERVAL;
use crate::clock;
use crate::kafka::producer::Producer;
use crate::process;
use crate::worker::StopSignal;

/// A call whose time is up has so long to say so itself.
const GRACE: Duration = Duration::from_millis(200);
/// A process that was asked to end waits so long for Kafka.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks the client, for so many milliseconds at most.
pub(super) type TransactionCall =
    Box<dyn FnOnce(*mut sys::rd_kafka_t, i32) -> Option<TransactionError> + Send>;

/// A call that takes nothing but the client and its time.
pub(super) fn simple_call(
    call: unsafe extern "C" fn(*mut sys::rd_kafka_t, i32) -> *mut sys::rd_kafka_error_t,
) -> TransactionCall {
    // SAFETY: whoever asks keeps the client alive; the error is ours.
    Box::new(move |client, wait| unsafe { TransactionError::take(call(client, wait)) })
}

/// Asks until Kafka answers, the time is up or the process is asked to end.
pub(super) fn call_with_timeout(
    producer: &Arc<Producer>,
    until: Instant,
    step: TransactionCall,
) -> Result<(), TransactionError> {
    let mut until = until;
    apply_shutdown_deadline(&mut until);
    let left = until.saturating_duration_since(Instant::now());
    let wait = i32::try_from(left.as_millis().max(1)).unwrap_or(i32::MAX);
    let (answers, answer) = sync_channel(1);
    let own = Arc::clone(producer);
    let thread = process::spawn("rt-transaction", move || {
        let error = step(own.client(), wait);
        // The client first: whoever has the answer may want it to be the last one.
        drop(own);
        let _ = answers.send(error);
    });
    if let Err(error) = thread {
        return Err(TransactionError::no_response(error.message()));
    }
    loop {
        match answer.recv_timeout(POLL_INTERVAL) {
            Ok(None) => return Ok(()),
            Ok(Some(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => {
                apply_shutdown_deadline(&mut until);
                if Instant::now() < until + GRACE {
                    continue;
                }
            }
            Err(RecvTimeoutError::Disconnected) => {}
        }
        return Err(TransactionError::no_response("Kafka does not answer"));
    }
}

/// Cuts the time where a signal has asked the process to end.
fn apply_shutdown_deadline(until: &mut Instant) {
    if StopSignal::is_signalled() {
        clock::begin_shutdown();
        *until = (*until).min(Instant::now() + clock::bounded(SHUTDOWN_TIMEOUT));
    }
}
