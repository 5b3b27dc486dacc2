//! What workers that were killed have left open. Readers of committed records stop there, also for what others commit behind it,
//! until somebody takes the dead one's name or `transaction.timeout.ms` has passed.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::call::{call_with_timeout, simple_call};
use super::transactional_id::TransactionalIdLock;
use crate::clock;
use crate::config::BrokerConfig;
use crate::kafka::producer::Producer;
use crate::log::Level;
use crate::process;

/// The worker's own records wait for this meanwhile.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// Takes back what is open under the names of this group's workers that died on this machine, apart from the one whose name is in
/// use again. What Kafka does not answer in time is left to the next worker, and to the timeout.
pub(super) fn abort_orphans(config: &Arc<BrokerConfig>, timeout_ms: u64) {
    let until = Instant::now() + clock::bounded(TIME_LIMIT);
    for lock in TransactionalIdLock::orphaned(config) {
        if Instant::now() >= until {
            return;
        }
        let id = lock.transactional_id(config);
        let Ok(producer) = Producer::start_transactional(Arc::clone(config), &id, timeout_ms)
        else {
            continue;
        };
        let step = simple_call(sys::bindings::rd_kafka_init_transactions);
        let outcome = call_with_timeout(&producer, until, step);
        producer.aborting.store(true, Ordering::Release);
        producer.close(Instant::now());
        if outcome.is_ok() {
            lock.mark_clean();
            process::current().log.say(
                Level::Warning,
                format!(
                    "A worker was killed; what it may have left open as \"{id}\" is taken back."
                ),
            );
        }
    }
}
