//! Dead letters: where the record of a failed message goes, what its headers say, and writing it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::BrokerConfig;
use crate::envelope::headers;
use crate::error::{Error, Kind, Result};
use crate::kafka::consumer::Record;
use crate::kafka::producer::pool::PRODUCERS;
use crate::kafka::producer::Producer;
use crate::kafka::transaction;
use crate::message::{Header, Message, ProducerRecord};
use crate::{ids, runtime};

/// The `x-exception-class` of a record whose callback ended the process by `exit` or a fatal error.
pub const FATAL: &str = "FatalError";
/// Longer exception messages are truncated.
const MAX_REASON_BYTES: usize = 1024;
/// A broker's limit may be below the client's: the acknowledgement of dead letters larger than this is awaited, so that
/// a refused one can be written without its value.
const LARGE_RECORD_BYTES: usize = 4096;
/// The longest key that is kept when the value has to be dropped; the name of a channel always fits.
const MAX_KEY_BYTES: usize = 255;
/// How long a large dead letter is waited for.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a record becomes a dead letter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// Class of the exception, or [`FATAL`].
    pub class: String,
    /// Message of the exception.
    pub reason: String,
    /// The exception with its previous ones: class, message, file and line of each; empty if there was none.
    pub chain: String,
    /// Number of attempts; 0 if no callback received the record.
    pub attempts: u32,
    /// The dead-letter topic refused the record as too large: only its headers are written.
    pub headers_only: bool,
    /// The record is at fault: no attempt of another record is expected to fail for this reason.
    pub permanent: bool,
}

/// The record that failed.
pub struct FailedRecord<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Timestamp of the record in ms.
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Vec<Header>,
}

impl<'a> FailedRecord<'a> {
    /// A record in flight.
    #[must_use]
    pub fn of(record: &'a Record) -> Self {
        Self {
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms(),
            key: record.key(),
            value: record.value(),
            headers: record.headers(),
        }
    }

    /// The record of a received message; `None` for a message created here.
    #[must_use]
    pub fn of_message(message: &'a Message) -> Option<Self> {
        let origin = message.origin.as_ref()?;
        Some(Self {
            topic: &origin.topic,
            partition: origin.partition,
            offset: origin.offset,
            timestamp_ms: origin.timestamp_ms,
            key: message.key(),
            value: message.value(),
            headers: message.headers.clone(),
        })
    }
}

/// The dead-letter topic of `topic`.
#[must_use]
pub fn topic(config: &BrokerConfig, topic: &str) -> String {
    format!("{}.{topic}", config.dlq_prefix)
}

/// True for a dead-letter topic: a record that fails there cannot be dead-lettered again.
#[must_use]
pub fn is_topic(config: &BrokerConfig, topic: &str) -> bool {
    topic
        .strip_prefix(&*config.dlq_prefix)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// Writes the dead letter of a record, by its consumer's transaction or by `producer`. The record's offset is committed
/// only after Kafka has acknowledged it, as with everything a callback sends. `is_awaited`: the acknowledgement is
/// awaited, to write the headers only where the record is refused as too large.
///
/// # Errors
/// Encoding: dead letters are disabled. The errors of a producer.
pub fn write(
    config: &BrokerConfig,
    producer: impl FnOnce() -> Result<Arc<Producer>>,
    failed: &FailedRecord<'_>,
    letter: &DeadLetter,
    is_awaited: bool,
) -> Result<()> {
    let place = format!(
        "topic \"{}\" partition {} offset {}",
        failed.topic, failed.partition, failed.offset
    );
    if !config.dlq {
        return Err(Error::encoding(format!(
            "The record in {place} cannot be handled: {} Dead letters are disabled (dlq), so its offset is not \
            committed.",
            letter.reason
        )));
    }
    let topic = topic(config, failed.topic);
    let headers = headers_of(failed, &config.consumer_group, letter);
    let id = ids::new_id();
    let record = ProducerRecord {
        id: &id,
        topic: &topic,
        partition: None,
        key: failed.key,
        value: failed.value,
        headers: &headers,
        timestamp_ms: 0,
    };
    runtime::warn(format!(
        "Dead letter in \"{topic}\": the record in {place} ({}).",
        if letter.chain.is_empty() {
            &letter.reason
        } else {
            &letter.chain
        }
    ));
    // A transaction is over once Kafka refuses a message of it: the next one holds the headers only.
    let (producer, is_transaction) = match transaction::current_for(config)? {
        Some(producer) => (producer, true),
        None => (producer()?, false),
    };
    if !is_transaction {
        producer.track_callback_sends();
    }
    let producers = PRODUCERS.current();
    let sent = if letter.headers_only {
        Err(Error::new(Kind::MessageTooLarge, ""))
    } else {
        producers.send(&producer, &record).and_then(|producer| {
            if is_transaction {
                return Ok(());
            }
            wait_if_large(&producer, &record, is_awaited)
        })
    };
    match sent {
        Err(error) if error.kind() == Kind::MessageTooLarge => {
            // The coordinates and the reason are still worth keeping.
            let size = failed.value.map_or(0, <[u8]>::len).to_string();
            let mut coordinates = headers.clone();
            coordinates.retain(|(name, _)| {
                headers::is_of_dead_letters(name)
                    && ![headers::ORIGINAL_SIZE, headers::EXCEPTION_CHAIN].contains(&&**name)
            });
            coordinates.push((headers::ORIGINAL_SIZE.to_owned(), Some(size.into_bytes())));
            let record = ProducerRecord {
                key: failed.key.filter(|key| key.len() <= MAX_KEY_BYTES),
                value: None,
                headers: &coordinates,
                ..record
            };
            producers.send(&producer, &record).map(drop)
        }
        other => other,
    }
}

/// Waits for the acknowledgement of a large dead letter. Errors other than its size surface when the offset is
/// committed.
fn wait_if_large(producer: &Producer, record: &ProducerRecord<'_>, is_awaited: bool) -> Result<()> {
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
    if !is_awaited && size < LARGE_RECORD_BYTES.min(most / 2) {
        return Ok(());
    }
    producer.wait_for_delivery(Instant::now() + crate::runtime::clock::bounded(DELIVERY_TIMEOUT));
    match producer.take_too_large(record.id) {
        Some(reason) => Err(Error::new(Kind::MessageTooLarge, reason)),
        None => Ok(()),
    }
}

/// The record's own headers followed by ours. `x-original-*` headers of an earlier failure are kept.
fn headers_of(failed: &FailedRecord<'_>, group: &str, letter: &DeadLetter) -> Vec<Header> {
    let ours = [
        (headers::ORIGINAL_TOPIC, failed.topic.to_owned()),
        (headers::ORIGINAL_PARTITION, failed.partition.to_string()),
        (headers::ORIGINAL_OFFSET, failed.offset.to_string()),
        (headers::ORIGINAL_TIMESTAMP, failed.timestamp_ms.to_string()),
        (headers::ORIGINAL_GROUP, group.to_owned()),
    ];
    let latest = [
        (headers::EXCEPTION_CLASS, letter.class.clone()),
        (headers::EXCEPTION_MESSAGE, cut(&letter.reason).to_owned()),
        (headers::EXCEPTION_CHAIN, letter.chain.clone()),
        (headers::ATTEMPTS, letter.attempts.to_string()),
        (headers::FAILED_AT, (ids::unix_ms() / 1000).to_string()),
    ];
    let mut all = failed.headers.clone();
    // The replay was addressed to one group; this dead letter is about the failure in that group.
    all.retain(|(name, _)| name != headers::REPLAY_GROUP);
    for (name, value) in ours {
        if !all.iter().any(|(known, _)| known == name) {
            all.push((name.to_owned(), Some(value.into_bytes())));
        }
    }
    for (name, value) in latest {
        all.retain(|(known, _)| known != name);
        if name == headers::EXCEPTION_CHAIN && value.is_empty() {
            continue;
        }
        all.push((name.to_owned(), Some(value.into_bytes())));
    }
    if !all.iter().any(|(known, _)| known == headers::REPLAYS) {
        all.push((headers::REPLAYS.to_owned(), Some(b"0".to_vec())));
    }
    all
}

fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use super::{cut, headers_of, DeadLetter, FailedRecord, Header, MAX_REASON_BYTES};

    fn failed(topic: &str, headers: Vec<Header>) -> FailedRecord<'_> {
        FailedRecord {
            topic,
            partition: 2,
            offset: 7,
            timestamp_ms: 5,
            key: None,
            value: None,
            headers,
        }
    }

    fn letter(attempts: u32) -> DeadLetter {
        DeadLetter {
            class: "DomainException".to_owned(),
            reason: "no".to_owned(),
            attempts,
            ..DeadLetter::default()
        }
    }

    fn value<'a>(all: &'a [Header], name: &str) -> &'a str {
        let found = all
            .iter()
            .find(|(known, _)| known == name)
            .and_then(|(_, value)| value.as_deref());
        std::str::from_utf8(found.unwrap_or_default()).unwrap_or_default()
    }

    #[test]
    fn original_headers_are_kept_and_the_latest_failure_is_recorded() {
        let first = failed("realtime_user_1", vec![("own".into(), None)]);
        let first = headers_of(&first, "g", &letter(4));
        let again = headers_of(&failed("dlq.realtime_user_1", first), "g", &letter(1));
        assert_eq!(again[0], ("own".to_owned(), None));
        assert_eq!(value(&again, "x-original-topic"), "realtime_user_1");
        assert_eq!(value(&again, "x-original-offset"), "7");
        assert_eq!(value(&again, "x-attempts"), "1");
        assert_eq!(
            again
                .iter()
                .filter(|(name, _)| name == "x-exception-class")
                .count(),
            1
        );
    }

    #[test]
    fn a_long_reason_is_truncated_at_a_character_boundary() {
        let long = "ü".repeat(MAX_REASON_BYTES);
        assert_eq!(cut(&long).len(), MAX_REASON_BYTES);
        let odd = format!("a{long}");
        assert_eq!(cut(&odd).len(), MAX_REASON_BYTES - 1);
    }
}
