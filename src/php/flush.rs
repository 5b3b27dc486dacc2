//! Waiting for Kafka in slices, between which PHP's signal handlers get their call.

use std::time::{Duration, Instant};

use super::zend;
use crate::kafka::producer::Producer;

/// PHP's handlers wait for so long at most.
const SLICE: Duration = Duration::from_millis(50);

/// Waits until everything queued is acknowledged or has failed; true if nothing is left. A handler that throws ends it early:
/// what it threw is pending then.
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
