//! Transactions: what the callbacks of a worker send, and the offsets of the records they handled, become visible together or not
//! at all. The worker's producer has a name of its own in Kafka; whoever takes the same name fences the one before.
#![allow(unsafe_code)]

mod ask;
mod consumer;
mod left;
mod open;
mod refusal;
mod slot;

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

pub use self::consumer::TransactionalConsumer;
pub use self::open::{forget, open_for, set_aside};

use self::ask::{ask, plain};
use self::refusal::Refusal;
use self::slot::Slot;
use super::native;
use super::producer::Producer;
use crate::clock;
use crate::config::BrokerConfig;
use crate::error::{Error, Kind, Result};
use crate::log::Level;
use crate::process;

/// What librdkafka takes where nothing is configured, in ms.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
/// One question to Kafka; between two of them signals are looked at.
const SLICE: Duration = Duration::from_millis(500);
/// The same where the wait is our own: for acknowledgements, or for a step that is asked on a thread of its own.
const GLANCE: Duration = Duration::from_millis(50);
/// Taking back what is open; a client that has no answer then is replaced, which does the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients that end one after the other, with nothing committed in between, before the worker is given up.
const MOST_CLIENTS: u32 = 10;

/// The transactional producer of one worker.
pub struct Transaction {
    config: Arc<BrokerConfig>,
    producer: RefCell<Arc<Producer>>,
    /// Its name in Kafka.
    id: RefCell<String>,
    timeout: Duration,
    /// Held as long as the name made of it is used; `None` where the name was given to us.
    slot: RefCell<Option<Slot>>,
    ready: Cell<bool>,
    /// What others have left open was looked for.
    has_looked: Cell<bool>,
    /// Kafka has still to be told that the last one is taken back.
    to_abort: Cell<bool>,
    /// The client is of no use any more, and since the last commit so many were not.
    ended: Cell<bool>,
    replaced: Cell<u32>,
    /// Whether the last commit counts is not known.
    unsure: Cell<bool>,
}

impl Transaction {
    /// Makes the producer; connects when the first transaction begins.
    ///
    /// # Errors
    /// Configuration.
    pub fn start(config: &Arc<BrokerConfig>) -> Result<Self> {
        let (id, slot) = if let Some(id) = &config.transactional_id {
            (id.clone(), None)
        } else {
            let slot = Slot::take(config)?;
            (slot.name(config), Some(slot))
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
            slot: RefCell::new(slot),
            ready: Cell::new(false),
            has_looked: Cell::new(false),
            to_abort: Cell::new(false),
            ended: Cell::new(false),
            replaced: Cell::new(0),
            unsure: Cell::new(false),
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
        self.ready.get() && !self.ended.get()
    }

    /// The client is of no use any more: what it has open is taken back, and another one begins anew from the group's offsets.
    /// Fenced under a name of our own, the worker was away for longer than its transaction may take, and goes on under the
    /// next free name. One whose name was given to it must not: another worker may be using it.
    ///
    /// # Errors
    /// Kafka refuses for good.
    fn replace(&self, doing: &str, refusal: &Refusal) -> Result<()> {
        let producer = self.producer();
        producer.aborting.store(true, Ordering::Release);
        self.to_abort.set(false);
        self.unsure.set(true);
        self.ended.set(true);
        self.replaced.set(self.replaced.get() + 1);
        let is_ours = self.slot.borrow().is_some();
        if (refusal.is_fenced() && !is_ours)
            || native::is_permanent(refusal.code)
            || self.replaced.get() > MOST_CLIENTS
        {
            return Err(self.fatal(doing, refusal));
        }
        if refusal.is_fenced() {
            // Taken while the old one is held, so that it is another.
            let next = Slot::take(&self.config)?;
            *self.id.borrow_mut() = next.name(&self.config);
            // Whoever fenced it, a worker or Kafka's own timeout, has taken back what was open.
            if let Some(old) = self.slot.replace(Some(next)) {
                old.settle();
            }
        }
        process::current().log.say(
            Level::Warning,
            format!(
                "{doing} ({}). It is taken back, and this worker goes on as \"{}\" from the group's offsets.",
                refusal.reason,
                self.id.borrow()
            ),
        );
        Ok(())
    }

    /// Another client in the place of one that has ended.
    fn renew(&self) -> Result<()> {
        let id = self.id.borrow().clone();
        let config = Arc::clone(&self.config);
        let next = Producer::start_transactional(config, &id, self.timeout_ms())?;
        let old = self.producer.replace(next);
        old.aborting.store(true, Ordering::Release);
        // Nothing of it is wanted any more, so nothing is waited for.
        old.close(Instant::now());
        self.ready.set(false);
        self.ended.set(false);
        Ok(())
    }

    /// A transaction is committed.
    fn committed(&self) {
        self.to_abort.set(false);
        self.replaced.set(0);
    }

    /// Takes back what is open and ends the client. Bounded by about three seconds.
    pub fn close(&self) {
        if self.to_abort.get() {
            // Without an answer Kafka takes it back itself, after the transaction's timeout.
            drop(self.ask_abort(Instant::now() + clock::bounded(Duration::from_secs(1))));
        }
        let producer = self.producer();
        producer.aborting.store(true, Ordering::Release);
        // Nothing comes from one that has ended.
        let patience = if self.ended.get() { 0 } else { 2 };
        producer.close(Instant::now() + clock::bounded(Duration::from_secs(patience)));
        if let Some(slot) = self.slot.borrow().as_ref() {
            if !self.to_abort.get() && !self.ended.get() {
                slot.settle();
            }
        }
    }

    fn fatal(&self, doing: &str, refusal: &Refusal) -> Error {
        let (brokers, id) = (&self.config.brokers, self.id.borrow());
        if refusal.is_fenced() {
            return Error::new(
                Kind::Delivery,
                format!(
                    "{doing} \"{id}\": this worker is fenced, so nothing of the open transaction is delivered. Another one has taken its \
                     transactional_id, or it was away for longer than transaction.timeout.ms. Start it again; give each worker an id \
                     of its own, or leave transactional_id out."
                ),
            );
        }
        native::to_error(
            refusal.code,
            &format!("{doing} \"{id}\""),
            &refusal.reason,
            brokers,
        )
    }

    /// Tells Kafka that what is open is taken back; false where another client has to be made first, which does the same.
    fn try_abort(&self, until: Instant) -> Result<bool> {
        match self.ask_abort(until) {
            Ok(()) => Ok(true),
            Err(refusal) => self
                .replace("Kafka refuses to take back transaction", &refusal)
                .map(|()| false),
        }
    }

    fn ask_abort(&self, until: Instant) -> std::result::Result<(), Refusal> {
        let producer = self.producer();
        producer.aborting.store(true, Ordering::Release);
        // The coordinator refuses to take back what it has not heard of yet: what was sent last brings it the news.
        producer.settle(Instant::now() + clock::bounded(SLICE));
        let step = plain(sys::bindings::rd_kafka_abort_transaction);
        ask(&producer, until, step)?;
        producer.settle(Instant::now() + clock::bounded(Duration::from_secs(2)));
        producer.failures.take();
        producer.aborting.store(false, Ordering::Release);
        self.to_abort.set(false);
        Ok(())
    }

    fn init(&self) -> Result<bool> {
        if self.ended.get() {
            self.renew()?;
        }
        let client = self.producer().client();
        let wait = i32::try_from(SLICE.as_millis()).unwrap_or(500);
        // SAFETY: a live producer.
        match unsafe { Refusal::take(sys::bindings::rd_kafka_init_transactions(client, wait)) } {
            None => {
                if self.slot.borrow().is_some() && !self.has_looked.replace(true) {
                    left::take_back(&self.config, self.timeout_ms());
                }
                self.ready.set(true);
                Ok(true)
            }
            Some(refusal) if refusal.waits() => Ok(false),
            Some(refusal) if refusal.is_fenced() => self
                .replace("Kafka refuses transactions as", &refusal)
                .map(|()| false),
            Some(refusal) => Err(self.fatal("Kafka refuses transactions as", &refusal)),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.producer.borrow().is_inherited() {
            // The parent's; its threads are not here.
            return;
        }
        self.close();
    }
}
