//! Handles messages that were not delivered: spools or logs them, and records them for the next flush.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;

use super::delivery::Undelivered;
use super::pool::PRODUCERS;
use super::Producer;
use crate::error::{FailedMessage, Kind};
use crate::kafka::client;
use crate::log::Level;
use crate::runtime;
use crate::spool::SpoolRecord;

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
