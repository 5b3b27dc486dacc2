//! The spool of a producer. A message is written to disk before it is sent, and removed after its acknowledgement:
//! every message with `spool_when: always`, and with any spool those that a process serving requests sends while Kafka
//! may be away. What earlier processes left is sent in file order, once a broker responds.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::delivery_failure::{note_cluster, Undelivered};
use super::topic_cache::Readiness;
use super::topic_gate::produce;
use super::{Producer, PINNED, REPLAY};
use crate::error::Result;
use crate::kafka::client;
use crate::kafka::producer::pool::PRODUCERS;
use crate::log::Level;
use crate::message::ProducerRecord;
use crate::spool::{Claim, Journal, Spool, SpoolRecord};
use crate::{runtime, runtime::clock};

/// Records sent before their acknowledgements are awaited.
const BATCH_SIZE: usize = 500;
/// Interval at which the spool is checked.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// The interval for each file in use, so that many processes together look as often as a few.
const INTERVAL_PER_FILE: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// A new client asks for its cluster at this interval, which it knows soon if Kafka can be reached.
const QUICK_INTERVAL: Duration = Duration::from_millis(100);
const QUICK_ATTEMPTS: u32 = 20;
/// Longest wait for the response.
const METADATA_WAIT: Duration = Duration::from_millis(50);

/// The spool file being replayed.
#[derive(Default)]
pub struct SpoolReplay {
    claim: Option<Claim>,
    batch: Vec<SpoolRecord>,
    /// Value of the acknowledgement counter before this batch.
    base: u64,
    failed: u64,
    aborted: bool,
    /// A batch was refused: its valid records are sent again by the client that replaces this one.
    refused: bool,
    next: Option<Instant>,
    /// Requests for the cluster of the brokers without a response.
    attempts: u32,
}

impl SpoolReplay {
    /// True while a file is being replayed.
    pub fn is_running(&self) -> bool {
        self.claim.is_some()
    }

    /// Releases the file; records acknowledged but not yet marked are sent again by the next replay.
    pub fn release_claim(&mut self) {
        self.claim = None;
        self.batch.clear();
        self.next = Some(Instant::now() + POLL_INTERVAL);
    }

    /// Kafka refused a batch because of some of its records.
    pub fn continue_later(&mut self) {
        self.refused = true;
    }

    /// True if the client that replaces this one has to continue.
    pub fn has_to_continue(&self) -> bool {
        self.refused
    }

    /// Handles the failure of a record of the batch.
    pub fn failed(&mut self, report: &Undelivered) {
        self.failed += 1;
        if !client::is_undeliverable(report.code) {
            self.aborted = true;
            return;
        }
        let Some(claim) = self.claim.as_mut() else {
            return;
        };
        let place = usize::try_from(report.opaque & !(REPLAY | PINNED)).unwrap_or(usize::MAX);
        let record = self.batch.get(place).unwrap_or(&report.record);
        let said = match claim.fail(record, &report.record.reason) {
            Ok(()) => {
                if self.refused {
                    let key = (claim.path().to_owned(), claim.record_number(place));
                    PRODUCERS.current().failed_replays.lock().insert(key);
                }
                format!(
                    "Spooled message {} for topic \"{}\" can never be delivered ({}); \
                 it was moved to failed/ in the spool.",
                    record.id, record.topic, report.record.reason
                )
            }
            Err(error) => {
                self.aborted = true;
                error.message().to_owned()
            }
        };
        let process = runtime::current();
        process.log.write(Level::Error, said);
        process.counters.set_last_error(&report.record.reason);
    }

    /// Starts or continues a replay; never blocks for long.
    pub fn step(&mut self, producer: &Producer) {
        let Some(spool) = producer.spool.as_ref() else {
            return;
        };
        if self.claim.is_none() {
            if self.next.is_some_and(|next| Instant::now() < next) {
                return;
            }
            self.next = Some(Instant::now() + POLL_INTERVAL);
            if producer.is_suspended() {
                // The queue is purged at the end of each request; the poller detects when Kafka is back.
                return;
            }
            if !self.knows_cluster(producer, spool) {
                return;
            }
            self.claim = claim(spool);
            if self.claim.is_none() && spool.has_own() {
                // Only the file of this process is left: once closed it can be sent, and its first record probes the
                // broker.
                spool.rotate_own();
                self.claim = claim(spool);
            }
            for notice in spool.take_notices() {
                runtime::warn(notice);
            }
            if self.claim.is_none() {
                self.next = Some(Instant::now() + interval(spool));
                return;
            }
        }
        if self.batch.is_empty() {
            self.send(producer);
        } else {
            self.check(producer);
        }
    }

    /// False until it is known to which cluster the brokers belong: only its messages are sent.
    fn knows_cluster(&mut self, producer: &Producer, spool: &Spool) -> bool {
        if note_cluster(producer, spool) {
            self.attempts = 0;
            return true;
        }
        if spool.files() > 0 {
            self.attempts += 1;
            if self.attempts <= QUICK_ATTEMPTS {
                self.next = Some(Instant::now() + QUICK_INTERVAL);
            }
            // For the next attempt.
            drop(client::cluster_id_of_idle(&producer.client, METADATA_WAIT));
        }
        false
    }

    /// Sends the next batch; a single record as a probe until a broker has responded.
    fn send(&mut self, producer: &Producer) {
        let most = if producer.in_flight.broker_responded.load(Ordering::Acquire) {
            BATCH_SIZE
        } else {
            1
        };
        self.base = producer.in_flight.replayed.load(Ordering::Acquire);
        self.failed = 0;
        self.aborted = false;
        while self.batch.len() < most {
            let Some(claim) = self.claim.as_mut() else {
                return;
            };
            match claim.next() {
                Ok(Some(record)) => {
                    let failed = &PRODUCERS.current().failed_replays;
                    let key = (
                        claim.path().to_owned(),
                        claim.record_number(self.batch.len()),
                    );
                    if failed.lock().contains(&key) {
                        self.batch.push(record);
                        self.failed += 1;
                        continue;
                    }
                    let code = enqueue(producer, &record, self.batch.len() as u64 | REPLAY);
                    self.batch.push(record);
                    if code != Code::NoError {
                        let report = Undelivered {
                            record: SpoolRecord {
                                reason: client::describe(code),
                                ..self.batch[self.batch.len() - 1].clone()
                            },
                            code,
                            opaque: (self.batch.len() - 1) as u64 | REPLAY,
                        };
                        self.failed(&report);
                        break;
                    }
                }
                Ok(None) if self.batch.is_empty() => {
                    self.finish();
                    return;
                }
                Ok(None) => break,
                Err(error) => {
                    runtime::error(error.message());
                    if self.batch.is_empty() {
                        self.release_claim();
                        return;
                    }
                    self.aborted = true;
                    break;
                }
            }
        }
    }

    /// Marks the batch as done once all its records are completed.
    fn check(&mut self, producer: &Producer) {
        let acknowledged = producer.in_flight.replayed.load(Ordering::Acquire) - self.base;
        if acknowledged + self.failed < self.batch.len() as u64 {
            return;
        }
        if self.aborted {
            self.release_claim();
            return;
        }
        if let Some(claim) = self.claim.as_mut() {
            let done = usize::try_from(claim.position()).unwrap_or(usize::MAX);
            claim.mark_done(done);
            let done = claim.record_number(0);
            let failed = &PRODUCERS.current().failed_replays;
            failed
                .lock()
                .retain(|(path, number)| path != claim.path() || *number >= done);
        }
        self.batch.clear();
        if self.claim.as_ref().is_some_and(Claim::is_at_end) {
            self.finish();
        }
    }

    /// Deletes the file, whose records are all sent, and looks for the next one.
    fn finish(&mut self) {
        if let Some(Err(error)) = self.claim.take().map(Claim::finish) {
            runtime::error(error.message());
        }
        self.next = None;
    }
}

/// Longer the more processes use the spool: each looks at the files of all of them.
fn interval(spool: &Spool) -> Duration {
    let files = u32::try_from(spool.files_in_use()).unwrap_or(u32::MAX);
    POLL_INTERVAL.max(INTERVAL_PER_FILE.saturating_mul(files).min(MAX_INTERVAL))
}

fn claim(spool: &Spool) -> Option<Claim> {
    spool.claim().unwrap_or_else(|error| {
        runtime::error(error.message());
        None
    })
}

fn enqueue(producer: &Producer, record: &SpoolRecord, opaque: u64) -> Code {
    let mut topics = producer.topics.lock();
    let topic = topics.get(&record.topic);
    // A topic that must be created first is created by its first new message; until then the broker's auto-creation
    // applies.
    if matches!(topic.readiness, Readiness::Missing(_)) {
        topic.readiness = Readiness::Unknown;
    }
    match topics.outlet(&record.topic) {
        Some((handle, _)) => produce(handle, &record.outgoing(), opaque),
        None => Code::InvalidTopic,
    }
}

/// Kafka is taken as reachable for this long after the acknowledgements of a request.
const TRUST_MS: u64 = 1000;

impl Producer {
    #[inline]
    fn journal(&self) -> Option<(&Journal, &Spool)> {
        self.in_flight.journal.as_ref().zip(self.spool.as_ref())
    }

    /// Writes the message to the journal before it is sent. Without `spool_when: always` only while Kafka may be away,
    /// and a message that cannot be written is sent anyway.
    ///
    #[inline]
    pub(super) fn journal_write(&self, message: &ProducerRecord<'_>, sequence: u64) -> Result<()> {
        match self.journal() {
            Some((journal, spool)) => self.write_to(journal, spool, message, sequence),
            None => Ok(()),
        }
    }

    #[inline(never)]
    fn write_to(
        &self,
        journal: &Journal,
        spool: &Spool,
        message: &ProducerRecord<'_>,
        sequence: u64,
    ) -> Result<()> {
        if !self.config.spool_always && self.has_just_delivered() {
            return Ok(());
        }
        let written = journal.write(spool, sequence, message);
        match written {
            Err(error) if !self.config.spool_always => {
                runtime::warn(error.message());
                Ok(())
            }
            Err(error) => {
                self.in_flight.complete(sequence);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// True if Kafka acknowledged the messages of a request within the last second.
    fn has_just_delivered(&self) -> bool {
        let age = clock::coarse_ms().saturating_sub(self.delivered_at.load(Ordering::Relaxed));
        age < TRUST_MS && !self.is_suspended()
    }

    /// Removes a message that librdkafka did not accept.
    #[cold]
    pub(super) fn journal_cancel(&self, sequence: u64) {
        if let Some((journal, _)) = self.journal() {
            journal.cancel(sequence);
        }
        self.in_flight.complete(sequence);
    }

    /// Records acknowledgements; `end` also deletes the file that is kept for the next message.
    pub(super) fn prune_journal(&self, end: bool) {
        if let Some((journal, spool)) = self.journal() {
            journal.prune(spool, end);
        }
    }

    /// Leaves the remaining messages to a replay, because the client is closed.
    pub(super) fn close_journal(&self) {
        if let Some((journal, spool)) = self.journal() {
            journal.close(spool);
        }
    }

    pub(super) fn is_journal_busy(&self) -> bool {
        self.journal().is_some_and(|(journal, _)| journal.is_busy())
    }
}
