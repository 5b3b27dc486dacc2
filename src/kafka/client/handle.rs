//! A client of librdkafka: what every kind of client can do, and the end of its life.
#![allow(unsafe_code)]

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::ffi::c_char;
use std::ops::Deref;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka_sys as sys;

use super::{c_string, raw_code, text};
use crate::process;

/// `RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE`: the consumer was closed within a bound, or has never joined a group.
pub(crate) const NO_CONSUMER_CLOSE: i32 = 8;
/// `RD_KAFKA_DESTROY_F_IMMEDIATE`: the client's threads end by themselves, without a join.
pub(crate) const IMMEDIATE: i32 = 4;

/// Milliseconds for librdkafka.
pub(crate) fn ms(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}

/// A live client, which may be used from any thread. Callbacks borrow one for their duration; [`Client`] owns one.
#[derive(Debug)]
pub struct NativeClient(*mut sys::rd_kafka_t);

// SAFETY: librdkafka's clients may be used from any thread.
unsafe impl Send for NativeClient {}
unsafe impl Sync for NativeClient {}

impl NativeClient {
    /// # Safety
    /// `raw` must be alive as long as the result is used.
    pub(super) unsafe fn from_raw(raw: *mut sys::rd_kafka_t) -> Self {
        Self(raw)
    }

    /// A second reference to the client.
    ///
    /// # Safety
    /// The client must be alive whenever it is used.
    pub(in crate::kafka) unsafe fn unowned(&self) -> Self {
        Self(self.0)
    }

    pub(in crate::kafka) const fn raw(&self) -> *mut sys::rd_kafka_t {
        self.0
    }

    /// Identifies the client as long as it lives.
    pub(crate) fn address(&self) -> usize {
        self.0.addr()
    }

    /// The effective value of a property.
    pub(crate) fn property(&self, name: &str) -> Option<String> {
        // SAFETY: the configuration of a live client.
        unsafe { property(sys::bindings::rd_kafka_conf(self.0), name) }
    }

    /// Changes a number that librdkafka reads for each request, in another thread. For other properties it has no
    /// effect, or is not safe.
    pub(crate) fn set_number(&self, name: &'static str, value: &str) {
        let (name, value) = (c_string(name), c_string(value));
        // SAFETY: the configuration of a live client. The store of an aligned integer is not torn, and the old value
        // does no harm.
        unsafe {
            let conf = sys::bindings::rd_kafka_conf(self.0).cast_mut();
            sys::bindings::rd_kafka_conf_set(conf, name.as_ptr(), value.as_ptr(), null_mut(), 0);
        }
    }

    /// The names of all topics in the cluster; `None` if Kafka does not respond in time.
    pub(crate) fn topic_names(&self, bound: Duration) -> Option<HashSet<String>> {
        let topics = super::metadata(self, None, bound).ok()?;
        Some(topics.into_iter().map(|topic| topic.name).collect())
    }

    /// The cluster id, once a broker has reported it; waits at most `wait`.
    pub(crate) fn cluster_id(&self, wait: Duration) -> Option<String> {
        // SAFETY: a live client; the string is ours to free.
        unsafe {
            let id = sys::bindings::rd_kafka_clusterid(self.0, ms(wait));
            if id.is_null() {
                return None;
            }
            let found = text(id);
            sys::bindings::rd_kafka_mem_free(self.0, id.cast());
            Some(found)
        }
    }

    /// The cluster id for an idle client. Such a client does not connect by itself, so this requests metadata first.
    pub(crate) fn cluster_id_of_idle(&self, wait: Duration) -> Option<String> {
        super::request_metadata(self, None, wait).then_some(())?;
        self.cluster_id(Duration::ZERO)
    }

    /// Adds the configured brokers again, because librdkafka may have forgotten all of them. To be called only where no
    /// broker responds: beside known ones it adds threads.
    ///
    /// librdkafka 2.12 removes brokers that a metadata response does not list. A Kafka that was suspended for longer
    /// than its broker session lists none for a moment: the client then has no broker to ask again, and stays
    /// disconnected for ever (librdkafka issue 5301).
    pub(crate) fn add_brokers(&self) {
        // The property and not the setting, which may name the embedded broker.
        if let Some(list) = self.property("bootstrap.servers") {
            // SAFETY: a live client; the list is copied.
            unsafe { sys::bindings::rd_kafka_brokers_add(self.0, c_string(&list).as_ptr()) };
        }
    }

    /// The fatal error of the client, if it has one.
    pub(crate) fn fatal_error(&self) -> Option<(Code, String)> {
        let mut reason = [0; 512];
        // SAFETY: a live client; librdkafka ends the text with a NUL.
        unsafe {
            let code =
                sys::bindings::rd_kafka_fatal_error(self.0, reason.as_mut_ptr(), reason.len());
            code.is_error()
                .then(|| (code.into(), text(reason.as_ptr())))
        }
    }

    /// Stops the client with a fatal error.
    pub(in crate::kafka) fn raise_fatal_error(&self, code: Code, reason: &str) {
        let reason = c_string(reason);
        // SAFETY: a live client; the text is copied.
        unsafe {
            sys::bindings::rd_kafka_test_fatal_error(self.0, raw_code(code), reason.as_ptr());
        }
    }

    /// Number of messages and requests that are not completed.
    pub(in crate::kafka) fn queued(&self) -> i32 {
        // SAFETY: a live client.
        unsafe { sys::rd_kafka_outq_len(self.0) }
    }

    /// Serves callbacks of the client, without waiting.
    pub(crate) fn poll(&self) {
        // SAFETY: a live client.
        unsafe { sys::bindings::rd_kafka_poll(self.0, 0) };
    }

    /// Waits until all messages are acknowledged or have failed, at most `bound`.
    pub(crate) fn flush(&self, bound: Duration) {
        // SAFETY: a live client.
        unsafe { sys::rd_kafka_flush(self.0, ms(bound)) };
    }

    /// Discards messages that are queued, and also those in flight.
    pub(in crate::kafka) fn purge(&self, in_flight: bool) {
        let mut which = sys::bindings::RD_KAFKA_PURGE_F_QUEUE;
        if in_flight {
            which |= sys::bindings::RD_KAFKA_PURGE_F_INFLIGHT;
        }
        // SAFETY: a live client.
        unsafe { sys::rd_kafka_purge(self.0, which) };
    }

    /// Requests of tokens are served by a thread of librdkafka.
    pub(in crate::kafka) fn serve_token_requests(&self) {
        // SAFETY: a live client; the error is ours.
        unsafe {
            let error = sys::bindings::rd_kafka_sasl_background_callbacks_enable(self.0);
            super::take_error(error);
        }
    }

    /// Gives the client an OAUTHBEARER token.
    ///
    /// # Errors
    /// librdkafka's reason to refuse it.
    pub(in crate::kafka) fn set_token(
        &self,
        value: &str,
        expires_ms: i64,
        principal: &str,
        extensions: &[(String, String)],
    ) -> Result<(), String> {
        let mut reason = [0 as c_char; 512];
        let (value, principal) = (c_string(value), c_string(principal));
        let each = extensions.iter();
        let texts: Vec<_> = each
            .flat_map(|(name, value)| [c_string(name), c_string(value)])
            .collect();
        let mut pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        // SAFETY: a live client; the texts are copied, and the reason is ended with a NUL.
        unsafe {
            let code = sys::bindings::rd_kafka_oauthbearer_set_token(
                self.0,
                value.as_ptr(),
                expires_ms,
                principal.as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                reason.as_mut_ptr(),
                reason.len(),
            );
            if code.is_error() {
                return Err(text(reason.as_ptr()));
            }
        }
        Ok(())
    }

    /// Tells the client why it gets no token: it asks again in ten seconds.
    pub(in crate::kafka) fn refuse_token(&self, reason: &str) {
        let reason = c_string(reason);
        // SAFETY: a live client; the text is copied.
        unsafe {
            sys::bindings::rd_kafka_oauthbearer_set_token_failure(self.0, reason.as_ptr());
        }
    }

    /// Ends the wait of a thread that polls the main queue.
    pub(in crate::kafka) fn wake(&self) {
        // SAFETY: a live client. The queue reference is released immediately.
        unsafe {
            let queue = sys::rd_kafka_queue_get_main(self.0);
            sys::bindings::rd_kafka_queue_yield(queue);
            sys::rd_kafka_queue_destroy(queue);
        }
    }
}

/// An owned client. Its queues and topic handles own it too, so it is destroyed after them. In a forked child it is
/// leaked: its threads do not exist there, and librdkafka would wait for them for ever.
#[derive(Clone)]
pub struct Client(Arc<Owned>);

struct Owned {
    native: NativeClient,
    generation: u32,
    flags: AtomicI32,
    has_ended: AtomicBool,
    /// Objects whose addresses librdkafka has, by address: dropped after the client.
    kept: Mutex<HashMap<usize, Kept>>,
}

pub(super) type Kept = Arc<dyn Any + Send + Sync>;

fn address(kept: &Kept) -> usize {
    Arc::as_ptr(kept).addr()
}

impl Client {
    /// # Safety
    /// `raw` must be a live client that the caller owns.
    pub(super) unsafe fn from_raw(raw: *mut sys::rd_kafka_t, kept: Vec<Kept>) -> Self {
        Self(Arc::new(Owned {
            native: NativeClient(raw),
            generation: process::generation(),
            flags: AtomicI32::new(0),
            has_ended: AtomicBool::new(false),
            kept: Mutex::new(
                kept.into_iter()
                    .map(|kept| (address(&kept), kept))
                    .collect(),
            ),
        }))
    }

    /// True in a forked child: the client belongs to the parent.
    pub(crate) fn is_inherited(&self) -> bool {
        self.0.generation != process::generation()
    }

    /// Keeps an object whose address librdkafka has.
    pub(super) fn keep(&self, object: Kept) {
        self.0.kept.lock().insert(address(&object), object);
    }

    /// Sets how the client is destroyed: [`NO_CONSUMER_CLOSE`], [`IMMEDIATE`].
    pub(in crate::kafka) fn destroy_with(&self, flags: i32) {
        self.0.flags.store(flags, Ordering::Release);
    }

    /// Destroys the client now, although it has owners: a fatal error of PHP leaves some behind.
    ///
    /// # Safety
    /// Its queues are closed and its topic handles gone, and nothing else of the client is used any more.
    pub(in crate::kafka) unsafe fn end(&self) {
        self.0.destroy();
    }
}

impl Deref for Client {
    type Target = NativeClient;

    #[inline]
    fn deref(&self) -> &NativeClient {
        &self.0.native
    }
}

impl Owned {
    /// Once, by the last owner or by [`Client::end`].
    fn destroy(&self) {
        if self.has_ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let is_inherited = self.generation != process::generation();
        let flags = self.flags.load(Ordering::Acquire);
        if is_inherited || flags & IMMEDIATE != 0 {
            // Threads may still use them.
            std::mem::forget(std::mem::take(&mut *self.kept.lock()));
        }
        if !is_inherited {
            // SAFETY: every queue and topic handle is gone.
            unsafe { sys::rd_kafka_destroy_flags(self.native.0, flags) };
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.destroy();
    }
}

/// The effective value of a property, also of a client that exists already.
///
/// # Safety
/// `conf` must be alive.
unsafe fn property(conf: *const sys::rd_kafka_conf_t, name: &str) -> Option<String> {
    let name = c_string(name);
    let mut size = 0;
    let known = sys::rd_kafka_conf_get(conf, name.as_ptr(), std::ptr::null_mut(), &raw mut size);
    if known != sys::bindings::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
        return None;
    }
    let mut buffer: Vec<c_char> = vec![0; size.max(1)];
    sys::rd_kafka_conf_get(conf, name.as_ptr(), buffer.as_mut_ptr(), &raw mut size);
    // librdkafka wrote a NUL-terminated text, or nothing.
    Some(text(buffer.as_ptr()))
}
