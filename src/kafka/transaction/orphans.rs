//! Aborts transactions left open by killed workers. Consumers with `read_committed` cannot read past an open
//! transaction, not even records that others commit after it, until its transactional.id is initialized again or
//! `transaction.timeout.ms` has passed.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::call_with_timeout;
use super::transactional_id::TransactionalIdLock;
use crate::clock;
use crate::config::BrokerConfig;
use crate::kafka::client::NativeClient;
use crate::kafka::producer::Producer;
use crate::log::Level;
use crate::process;

/// The worker's own records wait during this time.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// Aborts open transactions of this group's workers that were killed on this machine, except for the id that this
/// worker has taken over. If Kafka does not respond in time, the next worker or the timeout does it.
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
        let step = Box::new(NativeClient::init_transactions);
        let outcome = call_with_timeout(&producer, until, step);
        producer.aborting.store(true, Ordering::Release);
        producer.close(Instant::now());
        if outcome.is_ok() {
            lock.mark_clean();
            process::current().log.write(
                Level::Warning,
                format!(
                    "A worker was killed; the transaction it may have left open as \"{id}\" was aborted."
                ),
            );
        }
    }
}
