//! What became of messages: the records behind librdkafka's failed delivery reports, and the failures nobody has been told of yet.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::c_char;

use parking_lot::Mutex;
use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::flight::PINNED;
use crate::error::{FailedMessage, Kind};
use crate::kafka::native;
use crate::spool::SpoolRecord;

/// So many failures keep their names until the next flush tells of them; beyond that they are counted.
const MOST_NAMED: usize = 1000;

/// A header as Kafka has it: a name and bytes, or no bytes at all.
pub type Header = (String, Option<Vec<u8>>);

/// A message that was not delivered, whole, with the reason.
pub struct Undelivered {
    /// Everything needed to send it again.
    pub record: SpoolRecord,
    /// Kafka's code.
    pub code: Code,
    /// What was sent along as the opaque.
    pub opaque: u64,
}

/// Copies a failed message out of a delivery report.
///
/// # Safety
/// `message` must be a message of a delivery report event that is still alive.
pub(crate) unsafe fn undelivered(message: *const sys::rd_kafka_message_t) -> Undelivered {
    let raw = &*message;
    let topic = if raw.rkt.is_null() {
        String::new()
    } else {
        native::text(sys::rd_kafka_topic_name(raw.rkt))
    };
    let explanation = sys::bindings::rd_kafka_message_produce_errstr(message);
    let opaque = raw._private as u64;
    let purged = matches!(
        raw.err,
        Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE | Code::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
    );
    let reason = match native::text(explanation) {
        _ if purged => "no acknowledgement in time".to_owned(),
        empty if empty.is_empty() => native::describe(raw.err),
        reason => reason,
    };
    Undelivered {
        record: SpoolRecord {
            id: String::new(),
            topic,
            partition: (opaque & PINNED != 0).then_some(raw.partition),
            key: bytes(raw.key.cast(), raw.key_len),
            value: bytes(raw.payload.cast(), raw.len),
            headers: headers(message),
            timestamp_ms: made_at(message),
            reason,
        },
        code: raw.err,
        opaque,
    }
}

/// When a message was produced, in ms. librdkafka does not give the timestamp of one that failed, but how long ago it was.
unsafe fn made_at(message: *const sys::rd_kafka_message_t) -> i64 {
    let now = i64::try_from(crate::ids::unix_ms()).unwrap_or(0);
    let micros = sys::bindings::rd_kafka_message_latency(message);
    now - micros.max(0) / 1000
}

/// # Safety
/// `pointer` must be null or point at `length` bytes.
pub(crate) unsafe fn bytes(pointer: *const u8, length: usize) -> Option<Vec<u8>> {
    if pointer.is_null() {
        return None;
    }
    Some(std::slice::from_raw_parts(pointer, length).to_vec())
}

/// All headers of a message, in order.
///
/// # Safety
/// `message` must be alive.
pub(crate) unsafe fn headers(message: *const sys::rd_kafka_message_t) -> Vec<Header> {
    let mut list = std::ptr::null_mut();
    if sys::bindings::rd_kafka_message_headers(message, &raw mut list)
        != Code::RD_KAFKA_RESP_ERR_NO_ERROR
    {
        return Vec::new();
    }
    let mut all = Vec::new();
    let (mut name, mut value, mut size): (*const c_char, _, usize) =
        (std::ptr::null(), std::ptr::null(), 0);
    while sys::bindings::rd_kafka_header_get_all(
        list,
        all.len(),
        &raw mut name,
        &raw mut value,
        &raw mut size,
    ) == Code::RD_KAFKA_RESP_ERR_NO_ERROR
    {
        all.push((native::text(name), bytes(value.cast(), size)));
    }
    all
}

#[derive(Default)]
struct Untold {
    named: VecDeque<FailedMessage>,
    count: u64,
}

/// Failures that no flush has reported yet.
#[derive(Default)]
pub struct Failures {
    untold: Mutex<Untold>,
}

impl Failures {
    /// Adds one.
    pub fn add(&self, failed: FailedMessage) {
        let mut untold = self.untold.lock();
        untold.count += 1;
        if untold.named.len() < MOST_NAMED {
            untold.named.push_back(failed);
        }
    }

    /// Takes out the one with this id, where it was too large.
    pub fn forgive_too_large(&self, id: &str) -> Option<String> {
        let mut untold = self.untold.lock();
        let mut named = untold.named.iter();
        let place = named.position(|one| one.id == id && one.kind == Kind::MessageTooLarge)?;
        untold.count -= 1;
        untold.named.remove(place).map(|failed| failed.reason)
    }

    /// Takes them: the named ones and how many there were in all.
    pub fn take(&self) -> (Vec<FailedMessage>, u64) {
        let untold = std::mem::take(&mut *self.untold.lock());
        (untold.named.into(), untold.count)
    }
}
