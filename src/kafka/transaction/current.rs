//! The open transaction of this thread: messages sent by a callback become part of it.

use std::cell::RefCell;
use std::sync::Arc;

use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::kafka::producer::Producer;

type Current = Option<(Arc<BrokerConfig>, Arc<Producer>)>;

thread_local! {
    static CURRENT: RefCell<Current> = const { RefCell::new(None) };
}

/// The producer of the open transaction, if there is one.
///
/// # Errors
/// Configuration: the message would go to another cluster, which the transaction does not cover.
pub fn current_for(config: &BrokerConfig) -> Result<Option<Arc<Producer>>> {
    CURRENT.with(|open| {
        let open = open.borrow();
        let Some((ours, producer)) = open.as_ref() else {
            return Ok(None);
        };
        if addresses(&ours.brokers) != addresses(&config.brokers) {
            return Err(Error::configuration(format!(
                "A callback of an exactly-once consumer of {} cannot send to {}: the transaction would not cover it. \
                 Send to the same cluster, or consume with delivery at-least-once.",
                ours.brokers, config.brokers
            )));
        }
        Ok(Some(Arc::clone(producer)))
    })
}

/// Sets the open transaction.
pub(super) fn begin(config: Arc<BrokerConfig>, producer: Arc<Producer>) {
    CURRENT.with(|open| *open.borrow_mut() = Some((config, producer)));
}

/// Called when the transaction ends, or when a fatal error ended its callback.
pub fn clear() {
    CURRENT.with(|open| open.borrow_mut().take());
}

/// The open transaction of an outer consumer whose callback runs another consumer: the inner one has its own delivery
/// mode.
#[must_use]
pub struct SavedTransaction(Current);

/// Removes the open transaction until [`SavedTransaction::restore`].
pub fn save_current() -> SavedTransaction {
    SavedTransaction(CURRENT.with(|open| open.borrow_mut().take()))
}

impl SavedTransaction {
    /// The outer callback continues in its own transaction.
    pub fn restore(self) {
        CURRENT.with(|open| *open.borrow_mut() = self.0);
    }
}

fn addresses(brokers: &str) -> Vec<&str> {
    let mut all: Vec<&str> = brokers.split(',').map(str::trim).collect();
    all.sort_unstable();
    all
}
