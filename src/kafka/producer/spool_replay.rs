//! Sends what earlier processes left in the spool, in file order, once a broker answers.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka_sys::bindings::rd_kafka_resp_err_t as Code;

use super::in_flight::{PINNED, REPLAY};
use super::poller::outgoing;
use super::record::produce;
use super::topic_cache::Readiness;
use super::Producer;
use crate::kafka::client;
use crate::kafka::producer::delivery::Undelivered;
use crate::log::Level;
use crate::process;
use crate::spool::{Claim, Spool, SpoolRecord};

/// Records sent before their acknowledgements are waited for.
const BATCH_SIZE: usize = 500;
/// The spool is looked at this often.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// A file of the spool on its way to Kafka.
#[derive(Default)]
pub struct SpoolReplay {
    claim: Option<Claim>,
    batch: Vec<SpoolRecord>,
    /// Acknowledgements counted before this chunk.
    base: u64,
    failed: u64,
    aborted: bool,
    next: Option<Instant>,
}

impl SpoolReplay {
    /// True while acknowledgements are waited for.
    pub fn is_under_way(&self) -> bool {
        self.claim.is_some()
    }

    /// Lets go of the file; what was acknowledged and not marked yet is sent again by the next one.
    pub fn release_claim(&mut self) {
        self.claim = None;
        self.batch.clear();
        self.next = Some(Instant::now() + POLL_INTERVAL);
    }

    /// A record of the chunk was not delivered.
    pub fn failed(&mut self, producer: &Producer, report: &Undelivered) {
        self.failed += 1;
        if !is_undeliverable(report.code) {
            self.aborted = true;
            return;
        }
        let Some(claim) = self.claim.as_mut() else {
            return;
        };
        let place = usize::try_from(report.opaque & !(REPLAY | PINNED)).unwrap_or(usize::MAX);
        let record = self.batch.get(place).unwrap_or(&report.record);
        let said = match claim.fail(record, &report.record.reason) {
            Ok(()) => format!(
                "Spooled message {} for topic \"{}\" can never be delivered ({}); it is in the spool's folder failed/.",
                record.id, record.topic, report.record.reason
            ),
            Err(error) => {
                self.aborted = true;
                error.message().to_owned()
            }
        };
        process::current().log.say(Level::Error, said);
        *producer.last_error.lock() = Some(report.record.reason.clone());
    }

    /// Goes one step on.
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
                // Whatever is in the queue is thrown out at the end of each request; the poller finds out when Kafka is back.
                return;
            }
            self.claim = claim(spool);
            if self.claim.is_none() && spool.files() > 0 {
                // Only our own is left: closed, it can be sent, and its first record finds out whether Kafka is back.
                spool.rotate_own();
                self.claim = claim(spool);
            }
            for notice in spool.take_notices() {
                process::current().log.say(Level::Warning, notice);
            }
            if self.claim.is_none() {
                return;
            }
        }
        if self.batch.is_empty() {
            self.send(producer);
        } else {
            self.check(producer);
        }
    }

    /// Sends the next chunk; a single record while no broker has answered, to find out.
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
                    let code = enqueue(producer, &record, self.batch.len() as u64 | REPLAY);
                    self.batch.push(record);
                    if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                        let report = Undelivered {
                            record: SpoolRecord {
                                reason: client::describe(code),
                                ..self.batch[self.batch.len() - 1].clone()
                            },
                            code,
                            opaque: (self.batch.len() - 1) as u64 | REPLAY,
                        };
                        self.failed(producer, &report);
                        break;
                    }
                }
                Ok(None) if self.batch.is_empty() => {
                    if let Some(Err(error)) = self.claim.take().map(Claim::finish) {
                        process::current().log.say(Level::Error, error.message());
                    }
                    self.next = None;
                    return;
                }
                Ok(None) => break,
                Err(error) => {
                    process::current().log.say(Level::Error, error.message());
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

    /// Looks whether the chunk is settled.
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
        }
        self.batch.clear();
    }
}

fn claim(spool: &Spool) -> Option<Claim> {
    spool.claim().unwrap_or_else(|error| {
        process::current().log.say(Level::Error, error.message());
        None
    })
}

/// A record nobody waits for any more must not hold up those behind it: a topic or partition that a living Kafka does not have
/// counts, too.
fn is_undeliverable(code: Code) -> bool {
    client::is_permanent(code)
        || matches!(
            code,
            Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
                | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
                | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        )
}

#[allow(unsafe_code)]
fn enqueue(producer: &Producer, record: &SpoolRecord, opaque: u64) -> Code {
    let mut topics = producer.topics.lock();
    let handle = topics.handle(&record.topic);
    let topic = topics.get(&record.topic);
    // A topic that has to be created first is created by its first live message; until then the broker's own way must do.
    if matches!(topic.readiness, Readiness::Missing(_)) {
        topic.readiness = Readiness::Unknown;
    }
    // SAFETY: the handle is alive while the table is locked.
    unsafe { produce(producer.client, handle, &outgoing(record), opaque) }
}
