//! Messages that were not delivered: copies of them, spooled, logged or given to the client that replaces this one, and
//! the failures that no flush has reported yet.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::in_flight::{refusal_code, InFlight};
use super::pool::PRODUCERS;
use super::topic_cache::PendingMessage;
use super::{poller, Producer, PINNED};
use crate::error::{FailedMessage, Kind, Result};
use crate::kafka::client::{self, NativeMessage};
use crate::log::Level;
use crate::process;
use crate::spool::SpoolRecord;

/// Failures kept with their ids until the next flush; further ones are only counted.
const MAX_NAMED: usize = 1000;

/// A message that was not delivered, complete, with the reason.
pub struct Undelivered {
    pub record: SpoolRecord,
    /// librdkafka's error code.
    pub code: Code,
    /// The opaque passed to librdkafka.
    pub opaque: u64,
}

/// Copies a failed message out of a delivery report.
pub(super) fn undelivered(message: &NativeMessage, in_flight: &InFlight) -> Undelivered {
    let opaque = message.opaque();
    let raw_code = message.code();
    let purged = matches!(raw_code, Code::PurgeQueue | Code::PurgeInflight);
    // `refusal_text()` is not used here: it points into a response that is destroyed by now.
    let refusal = in_flight
        .take_refusal(opaque)
        .filter(|text| !text.is_empty());
    let code = refusal_code(raw_code, refusal.as_deref().unwrap_or_default());
    let reason = match refusal {
        _ if purged => "no acknowledgement in time".to_owned(),
        Some(text) => text,
        None => client::describe(raw_code),
    };
    Undelivered {
        record: SpoolRecord {
            id: String::new(),
            topic: message.topic(),
            partition: (opaque & PINNED != 0).then_some(message.partition()),
            key: message.key().map(<[u8]>::to_vec),
            value: message.value().map(<[u8]>::to_vec),
            headers: message.headers(),
            timestamp_ms: produced_at_ms(message),
            reason,
        },
        code,
        opaque,
    }
}

/// Time of production in ms. librdkafka does not report the timestamp of a failed message, only its age.
fn produced_at_ms(message: &NativeMessage) -> i64 {
    let now = i64::try_from(crate::ids::unix_ms()).unwrap_or(0);
    now - message.age_us() / 1000
}

#[derive(Default)]
struct Unreported {
    named: VecDeque<FailedMessage>,
    count: u64,
}

/// Failures that no flush has reported yet.
#[derive(Default)]
pub struct DeliveryFailures {
    unreported: Mutex<Unreported>,
}

impl DeliveryFailures {
    pub fn add(&self, failed: FailedMessage) {
        let mut unreported = self.unreported.lock();
        unreported.count += 1;
        if unreported.named.len() < MAX_NAMED {
            unreported.named.push_back(failed);
        }
    }

    /// True if there is no failure.
    pub fn is_empty(&self) -> bool {
        self.unreported.lock().count == 0
    }

    /// Removes the failure with this id if the message was too large; returns its reason.
    pub fn take_too_large(&self, id: &str) -> Option<String> {
        let failed = self.remove_if(|one| one.id == id && one.kind == Kind::MessageTooLarge)?;
        Some(failed.reason)
    }

    /// Removes the failure with this id, because the caller handles it.
    pub fn remove(&self, id: &str) {
        self.remove_if(|one| one.id == id);
    }

    fn remove_if(&self, wanted: impl Fn(&FailedMessage) -> bool) -> Option<FailedMessage> {
        let mut unreported = self.unreported.lock();
        let place = unreported.named.iter().position(wanted)?;
        unreported.count -= 1;
        unreported.named.remove(place)
    }

    /// Takes all failures: those with ids, and the total number.
    pub fn take(&self) -> (Vec<FailedMessage>, u64) {
        let unreported = std::mem::take(&mut *self.unreported.lock());
        (unreported.named.into(), unreported.count)
    }
}

/// Writes undelivered messages to the spool. Without a spool, or if that fails, they are logged. The next flush reports
/// them in either case.
pub fn spool_or_report(producer: &Producer, reports: Vec<Undelivered>) {
    if reports.is_empty() {
        return;
    }
    if producer.aborting.load(Ordering::Acquire) {
        for report in reports {
            producer.in_flight.complete(report.opaque);
        }
        return;
    }
    let process = process::current();
    let spooling_queue = producer.spooling_queue.load(Ordering::Acquire);
    let reports = name_collisions(producer, reports);
    let dispositions = spool_undelivered(producer, &reports);
    let kept = dispositions
        .iter()
        .filter(|disposition| matches!(disposition, Disposition::Spooled | Disposition::InJournal))
        .count();
    process
        .counters
        .spooled
        .fetch_add(kept as u64, Ordering::Relaxed);
    for (report, disposition) in reports.into_iter().zip(dispositions) {
        let place = match &disposition {
            Disposition::Spooled | Disposition::InJournal => "; kept in the spool",
            Disposition::NoSpool => "",
            Disposition::SpoolFailed(why) => why,
        };
        let failed = FailedMessage {
            reason: format!("{}{place}", report.record.reason),
            kind: kind_of(report.code),
            permanent: client::is_refused(report.code),
            id: report.record.id,
            topic: report.record.topic,
        };
        if !matches!(disposition, Disposition::Spooled | Disposition::InJournal) {
            process.log.write(
                Level::Error,
                format!(
                    "Message {} for topic \"{}\" was not delivered to {}: {}",
                    failed.id, failed.topic, producer.config.brokers, failed.reason
                ),
            );
        }
        if !spooling_queue {
            process.counters.failed.fetch_add(1, Ordering::Relaxed);
            PRODUCERS.current().counters.failed(failed.kind);
            process.counters.set_last_error(&failed.reason);
            if producer.tracks_callback_sends() {
                PRODUCERS.current().callback_failures.add(failed.clone());
            }
            producer.failures.add(failed);
        }
        if matches!(disposition, Disposition::InJournal) {
            producer.in_flight.keep_in_journal(report.opaque);
        } else {
            producer.in_flight.complete(report.opaque);
        }
    }
}

/// Storage of an undelivered message.
enum Disposition {
    Spooled,
    /// It was written to the journal before it was sent, and stays there.
    InJournal,
    NoSpool,
    SpoolFailed(String),
}

fn spool_undelivered(producer: &Producer, reports: &[Undelivered]) -> Vec<Disposition> {
    let Some(spool) = &producer.spool else {
        return reports.iter().map(|_| Disposition::NoSpool).collect();
    };
    // Noted with the messages, so that they reach this cluster whatever the configuration says then.
    super::spool::note_cluster(producer, spool);
    let records: Vec<SpoolRecord> = reports.iter().map(|report| report.record.clone()).collect();
    let Err(error) = spool.append(&records) else {
        return reports.iter().map(|_| Disposition::Spooled).collect();
    };
    // The spool stores as many as possible, in order, and names the others; it stores none if it could not be opened.
    let lost = match error.failed().len() {
        0 => reports.len(),
        lost => lost,
    };
    let why = format!("; LOST, because the spool failed: {error}");
    let kept = reports.len().saturating_sub(lost);
    (0..reports.len())
        .map(|place| {
            if place < kept {
                Disposition::Spooled
            } else if producer.in_flight.is_in_journal(reports[place].opaque) {
                Disposition::InJournal
            } else {
                Disposition::SpoolFailed(why.clone())
            }
        })
        .collect()
}

/// Kafka rejects a topic name that differs from an existing one only by `.` and `_`: adds the existing name to the
/// reason.
fn name_collisions(producer: &Producer, mut reports: Vec<Undelivered>) -> Vec<Undelivered> {
    // If auto-creation fails for this reason, the broker only reports an unknown topic.
    let collided = |report: &&mut Undelivered| {
        matches!(
            report.code,
            Code::InvalidTopic | Code::UnknownTopicOrPartition | Code::UnknownTopic
        )
    };
    let mut candidates = reports.iter_mut().filter(collided).peekable();
    if candidates.peek().is_none() {
        return reports;
    }
    for report in candidates {
        if let Some(reason) = name_collision(producer, &report.record.topic) {
            report.code = Code::InvalidTopic;
            report.record.reason = reason;
        }
    }
    reports
}

/// Names the existing topic that prevents Kafka from creating this one.
pub fn name_collision(producer: &Producer, topic: &str) -> Option<String> {
    let topics = producer.client.topic_names(Duration::from_secs(2))?;
    let folded = topic.replace('.', "_");
    let existing = topics
        .iter()
        .find(|other| *other != topic && other.replace('.', "_") == folded)?;
    Some(format!(
        "Kafka takes \"{topic}\" and the existing topic \"{existing}\" for the same name, \
         because they differ only by \".\" and \"_\""
    ))
}

fn kind_of(code: Code) -> Kind {
    client::to_error(code, "", "", "").kind()
}

impl Producer {
    /// The client that has taken over this one's messages, if it has been replaced.
    pub(super) fn successor(&self) -> Option<Arc<Self>> {
        self.successor.lock().clone()
    }

    /// Holds back the messages of this client until `predecessor` has handed over its own.
    pub(super) fn start_behind(&self, predecessor: &Arc<Self>) {
        *self.predecessor.lock() = Some(Arc::clone(predecessor));
        self.held.store(true, Ordering::Release);
        poller::wake(self);
    }

    /// Takes over messages of its predecessor: they are sent before its own, in the given order. False if this client
    /// does not hold back its own messages.
    pub(super) fn take_over(&self, reports: &[Undelivered]) -> Result<bool> {
        let mut topics = self.topics.lock();
        if !self.held.load(Ordering::Acquire) {
            return Ok(false);
        }
        let mut messages = Vec::with_capacity(reports.len());
        for report in reports {
            let record = &report.record;
            let number = topics.get(&record.topic).number;
            let sequence = self.in_flight.track(&record.id, number);
            let outgoing = record.outgoing();
            self.journal_write(&outgoing, sequence)?;
            messages.push(PendingMessage {
                record: record.clone(),
                sequence,
            });
        }
        self.pending.lock().prepend(messages);
        Ok(true)
    }
}
