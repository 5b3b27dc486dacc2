//! Asking Kafka for a step of a transaction, again and again, and never for longer than there is time.
//!
//! librdkafka's calls take a timeout and do not keep to it: while no broker is up, `send_offsets_to_transaction` waits for the
//! group's coordinator without an end (its coordinator requests note their timeout and never look at it), and each try to add
//! offsets takes two seconds. So they run on a thread of their own. One that does not come back keeps its client alive, and ends
//! when Kafka is there again; the worker goes on with another client, or ends.

use std::sync::mpsc::{sync_channel, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::refusal::Refusal;
use super::{GLANCE, SLICE};
use crate::clock;
use crate::kafka::producer::Producer;
use crate::process;
use crate::worker::StopSignal;

/// A call whose time is up has so long to say so itself.
const GRACE: Duration = Duration::from_millis(200);
/// A process that was asked to end waits so long for Kafka.
const LAST: Duration = Duration::from_secs(3);

/// One step: asks the client, for so many milliseconds at most.
pub(super) type Step = Arc<dyn Fn(*mut sys::rd_kafka_t, i32) -> Option<Refusal> + Send + Sync>;

/// Asks again until Kafka answers, the time is up or the process is asked to end.
pub(super) fn insist(producer: &Arc<Producer>, until: Instant, step: &Step) -> Result<(), Refusal> {
    let mut until = until;
    loop {
        hurry(&mut until);
        let left = until.saturating_duration_since(Instant::now());
        let wait = i32::try_from(left.min(SLICE).as_millis().max(1)).unwrap_or(500);
        match ask(producer, &mut until, step, wait) {
            None => return Ok(()),
            Some(refusal) if !refusal.waits() || Instant::now() >= until => return Err(refusal),
            Some(_) => {}
        }
    }
}

/// Cuts the time where a signal has asked the process to end.
fn hurry(until: &mut Instant) {
    if StopSignal::is_signalled() {
        clock::hurry();
        *until = (*until).min(Instant::now() + clock::bounded(LAST));
    }
}

fn ask(producer: &Arc<Producer>, until: &mut Instant, step: &Step, wait: i32) -> Option<Refusal> {
    let (answers, answer) = sync_channel(1);
    let (own, run) = (Arc::clone(producer), Arc::clone(step));
    let thread = process::spawn("rt-transaction", move || {
        let refusal = run(own.client(), wait);
        // The client first: whoever has the answer may want it to be the last one.
        drop(own);
        let _ = answers.send(refusal);
    });
    if thread.is_err() {
        return step(producer.client(), wait);
    }
    loop {
        match answer.recv_timeout(GLANCE) {
            Ok(refusal) => return refusal,
            Err(RecvTimeoutError::Timeout) => {
                hurry(until);
                if Instant::now() >= *until + GRACE {
                    return Some(Refusal::silence());
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Some(Refusal::silence()),
        }
    }
}
