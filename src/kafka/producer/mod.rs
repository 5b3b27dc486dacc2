//! A producer client: queues messages, tracks those in flight, flushes with a time limit, and spools or reports the
//! rest on close.

mod delivery_failure;
mod flush;
mod in_flight;
mod pending;
mod poller;
pub mod pool;
mod spool;
mod topic_cache;
mod topic_gate;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaType;

use self::in_flight::{DeliveryFailures, InFlight};
use self::pool::PRODUCERS;
use self::topic_cache::{PendingTopicQueue, Readiness, TopicCache};
use self::topic_gate::{produce_gated, Passed};
use crate::config::BrokerConfig;
use crate::error::{Error, Result};
use crate::kafka::client::Reachability;
use crate::kafka::client::{self, Client, Conf, REFUSED_BATCH};
use crate::message::ProducerRecord;
use crate::runtime::{self, termination};
use crate::spool::{Journal, Spool, SpoolKey};

/// Limit of messages whose topic is being looked up or created.
const MAX_PENDING_MESSAGES: usize = 100_000;

/// Set in the opaque of messages from the spool: their acknowledgement belongs to the replay.
pub const REPLAY: u64 = 1 << 63;
/// Set in the opaque of messages with an explicit partition, which is kept when they are sent again.
pub const PINNED: u64 = 1 << 62;

/// A librdkafka producer and its polling thread.
pub struct Producer {
    pub(super) client: Client,
    pub(super) config: Arc<BrokerConfig>,
    pub(super) topics: Mutex<TopicCache>,
    pub(super) pending: Mutex<PendingTopicQueue>,
    /// Messages behind the first one of their partition, see [`topic_gate`].
    pub(super) gated: Mutex<PendingTopicQueue>,
    /// Limit of messages that are not acknowledged while some are in `gated`: librdkafka's own.
    max_gated: u64,
    /// librdkafka's limit, for messages that it does not get yet.
    max_message_bytes: usize,
    pub(super) in_flight: Arc<InFlight>,
    pub(in crate::kafka) failures: DeliveryFailures,
    pub(super) spool: Option<Spool>,
    /// librdkafka reported a fatal error: another client takes over.
    pub(super) fatal: AtomicBool,
    /// Size of a batch that was refused as too large, in bytes; 0 for none. The next client sends smaller batches.
    pub(in crate::kafka) refused_batch: AtomicUsize,
    /// The client limits its batches to this size, because a larger one was refused.
    batch_limit: Option<usize>,
    /// All messages of this client have an outcome, or were handed to the client that replaces it.
    pub(super) handed_over: AtomicBool,
    /// The client whose unsent messages must be sent before those of this one; `held` while there is one.
    pub(super) predecessor: Mutex<Option<Arc<Producer>>>,
    pub(super) held: AtomicBool,
    /// The client that has taken over this one's messages.
    pub(super) successor: Mutex<Option<Arc<Producer>>>,
    pub(super) closing: AtomicBool,
    /// Evicted from the pool: messages sent from now on need the next client for this configuration.
    pub(super) evicted: AtomicBool,
    /// Purged messages are spooled without counting as failures of the next flush.
    pub(super) spooling_queue: AtomicBool,
    /// A transaction is being aborted: purged messages are discarded.
    pub(in crate::kafka) aborting: AtomicBool,
    /// Sends in transactions: its messages are never sent again by another client.
    pub(super) transactional: bool,
    pub(super) reachability: Arc<Reachability>,
    /// The flush of a request timed out: later requests do not wait until a broker responds.
    suspended: AtomicBool,
    /// Too many clients are closing: this one waits less for an unreachable broker.
    hastened: AtomicBool,
    /// Time at which the messages of a request were acknowledged, in ms of `clock::coarse_ms()`.
    delivered_at: AtomicU64,
    /// Last message named in the log as held in memory only.
    named: AtomicU64,
    /// Why authentication fails (credentials, certificate), while it does.
    pub(super) auth_error: Mutex<Option<String>>,
    /// Messages were sent by callbacks: offsets are not committed before these are acknowledged.
    tracking_callback_sends: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Producer {
    /// Creates the client and starts its thread. librdkafka connects when there is something to send.
    ///
    /// # Errors
    /// Configuration: properties librdkafka rejects, or a spool directory that cannot be used.
    pub fn start(config: Arc<BrokerConfig>) -> Result<Arc<Self>> {
        let properties = config.producer_properties();
        Self::start_with(config, properties, false)
    }

    /// Creates a transactional client. It has no spool: messages that do not become part of a transaction are
    /// discarded.
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
            // librdkafka rejects a larger value than the transaction timeout.
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
        let batch_limit = PRODUCERS.current().batch_limit(&config.producer_key());
        let mut conf = Conf::new(&properties, "producer_config")?;
        if let Some(limit) = batch_limit {
            let configured = conf.get("batch.size").and_then(|size| size.parse().ok());
            let size = configured.map_or(limit, |size: usize| size.min(limit));
            conf.set("batch.size", &size.to_string(), "producer_config")?;
            // A broker accepts any sequence number from a producer id that is new to a partition: a batch in flight
            // behind the first one would be stored although that was refused.
            conf.set("max.in.flight", "1", "producer_config")?;
        }
        conf.set("delivery.report.only.error", "true", "producer_config")?;
        conf.report_events(true);
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
        let is_journaled = config.spool_always || termination::serves_requests();
        let journal = (spool.is_some() && is_journaled).then(Journal::default);
        let in_flight = Arc::new(InFlight::new(
            &runtime::current().counters,
            journal,
            transactional,
        ));
        // A refused batch ends a transaction, and with one request in flight nothing overtakes it.
        let has_gates = config.idempotent && !transactional && batch_limit.is_none();
        let partitioner = conf.get("partitioner").filter(|_| has_gates);
        let max_gated = conf
            .get("queue.buffering.max.messages")
            .and_then(|most| most.parse().ok())
            .filter(|most| *most > 0)
            .unwrap_or(MAX_PENDING_MESSAGES as u64);
        let max_message_bytes = conf
            .get("message.max.bytes")
            .and_then(|most| most.parse().ok())
            .unwrap_or(usize::MAX);
        let client = conf.into_client(RDKafkaType::RD_KAFKA_PRODUCER)?;
        let reachability = Arc::<Reachability>::default();
        if !client.report_acknowledgements(&in_flight) || !client.report_responses(&reachability) {
            return Err(Error::configuration(
                "librdkafka does not report acknowledgements and responses to this extension; its version is not \
                 compatible.",
            ));
        }
        let producer = Arc::new(Self {
            topics: Mutex::new(TopicCache::new(&client, &config, partitioner)),
            client,
            config,
            pending: Mutex::default(),
            gated: Mutex::default(),
            max_gated,
            max_message_bytes,
            in_flight,
            failures: DeliveryFailures::default(),
            spool,
            fatal: AtomicBool::new(false),
            refused_batch: AtomicUsize::new(0),
            batch_limit,
            handed_over: AtomicBool::new(false),
            predecessor: Mutex::new(None),
            held: AtomicBool::new(false),
            successor: Mutex::new(None),
            closing: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            spooling_queue: AtomicBool::new(false),
            aborting: AtomicBool::new(false),
            transactional,
            reachability,
            suspended: AtomicBool::new(false),
            hastened: AtomicBool::new(false),
            delivered_at: AtomicU64::new(0),
            named: AtomicU64::new(0),
            auth_error: Mutex::new(None),
            tracking_callback_sends: AtomicBool::new(false),
            thread: Mutex::new(None),
        });
        let handle = poller::spawn(Arc::clone(&producer))?;
        *producer.thread.lock() = Some(handle);
        Ok(producer)
    }

    #[must_use]
    pub fn config(&self) -> &Arc<BrokerConfig> {
        &self.config
    }

    /// The client, for transactional calls.
    pub(in crate::kafka) fn client(&self) -> &Client {
        &self.client
    }

    /// True in a forked child: the client belongs to the parent.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.client.is_inherited()
    }

    /// True if a request of this client had no response and may still be received by a broker.
    pub(in crate::kafka) fn has_unanswered_requests(&self) -> bool {
        self.reachability.has_unanswered_requests()
    }

    /// True if this client must not begin another transaction, see [`super::transaction`].
    pub(in crate::kafka) fn needs_new_epoch(&self) -> bool {
        self.has_unanswered_requests() || self.in_flight.has_undelivered()
    }

    /// True after a fatal error, an eviction or a fork: get another client from [`pool::ProducerPool`].
    #[inline]
    #[must_use]
    pub fn needs_replacement(&self) -> bool {
        self.fatal.load(Ordering::Acquire)
            || self.evicted.load(Ordering::Acquire)
            || self.client.is_inherited()
    }

    /// True after a fatal error of the client.
    pub(super) fn is_fatal(&self) -> bool {
        self.fatal.load(Ordering::Acquire) && !self.is_inherited()
    }

    /// True while the client sends smaller batches than configured.
    pub(super) fn is_batch_limited(&self) -> bool {
        self.batch_limit.is_some()
    }

    /// If librdkafka was stopped because of a refused batch, waits until its size is known.
    pub(super) fn await_refused_batch(&self, bound: Duration) {
        if !self.is_fatal()
            || self
                .client
                .fatal_error()
                .is_none_or(|(_, reason)| !reason.contains(REFUSED_BATCH))
        {
            return;
        }
        let until = Instant::now() + bound;
        while self.refused_batch.load(Ordering::Acquire) == 0
            && !self.handed_over.load(Ordering::Acquire)
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Queues a message and returns. Waits at most `queue_full_ms` for a full queue.
    ///
    /// # Errors
    /// QueueFull; MessageTooLarge; UnknownTopic and InvalidChannel if Kafka has said so before; Connection if the
    /// client must be replaced (get another one and send again).
    #[inline]
    pub fn send(&self, message: &ProducerRecord<'_>) -> Result<()> {
        let code = self.enqueue(message)?;
        if code != Code::NoError {
            self.retry_or_fail(message, code)?;
        }
        Ok(())
    }

    fn enqueue(&self, message: &ProducerRecord<'_>) -> Result<Code> {
        let mut topics = self.topics.lock();
        let topic = topics.get(message.topic);
        let held = self.held.load(Ordering::Relaxed);
        match topic.readiness {
            Readiness::Ready if !held => {
                let number = topic.number;
                let sequence = self.in_flight.track(message.id, number);
                self.journal_write(message, sequence)?;
                let passed = match topics.last_outlet() {
                    Some((handle, gate)) => produce_gated(handle, gate, message, sequence),
                    None => Passed::Produced(Code::InvalidTopic),
                };
                let code = match passed {
                    Passed::Produced(code) => code,
                    Passed::Waits(_) if message.size() > self.max_message_bytes => {
                        Code::MessageSizeTooLarge
                    }
                    Passed::Waits(gate) => {
                        let mut gated = self.gated.lock();
                        // Checked under the lock under which the messages of a client with a fatal error are taken out.
                        if self.fatal.load(Ordering::Acquire) {
                            Code::Fatal
                        // librdkafka's limit is for both queues.
                        } else if self.waiting() <= self.max_gated
                            && gated.push(message, sequence, usize::MAX)
                        {
                            gate.waiting.fetch_add(1, Ordering::AcqRel);
                            Code::NoError
                        } else {
                            Code::QueueFull
                        }
                    }
                };
                if code == Code::NoError {
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
                Ok(Code::UnknownTopicOrPartition)
            }
            _ if message.size() > self.max_message_bytes => Ok(Code::MessageSizeTooLarge),
            Readiness::Missing(_) | Readiness::Unknown | Readiness::Queued | Readiness::Ready => {
                let is_queued = matches!(topic.readiness, Readiness::Queued);
                if !is_queued && !matches!(topic.readiness, Readiness::Ready) {
                    topic.readiness = Readiness::Unknown;
                }
                // The cache stays locked, so that no other thread finds the topic ready while this message is being
                // queued.
                let sequence = self.in_flight.track(message.id, topic.number);
                self.journal_write(message, sequence)?;
                // librdkafka's limit is for the messages of a queued topic too.
                let limit = if is_queued {
                    usize::try_from(self.max_gated).unwrap_or(usize::MAX)
                } else {
                    MAX_PENDING_MESSAGES
                };
                if !self.pending.lock().push(message, sequence, limit) {
                    self.journal_cancel(sequence);
                    return Ok(Code::QueueFull);
                }
                self.in_flight.accepted(message.size());
                poller::wake(self);
                Ok(Code::NoError)
            }
        }
    }

    #[cold]
    fn retry_or_fail(&self, message: &ProducerRecord<'_>, first: Code) -> Result<()> {
        let started = Instant::now();
        let bound = Duration::from_millis(self.config.queue_full_ms);
        let mut code = first;
        while code == Code::QueueFull && started.elapsed() < bound {
            std::thread::sleep(Duration::from_millis(1));
            code = self.enqueue(message)?;
        }
        if code == Code::NoError {
            return Ok(());
        }
        if code == Code::Fatal {
            self.fatal.store(true, Ordering::Release);
            poller::wake(self);
        }
        if code == Code::QueueFull {
            let counts = &PRODUCERS.current().counters;
            counts.queue_full.fetch_add(1, Ordering::Relaxed);
        }
        let action = if code == Code::QueueFull {
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
        let unknown = matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic);
        if let Some(reason) = unknown
            .then(|| delivery_failure::name_collision(self, message.topic))
            .flatten()
        {
            return Err(Error::channel(format!("{action}: {reason}.")));
        }
        Err(client::to_error(code, &action, "", &self.config.brokers))
    }

    /// Number of accepted messages, and the bytes of their keys and values.
    #[must_use]
    pub fn sent(&self) -> (u64, u64) {
        self.in_flight.sent()
    }

    /// Adds this client's counts to those of the process; called when it leaves the pool, whose clients are summed up
    /// separately.
    pub(super) fn add_counts_to_process(&self) {
        let (sent, bytes) = self.sent();
        let counters = &runtime::current().counters;
        counters.produced.fetch_add(sent, Ordering::Relaxed);
        counters.produced_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Messages accepted and neither acknowledged nor failed yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.in_flight.count()
    }

    /// Messages sent from now on belong to records being handled, whose offsets are not committed before these are
    /// acknowledged. Failures from now on are also in [`pool::ProducerPool::callback_failures`].
    pub fn track_callback_sends(&self) {
        self.tracking_callback_sends.store(true, Ordering::Release);
    }

    /// True between [`Producer::track_callback_sends`] and [`Producer::clear_callback_sends`].
    #[must_use]
    pub fn tracks_callback_sends(&self) -> bool {
        self.tracking_callback_sends.load(Ordering::Acquire)
    }

    /// The messages are acknowledged, or their records are rewound.
    pub fn clear_callback_sends(&self) {
        self.tracking_callback_sends.store(false, Ordering::Release);
    }

    /// The failure of this message was reported to the callback that sent it, by an exception.
    pub fn forget_failure(&self, id: &str) {
        self.failures.remove(id);
        PRODUCERS.current().callback_failures.remove(id);
    }

    /// Removes the failure of a message that was too large, because the caller handles it; returns its reason.
    pub fn take_too_large(&self, id: &str) -> Option<String> {
        let Some(reason) = self.failures.take_too_large(id) else {
            return self.successor()?.take_too_large(id);
        };
        let process = runtime::current();
        PRODUCERS.current().callback_failures.remove(id);
        process.counters.failed.fetch_sub(1, Ordering::Relaxed);
        Some(reason)
    }

    /// True if a broker has responded recently, see [`Reachability`].
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.reachability.is_reachable()
    }

    /// True if no broker responds; false for a new client that has nothing to send.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.reachability.is_unreachable() || self.waiting() > 0 && !self.is_reachable()
    }

    /// The spool, if configured.
    #[must_use]
    pub fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }
}
