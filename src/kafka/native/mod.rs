//! Thin wrappers around librdkafka's C API: configuration objects, lists, and its errors in our words.
#![allow(unsafe_code)]

mod conf;
mod errors;
mod partitions;
mod resolve;

use std::collections::HashSet;
use std::ffi::{c_char, c_void, CStr, CString};
use std::time::Duration;

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

pub use conf::Conf;
pub(crate) use errors::take_error;
pub use errors::{is_permanent, to_error};
pub(crate) use partitions::topic_of;
pub use partitions::Partitions;

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
    // It names Kerberos whether it was built with it or not; ours is not.
    let real: Vec<&str> = built
        .split(',')
        .filter(|name| *name != "sasl_gssapi")
        .collect();
    real.join(",")
}

/// The words for an error code.
#[must_use]
pub fn describe(code: Code) -> String {
    // SAFETY: returns a static string.
    unsafe { CStr::from_ptr(sys::rd_kafka_err2str(code)) }
        .to_string_lossy()
        .into_owned()
}

/// A name for C. Topic and property names come validated; an inner NUL is cut off rather than passed on.
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

/// A pointer librdkafka hands back to a callback.
pub(crate) fn opaque<T>(value: *const T) -> *mut c_void {
    value.cast_mut().cast()
}

/// `RD_KAFKA_OFFSET_INVALID`: no offset.
pub const INVALID_OFFSET: i64 = -1001;

/// All topics of the cluster, or `None` where Kafka does not answer in time.
pub(crate) fn topics(client: *mut sys::rd_kafka_t, bound: Duration) -> Option<HashSet<String>> {
    let mut metadata = std::ptr::null();
    let bound = i32::try_from(bound.as_millis()).unwrap_or(1000);
    // SAFETY: callers hold a live client; the answer is read and destroyed here.
    unsafe {
        let code = sys::bindings::rd_kafka_metadata(
            client,
            1,
            std::ptr::null_mut(),
            &raw mut metadata,
            bound,
        );
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let count = usize::try_from((*metadata).topic_cnt).unwrap_or(0);
        let topics = (0..count)
            .map(|n| text((*(*metadata).topics.add(n)).topic))
            .collect();
        sys::bindings::rd_kafka_metadata_destroy(metadata);
        Some(topics)
    }
}
