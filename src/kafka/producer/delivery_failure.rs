//! Messages that were not delivered: copies them out of delivery reports, spools or logs them, and records them for the
//! next flush.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;

use super::in_flight::{refusal_code, InFlight};
use super::pool::PRODUCERS;
use super::{Producer, PINNED};
use crate::error::{FailedMessage, Kind};
use crate::kafka::client::{self, NativeMessage};
use crate::log::Level;
use crate::runtime;
use crate::spool::{Spool, SpoolRecord};

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
    let process = runtime::current();
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
    note_cluster(producer, spool);
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

/// Notes the cluster of the brokers in the spool; true if it is known, or if they report none.
pub(super) fn note_cluster(producer: &Producer, spool: &Spool) -> bool {
    if spool.has_cluster() {
        return true;
    }
    match producer.client.cluster_id(Duration::ZERO) {
        Some(id) if client::is_mock(&id) => true,
        Some(id) => {
            spool.set_cluster(&id);
            true
        }
        None => producer.in_flight.broker_responded.load(Ordering::Acquire),
    }
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
    let topics = client::topic_names(&producer.client, Duration::from_secs(2))?;
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
