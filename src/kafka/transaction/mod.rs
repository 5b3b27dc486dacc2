//! Transactions: messages sent by a worker's callbacks and the offsets of the handled records become visible together
//! or not at all. The worker's producer has a transactional.id; a client that initializes the same id fences the
//! previous one.
//!
//! **Late requests.** Kafka tells the transactions of a client apart only by the producer epoch, and this librdkafka
//! uses one epoch for all of them (with KIP-890 each would have its own). A request whose connection was lost may be
//! received after the abort of its transaction: it then applies to the next one, whether message, commit or offset.
//! And librdkafka gives the sequence numbers of purged messages to the next messages: if a purged one was stored before
//! its connection was lost, the broker acknowledges the next one as its duplicate and drops it. After an unanswered
//! request or an undelivered message another client therefore takes over before the next transaction begins: Kafka
//! rejects requests with the old epoch, and sequence numbers start again. A refused message is one of them, as the next
//! message of its partition would not follow the last stored one. A new client costs about 5 ms of CPU time and 20 ms,
//! or 500 ms where librdkafka waits for its first connection: little beside the transactions of a refused record.

mod call;
mod consumer;
mod current;
mod transactional_id;

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::consumer::{TransactionOutcome, TransactionalConsumer, Transactions};
pub use self::current::{clear, current_for, save_current};

use rdkafka::TopicPartitionList;

use self::call::{apply_shutdown_deadline, call_with_timeout, TransactionError};
use self::transactional_id::TransactionalIdLock;
use super::client::{self, NativeClient};
use super::producer::Producer;
use crate::config::BrokerConfig;
use crate::error::{Error, Kind, Result};
use crate::log::Level;
use crate::runtime;
use crate::runtime::clock;

/// librdkafka's default, in ms.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
/// Timeout of one `init_transactions` call, as signals are checked between calls, and of short waits for delivery.
const SHORT_WAIT: Duration = Duration::from_millis(500);
/// Interval for checking acknowledgements and calls that run in a thread of their own.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Time limit of an abort. Without a response the client is replaced, which also aborts.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Consecutive client replacements without a commit before the worker fails.
const MAX_CLIENT_REPLACEMENTS: u32 = 10;

/// The transactional producer of one worker.
pub struct TransactionalProducer {
    config: Arc<BrokerConfig>,
    producer: RefCell<Arc<Producer>>,
    id: RefCell<String>,
    timeout: Duration,
    /// Held as long as `id` is used; `None` if the id was configured.
    id_lock: RefCell<Option<TransactionalIdLock>>,
    ready: Cell<bool>,
    /// Transactions left open by killed workers have been aborted.
    orphans_checked: Cell<bool>,
    /// A transaction is open that Kafka has to be told to abort.
    abort_pending: Cell<bool>,
    /// The client is unusable and must be replaced; `replacements` counts these since the last commit.
    client_failed: Cell<bool>,
    replacements: Cell<u32>,
    /// It is not known whether Kafka executed the commit of the last transaction: its offsets, empty if it had none.
    uncertain_commit: RefCell<Option<TopicPartitionList>>,
    /// True if Kafka executed that commit; until it is taken.
    late_outcome: Cell<Option<bool>>,
    is_closed: Cell<bool>,
}

impl TransactionalProducer {
    /// Creates the producer; it connects when the first transaction begins.
    ///
    /// # Errors
    /// Configuration.
    pub fn start(config: &Arc<BrokerConfig>) -> Result<Self> {
        let (id, id_lock) = if let Some(id) = &config.transactional_id {
            (id.clone(), None)
        } else {
            let id_lock = TransactionalIdLock::acquire(config)?;
            (id_lock.transactional_id(config), Some(id_lock))
        };
        let timeout = config
            .producer_overrides
            .get("transaction.timeout.ms")
            .and_then(|value| value.parse().ok())
            .unwrap_or(DEFAULT_TIMEOUT_MS);
        let producer = Producer::start_transactional(Arc::clone(config), &id, timeout)?;
        Ok(Self {
            config: Arc::clone(config),
            producer: RefCell::new(producer),
            id: RefCell::new(id),
            timeout: Duration::from_millis(timeout),
            id_lock: RefCell::new(id_lock),
            ready: Cell::new(false),
            orphans_checked: Cell::new(false),
            abort_pending: Cell::new(false),
            client_failed: Cell::new(false),
            replacements: Cell::new(0),
            uncertain_commit: RefCell::default(),
            late_outcome: Cell::new(None),
            is_closed: Cell::new(false),
        })
    }

    fn producer(&self) -> Arc<Producer> {
        Arc::clone(&self.producer.borrow())
    }

    fn timeout_ms(&self) -> u64 {
        u64::try_from(self.timeout.as_millis()).unwrap_or(DEFAULT_TIMEOUT_MS)
    }

    /// True if `init_transactions` has succeeded for the current client, and it may begin a transaction.
    fn is_ready(&self) -> bool {
        self.ready.get() && !self.needs_new_client()
    }

    fn needs_new_client(&self) -> bool {
        self.client_failed.get() || self.producer.borrow().needs_new_epoch()
    }

    /// Marks the client as unusable: Kafka aborts its open transaction, and the next client starts from the committed
    /// offsets. If it was fenced under an id of our own, the worker was away for longer than the transaction timeout,
    /// and continues under the next free id. Under a configured id it must not: another worker may be using it.
    ///
    /// # Errors
    /// The error is permanent, the configured id is fenced, or too many clients failed in a row.
    fn abandon_client(&self, action: &str, error: &TransactionError) -> Result<()> {
        let producer = self.producer();
        producer.aborting.store(true, Ordering::Release);
        self.abort_pending.set(false);
        self.uncertain_commit
            .borrow_mut()
            .get_or_insert_with(TopicPartitionList::new);
        self.client_failed.set(true);
        self.replacements.set(self.replacements.get() + 1);
        let is_ours = self.id_lock.borrow().is_some();
        if (error.is_fenced() && !is_ours)
            || client::is_permanent(error.code)
            || self.replacements.get() > MAX_CLIENT_REPLACEMENTS
        {
            return Err(self.fatal_error(action, error));
        }
        if error.is_fenced() {
            // Acquired while the old lock is held, so that it is a different id.
            let next = TransactionalIdLock::acquire(&self.config)?;
            *self.id.borrow_mut() = next.transactional_id(&self.config);
            // The open transaction was aborted by whatever fenced it: another worker, or Kafka's timeout.
            if let Some(old) = self.id_lock.replace(Some(next)) {
                old.mark_clean();
            }
        }
        runtime::warn(format!(
                "{action} ({}). It is aborted, and this worker continues as \"{}\" from the committed offsets.",
                error.reason,
                self.id.borrow()
            ),
        );
        Ok(())
    }

    /// Replaces a client that has become unusable.
    fn start_new_client(&self) -> Result<()> {
        let id = self.id.borrow().clone();
        let config = Arc::clone(&self.config);
        let next = Producer::start_transactional(config, &id, self.timeout_ms())?;
        let old = self.producer.replace(next);
        old.aborting.store(true, Ordering::Release);
        // Its messages are discarded, so there is nothing to wait for.
        old.close(Instant::now());
        self.ready.set(false);
        self.client_failed.set(false);
        Ok(())
    }

    fn on_committed(&self) {
        self.abort_pending.set(false);
        self.replacements.set(0);
    }

    /// Aborts the open transaction and closes the client. Takes about three seconds at most.
    ///
    /// If requests are unanswered, it is aborted with a new epoch, or else left to the next worker and to the
    /// transaction timeout: after an abort with the old epoch, a late request could open it again. Under a configured
    /// id, a new epoch could fence another worker.
    pub fn close(&self) {
        if self.is_closed.replace(true) {
            return;
        }
        if self.abort_pending.get() {
            self.settle();
        }
        let until = Instant::now() + clock::bounded(Duration::from_secs(1));
        let is_ours = self.id_lock.borrow().is_some();
        let is_unanswered = self.producer.borrow().has_unanswered_requests();
        if is_unanswered && is_ours && self.ready.get() && !self.client_failed.get() {
            drop(self.take_over(until));
        } else if !is_unanswered && self.abort_pending.get() {
            drop(self.send_abort(until));
        }
        let producer = self.producer();
        producer.aborting.store(true, Ordering::Release);
        // An unusable client will not deliver anything.
        let seconds = if self.client_failed.get() { 0 } else { 2 };
        producer.close(Instant::now() + clock::bounded(Duration::from_secs(seconds)));
        // Before `init_transactions`, a transaction of a killed worker may be open.
        let is_open = !self.ready.get()
            || self.abort_pending.get()
            || self.client_failed.get()
            || producer.has_unanswered_requests();
        if let Some(id_lock) = self.id_lock.borrow().as_ref().filter(|_| !is_open) {
            id_lock.mark_clean();
        }
    }

    fn fatal_error(&self, action: &str, error: &TransactionError) -> Error {
        let (brokers, id) = (&self.config.brokers, self.id.borrow());
        if error.is_fenced() {
            return Error::new(
                Kind::Delivery,
                format!(
                    "{action} \"{id}\": this worker is fenced, and its open transaction was aborted. Another \
                     worker uses the same transactional_id, or this one was inactive for longer than \
                     transaction.timeout.ms. Restart it; \
                     give each worker a different id, or omit transactional_id."
                ),
            );
        }
        client::to_error(
            error.code,
            &format!("{action} \"{id}\""),
            &error.reason,
            brokers,
        )
    }

    /// Aborts the open transaction; false if the client must be replaced first, which aborts it as well.
    fn try_abort(&self, until: Instant) -> Result<bool> {
        self.settle();
        if self.producer.borrow().has_unanswered_requests() {
            return self.take_over(until);
        }
        match self.send_abort(until) {
            Ok(()) => Ok(true),
            Err(error) => self
                .abandon_client("Kafka did not abort transaction", &error)
                .map(|()| false),
        }
    }

    /// Waits briefly for the messages of a transaction that is about to be aborted: the coordinator rejects an abort
    /// of partitions it does not know yet, and with every message acknowledged the client can continue.
    fn settle(&self) {
        let producer = self.producer();
        producer.aborting.store(true, Ordering::Release);
        if !producer.has_unanswered_requests() {
            producer.wait_for_delivery(Instant::now() + clock::bounded(SHORT_WAIT));
        }
    }

    /// Aborts the open transaction with the `init_transactions` of another client, whose markers have the new epoch:
    /// each partition rejects unanswered requests from then on. False if Kafka has not answered yet.
    fn take_over(&self, mut until: Instant) -> Result<bool> {
        loop {
            apply_shutdown_deadline(&mut until);
            if self.init()? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
        }
    }

    fn send_abort(&self, until: Instant) -> std::result::Result<(), TransactionError> {
        let producer = self.producer();
        let step = Box::new(NativeClient::abort_transaction);
        call_with_timeout(&producer, until, step)?;
        producer.wait_for_delivery(Instant::now() + clock::bounded(Duration::from_secs(2)));
        producer.failures.take();
        producer.aborting.store(false, Ordering::Release);
        self.abort_pending.set(false);
        self.uncertain_commit.take();
        Ok(())
    }

    fn init(&self) -> Result<bool> {
        if self.needs_new_client() {
            if !self.client_failed.get() {
                runtime::current().log.write(
                    Level::Notice,
                    format!(
                        "Not everything that was sent as \"{}\" was acknowledged: a new client takes over, so that \
                         Kafka rejects what arrives late.",
                        self.id.borrow()
                    ),
                );
            }
            self.start_new_client()?;
        }
        let producer = self.producer();
        let result = producer.client().init_transactions(SHORT_WAIT);
        match result.map_err(TransactionError::from) {
            Ok(()) => {
                if self.id_lock.borrow().is_some() && !self.orphans_checked.replace(true) {
                    transactional_id::abort_orphans(&self.config, self.timeout_ms());
                }
                self.ready.set(true);
                // It has aborted an open transaction.
                self.abort_pending.set(false);
                Ok(true)
            }
            Err(error) if error.is_retriable() => Ok(false),
            Err(error) if error.is_fenced() => self
                .abandon_client("Kafka did not initialize transactional.id", &error)
                .map(|()| false),
            Err(error) => {
                Err(self.fatal_error("Kafka did not initialize transactional.id", &error))
            }
        }
    }
}

impl Drop for TransactionalProducer {
    fn drop(&mut self) {
        if self.producer.borrow().is_inherited() {
            // The parent's client: its threads do not exist here.
            return;
        }
        self.close();
    }
}
