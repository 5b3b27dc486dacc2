//! The call that passes a message to librdkafka.
#![allow(unsafe_code)]

use std::ffi::c_void;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;

use super::topic_gate::TopicGate;
use super::PINNED;
use crate::kafka::client::{self, take_error};
use crate::message::ProducerRecord;

/// What became of a message.
pub(super) enum Passed<'a> {
    /// librdkafka's answer.
    Produced(Code),
    /// The first message of its partition is not acknowledged yet.
    Waits(&'a TopicGate),
}

/// Passes a message to librdkafka, unless it must wait behind the first one of its partition.
///
/// # Safety
/// `client` and `topic` must be alive.
#[inline]
pub(super) unsafe fn produce_gated<'a>(
    client: *mut sys::rd_kafka_t,
    topic: *mut sys::rd_kafka_topic_t,
    gate: Option<&'a TopicGate>,
    message: &ProducerRecord<'_>,
    opaque: u64,
) -> Passed<'a> {
    let Some(gate) = gate else {
        return Passed::Produced(produce(client, topic, message, opaque));
    };
    if !gate.admits(message.partition) {
        return Passed::Waits(gate);
    }
    let code = produce(client, topic, message, opaque);
    // Without a partition of its own, only the gate refuses one.
    if code == Code::UnknownPartition && message.partition.is_none() {
        return Passed::Waits(gate);
    }
    if code != Code::NoError {
        gate.was_not_sent(message.partition);
    }
    Passed::Produced(code)
}

/// Passes a message to librdkafka.
///
/// # Safety
/// `client` and `topic` must be alive.
pub(super) unsafe fn produce(
    client: *mut sys::rd_kafka_t,
    topic: *mut sys::rd_kafka_topic_t,
    message: &ProducerRecord<'_>,
    opaque: u64,
) -> Code {
    let opaque = if message.partition.is_some() {
        opaque | PINNED
    } else {
        opaque
    };
    let (key, key_size) = parts(message.key);
    let (value, size) = parts(message.value);
    if message.headers.is_empty() && message.timestamp_ms == 0 {
        let result = sys::bindings::rd_kafka_produce(
            topic,
            message.partition.unwrap_or(-1),
            sys::bindings::RD_KAFKA_MSG_F_COPY,
            value.cast_mut().cast(),
            size,
            key.cast(),
            key_size,
            opaque as *mut std::ffi::c_void,
        );
        return if result == 0 {
            Code::NoError
        } else {
            failure(client, sys::bindings::rd_kafka_last_error().into())
        };
    }
    produce_full(client, topic, message, opaque)
}

/// The code of a failed call. After a fatal error librdkafka returns the code of that error instead of `_FATAL`.
fn failure(client: *mut sys::rd_kafka_t, code: Code) -> Code {
    if client::fatal_reason(client).is_some() {
        Code::Fatal
    } else {
        code
    }
}

pub(super) fn parts(bytes: Option<&[u8]>) -> (*const u8, usize) {
    bytes.map_or((std::ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()))
}

/// `rd_kafka_produceva` with headers, partition and timestamp.
///
/// # Safety
/// `client` and `topic` must be alive.
unsafe fn produce_full(
    client: *mut sys::rd_kafka_t,
    topic: *mut sys::rd_kafka_topic_t,
    message: &ProducerRecord<'_>,
    opaque: u64,
) -> Code {
    use sys::bindings::{
        rd_kafka_vtype_t as V, rd_kafka_vu_s as Vu, rd_kafka_vu_s__bindgen_ty_1 as U,
    };
    let headers = sys::rd_kafka_headers_new(message.headers.len());
    for (name, value) in message.headers {
        let (bytes, size) = parts(value.as_deref());
        sys::rd_kafka_header_add(
            headers,
            name.as_ptr().cast(),
            isize::try_from(name.len()).unwrap_or(0),
            bytes.cast(),
            isize::try_from(size).unwrap_or(0),
        );
    }
    let mem = |bytes: Option<&[u8]>| {
        let (ptr, size) = parts(bytes);
        U {
            mem: sys::bindings::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
                ptr: ptr.cast_mut().cast(),
                size,
            },
        }
    };
    let arguments = [
        Vu {
            vtype: V::RD_KAFKA_VTYPE_RKT,
            u: U { rkt: topic },
        },
        Vu {
            vtype: V::RD_KAFKA_VTYPE_PARTITION,
            u: U {
                i32_: message.partition.unwrap_or(-1),
            },
        },
        Vu {
            vtype: V::RD_KAFKA_VTYPE_MSGFLAGS,
            u: U {
                i: sys::bindings::RD_KAFKA_MSG_F_COPY,
            },
        },
        Vu {
            vtype: V::RD_KAFKA_VTYPE_KEY,
            u: mem(message.key),
        },
        Vu {
            vtype: V::RD_KAFKA_VTYPE_VALUE,
            u: mem(message.value),
        },
        Vu {
            vtype: V::RD_KAFKA_VTYPE_OPAQUE,
            u: U {
                ptr: opaque as *mut c_void,
            },
        },
        Vu {
            vtype: V::RD_KAFKA_VTYPE_TIMESTAMP,
            u: U {
                i64_: message.timestamp_ms,
            },
        },
        Vu {
            vtype: V::RD_KAFKA_VTYPE_HEADERS,
            u: U { headers },
        },
    ];
    let error = sys::bindings::rd_kafka_produceva(client, arguments.as_ptr(), arguments.len());
    match take_error(error) {
        None => Code::NoError,
        Some((code, _)) => {
            // On failure the headers remain ours.
            sys::rd_kafka_headers_destroy(headers);
            failure(client, code)
        }
    }
}
