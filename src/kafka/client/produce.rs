//! Passes messages to librdkafka. The crate's producers look the topic up for each message, and have their own delivery
//! reports, which cost more than sending.
#![allow(unsafe_code)]

use std::ffi::c_void;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use sys::{
    rd_kafka_vtype_t as V, rd_kafka_vu_s as Vu, rd_kafka_vu_s__bindgen_ty_1 as U,
    rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 as Memory,
};

use super::errors::take_error;
use super::owned::Owned;
use super::{produce_clock, TopicHandle};

/// A message to pass to librdkafka, which copies it.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// `None` leaves it to the partitioner.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(String, Option<Vec<u8>>)],
    /// Milliseconds since 1970; 0 for the current time.
    pub timestamp_ms: i64,
    /// Returned with the acknowledgement.
    pub opaque: u64,
}

// SAFETY: as librdkafka has it.
unsafe extern "C" {
    safe fn rd_kafka_headers_new(count: usize) -> Owned<'static, sys::rd_kafka_headers_t>;
}

fn parts(bytes: Option<&[u8]>) -> (*const u8, usize) {
    bytes.map_or((std::ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()))
}

/// Queues a message; `NoError`, or why librdkafka refuses it.
#[allow(clippy::inline_always)] // As `produce_gated`.
#[inline(always)]
pub(crate) fn produce(topic: &TopicHandle, message: &Outgoing<'_>) -> Code {
    if !message.headers.is_empty() || message.timestamp_ms != 0 {
        return produce_full(topic, message);
    }
    let (key, key_size) = parts(message.key);
    let (value, size) = parts(message.value);
    // SAFETY: a live topic; key and value are copied. The last error is that of this thread.
    unsafe {
        let result = produce_clock::with_one_read(|| {
            sys::rd_kafka_produce(
                topic.raw(),
                message.partition.unwrap_or(-1),
                sys::RD_KAFKA_MSG_F_COPY,
                value.cast_mut().cast(),
                size,
                key.cast(),
                key_size,
                message.opaque as *mut c_void,
            )
        });
        if result == 0 {
            return Code::NoError;
        }
        failure(topic, sys::rd_kafka_last_error().into())
    }
}

/// The code of a failed call. After a fatal error librdkafka returns the code of that error instead of `_FATAL`.
#[cold]
fn failure(topic: &TopicHandle, code: Code) -> Code {
    if topic.client().fatal_error().is_some() {
        Code::Fatal
    } else {
        code
    }
}

/// `rd_kafka_produceva` with headers, partition and timestamp.
fn produce_full(topic: &TopicHandle, message: &Outgoing<'_>) -> Code {
    let memory = |bytes: Option<&[u8]>| {
        let (ptr, size) = parts(bytes);
        let ptr = ptr.cast_mut().cast();
        U {
            mem: Memory { ptr, size },
        }
    };
    let headers = rd_kafka_headers_new(message.headers.len());
    let list = headers.raw();
    for (name, value) in message.headers {
        let (bytes, size) = parts(value.as_deref());
        let length = isize::try_from(name.len()).unwrap_or(0);
        let size = isize::try_from(size).unwrap_or(0);
        // SAFETY: live headers; name and value are copied.
        unsafe {
            sys::rd_kafka_header_add(list, name.as_ptr().cast(), length, bytes.cast(), size);
        }
    }
    let partition = message.partition.unwrap_or(-1);
    let flags = sys::RD_KAFKA_MSG_F_COPY;
    let opaque = message.opaque as *mut c_void;
    let timestamp = message.timestamp_ms;
    let arguments = [
        (V::RD_KAFKA_VTYPE_RKT, U { rkt: topic.raw() }),
        (V::RD_KAFKA_VTYPE_PARTITION, U { i32_: partition }),
        (V::RD_KAFKA_VTYPE_MSGFLAGS, U { i: flags }),
        (V::RD_KAFKA_VTYPE_KEY, memory(message.key)),
        (V::RD_KAFKA_VTYPE_VALUE, memory(message.value)),
        (V::RD_KAFKA_VTYPE_OPAQUE, U { ptr: opaque }),
        (V::RD_KAFKA_VTYPE_TIMESTAMP, U { i64_: timestamp }),
        (V::RD_KAFKA_VTYPE_HEADERS, U { headers: list }),
    ]
    .map(|(vtype, u)| Vu { vtype, u });
    let client = topic.client().raw();
    // SAFETY: a live client and topic; the arguments are of the types that librdkafka expects. A message takes the
    // headers, and on failure they remain ours.
    match take_error(unsafe {
        let error = produce_clock::with_one_read(|| {
            sys::rd_kafka_produceva(client, arguments.as_ptr(), arguments.len())
        });
        Owned::from_raw(error)
    }) {
        None => {
            headers.into_raw();
            Code::NoError
        }
        Some((code, _)) => failure(topic, code),
    }
}
