//! Transactions: what the callbacks of a worker send, and the offsets of the records they handled, become visible together or not
//! at all. The worker's producer has a name of its own in Kafka; whoever takes the same name fences the one before.
#![allow(unsafe_code)]

mod slot;

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use self::slot::Slot;
use super::consumer::Consumer;
use super::native;
use super::producer::Producer;
use crate::clock;
use crate::config::BrokerConfig;
use crate::error::{Error, Kind, Result};
use crate::worker::{Ending, StopSignal, Transactions};

/// What librdkafka takes where nothing is configured, in ms.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
/// One question to Kafka; between two of them signals are looked at.
const SLICE: Duration = Duration::from_millis(500);

/// The transactional producer of one worker.
pub struct Transaction {
    config: Arc<BrokerConfig>,
    producer: RefCell<Arc<Producer>>,
    id: String,
    timeout: Duration,
    /// Held as long as the name made of it is used.
    _slot: Option<Slot>,
    ready: Cell<bool>,
    /// Kafka has still to be told that the last one is taken back.
    to_abort: Cell<bool>,
}

thread_local! {
    /// The transaction that is open, and where.
    static OPEN: RefCell<Option<(Arc<BrokerConfig>, Arc<Producer>)>> = const { RefCell::new(None) };
}

/// The producer of the open transaction, for whatever a callback sends.
///
/// # Errors
/// Configuration: it would go to another Kafka, which the transaction cannot reach.
pub fn open_for(config: &BrokerConfig) -> Result<Option<Arc<Producer>>> {
    OPEN.with(|open| {
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

/// No transaction is open: a fatal error ended the callback that had one.
pub fn forget() {
    OPEN.with(|open| open.borrow_mut().take());
}

fn addresses(brokers: &str) -> Vec<&str> {
    let mut all: Vec<&str> = brokers.split(',').map(str::trim).collect();
    all.sort_unstable();
    all
}

/// What Kafka answered where something went wrong.
struct Refusal {
    code: Code,
    reason: String,
    fatal: bool,
    retriable: bool,
}

unsafe fn refusal(error: *mut sys::rd_kafka_error_t) -> Option<Refusal> {
    if error.is_null() {
        return None;
    }
    let fatal = sys::bindings::rd_kafka_error_is_fatal(error) != 0;
    let retriable = sys::bindings::rd_kafka_error_is_retriable(error) != 0;
    let (code, reason) = native::take_error(error)?;
    Some(Refusal {
        code,
        reason,
        fatal,
        retriable,
    })
}

/// Asks again until Kafka answers, the time is up or the process is asked to end.
fn insist(
    until: Instant,
    ask: impl Fn(i32) -> *mut sys::rd_kafka_error_t,
) -> std::result::Result<(), Refusal> {
    let mut until = until;
    loop {
        if StopSignal::is_signalled() {
            clock::hurry();
            until = until.min(Instant::now() + clock::bounded(Duration::from_secs(3)));
        }
        let left = until.saturating_duration_since(Instant::now());
        let wait = i32::try_from(left.min(SLICE).as_millis().max(1)).unwrap_or(500);
        // SAFETY: an error object of librdkafka's, or none.
        let Some(refusal) = (unsafe { refusal(ask(wait)) }) else {
            return Ok(());
        };
        let waits = refusal.retriable || refusal.code == Code::RD_KAFKA_RESP_ERR__TIMED_OUT;
        if refusal.fatal || !waits || Instant::now() >= until {
            return Err(refusal);
        }
    }
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
            id,
            timeout: Duration::from_millis(timeout),
            _slot: slot,
            ready: Cell::new(false),
            to_abort: Cell::new(false),
        })
    }

    fn producer(&self) -> Arc<Producer> {
        Arc::clone(&self.producer.borrow())
    }

    /// Another client under the same name, which makes Kafka forget whatever the one before had open.
    fn renew(&self) -> Result<()> {
        let timeout = u64::try_from(self.timeout.as_millis()).unwrap_or(DEFAULT_TIMEOUT_MS);
        let next = Producer::start_transactional(Arc::clone(&self.config), &self.id, timeout)?;
        let old = self.producer.replace(next);
        old.aborting.store(true, Ordering::Release);
        old.close(Instant::now() + clock::bounded(Duration::from_secs(2)));
        self.ready.set(false);
        self.to_abort.set(false);
        Ok(())
    }

    /// Its name in Kafka.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Takes back what is open and ends the client. Bounded by about three seconds.
    pub fn close(&self) {
        forget();
        if self.to_abort.get() {
            // Without an answer Kafka takes it back itself, after the transaction's timeout.
            drop(self.try_abort(Instant::now() + clock::bounded(Duration::from_secs(1))));
        }
        let producer = self.producer();
        producer.aborting.store(true, Ordering::Release);
        producer.close(Instant::now() + clock::bounded(Duration::from_secs(2)));
    }

    fn fatal(&self, doing: &str, refusal: &Refusal) -> Error {
        let brokers = &self.config.brokers;
        if refusal.code == Code::RD_KAFKA_RESP_ERR__FENCED {
            return Error::new(
                Kind::Delivery,
                format!(
                    "{doing} \"{}\": this worker is fenced, so nothing of the open transaction is delivered. Another one has taken its \
                     transactional_id, or it was away for longer than transaction.timeout.ms. Start it again; give each worker an id \
                     of its own, or leave transactional_id out.",
                    self.id
                ),
            );
        }
        native::to_error(
            refusal.code,
            &format!("{doing} \"{}\"", self.id),
            &refusal.reason,
            brokers,
        )
    }

    fn try_abort(&self, until: Instant) -> Result<bool> {
        let producer = self.producer();
        producer.aborting.store(true, Ordering::Release);
        // The coordinator refuses to take back what it has not heard of yet: what was sent last brings it the news.
        producer.settle(Instant::now() + clock::bounded(SLICE));
        let client = producer.client();
        // SAFETY: a live producer.
        let outcome = insist(until, |wait| unsafe {
            sys::bindings::rd_kafka_abort_transaction(client, wait)
        });
        match outcome {
            Ok(()) => {
                producer.settle(Instant::now() + clock::bounded(Duration::from_secs(2)));
                producer.failures.take();
                producer.aborting.store(false, Ordering::Release);
                self.to_abort.set(false);
                Ok(true)
            }
            Err(refusal) if refusal.fatal && refusal.code == Code::RD_KAFKA_RESP_ERR__FENCED => {
                Err(self.fatal("Kafka refuses transaction", &refusal))
            }
            Err(refusal) if refusal.fatal => self.renew().map(|()| true),
            Err(_) => Ok(false),
        }
    }

    fn init(&self) -> Result<bool> {
        let client = self.producer().client();
        let wait = i32::try_from(SLICE.as_millis()).unwrap_or(500);
        // SAFETY: a live producer.
        match unsafe { refusal(sys::bindings::rd_kafka_init_transactions(client, wait)) } {
            None => {
                self.ready.set(true);
                Ok(true)
            }
            Some(refusal) if refusal.fatal || !refusal.retriable => {
                Err(self.fatal("Kafka refuses transactions as", &refusal))
            }
            Some(_) => Ok(false),
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

/// The transactions of a consumer that is running.
pub struct TransactionalConsumer<'a> {
    /// Reads.
    pub consumer: &'a Consumer,
    /// Writes.
    pub transaction: &'a Transaction,
}

impl TransactionalConsumer<'_> {
    fn send_offsets(
        &self,
        until: Instant,
    ) -> std::result::Result<Option<native::Partitions>, Refusal> {
        let offsets = self.consumer.offsets();
        if offsets.elements().is_empty() {
            return Ok(None);
        }
        let client = self.transaction.producer().client();
        // SAFETY: both clients are alive; the list is copied, the metadata destroyed below.
        unsafe {
            let group = sys::bindings::rd_kafka_consumer_group_metadata(self.consumer.client());
            let sent = insist(until, |wait| {
                sys::bindings::rd_kafka_send_offsets_to_transaction(
                    client,
                    offsets.raw(),
                    group,
                    wait,
                )
            });
            sys::bindings::rd_kafka_consumer_group_metadata_destroy(group);
            sent?;
        }
        Ok(Some(offsets))
    }

    fn taken_back(&self, refusal: &Refusal) -> Result<Ending> {
        if refusal.fatal {
            let error = self
                .transaction
                .fatal("Kafka refuses to commit transaction", refusal);
            self.consumer.rewind();
            return Err(error);
        }
        self.abort()?;
        Ok(Ending::Aborted(Error::new(
            Kind::Connection,
            format!("Kafka did not commit it: {}.", refusal.reason),
        )))
    }
}

impl Transactions for TransactionalConsumer<'_> {
    fn prepare(&self) -> Result<bool> {
        Ok(self.transaction.ready.get() || self.transaction.init()?)
    }

    fn begin(&self) -> Result<bool> {
        let transaction = self.transaction;
        if !self.prepare()? {
            return Ok(false);
        }
        if transaction.to_abort.get() && !transaction.try_abort(Instant::now() + SLICE)? {
            return Ok(false);
        }
        let client = transaction.producer().client();
        // SAFETY: a live producer.
        let refused = unsafe { refusal(sys::bindings::rd_kafka_begin_transaction(client)) };
        if let Some(refusal) = refused {
            return Err(transaction.fatal("Kafka's client cannot begin transaction", &refusal));
        }
        transaction.to_abort.set(true);
        OPEN.with(|open| {
            let config = Arc::clone(self.consumer.config());
            *open.borrow_mut() = Some((config, transaction.producer()));
        });
        Ok(true)
    }

    fn commit(&self) -> Result<Ending> {
        forget();
        let transaction = self.transaction;
        let until = Instant::now() + transaction.timeout;
        let producer = transaction.producer();
        while !producer.settle(Instant::now() + SLICE) {
            if StopSignal::is_signalled() || Instant::now() >= until {
                self.abort()?;
                let reason = "what the callbacks sent was not acknowledged in time.";
                return Ok(Ending::Aborted(Error::new(Kind::Connection, reason)));
            }
        }
        let (failed, count) = producer.failures.take();
        if count > 0 {
            let first = failed.first().map_or_else(String::new, |first| {
                format!(
                    " The first: {} for topic \"{}\" ({}).",
                    first.id, first.topic, first.reason
                )
            });
            self.abort()?;
            return Err(Error::delivery(
                format!("What a callback sent was not delivered, so its transaction is taken back.{first}"),
                failed,
            ));
        }
        let offsets = match self.send_offsets(until) {
            Ok(offsets) => offsets,
            Err(refusal) => return self.taken_back(&refusal),
        };
        let client = transaction.producer().client();
        // SAFETY: a live producer.
        let committed = insist(until, |wait| unsafe {
            sys::bindings::rd_kafka_commit_transaction(client, wait)
        });
        if let Err(refusal) = committed {
            return self.taken_back(&refusal);
        }
        transaction.to_abort.set(false);
        if let Some(offsets) = offsets {
            self.consumer.committed_with(&offsets);
        }
        Ok(Ending::Committed)
    }

    fn abort(&self) -> Result<()> {
        forget();
        if StopSignal::is_signalled() {
            clock::hurry();
        }
        self.consumer.rewind();
        let until = Instant::now() + clock::bounded(Duration::from_secs(10));
        self.transaction.try_abort(until).map(drop)
    }

    fn bound(&self) -> Duration {
        self.transaction.timeout / 3
    }
}
