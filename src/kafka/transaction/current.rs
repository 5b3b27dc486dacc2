//! Which transaction is open on this thread: whatever a callback sends becomes part of it.

use std::cell::RefCell;
use std::sync::Arc;

use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::kafka::producer::Producer;

type Current = Option<(Arc<BrokerConfig>, Arc<Producer>)>;

thread_local! {
    static CURRENT: RefCell<Current> = const { RefCell::new(None) };
}

/// The producer of the open transaction, for whatever a callback sends.
///
/// # Errors
/// Configuration: it would go to another Kafka, which the transaction cannot reach.
pub fn current_for(config: &BrokerConfig) -> Result<Option<Arc<Producer>>> {
    CURRENT.with(|open| {
        let open = open.borrow();
        let Some((ours, producer)) = open.as_ref() else {
            return Ok(None);
        };
        if addresses(&ours.brokers) != addresses(&config.brokers) {
            return Err(Error::configuration(format!(
                "A callback of an exactly-once consumer of {} cannot send to {}: the transaction would not cover it. Send \
                 within the same Kafka, or consume with delivery at-least-once.",
                ours.brokers, config.brokers
            )));
        }
        Ok(Some(Arc::clone(producer)))
    })
}

/// From now on it is this one.
pub(super) fn begin(config: Arc<BrokerConfig>, producer: Arc<Producer>) {
    CURRENT.with(|open| *open.borrow_mut() = Some((config, producer)));
}

/// No transaction is open: it has ended, or a fatal error ended the callback that had one.
pub fn clear() {
    CURRENT.with(|open| open.borrow_mut().take());
}

/// What was open around a consumer that runs inside a callback of another: its own callbacks follow its own promise.
#[must_use]
pub struct SavedTransaction(Current);

/// Sets aside what is open, until [`SavedTransaction::restore`].
pub fn save_current() -> SavedTransaction {
    SavedTransaction(CURRENT.with(|open| open.borrow_mut().take()))
}

impl SavedTransaction {
    /// The callback around goes on in its own transaction.
    pub fn restore(self) {
        CURRENT.with(|open| *open.borrow_mut() = self.0);
    }
}

fn addresses(brokers: &str) -> Vec<&str> {
    let mut all: Vec<&str> = brokers.split(',').map(str::trim).collect();
    all.sort_unstable();
    all
}
