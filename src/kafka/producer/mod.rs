//! A producer client: queues messages, knows what is still on its way, flushes within bounds, and loses nothing when it closes.
#![allow(unsafe_code)]

pub mod delivery;
mod delivery_failure;
mod flush;
mod in_flight;
mod journal_write;
mod poller;
pub mod pool;
mod record;
mod spool_replay;
mod topic_cache;
mod topic_lookup;

#[cfg(test)]
mod tests;

pub use record::ProducerRecord;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use self::in_flight::InFlight;
use self::record::produce;
use crate::kafka::client::{self, Conf};
use crate::kafka::producer::delivery::DeliveryFailures;

use self::topic_cache::{PendingTopicQueue, Readiness, TopicCache};
use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::process;
use crate::spool::{Journal, Spool, SpoolKey};

/// Messages that may wait for their topic to be looked up or created.
const MAX_PENDING_MESSAGES: usize = 100_000;

/// One librdkafka producer with its thread.
pub struct Producer {
    pub(super) client: *mut sys::rd_kafka_t,
    pub(super) config: Arc<BrokerConfig>,
    generation: u32,
    pub(super) topics: Mutex<TopicCache>,
    pub(super) pending: Mutex<PendingTopicQueue>,
    pub(super) in_flight: Box<InFlight>,
    pub(in crate::kafka) failures: DeliveryFailures,
    pub(super) spool: Option<Spool>,
    /// librdkafka met a fatal error: another client takes over.
    pub(super) fatal: AtomicBool,
    pub(super) closing: AtomicBool,
    /// It gave way to another client: what is sent from now on goes through the next one of its configuration.
    pub(super) evicted: AtomicBool,
    /// What is purged goes to the spool without counting as a failure of the next flush.
    pub(super) spooling_queue: AtomicBool,
    /// A transaction is being taken back: what is purged was never meant to arrive.
    pub(in crate::kafka) aborting: AtomicBool,
    /// It sends in transactions: nothing is sent again on its behalf.
    pub(super) transactional: bool,
    /// All brokers were reported down since the last answer.
    pub(super) all_brokers_down: AtomicBool,
    /// A request's flush timed out: later requests do not wait until a broker answers.
    suspended: AtomicBool,
    pub(super) last_error: Mutex<Option<String>>,
    /// Why the brokers turn this client away (password, certificate), while they do.
    pub(super) auth_error: Mutex<Option<String>>,
    /// Messages that failed for good.
    pub(super) failed: AtomicU64,
    /// Something was sent while records were being handled, and nothing is committed before it is acknowledged.
    tracking_callback_sends: AtomicBool,
    /// The failures there were when that began.
    failed_before: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

// SAFETY: librdkafka's clients may be used from any thread; everything else is behind locks and atomics.
unsafe impl Send for Producer {}
unsafe impl Sync for Producer {}

impl Producer {
    /// Makes the client and starts its thread. Connects nothing: librdkafka does when there is something to send.
    ///
    /// # Errors
    /// Configuration: properties librdkafka does not take, or a spool directory that cannot be used.
    pub fn start(config: Arc<BrokerConfig>) -> Result<Arc<Self>> {
        let properties = config.producer_properties();
        Self::start_with(config, properties, false)
    }

    /// One that sends in transactions, under this name. What does not become part of one is nobody's: there is no spool for it.
    ///
    /// # Errors
    /// Configuration.
    pub fn start_transactional(
        config: Arc<BrokerConfig>,
        id: &str,
        timeout_ms: u64,
    ) -> Result<Arc<Self>> {
        let mut properties = config.producer_properties();
        let timeout = timeout_ms.to_string();
        for (name, value) in [
            ("transactional.id", id),
            ("transaction.timeout.ms", &timeout),
            // librdkafka refuses one that outlives the transaction.
            ("message.timeout.ms", &timeout),
        ] {
            properties.retain(|(known, _)| known != name);
            properties.push((name.to_owned(), value.to_owned()));
        }
        Self::start_with(config, properties, true)
    }

    fn start_with(
        config: Arc<BrokerConfig>,
        mut properties: Vec<(String, String)>,
        transactional: bool,
    ) -> Result<Arc<Self>> {
        crate::kafka::embedded::resolve(&config, &mut properties)?;
        let mut conf = Conf::new(&properties, "producer_config")?;
        conf.set("delivery.report.only.error", "true", "producer_config")?;
        let events = sys::bindings::RD_KAFKA_EVENT_DR | sys::bindings::RD_KAFKA_EVENT_ERROR;
        // SAFETY: the conf is ours.
        unsafe { sys::bindings::rd_kafka_conf_set_events(conf.raw(), events) };
        let spool = match &config.spool {
            Some(directory) if !transactional => {
                let key = SpoolKey {
                    brokers: &config.brokers,
                    prefix: config.topics.prefix(),
                    application: &config.application,
                };
                let spool = Spool::open(directory, &key, config.spool_max_bytes)?;
                spool.check()?;
                Some(spool)
            }
            _ => None,
        };
        let journal = (spool.is_some() && config.spool_always).then(Journal::default);
        let in_flight = Box::new(InFlight::new(&process::current().counters, journal));
        let client = conf.into_client(sys::bindings::rd_kafka_type_t::RD_KAFKA_PRODUCER)?;
        // SAFETY: the client was just made, and the boxed flight log is dropped after it.
        if !unsafe { in_flight.attach(client) } {
            // SAFETY: nobody else has it.
            unsafe { sys::rd_kafka_destroy(client) };
            return Err(Error::configuration(
                "librdkafka does not report acknowledgements to this extension; its version does not fit.",
            ));
        }
        let producer = Arc::new(Self {
            client,
            topics: Mutex::new(TopicCache::new(client, &config)),
            config,
            generation: process::generation(),
            pending: Mutex::default(),
            in_flight,
            failures: DeliveryFailures::default(),
            spool,
            fatal: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            spooling_queue: AtomicBool::new(false),
            aborting: AtomicBool::new(false),
            transactional,
            all_brokers_down: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            last_error: Mutex::new(None),
            auth_error: Mutex::new(None),
            failed: AtomicU64::new(0),
            tracking_callback_sends: AtomicBool::new(false),
            failed_before: AtomicU64::new(0),
            thread: Mutex::new(None),
        });
        let handle = poller::spawn(Arc::clone(&producer))?;
        *producer.thread.lock() = Some(handle);
        Ok(producer)
    }

    /// The configuration it was made for.
    #[must_use]
    pub fn config(&self) -> &Arc<BrokerConfig> {
        &self.config
    }

    /// The client, for what only transactions need.
    pub(in crate::kafka) fn client(&self) -> *mut sys::rd_kafka_t {
        self.client
    }

    /// True in a forked child: the client belongs to the parent.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.generation != process::generation()
    }

    /// True once librdkafka met a fatal error, or after a fork: ask [`pool::ProducerPool`] for the next one.
    #[inline]
    #[must_use]
    pub fn needs_replacement(&self) -> bool {
        self.fatal.load(Ordering::Acquire)
            || self.evicted.load(Ordering::Acquire)
            || self.generation != process::generation()
    }

    /// Queues a message and returns. A full queue is waited for, `queue_full_ms` at most.
    ///
    /// # Errors
    /// QueueFull; MessageTooLarge; UnknownTopic and InvalidChannel where Kafka has said so before; Connection for a client
    /// that was given up (fetch another and send again).
    #[inline]
    pub fn send(&self, message: &ProducerRecord<'_>) -> Result<()> {
        let code = self.enqueue(message)?;
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            self.retry_or_fail(message, code)?;
        }
        Ok(())
    }

    fn enqueue(&self, message: &ProducerRecord<'_>) -> Result<Code> {
        let mut topics = self.topics.lock();
        let topic = topics.get(message.topic);
        match topic.readiness {
            Readiness::Ready => {
                let sequence = self.in_flight.track(message.id, topic.number);
                self.journal_write(message, sequence)?;
                let handle = topics.handle(message.topic);
                // SAFETY: the handle is alive while the table is locked.
                let code = unsafe { produce(self.client, handle, message, sequence) };
                if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                    self.in_flight.accepted(message.size());
                } else {
                    self.journal_cancel(sequence);
                }
                if !self.in_flight.broker_responded.load(Ordering::Relaxed) {
                    poller::wake(self);
                }
                Ok(code)
            }
            Readiness::Missing(since) if since.elapsed() < TopicCache::FORGET_MISSING => {
                Ok(Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            }
            Readiness::Missing(_) | Readiness::Unknown => {
                topic.readiness = Readiness::Unknown;
                // The table stays locked, so that nobody finds the topic ready while this message is still entering.
                let sequence = self.in_flight.track(message.id, topic.number);
                self.journal_write(message, sequence)?;
                if !self
                    .pending
                    .lock()
                    .push(message, sequence, MAX_PENDING_MESSAGES)
                {
                    self.journal_cancel(sequence);
                    return Ok(Code::RD_KAFKA_RESP_ERR__QUEUE_FULL);
                }
                self.in_flight.accepted(message.size());
                poller::wake(self);
                Ok(Code::RD_KAFKA_RESP_ERR_NO_ERROR)
            }
        }
    }

    #[cold]
    fn retry_or_fail(&self, message: &ProducerRecord<'_>, first: Code) -> Result<()> {
        let started = Instant::now();
        let bound = Duration::from_millis(self.config.queue_full_ms);
        let mut code = first;
        while code == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL && started.elapsed() < bound {
            std::thread::sleep(Duration::from_millis(1));
            code = self.enqueue(message)?;
        }
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        if code == Code::RD_KAFKA_RESP_ERR__FATAL {
            self.fatal.store(true, Ordering::Release);
            poller::wake(self);
        }
        if code == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL {
            let counts = &process::current().metrics.producers;
            counts.queue_full.fetch_add(1, Ordering::Relaxed);
        }
        let action = if code == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL {
            format!(
                "The queue for {} stayed full for {} ms ({} messages wait); message {} was not sent",
                self.config.brokers,
                self.config.queue_full_ms,
                self.waiting(),
                message.id
            )
        } else {
            format!(
                "Message {} ({} bytes) was not sent to topic \"{}\"",
                message.id,
                message.value.map_or(0, <[u8]>::len),
                message.topic
            )
        };
        let unknown = matches!(
            code,
            Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        );
        if let Some(reason) = unknown
            .then(|| delivery_failure::name_collision(self, message.topic))
            .flatten()
        {
            return Err(Error::channel(format!("{action}: {reason}.")));
        }
        Err(client::to_error(code, &action, "", &self.config.brokers))
    }

    /// Messages accepted so far, and their keys and values in bytes.
    #[must_use]
    pub fn sent(&self) -> (u64, u64) {
        self.in_flight.sent()
    }

    /// Adds what it sent to the totals of the process. For whoever takes it out of the table, which sums up those that are in it.
    pub(super) fn add_counts_to_process(&self) {
        let (sent, bytes) = self.sent();
        let counters = &process::current().counters;
        counters.produced.fetch_add(sent, Ordering::Relaxed);
        counters.produced_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Messages accepted and neither acknowledged nor failed yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.in_flight.count()
    }

    /// What is sent now belongs to records that are being handled: they are not committed before it is acknowledged.
    pub fn track_callback_sends(&self) {
        if !self.tracking_callback_sends.load(Ordering::Relaxed) {
            self.failed_before
                .store(self.failed.load(Ordering::Acquire), Ordering::Relaxed);
            self.tracking_callback_sends.store(true, Ordering::Relaxed);
        }
    }

    /// True between [`Producer::track_callback_sends`] and [`Producer::clear_callback_sends`].
    #[must_use]
    pub fn tracks_callback_sends(&self) -> bool {
        self.tracking_callback_sends.load(Ordering::Relaxed)
    }

    /// True where something failed since [`Producer::track_callback_sends`].
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire) != self.failed_before.load(Ordering::Relaxed)
    }

    /// Everything owed is acknowledged, or its records are taken back.
    pub fn clear_callback_sends(&self) {
        self.tracking_callback_sends.store(false, Ordering::Relaxed);
    }

    /// The failure of a message that was too large is dealt with otherwise: nobody hears of it. Its reason, if there was one.
    pub fn take_too_large(&self, id: &str) -> Option<String> {
        let reason = self.failures.take_too_large(id)?;
        self.failed.fetch_sub(1, Ordering::Release);
        process::current()
            .counters
            .failed
            .fetch_sub(1, Ordering::Relaxed);
        Some(reason)
    }

    /// True where a broker has answered and not all have gone since.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        if self.in_flight.broker_responded.load(Ordering::Acquire) {
            return true;
        }
        if self.all_brokers_down.load(Ordering::Acquire) {
            return false;
        }
        client::cluster_id(self.client, Duration::ZERO).is_some()
    }

    /// True while no broker can be reached that is needed: all are reported down, or messages wait and none has answered yet.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        (self.all_brokers_down.load(Ordering::Acquire) || self.waiting() > 0)
            && !self.is_reachable()
    }

    /// The last thing Kafka complained about.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    /// The spool, where one is configured.
    #[must_use]
    pub fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.generation != process::generation() {
            // Made before a fork: its threads live in the parent only. Leaked on purpose.
            return;
        }
        self.topics.lock().clear();
        // SAFETY: the last owner; every handle and message is gone.
        unsafe { sys::rd_kafka_destroy(self.client) };
    }
}
