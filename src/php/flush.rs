//! Waits for acknowledgements in slices, between which PHP's signal handlers run.

use std::time::{Duration, Instant};

use super::zend;
use crate::kafka::producer::Producer;

/// The longest that a signal handler is delayed.
const SLICE: Duration = Duration::from_millis(50);

/// Waits until all queued messages are acknowledged or have failed; true if none is left. An exception of a signal
/// handler ends the wait and is pending then.
pub fn wait_for_acks(producer: &Producer, until: Instant) -> bool {
    loop {
        let slice = Instant::now() + SLICE;
        if producer.wait_for_delivery(slice.min(until)) {
            return true;
        }
        zend::serve_interrupt();
        if zend::has_exception() || Instant::now() >= until {
            return false;
        }
    }
}
