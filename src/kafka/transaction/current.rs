//! The open transactions of this thread: messages sent by a callback become part of the innermost one.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::kafka::producer::Producer;
use crate::runtime::{current_fiber, is_fiber_suspended};

enum Entry {
    /// A running consumer with its Fiber: transactions below it are not used while it runs, as it has its own delivery
    /// mode.
    Consumer(u64, usize),
    Transaction(Arc<BrokerConfig>, Arc<Producer>),
}

thread_local! {
    /// The innermost entry is the last one. A consumer in a Fiber may end before the one that was started after it, so
    /// every entry is removed by its identity.
    static OPEN: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
    static CONSUMERS: Cell<u64> = const { Cell::new(0) };
}

/// The producer of the open transaction, if there is one.
///
/// # Errors
/// Configuration: the message would go to another cluster, which the transaction does not cover.
pub fn current_for(config: &BrokerConfig) -> Result<Option<Arc<Producer>>> {
    let Some((ours, producer)) = innermost() else {
        return Ok(None);
    };
    if addresses(&ours.brokers) != addresses(&config.brokers) {
        return Err(Error::configuration(format!(
                "A callback of an exactly-once consumer of {} cannot send to {}: the transaction would not cover it. \
                 Send to the same cluster, or consume with delivery at-least-once.",
                ours.brokers, config.brokers
            )));
    }
    Ok(Some(producer))
}

/// The transaction of the innermost consumer that is not suspended in a Fiber.
fn innermost() -> Option<(Arc<BrokerConfig>, Arc<Producer>)> {
    let mut consumers = Vec::new();
    OPEN.with(|open| {
        let mut transaction = None;
        for entry in open.borrow().iter().rev() {
            match entry {
                Entry::Transaction(config, producer) if transaction.is_none() => {
                    transaction = Some((Arc::clone(config), Arc::clone(producer)));
                }
                Entry::Transaction(..) => {}
                Entry::Consumer(_, fiber) => consumers.push((*fiber, transaction.take())),
            }
        }
        consumers.push((0, transaction));
    });
    let running = consumers
        .into_iter()
        .find(|(fiber, _)| !is_fiber_suspended(*fiber));
    running.and_then(|(_, transaction)| transaction)
}

/// Opens a transaction.
pub(super) fn begin(config: Arc<BrokerConfig>, producer: Arc<Producer>) {
    OPEN.with(|open| {
        open.borrow_mut().push(Entry::Transaction(config, producer));
    });
}

/// Called when the transaction of this producer ends.
pub(super) fn end(producer: &Arc<Producer>) {
    OPEN.with(|open| {
        open.borrow_mut().retain(
            |entry| !matches!(entry, Entry::Transaction(_, open) if Arc::ptr_eq(open, producer)),
        );
    });
}

/// Called when a fatal error ended the callbacks of all transactions.
pub fn clear() {
    OPEN.with(|open| open.borrow_mut().clear());
}

/// A consumer that runs inside the callback of another one.
#[must_use]
pub struct SavedTransaction(u64);

/// Hides the open transaction until [`SavedTransaction::restore`].
pub fn save_current() -> SavedTransaction {
    let number = CONSUMERS.get() + 1;
    CONSUMERS.set(number);
    OPEN.with(|open| {
        open.borrow_mut()
            .push(Entry::Consumer(number, current_fiber()));
    });
    SavedTransaction(number)
}

impl SavedTransaction {
    /// The outer callback continues in its own transaction.
    pub fn restore(self) {
        OPEN.with(|open| {
            open.borrow_mut()
                .retain(|entry| !matches!(entry, Entry::Consumer(number, _) if *number == self.0));
        });
    }
}

fn addresses(brokers: &str) -> Vec<&str> {
    let mut all: Vec<&str> = brokers.split(',').map(str::trim).collect();
    all.sort_unstable();
    all
}
