//! Writing dead letters: for the worker, for `nack()`, and when a process ends inside a callback.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::broker::Broker;
use super::zend;
use crate::config::Delivery;
use crate::envelope::headers;
use crate::error::{Error, Kind, Result};
use crate::kafka::consumer::{Consumer, Record};
use crate::kafka::dead_letter::{self, Failure};
use crate::kafka::producer::Producer;
use crate::kafka::transaction;
use crate::log::Level;
use crate::message::Header;
use crate::message::ProducerRecord;
use crate::process;
use crate::worker::DeadLetter;

/// The `x-exception-class` of a record whose callback ended the process by `exit` or a fatal error.
pub const FATAL: &str = "FatalError";
/// A broker's limit may be below the client's: the acknowledgement of dead letters larger than this is awaited, so that
/// a refused one can be written without its value.
const LARGE_RECORD_BYTES: usize = 4096;
/// The longest key that is kept when the value has to be dropped; the name of a channel always fits.
const MAX_KEY_BYTES: usize = 255;
/// How long a large dead letter is waited for.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// How a dead letter is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With key, value and headers of the record.
    Whole,
    /// The same; its acknowledgement is awaited, to write the headers only where it is refused as too large.
    Confirmed,
    /// Without the value, because the dead-letter topic refused that as too large.
    HeadersOnly,
}

/// Writes a dead letter. The record's offset is committed only after Kafka has acknowledged it, as with everything a
/// callback sends.
pub fn write(
    broker: &Broker,
    failure: &Failure<'_>,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    own: Vec<Header>,
    form: Form,
) -> Result<()> {
    let place = format!(
        "topic \"{}\" partition {} offset {}",
        failure.topic, failure.partition, failure.offset
    );
    if !broker.config.dlq {
        return Err(Error::encoding(format!(
            "The record in {place} cannot be handled: {} Dead letters are disabled (dlq), so its offset is not \
            committed.",
            failure.reason
        )));
    }
    let topic = dead_letter::topic(&broker.config, failure.topic);
    let group = &broker.config.consumer_group;
    let headers = dead_letter::headers(own, group, failure);
    let id = crate::ids::new_id();
    let record = ProducerRecord {
        id: &id,
        topic: &topic,
        partition: None,
        key,
        value,
        headers: &headers,
        timestamp_ms: 0,
    };
    process::current().log.write(
        Level::Warning,
        format!(
            "Dead letter in \"{topic}\": the record in {place} ({}).",
            if failure.chain.is_empty() {
                failure.reason
            } else {
                failure.chain
            }
        ),
    );
    // A transaction is over once Kafka refuses a message of it: the next one holds the headers only.
    let (producer, is_transaction) = match transaction::current_for(&broker.config)? {
        Some(producer) => (producer, true),
        None => (broker.sender()?.producer, false),
    };
    if !is_transaction {
        producer.track_callback_sends();
    }
    let producers = &process::current().producers;
    let sent = if form == Form::HeadersOnly {
        Err(Error::new(Kind::MessageTooLarge, ""))
    } else {
        producers.send(&producer, &record).and_then(|producer| {
            if is_transaction {
                return Ok(());
            }
            wait_if_large(&producer, &record, form)
        })
    };
    match sent {
        Err(error) if error.kind() == Kind::MessageTooLarge => {
            // The coordinates and the reason are still worth keeping.
            let kept = dead_letter_headers(record.headers);
            let mut coordinates = dead_letter::headers(kept, group, failure);
            coordinates.retain(|(name, _)| name != headers::EXCEPTION_CHAIN);
            let size = value.map_or(0, <[u8]>::len).to_string();
            coordinates.push((headers::ORIGINAL_SIZE.to_owned(), Some(size.into_bytes())));
            let record = ProducerRecord {
                key: key.filter(|key| key.len() <= MAX_KEY_BYTES),
                value: None,
                headers: &coordinates,
                ..record
            };
            producers.send(&producer, &record).map(drop)
        }
        other => other,
    }
}

/// The dead-letter headers of an earlier failure.
fn dead_letter_headers(list: &[Header]) -> Vec<Header> {
    let ours = list
        .iter()
        .filter(|(name, _)| headers::is_of_dead_letters(name) && name != headers::ORIGINAL_SIZE);
    ours.cloned().collect()
}

/// Waits for the acknowledgement of a large dead letter. Errors other than its size surface when the offset is
/// committed.
fn wait_if_large(producer: &Producer, record: &ProducerRecord<'_>, form: Form) -> Result<()> {
    let headers: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len))
        .sum();
    let size = record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len) + headers;
    let most = producer
        .config()
        .producer_overrides
        .get("message.max.bytes");
    let most: usize = most
        .and_then(|most| most.parse().ok())
        .unwrap_or(usize::MAX);
    if form != Form::Confirmed && size < LARGE_RECORD_BYTES.min(most / 2) {
        return Ok(());
    }
    producer.wait_for_delivery(Instant::now() + crate::clock::bounded(DELIVERY_TIMEOUT));
    match producer.take_too_large(record.id) {
        Some(reason) => Err(Error::new(Kind::MessageTooLarge, reason)),
        None => Ok(()),
    }
}

/// Writes the dead letter of a record in flight.
pub fn write_for(broker: &Broker, item: &Record, dead_letter: &DeadLetter) -> Result<()> {
    let failure = Failure {
        topic: &item.topic,
        partition: item.partition,
        offset: item.offset,
        timestamp_ms: item.timestamp_ms(),
        class: &dead_letter.class,
        reason: &dead_letter.reason,
        chain: &dead_letter.chain,
        attempts: dead_letter.attempts,
    };
    let form = match dead_letter.headers_only {
        true => Form::HeadersOnly,
        false if item.isolated => Form::Confirmed,
        false => Form::Whole,
    };
    write(
        broker,
        &failure,
        item.key(),
        item.value(),
        item.headers(),
        form,
    )
}

/// The process ends in a callback, by `exit` or a fatal error: the attempt is counted, and after the last one the
/// record is dead-lettered, so that it does not crash every worker after this one.
pub fn on_fatal_error(broker: &Broker, consumer: &Rc<Consumer>) {
    if broker.config.delivery == Delivery::AtMostOnce {
        return;
    }
    let in_flight = consumer.in_flight();
    for record in &in_flight {
        consumer.crashed(record);
    }
    // In a list it is unknown which record crashed the callback; the next worker receives them one by one. In a
    // transaction all earlier results are aborted, so the dead letter has to wait for the next transaction.
    if let ([record], Delivery::AtLeastOnce) = (&*in_flight, broker.config.delivery) {
        let is_last = record.counted_attempt() > broker.config.max_retries;
        // While an earlier record is waiting, this record is delivered again anyway and is dead-lettered then.
        if is_last
            && !consumer.is_blocked(record)
            && broker.config.dlq
            && !broker.is_dead_letter_topic(&record.topic)
        {
            let dead_letter = DeadLetter {
                class: FATAL.to_owned(),
                reason: zend::fatal_error()
                    .unwrap_or_else(|| "the callback ended the process by exit".to_owned()),
                chain: String::new(),
                attempts: record.attempt,
                headers_only: false,
                permanent: true,
            };
            match write_for(broker, record, &dead_letter) {
                Ok(()) => {
                    let counters = &broker.counters;
                    counters.dead_lettered.add(1);
                    consumer.complete(record);
                }
                Err(error) => process::current().log.write(Level::Error, error.message()),
            }
        }
    }
    consumer.requeue_all();
}
