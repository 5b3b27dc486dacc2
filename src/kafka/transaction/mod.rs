//! Transactions: what the callbacks of a worker send, and the offsets of the records they handled, become visible together or not
//! at all. The worker's producer has a name of its own in Kafka; whoever takes the same name fences the one before.
#![allow(unsafe_code)]

mod call;
mod consumer;
mod current;
mod error;
mod orphans;
mod transactional_id;

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

pub use self::consumer::TransactionalConsumer;
pub use self::current::{clear, current_for, save_current};

use self::call::{call_with_timeout, simple_call};
use self::error::TransactionError;
use self::transactional_id::TransactionalIdLock;
use super::client;
use super::producer::Producer;
use crate::clock;
use crate::config::BrokerConfig;
use crate::error::{Error, Kind, Result};
use crate::log::Level;
use crate::process;

/// What librdkafka takes where nothing is configured, in ms.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
/// One question to Kafka; between two of them signals are looked at.
const SHORT_WAIT: Duration = Duration::from_millis(500);
/// The same where the wait is our own: for acknowledgements, or for a step that is asked on a thread of its own.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Taking back what is open; a client that has no answer then is replaced, which does the same.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Clients that end one after the other, with nothing committed in between, before the worker is given up.
const MAX_CLIENT_REPLACEMENTS: u32 = 10;

/// The transactional producer of one worker.
pub struct TransactionalProducer {
    config: Arc<BrokerConfig>,
    producer: RefCell<Arc<Producer>>,
    /// Its name in Kafka.
    id: RefCell<String>,
    timeout: Duration,
    /// Held as long as the name made of it is used; `None` where the name was given to us.
    id_lock: RefCell<Option<TransactionalIdLock>>,
    ready: Cell<bool>,
    /// What others have left open was looked for.
    orphans_checked: Cell<bool>,
    /// Kafka has still to be told that the last one is taken back.
    abort_pending: Cell<bool>,
    /// The client is of no use any more, and since the last commit so many were not.
    client_failed: Cell<bool>,
    replacements: Cell<u32>,
    /// Whether the last commit counts is not known.
    commit_uncertain: Cell<bool>,
}

impl TransactionalProducer {
    /// Makes the producer; connects when the first transaction begins.
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
            commit_uncertain: Cell::new(false),
        })
    }

    fn producer(&self) -> Arc<Producer> {
        Arc::clone(&self.producer.borrow())
    }

    fn timeout_ms(&self) -> u64 {
        u64::try_from(self.timeout.as_millis()).unwrap_or(DEFAULT_TIMEOUT_MS)
    }

    /// True once Kafka knows the client by its name.
    fn is_ready(&self) -> bool {
        self.ready.get() && !self.client_failed.get()
    }

    /// The client is of no use any more: what it has open is taken back, and another one begins anew from the group's offsets.
    /// Fenced under a name of our own, the worker was away for longer than its transaction may take, and goes on under the
    /// next free name. One whose name was given to it must not: another worker may be using it.
    ///
    /// # Errors
    /// Kafka refuses for good.
    fn abandon_client(&self, action: &str, error: &TransactionError) -> Result<()> {
        let producer = self.producer();
        producer.aborting.store(true, Ordering::Release);
        self.abort_pending.set(false);
        self.commit_uncertain.set(true);
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
            // Taken while the old one is held, so that it is another.
            let next = TransactionalIdLock::acquire(&self.config)?;
            *self.id.borrow_mut() = next.transactional_id(&self.config);
            // Whoever fenced it, a worker or Kafka's own timeout, has taken back what was open.
            if let Some(old) = self.id_lock.replace(Some(next)) {
                old.mark_clean();
            }
        }
        process::current().log.say(
            Level::Warning,
            format!(
                "{action} ({}). It is taken back, and this worker goes on as \"{}\" from the group's offsets.",
                error.reason,
                self.id.borrow()
            ),
        );
        Ok(())
    }

    /// Another client in the place of one that has ended.
    fn start_new_client(&self) -> Result<()> {
        let id = self.id.borrow().clone();
        let config = Arc::clone(&self.config);
        let next = Producer::start_transactional(config, &id, self.timeout_ms())?;
        let old = self.producer.replace(next);
        old.aborting.store(true, Ordering::Release);
        // Nothing of it is wanted any more, so nothing is waited for.
        old.close(Instant::now());
        self.ready.set(false);
        self.client_failed.set(false);
        Ok(())
    }

    /// A transaction is committed.
    fn on_committed(&self) {
        self.abort_pending.set(false);
        self.replacements.set(0);
    }

    /// Takes back what is open and ends the client. Bounded by about three seconds.
    pub fn close(&self) {
        if self.abort_pending.get() {
            // Without an answer Kafka takes it back itself, after the transaction's timeout.
            drop(self.send_abort(Instant::now() + clock::bounded(Duration::from_secs(1))));
        }
        let producer = self.producer();
        producer.aborting.store(true, Ordering::Release);
        // Nothing comes from one that has ended.
        let patience = if self.client_failed.get() { 0 } else { 2 };
        producer.close(Instant::now() + clock::bounded(Duration::from_secs(patience)));
        if let Some(id_lock) = self.id_lock.borrow().as_ref() {
            if !self.abort_pending.get() && !self.client_failed.get() {
                id_lock.mark_clean();
            }
        }
    }

    fn fatal_error(&self, action: &str, error: &TransactionError) -> Error {
        let (brokers, id) = (&self.config.brokers, self.id.borrow());
        if error.is_fenced() {
            return Error::new(
                Kind::Delivery,
                format!(
                    "{action} \"{id}\": this worker is fenced, so nothing of the open transaction is delivered. Another one has taken its \
                     transactional_id, or it was away for longer than transaction.timeout.ms. Start it again; give each worker an id \
                     of its own, or leave transactional_id out."
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

    /// Tells Kafka that what is open is taken back; false where another client has to be made first, which does the same.
    fn try_abort(&self, until: Instant) -> Result<bool> {
        match self.send_abort(until) {
            Ok(()) => Ok(true),
            Err(error) => self
                .abandon_client("Kafka refuses to take back transaction", &error)
                .map(|()| false),
        }
    }

    fn send_abort(&self, until: Instant) -> std::result::Result<(), TransactionError> {
        let producer = self.producer();
        producer.aborting.store(true, Ordering::Release);
        // The coordinator refuses to take back what it has not heard of yet: what was sent last brings it the news.
        producer.wait_for_delivery(Instant::now() + clock::bounded(SHORT_WAIT));
        let step = simple_call(sys::bindings::rd_kafka_abort_transaction);
        call_with_timeout(&producer, until, step)?;
        producer.wait_for_delivery(Instant::now() + clock::bounded(Duration::from_secs(2)));
        producer.failures.take();
        producer.aborting.store(false, Ordering::Release);
        self.abort_pending.set(false);
        Ok(())
    }

    fn init(&self) -> Result<bool> {
        if self.client_failed.get() {
            self.start_new_client()?;
        }
        let client = self.producer().client();
        let wait = i32::try_from(SHORT_WAIT.as_millis()).unwrap_or(500);
        // SAFETY: a live producer.
        match unsafe {
            TransactionError::take(sys::bindings::rd_kafka_init_transactions(client, wait))
        } {
            None => {
                if self.id_lock.borrow().is_some() && !self.orphans_checked.replace(true) {
                    orphans::abort_orphans(&self.config, self.timeout_ms());
                }
                self.ready.set(true);
                Ok(true)
            }
            Some(error) if error.is_retriable() => Ok(false),
            Some(error) if error.is_fenced() => self
                .abandon_client("Kafka refuses transactions as", &error)
                .map(|()| false),
            Some(error) => Err(self.fatal_error("Kafka refuses transactions as", &error)),
        }
    }
}

impl Drop for TransactionalProducer {
    fn drop(&mut self) {
        if self.producer.borrow().is_inherited() {
            // The parent's; its threads are not here.
            return;
        }
        self.close();
    }
}
