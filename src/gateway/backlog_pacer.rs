//! Slows the delivery of a backlog to the speed of the clients.
//!
//! After an outage of Kafka, or when a topic is found late, the feed reads many records at once: faster than any client
//! reads its socket, so that send queues overflow and healthy clients are closed with 4100.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::hub::Delivery;
use super::session::limits::TokenBucket;
use crate::ids::unix_ms;

/// A record of this age belongs to a backlog. Newer ones are never delayed, whatever the state of the send queues.
const BACKLOG_AGE_MS: u64 = 1000;
/// Length of a pause; each costs one token.
const PAUSE: Duration = Duration::from_millis(1);
/// Maximum time of pauses: two seconds in one burst, then a tenth of the time. A client that does not read must not
/// delay the others for longer.
const BURST: u32 = 2000;
const PER_SECOND: f64 = 100.0;

/// Pauses the feed between the records of a backlog.
pub struct BacklogPacer {
    pauses: Mutex<TokenBucket>,
}

impl Default for BacklogPacer {
    fn default() -> Self {
        Self {
            pauses: Mutex::new(TokenBucket::new(PER_SECOND, BURST, Instant::now())),
        }
    }
}

impl BacklogPacer {
    /// To be called after each delivery: pauses the thread if the record, written at `timestamp_ms` (Unix ms), is part
    /// of a backlog and a send queue is nearly full.
    pub fn after_delivery(&self, delivery: &Delivery, timestamp_ms: i64) {
        if !delivery.nearly_full {
            return;
        }
        let age = unix_ms().saturating_sub(u64::try_from(timestamp_ms).unwrap_or(u64::MAX));
        if age >= BACKLOG_AGE_MS && self.pauses.lock().take(Instant::now()) {
            std::thread::sleep(PAUSE);
        }
    }
}
