//! The thread of a producer client: handles delivery failures, sends messages whose topic had to be looked up, and
//! replays the spool once Kafka responds.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::Offset;

use super::delivery_failure::{spool_or_report, undelivered, Undelivered};
use super::in_flight::{is_innocent, is_too_large, refuses_batch};
use super::pending::WaitingMessages;
use super::pool::PRODUCERS;
use super::spool::SpoolReplay;
use super::topic_cache::PendingMessage;
use super::{Producer, REPLAY};
use crate::error::Result;
use crate::kafka::client::{
    self, offsets_of, AdminRequests, ClientEvent, EventQueue, REFUSED_BATCH,
};
use crate::runtime::{self, termination};
use crate::spool::SpoolRecord;

/// Poll timeout when idle. Events and [`wake`] interrupt it.
const IDLE: Duration = Duration::from_millis(250);
/// While a lookup or a replay is in progress.
const BUSY: Duration = Duration::from_millis(5);
/// With a journal: acknowledgements are recorded at this interval.
const JOURNAL: Duration = Duration::from_millis(50);

/// Starts the thread. It keeps the client alive until [`Producer::close`].
pub fn spawn(producer: Arc<Producer>) -> Result<JoinHandle<()>> {
    runtime::spawn("rt-producer", move || Poller::new(&producer).run())
}

pub fn wake(producer: &Producer) {
    producer.client.wake();
}

/// Longest wait for requests in flight after a batch was refused; also for delivery reports when the client is closed.
const IN_FLIGHT_WAIT: Duration = Duration::from_secs(1);

/// Time limit for speeding up the first acknowledgement.
const WARM_UP_TIME: Duration = Duration::from_secs(2);
/// Time limit for a broker to respond to the request of an idle client.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

struct Poller<'a> {
    producer: &'a Arc<Producer>,
    waiting: WaitingMessages<'a>,
    replay: SpoolReplay,
    /// The fatal error was raised for a batch refused as too large.
    refused_batch: bool,
    started: Instant,
    keep_alive_responses: EventQueue,
}

impl Drop for Poller<'_> {
    fn drop(&mut self) {
        // Also after a panic: the client that replaces this one must not wait for it.
        self.producer.handed_over.store(true, Ordering::Release);
    }
}

impl<'a> Poller<'a> {
    fn new(producer: &'a Arc<Producer>) -> Self {
        Self {
            producer,
            waiting: WaitingMessages::new(producer),
            replay: SpoolReplay::default(),
            refused_batch: false,
            started: Instant::now(),
            keep_alive_responses: EventQueue::new(&producer.client),
        }
    }

    fn run(mut self) {
        let queue = EventQueue::main(&self.producer.client);
        let (mut purged, mut purged_at_close) = (false, false);
        let mut quiet_since = Instant::now();
        loop {
            let wait = match (self.needs_warm_up(), self.is_busy()) {
                (true, _) => Duration::from_millis(1),
                (_, true) => BUSY,
                _ if self.producer.is_journal_busy() => JOURNAL,
                _ => IDLE,
            };
            let event = queue.poll(wait);
            let is_quiet = event.is_none();
            if let Some(event) = event {
                quiet_since = Instant::now();
                self.on_event(&event);
            } else if self.producer.waiting() > 0 {
                termination::check_again();
            }
            self.report_drained(quiet_since.elapsed());
            if self.producer.fatal.load(Ordering::Acquire) {
                self.purge_after_fatal_error(&mut purged, quiet_since.elapsed());
            }
            let closing = self.producer.closing.load(Ordering::Acquire);
            if closing || purged {
                // After a refused batch the invalid records of the spool are reported first.
                if closing {
                    self.replay.release_claim();
                    if !std::mem::replace(&mut purged_at_close, true) {
                        // In this thread, because it may have been sending messages that waited.
                        self.producer.purge();
                        // The messages are reported from now on, however long nothing was reported before.
                        quiet_since = Instant::now();
                    }
                }
                let empty = self.producer.client.queued() == 0;
                let late = quiet_since.elapsed() > 2 * IN_FLIGHT_WAIT;
                if is_quiet
                    && (empty || late)
                    && self.producer.pending.lock().drained.is_empty()
                    && self.producer.gated.lock().drained.is_empty()
                {
                    break;
                }
                continue;
            }
            self.warm_up();
            self.keep_alive();
            if self.producer.held.load(Ordering::Acquire) {
                self.waiting.release_held();
                continue;
            }
            self.waiting.open_topics();
            self.waiting.serve_pending();
            self.waiting.release_gated();
            self.replay.step(self.producer);
            if self.producer.is_journal_busy() {
                self.producer.prune_journal(false);
            }
        }
        drop(queue);
        self.replay.release_claim();
        self.waiting.hand_over(self.replay.has_to_continue());
    }

    /// Takes the messages out of a client with a fatal error. After a refused batch, the requests in flight are
    /// awaited, because the broker may have stored them; librdkafka moves the rejected ones back to the queue.
    fn purge_after_fatal_error(&mut self, purged: &mut bool, quiet: Duration) {
        if !*purged {
            let error = self.producer.client.fatal_error();
            self.refused_batch |= error.is_some_and(|(_, reason)| reason.contains(REFUSED_BATCH));
        }
        let wait = self.refused_batch && quiet < IN_FLIGHT_WAIT;
        if wait {
            self.producer.purge_queue();
        } else if !*purged || self.refused_batch {
            self.producer.purge();
        }
        *purged = true;
    }

    fn is_busy(&self) -> bool {
        self.needs_warm_up()
            || self.waiting.is_busy()
            || self.replay.is_running()
            || !self.producer.gated.lock().is_empty()
            || self.producer.topics.lock().queued() > 0
            || self.producer.held.load(Ordering::Relaxed)
            || self.producer.closing.load(Ordering::Relaxed)
            || self.producer.fatal.load(Ordering::Relaxed)
    }

    fn on_event(&mut self, event: &ClientEvent) {
        if let Some((code, reason)) = event.client_error() {
            return self.on_error(code, &reason);
        }
        let (mut reports, mut count) = (Vec::new(), 0);
        event.each_delivery(|message| {
            count += 1;
            if !message.is_record() {
                reports.push(undelivered(message, &self.producer.in_flight));
            }
        });
        // One event has the messages of one batch.
        let is_refused = |report: &Undelivered| {
            let has_text = report.record.reason != client::describe(report.code);
            refuses_batch(report.code, has_text)
        };
        if count > 1 && reports.iter().all(is_refused) {
            self.on_refused_batch(reports);
        } else if reports.iter().any(|report| is_innocent(report.code))
            && !self.producer.transactional
        {
            self.on_invalid_records(reports);
        } else {
            self.on_failures(reports);
        }
    }

    fn on_error(&mut self, code: Code, reason: &str) {
        let producer = self.producer;
        producer.reachability.on_error(code);
        if code == Code::AllBrokersDown {
            producer
                .in_flight
                .broker_responded
                .store(false, Ordering::Release);
        }
        if code == Code::Fatal && reason.contains(REFUSED_BATCH) {
            self.refused_batch = true;
            producer.fatal.store(true, Ordering::Release);
            return;
        }
        if code == Code::Fatal {
            runtime::error(format!(
                "Fatal error of the Kafka client{}: {reason}.{}",
                if producer.transactional {
                    ""
                } else {
                    ", which is replaced"
                },
                if producer.transactional {
                    ""
                } else {
                    " Its messages are sent again."
                }
            ));
            producer.fatal.store(true, Ordering::Release);
        }
        if matches!(
            code,
            Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL
        ) {
            let detail = reason.split(" (after ").next().unwrap_or_default();
            *producer.auth_error.lock() = Some(detail.to_owned());
        }
        runtime::current().counters.set_last_error(reason);
    }

    /// A batch was refused as too large: its messages are sent again in smaller batches, by the client that replaces
    /// this one.
    fn on_refused_batch(&mut self, mut reports: Vec<Undelivered>) {
        let producer = self.producer;
        let bytes: usize = reports.iter().map(|report| report.record.size()).sum();
        // The first one decides: others were in flight with it.
        if producer.refused_batch.load(Ordering::Acquire) == 0 {
            let key = producer.config.producer_key();
            let limit = PRODUCERS.current().limit_batches(&key, bytes);
            producer
                .refused_batch
                .store(bytes.max(1), Ordering::Release);
            let topic = &reports[0].record.topic;
            let (reason, advice) = if is_too_large(reports[0].code) {
                (
                    "as too large".to_owned(),
                    "; set batch.size in producer_config below the topic's max.message.bytes to avoid that",
                )
            } else {
                (format!("({})", reports[0].record.reason), "")
            };
            runtime::warn(format!(
                    "Topic \"{topic}\" refused a batch of {} messages ({bytes} bytes) {reason}. They are sent \
                     again in batches of at most {limit} bytes{advice}.",
                    reports.len()
                ),
            );
        }
        if producer.transactional {
            // The transaction is aborted and handled again, with another client.
            self.on_failures(reports);
            return;
        }
        for report in &mut reports {
            report.code = Code::PurgeQueue;
        }
        self.send_again(reports);
    }

    /// A batch was refused because of some of its messages: the others are sent again, by the client that replaces
    /// this one.
    fn on_invalid_records(&mut self, mut reports: Vec<Undelivered>) {
        let count = reports.len();
        let mut innocent = 0;
        for report in &mut reports {
            if is_innocent(report.code) {
                innocent += 1;
                report.code = Code::PurgeQueue;
            }
        }
        runtime::warn(format!(
                "Topic \"{}\" refused a batch of {count} messages, because {} of them are invalid. The others are \
                 sent again.",
                reports[0].record.topic,
                count - innocent
            ),
        );
        // Their number is irrelevant: the next client sends batches of the same size.
        let refused = &self.producer.refused_batch;
        let _ = refused.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire);
        self.send_again(reports);
    }

    /// Stops the client: the one that replaces it sends what was not refused for good, in order.
    fn send_again(&mut self, reports: Vec<Undelivered>) {
        self.refused_batch = true;
        self.producer.fatal.store(true, Ordering::Release);
        if reports.iter().any(|report| report.opaque & REPLAY != 0) {
            self.replay.continue_later();
        }
        self.on_failures(reports);
    }

    /// Reports messages that were still waiting for their topic, or behind the first one of their partition, when the
    /// client was closed.
    fn report_drained(&mut self, quiet: Duration) {
        let pending = std::mem::take(&mut self.producer.pending.lock().drained);
        // Behind the first message of their partition, which librdkafka reports.
        let is_reported = || self.producer.client.queued() == 0;
        let gated = {
            let mut gated = self.producer.gated.lock();
            let waits = gated.drained.is_empty() || (quiet <= 2 * IN_FLIGHT_WAIT && !is_reported());
            if waits {
                Vec::new()
            } else {
                std::mem::take(&mut gated.drained)
            }
        };
        if pending.is_empty() && gated.is_empty() {
            return;
        }
        let report = |message: PendingMessage, reason: &str| Undelivered {
            record: SpoolRecord {
                reason: reason.to_owned(),
                ..message.record
            },
            code: Code::PurgeQueue,
            opaque: message.sequence,
        };
        let unknown = "its topic could not be looked up or created in time";
        let pending = pending.into_iter().map(|message| report(message, unknown));
        let late = "no acknowledgement in time";
        let gated = gated.into_iter().map(|message| report(message, late));
        self.on_failures(gated.chain(pending).collect());
    }

    fn on_failures(&mut self, reports: Vec<Undelivered>) {
        let producer = self.producer;
        let fatal = producer.fatal.load(Ordering::Acquire);
        let mut lost = Vec::new();
        for mut report in reports {
            if report.opaque & REPLAY != 0 {
                self.replay.failed(&report);
                continue;
            }
            if report.record.id.is_empty() {
                report.record.id = producer.in_flight.id_of(report.opaque).unwrap_or_default();
            }
            if fatal && !producer.transactional && !client::is_permanent(report.code) {
                self.waiting.unsent.push(report);
            } else {
                lost.push(report);
            }
        }
        spool_or_report(producer, lost);
    }

    /// True while an idempotent client waits for its first acknowledgement. Not while requests do not wait for Kafka:
    /// they wait for this thread then, which secures their messages, and [`Poller::keep_alive`] finds out that Kafka is
    /// back.
    fn needs_warm_up(&self) -> bool {
        self.producer.config.idempotent
            && !self.producer.is_suspended()
            && !self
                .producer
                .in_flight
                .broker_responded
                .load(Ordering::Acquire)
            && self.producer.waiting() > 0
            && self.started.elapsed() < WARM_UP_TIME
    }

    /// An idempotent client needs a producer id from a broker before it may send. librdkafka requests one when it
    /// learns of the brokers, before it is connected to any, and retries only after half a second. A request to the
    /// leader of the first topic makes it connect immediately, and a metadata response makes it request the id again.
    fn warm_up(&self) {
        if !self.needs_warm_up() {
            return;
        }
        let topic = self.producer.topics.lock().any_ready().map(str::to_owned);
        if let Some(topic) = topic {
            let bound = Duration::from_millis(10);
            // The result is not used.
            client::query_watermarks(&self.producer.client, &topic, 0, bound);
        }
        self.ask_for_metadata();
    }

    /// Requests metadata of the topics in use; true if a broker responds.
    fn ask_for_metadata(&self) -> bool {
        client::request_metadata(&self.producer.client, None, Duration::from_millis(50))
    }

    /// Sends a request if no broker has responded for a while, or if requests of PHP do not wait for Kafka and leave
    /// the queue empty: only a response shows that Kafka can be reached.
    fn keep_alive(&mut self) {
        while self.keep_alive_responses.poll(Duration::ZERO).is_some() {}
        let suspended = self.producer.is_suspended();
        let reachability = &self.producer.reachability;
        if !reachability.probe_due(&self.producer.client, suspended) {
            return;
        }
        if !suspended && self.producer.is_reachable() {
            let topics = self.producer.topics.lock();
            let topic = topics.any_ready().map(str::to_owned);
            drop(topics);
            if let Some(topic) = topic {
                return self.ask_for_offset(&topic);
            }
        }
        if self.ask_for_metadata() && suspended {
            self.producer
                .in_flight
                .broker_responded
                .store(true, Ordering::Release);
        }
    }

    /// Unlike a metadata request, this never creates a topic that was deleted.
    fn ask_for_offset(&self, topic: &str) {
        let requested = offsets_of([(topic, 0, Offset::End.to_raw().unwrap_or(-1))]);
        let (client, queue) = (&self.producer.client, &self.keep_alive_responses);
        AdminRequests::new(client, queue, KEEP_ALIVE_TIMEOUT).list_offsets(&requested, false);
    }
}
