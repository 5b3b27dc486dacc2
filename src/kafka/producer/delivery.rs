//! Delivery reports: copies of messages that failed, and the failures not yet reported by a flush.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{c_char, c_void};

use parking_lot::Mutex;
use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka_sys as sys;

use super::in_flight::{refusal_code, InFlight};
use super::PINNED;
use crate::error::{FailedMessage, Kind};
use crate::kafka::client;
use crate::message::Header;
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
///
/// # Safety
/// `message` must belong to a delivery report event that is still alive.
pub(super) unsafe fn undelivered(
    message: *const sys::rd_kafka_message_t,
    in_flight: &InFlight,
) -> Undelivered {
    let raw = &*message;
    let topic = if raw.rkt.is_null() {
        String::new()
    } else {
        client::text(sys::rd_kafka_topic_name(raw.rkt))
    };
    let opaque = raw._private as u64;
    let purged = matches!(Code::from(raw.err), Code::PurgeQueue | Code::PurgeInflight);
    // `rd_kafka_message_produce_errstr` is not used here: it points into a response that is destroyed by now.
    let refusal = in_flight
        .take_refusal(opaque)
        .filter(|text| !text.is_empty());
    let code = refusal_code(raw.err.into(), refusal.as_deref().unwrap_or_default());
    let reason = match refusal {
        _ if purged => "no acknowledgement in time".to_owned(),
        Some(text) => text,
        None => client::describe(raw.err.into()),
    };
    Undelivered {
        record: SpoolRecord {
            id: String::new(),
            topic,
            partition: (opaque & PINNED != 0).then_some(raw.partition),
            key: bytes(raw.key.cast(), raw.key_len),
            value: bytes(raw.payload.cast(), raw.len),
            headers: headers(message),
            timestamp_ms: produced_at_ms(message),
            reason,
        },
        code,
        opaque,
    }
}

/// Time of production in ms. librdkafka does not report the timestamp of a failed message, only its age.
unsafe fn produced_at_ms(message: *const sys::rd_kafka_message_t) -> i64 {
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

/// The beginning of the message that librdkafka keeps behind its public struct (`rd_kafka_msg_t`), as far as
/// [`is_without_headers`] needs it. The bundled version is pinned, and a test notices another layout.
#[repr(C)]
struct FetchedLayout {
    message: sys::rd_kafka_message_t,
    link: [*const c_void; 2],
    flags: i32,
    timestamp_type: i32,
    timestamp: i64,
    parsed_headers: *const c_void,
    status: i32,
    broker: i32,
    headers_size: i32,
    headers: *const u8,
}

/// True for a fetched record that has no headers. librdkafka finds that out by allocating and freeing a parser, which
/// costs more than the rest of a record's way to its callback. In Kafka's format the headers begin with their number,
/// directly behind the value.
///
/// False where that is not known: the record of an old format, or a message that was not fetched.
///
/// # Safety
/// `message` must be alive and a record that a consumer fetched.
#[inline]
pub(crate) unsafe fn is_without_headers(message: *const sys::rd_kafka_message_t) -> bool {
    // librdkafka allocates such a message inside an operation, which is larger than this layout.
    let fetched = &*message.cast::<FetchedLayout>();
    let value = fetched.message.payload.cast_const().cast::<u8>();
    !value.is_null()
        && fetched.parsed_headers.is_null()
        && fetched.headers_size == 1
        && fetched.headers == value.wrapping_add(fetched.message.len)
        && *fetched.headers == 0
}

/// The headers of a record that a consumer fetched, in order.
///
/// # Safety
/// `message` must be alive and a record that a consumer fetched.
#[inline]
pub(crate) unsafe fn fetched_headers(message: *const sys::rd_kafka_message_t) -> Vec<Header> {
    if is_without_headers(message) {
        return Vec::new();
    }
    headers(message)
}

/// All headers of a message, in order.
///
/// # Safety
/// `message` must be alive.
pub(crate) unsafe fn headers(message: *const sys::rd_kafka_message_t) -> Vec<Header> {
    let mut list = std::ptr::null_mut();
    if sys::bindings::rd_kafka_message_headers(message, &raw mut list).is_error() {
        return Vec::new();
    }
    let mut all = Vec::new();
    let (mut name, mut value, mut size): (*const c_char, _, usize) =
        (std::ptr::null(), std::ptr::null(), 0);
    while !sys::bindings::rd_kafka_header_get_all(
        list,
        all.len(),
        &raw mut name,
        &raw mut value,
        &raw mut size,
    )
    .is_error()
    {
        all.push((client::text(name), bytes(value.cast(), size)));
    }
    all
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
