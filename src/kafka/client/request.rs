//! Requests of Kafka's admin API: options, the queue for the response, and the response event.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::time::Duration;

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka_sys as sys;
use sys::bindings::rd_kafka_admin_op_t as Operation;

use super::{take_error, text};

/// Options of one admin request. Must be dropped before its client.
pub(crate) struct AdminOptions(*mut sys::rd_kafka_AdminOptions_t);

impl AdminOptions {
    /// Options with a request timeout of `bound`.
    pub fn new(client: *mut sys::rd_kafka_t, operation: Operation, bound: Duration) -> Self {
        let mut reason = [0 as c_char; 256];
        let bound = i32::try_from(bound.as_millis())
            .unwrap_or(i32::MAX)
            .clamp(1, 3_600_000);
        // SAFETY: the caller guarantees a live client; a rejected value leaves the default, and these are within their
        // limits.
        unsafe {
            let raw = sys::rd_kafka_AdminOptions_new(client, operation);
            let size = reason.len();
            sys::rd_kafka_AdminOptions_set_request_timeout(raw, bound, reason.as_mut_ptr(), size);
            if matches!(
                operation,
                Operation::RD_KAFKA_ADMIN_OP_CREATETOPICS
                    | Operation::RD_KAFKA_ADMIN_OP_DELETETOPICS
                    | Operation::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS
                    | Operation::RD_KAFKA_ADMIN_OP_DELETERECORDS
            ) {
                // The broker's own limit: it responds once the topic exists, or the records are deleted.
                sys::rd_kafka_AdminOptions_set_operation_timeout(
                    raw,
                    bound,
                    reason.as_mut_ptr(),
                    size,
                );
            }
            Self(raw)
        }
    }

    /// For ListOffsets: whether the end offset is the last stable offset.
    pub fn read_committed(self, committed: bool) -> Self {
        use sys::bindings::rd_kafka_IsolationLevel_t::{
            RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED, RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        };
        let level = if committed {
            RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
        } else {
            RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
        };
        // SAFETY: ours; the result is an error object or null.
        unsafe {
            take_error(sys::bindings::rd_kafka_AdminOptions_set_isolation_level(
                self.0, level,
            ));
        }
        self
    }

    /// Asks the broker to include the authorized operations in its response.
    pub fn with_operations(self) -> Self {
        // SAFETY: ours; the result is an error object or null.
        unsafe {
            take_error(
                sys::bindings::rd_kafka_AdminOptions_set_include_authorized_operations(self.0, 1),
            );
        }
        self
    }

    /// For CreateTopics: Kafka only checks whether it would create the topic.
    pub fn validate_only(self) -> Self {
        let mut reason = [0 as c_char; 256];
        // SAFETY: ours; the option exists for this request.
        unsafe {
            sys::rd_kafka_AdminOptions_set_validate_only(
                self.0,
                1,
                reason.as_mut_ptr(),
                reason.len(),
            );
        }
        self
    }

    /// Sets a number that is returned with the response, for several requests on one queue.
    pub fn tagged(self, tag: usize) -> Self {
        // SAFETY: ours; the pointer is only ever read as a number.
        unsafe { sys::bindings::rd_kafka_AdminOptions_set_opaque(self.0, tag as *mut c_void) };
        self
    }

    pub fn raw(&self) -> *const sys::rd_kafka_AdminOptions_t {
        self.0
    }
}

impl Drop for AdminOptions {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) };
    }
}

/// A librdkafka event queue. Must be dropped before its client.
pub(crate) struct EventQueue(*mut sys::rd_kafka_queue_t);

impl EventQueue {
    pub fn new(client: *mut sys::rd_kafka_t) -> Self {
        // SAFETY: the caller guarantees a live client.
        Self(unsafe { sys::rd_kafka_queue_new(client) })
    }

    /// The client's main queue, which receives its errors.
    pub fn main(client: *mut sys::rd_kafka_t) -> Self {
        // SAFETY: the caller guarantees a live client; this adds a reference.
        Self(unsafe { sys::bindings::rd_kafka_queue_get_main(client) })
    }

    /// Waits at most `wait` for the next event.
    pub fn poll(&self, wait: Duration) -> Option<ClientEvent> {
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: ours.
        let event = unsafe { sys::rd_kafka_queue_poll(self.0, wait) };
        (!event.is_null()).then_some(ClientEvent(event))
    }

    pub fn raw(&self) -> *mut sys::rd_kafka_queue_t {
        self.0
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_queue_destroy(self.0) };
    }
}

/// A response to a request, or an error reported by the client.
pub(crate) struct ClientEvent(*mut sys::rd_kafka_event_t);

impl ClientEvent {
    /// The error of the request as a whole.
    pub fn error(&self) -> Option<(Code, String)> {
        // SAFETY: ours and alive.
        unsafe {
            let code = sys::rd_kafka_event_error(self.0);
            code.is_error()
                .then(|| (code.into(), text(sys::rd_kafka_event_error_string(self.0))))
        }
    }

    /// The tag of the request.
    pub fn tag(&self) -> usize {
        // SAFETY: ours and alive.
        unsafe { sys::bindings::rd_kafka_event_opaque(self.0) as usize }
    }

    /// The raw event, for reading the result.
    pub fn raw(&self) -> *mut sys::rd_kafka_event_t {
        self.0
    }
}

impl Drop for ClientEvent {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_event_destroy(self.0) };
    }
}
