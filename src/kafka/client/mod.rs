//! Thin wrappers around librdkafka's C API: configuration, topic handles, partition lists, admin requests, metadata,
//! errors.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
mod busy_poll;
mod conf;
#[cfg(test)]
pub(crate) mod connectivity;
mod errors;
mod metadata;
mod partitions;
pub mod reachability;
mod request;
mod resolve;

use std::collections::HashSet;
use std::ffi::{c_char, c_void, CStr, CString};
use std::time::Duration;

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

pub(crate) use conf::on_log;
pub(in crate::kafka) use conf::property;
pub use conf::Conf;
pub(crate) use errors::{fatal_reason, take_error, REFUSED_BATCH};
pub use errors::{is_permanent, is_refused, is_undeliverable, to_error};
pub(crate) use metadata::{brokers, metadata, TopicHandle};
pub use metadata::{PartitionInfo, TopicInfo};
pub use partitions::TopicPartitionList;
pub(crate) use partitions::{each_element, metadata_of, topic_of};
pub(crate) use request::{AdminOptions, ClientEvent, EventQueue};

/// librdkafka's version, such as `2.12.1`.
#[must_use]
pub fn version() -> String {
    // SAFETY: returns a static string.
    unsafe { CStr::from_ptr(sys::rd_kafka_version_str()) }
        .to_string_lossy()
        .into_owned()
}

/// The features librdkafka was built with, comma separated (`ssl,zstd,sasl_scram,…`).
#[must_use]
pub fn features() -> String {
    let built = Conf::empty().get("builtin.features").unwrap_or_default();
    // It lists Kerberos whether built in or not; our build has none.
    let real: Vec<&str> = built
        .split(',')
        .filter(|name| *name != "sasl_gssapi")
        .collect();
    real.join(",")
}

/// librdkafka's description of an error code.
#[must_use]
pub fn describe(code: Code) -> String {
    // SAFETY: returns a static string.
    unsafe { text(sys::rd_kafka_err2str(raw_code(code))) }
}

/// The code as librdkafka takes it.
pub(crate) fn raw_code(code: Code) -> RDKafkaRespErr {
    RDKafkaRespErr::try_from(code as i32).unwrap_or(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN)
}

/// A C string. Topic and property names are validated beforehand; anything after an inner NUL is dropped.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

/// # Safety
/// `pointer` must be null or a NUL-terminated string.
pub(crate) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    CStr::from_ptr(pointer).to_string_lossy().into_owned()
}

/// A pointer that librdkafka passes back to a callback.
pub(crate) fn opaque<T>(value: *const T) -> *mut c_void {
    value.cast_mut().cast()
}

/// `RD_KAFKA_OFFSET_INVALID`: no offset.
pub const INVALID_OFFSET: i64 = -1001;

/// The names of all topics in the cluster; `None` if Kafka does not respond in time.
pub(crate) fn topics(client: *mut sys::rd_kafka_t, bound: Duration) -> Option<HashSet<String>> {
    let topics = metadata(client, None, bound).ok()?;
    Some(topics.into_iter().map(|topic| topic.name).collect())
}

/// The cluster id, once a broker has reported it; waits at most `wait`.
pub(crate) fn cluster_id(client: *mut sys::rd_kafka_t, wait: Duration) -> Option<String> {
    let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the caller guarantees a live client; the string is ours to free.
    unsafe {
        let id = sys::bindings::rd_kafka_clusterid(client, wait);
        if id.is_null() {
            return None;
        }
        let found = text(id);
        sys::bindings::rd_kafka_mem_free(client, id.cast());
        Some(found)
    }
}

/// The cluster id for an idle client. Such a client does not connect by itself, so this requests metadata first.
pub(crate) fn cluster_id_of_idle(client: *mut sys::rd_kafka_t, wait: Duration) -> Option<String> {
    let ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    let mut brokers = std::ptr::null();
    // SAFETY: the caller guarantees a live client; the response is destroyed here.
    unsafe {
        let code =
            sys::bindings::rd_kafka_metadata(client, 0, std::ptr::null_mut(), &raw mut brokers, ms);
        if code.is_error() {
            return None;
        }
        sys::bindings::rd_kafka_metadata_destroy(brokers);
    }
    cluster_id(client, Duration::ZERO)
}

/// True for the cluster id of an embedded broker, in this process or another.
pub(crate) fn is_mock(cluster_id: &str) -> bool {
    cluster_id.starts_with("mockCluster")
}

/// Lets the thread that polls the main queue of the client continue.
///
/// # Safety
/// `client` must be alive.
pub unsafe fn wake(client: *mut sys::rd_kafka_t) {
    // The queue reference is released immediately.
    let queue = sys::rd_kafka_queue_get_main(client);
    sys::bindings::rd_kafka_queue_yield(queue);
    sys::rd_kafka_queue_destroy(queue);
}
