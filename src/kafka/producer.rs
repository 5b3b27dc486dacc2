//! A producer client: queues messages, knows what is still on its way, flushes within bounds, and loses nothing when it closes.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::delivery::{Failures, Header};
use super::flight::{Flight, PINNED};
use super::native::{self, Conf};
use super::poller;
use super::topics::{Readiness, Room, Topics};
use crate::config::BrokerConfig;
use crate::error::{Error, FailedMessage, Kind, Result};
use crate::process;
use crate::spool::{Spool, SpoolKey};

/// Messages that may wait for their topic to be looked up or created.
const ROOM: usize = 100_000;

/// A message to send. Everything is borrowed: librdkafka copies it into its queue.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// Envelope id, or any id the caller can recognise in a failure.
    pub id: &'a str,
    /// Kafka topic.
    pub topic: &'a str,
    /// Partition; `None` leaves it to the partitioner.
    pub partition: Option<i32>,
    /// Record key; `None` for no key.
    pub key: Option<&'a [u8]>,
    /// Record value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Record headers in order.
    pub headers: &'a [Header],
    /// Milliseconds since 1970; 0 for now.
    pub timestamp_ms: i64,
}

/// One librdkafka producer with its thread.
pub struct Producer {
    pub(super) client: *mut sys::rd_kafka_t,
    pub(super) config: Arc<BrokerConfig>,
    generation: u32,
    pub(super) topics: Mutex<Topics>,
    pub(super) room: Mutex<Room>,
    pub(super) flight: Box<Flight>,
    pub(super) failures: Failures,
    pub(super) spool: Option<Spool>,
    /// librdkafka met a fatal error: another client takes over.
    pub(super) given_up: AtomicBool,
    pub(super) closing: AtomicBool,
    /// What is purged goes to the spool without counting as a failure of the next flush.
    pub(super) parking: AtomicBool,
    /// All brokers were reported down since the last answer.
    pub(super) down: AtomicBool,
    /// A request's flush timed out: later requests do not wait until a broker answers.
    suspended: AtomicBool,
    pub(super) last_error: Mutex<Option<String>>,
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
        let mut properties = config.producer_properties();
        super::embedded::resolve(&config, &mut properties)?;
        let mut conf = Conf::new(&properties, "producer_config")?;
        conf.set("delivery.report.only.error", "true", "producer_config")?;
        let events = sys::bindings::RD_KAFKA_EVENT_DR | sys::bindings::RD_KAFKA_EVENT_ERROR;
        // SAFETY: the conf is ours.
        unsafe { sys::bindings::rd_kafka_conf_set_events(conf.raw(), events) };
        let spool = match &config.spool {
            Some(directory) => {
                let key = SpoolKey {
                    brokers: &config.brokers,
                    prefix: config.topics.prefix(),
                    application: &config.application,
                };
                let spool = Spool::open(directory, &key, config.spool_max_bytes)?;
                spool.check()?;
                Some(spool)
            }
            None => None,
        };
        let flight = Box::new(Flight::new(&process::current().counters));
        let client = conf.into_client(sys::bindings::rd_kafka_type_t::RD_KAFKA_PRODUCER)?;
        // SAFETY: the client was just made, and the boxed flight log is dropped after it.
        if !unsafe { flight.attach(client) } {
            // SAFETY: nobody else has it.
            unsafe { sys::rd_kafka_destroy(client) };
            return Err(Error::configuration(
                "librdkafka does not report acknowledgements to this extension; its version does not fit.",
            ));
        }
        let producer = Arc::new(Self {
            client,
            topics: Mutex::new(Topics::new(client, &config)),
            config,
            generation: process::generation(),
            room: Mutex::default(),
            flight,
            failures: Failures::default(),
            spool,
            given_up: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            parking: AtomicBool::new(false),
            down: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            last_error: Mutex::new(None),
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

    /// True once librdkafka met a fatal error, or after a fork: ask [`super::clients::Clients`] for the next one.
    #[inline]
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire) || self.generation != process::generation()
    }

    /// Queues a message and returns. A full queue is waited for, `queue_full_ms` at most.
    ///
    /// # Errors
    /// QueueFull; MessageTooLarge; UnknownTopic and InvalidChannel where Kafka has said so before; Connection for a client
    /// that was given up (fetch another and send again).
    #[inline]
    pub fn send(&self, message: &Outgoing<'_>) -> Result<()> {
        let code = self.enqueue(message);
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            self.refused(message, code)?;
        }
        let size = message.key.map_or(0, <[u8]>::len) + message.value.map_or(0, <[u8]>::len);
        let counters = &process::current().counters;
        counters.produced.fetch_add(1, Ordering::Relaxed);
        counters
            .produced_bytes
            .fetch_add(size as u64, Ordering::Relaxed);
        Ok(())
    }

    fn enqueue(&self, message: &Outgoing<'_>) -> Code {
        let mut topics = self.topics.lock();
        let topic = topics.get(message.topic);
        match topic.readiness {
            Readiness::Ready => {
                let sequence = self.flight.depart(message.id, topic.number);
                let handle = topics.handle(message.topic);
                // SAFETY: the handle is alive while the table is locked.
                let code = unsafe { produce(self.client, handle, message, sequence) };
                if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                    self.flight.settle(sequence);
                }
                if !self.flight.answered.load(Ordering::Relaxed) {
                    poller::wake(self);
                }
                code
            }
            Readiness::Missing(since) if since.elapsed() < Topics::FORGET_MISSING => {
                Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            }
            Readiness::Missing(_) | Readiness::Unknown => {
                topic.readiness = Readiness::Unknown;
                // The table stays locked, so that nobody finds the topic ready while this message is still entering.
                let sequence = self.flight.depart(message.id, topic.number);
                if !self.room.lock().enter(message, sequence, ROOM) {
                    self.flight.settle(sequence);
                    return Code::RD_KAFKA_RESP_ERR__QUEUE_FULL;
                }
                poller::wake(self);
                Code::RD_KAFKA_RESP_ERR_NO_ERROR
            }
        }
    }

    #[cold]
    fn refused(&self, message: &Outgoing<'_>, first: Code) -> Result<()> {
        let started = Instant::now();
        let bound = Duration::from_millis(self.config.queue_full_ms);
        let mut code = first;
        while code == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL && started.elapsed() < bound {
            std::thread::sleep(Duration::from_millis(1));
            code = self.enqueue(message);
        }
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        if code == Code::RD_KAFKA_RESP_ERR__FATAL {
            self.given_up.store(true, Ordering::Release);
            poller::wake(self);
        }
        let doing = if code == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL {
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
        Err(native::to_error(code, &doing, "", &self.config.brokers))
    }

    /// Messages accepted and neither acknowledged nor failed yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.flight.left()
    }

    /// True where a broker has answered and not all have gone since.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        if self.flight.answered.load(Ordering::Acquire) {
            return true;
        }
        if self.down.load(Ordering::Acquire) {
            return false;
        }
        // SAFETY: a live client; the id is ours to free and only there once a broker has sent its metadata.
        unsafe {
            let id = sys::bindings::rd_kafka_clusterid(self.client, 0);
            let known = !id.is_null();
            if known {
                sys::bindings::rd_kafka_mem_free(self.client, id.cast());
            }
            known
        }
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

    /// Waits until everything queued is acknowledged or has failed; true if nothing is left.
    pub fn settle(&self, until: Instant) -> bool {
        loop {
            if self.waiting() == 0 {
                return true;
            }
            let remaining = until.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return false;
            }
            // In slices: messages that still wait for their topic are not in librdkafka's count.
            let slice = remaining.min(Duration::from_millis(50));
            let before = Instant::now();
            // SAFETY: a live client.
            unsafe {
                sys::rd_kafka_flush(
                    self.client,
                    i32::try_from(slice.as_millis().max(1)).unwrap_or(50),
                )
            };
            if self.waiting() > 0 && before.elapsed() < Duration::from_micros(500) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Waits like [`Producer::settle`] and tells of everything that failed since the last time.
    ///
    /// # Errors
    /// Delivery, naming each message that failed or is still on its way.
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        let settled = self.settle(Instant::now() + timeout);
        let (mut failed, mut count) = self.failures.take();
        if !settled {
            let left = self.waiting();
            count += left;
            let topics = self.topics.lock();
            let reason = format!(
                "no acknowledgement within {} ms; still queued",
                timeout.as_millis()
            );
            failed.extend(
                self.flight
                    .outstanding(1000)
                    .into_iter()
                    .map(|(id, topic)| FailedMessage {
                        id,
                        topic: topics.name(topic),
                        reason: reason.clone(),
                        kind: Kind::Connection,
                    }),
            );
        }
        if count == 0 {
            return Ok(());
        }
        let first = failed.first().map_or_else(String::new, |first| {
            format!(
                " The first: {} for topic \"{}\" ({}).",
                first.id, first.topic, first.reason
            )
        });
        let advice = if self.is_reachable() {
            String::new()
        } else {
            format!(" Is Kafka running at {}?", self.config.brokers)
        };
        Err(Error::delivery(
            format!("{count} message(s) were not delivered.{first}{advice}"),
            failed,
        ))
    }

    /// The flush at the end of a request: bounded, and skipped after one that timed out until a broker answers again. With a
    /// spool, what is left is written there, because a worker may be killed between requests.
    pub fn end_request(&self, bound: Duration) {
        if self.waiting() == 0 {
            return;
        }
        if self.suspended.load(Ordering::Acquire) && self.flight.answered.load(Ordering::Acquire) {
            self.suspended.store(false, Ordering::Release);
        }
        let bound = if self.suspended.load(Ordering::Acquire) {
            Duration::ZERO
        } else {
            bound
        };
        if self.settle(Instant::now() + bound) {
            return;
        }
        if !self.suspended.swap(true, Ordering::AcqRel) {
            self.flight.answered.store(false, Ordering::Release);
        }
        if self.spool.is_some() {
            self.park(Duration::from_millis(500));
        }
    }

    /// Takes everything out of the queue and into the spool.
    fn park(&self, bound: Duration) {
        self.parking.store(true, Ordering::Release);
        self.purge();
        self.settle(Instant::now() + bound);
        self.parking.store(false, Ordering::Release);
    }

    pub(super) fn purge(&self) {
        // SAFETY: a live client.
        unsafe {
            sys::rd_kafka_purge(
                self.client,
                sys::bindings::RD_KAFKA_PURGE_F_QUEUE | sys::bindings::RD_KAFKA_PURGE_F_INFLIGHT,
            )
        };
        self.room.lock().expel();
        poller::wake(self);
    }

    /// The end of the process: waits for acknowledgements (2 s at most while no broker is known to be reachable), then
    /// spools or reports what is left, and ends the thread. Idempotent.
    pub fn close(&self, until: Instant) {
        let Some(thread) = self.thread.lock().take() else {
            return;
        };
        let hopeless = Instant::now() + Duration::from_secs(2);
        loop {
            let now = Instant::now();
            if self.settle((now + Duration::from_millis(50)).min(until)) || Instant::now() >= until
            {
                break;
            }
            if Instant::now() >= hopeless && !self.is_reachable() {
                break;
            }
        }
        self.closing.store(true, Ordering::Release);
        if self.waiting() > 0 {
            self.purge();
        }
        poller::wake(self);
        if thread.join().is_err() {
            process::current().log.say(
                crate::log::Level::Error,
                "The delivery thread ended with a panic; messages may not have been reported.",
            );
        }
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

/// Hands one message to librdkafka.
///
/// # Safety
/// `client` and `topic` must be alive.
pub(super) unsafe fn produce(
    client: *mut sys::rd_kafka_t,
    topic: *mut sys::rd_kafka_topic_t,
    message: &Outgoing<'_>,
    opaque: u64,
) -> Code {
    let opaque = if message.partition.is_some() {
        opaque | PINNED
    } else {
        opaque
    };
    let (key, key_size) = parts(message.key);
    let (value, size) = parts(message.value);
    if message.headers.is_empty() && message.timestamp_ms == 0 {
        let result = sys::bindings::rd_kafka_produce(
            topic,
            message.partition.unwrap_or(-1),
            sys::bindings::RD_KAFKA_MSG_F_COPY,
            value.cast_mut().cast(),
            size,
            key.cast(),
            key_size,
            opaque as *mut std::ffi::c_void,
        );
        return if result == 0 {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR
        } else {
            sys::bindings::rd_kafka_last_error()
        };
    }
    super::native::produce_full(client, topic, message, opaque)
}

pub(super) fn parts(bytes: Option<&[u8]>) -> (*const u8, usize) {
    bytes.map_or((std::ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()))
}
