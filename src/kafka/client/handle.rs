//! A client of librdkafka: what every kind of client can do, and the end of its life.
#![allow(unsafe_code)]

use std::any::Any;
use std::collections::HashMap;
use std::ffi::{c_int, CStr};
use std::mem::forget;
use std::ops::Deref;
use std::ptr::{null_mut, NonNull};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;

use super::c_string;
use super::errors::{raw_code, take_error, Failure};
use super::owned::{written, Native, Owned, Text};
use crate::runtime;

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
#[repr(C)]
pub struct NativeClient {
    opaque: [u8; 0],
}

// SAFETY: as librdkafka has them. It checks the kind of the client, and copies texts.
unsafe extern "C" {
    safe fn rd_kafka_conf(client: &NativeClient) -> &sys::rd_kafka_conf_t;
    safe fn rd_kafka_brokers_add(client: &NativeClient, list: Text<'_>) -> c_int;
    safe fn rd_kafka_test_fatal_error(
        client: &NativeClient,
        code: RDKafkaRespErr,
        reason: Text<'_>,
    ) -> RDKafkaRespErr;
    safe fn rd_kafka_outq_len(client: &NativeClient) -> c_int;
    safe fn rd_kafka_poll(client: &NativeClient, wait: c_int) -> c_int;
    safe fn rd_kafka_flush(client: &NativeClient, wait: c_int) -> RDKafkaRespErr;
    safe fn rd_kafka_purge(client: &NativeClient, which: c_int) -> RDKafkaRespErr;
    safe fn rd_kafka_sasl_background_callbacks_enable(client: &NativeClient) -> Failure;
    safe fn rd_kafka_oauthbearer_set_token_failure(
        client: &NativeClient,
        reason: Text<'_>,
    ) -> RDKafkaRespErr;
    safe fn rd_kafka_queue_get_main(client: &NativeClient) -> Owned<'_, sys::rd_kafka_queue_t>;
    safe fn rd_kafka_queue_yield(queue: &sys::rd_kafka_queue_t);
}

impl NativeClient {
    /// # Safety
    /// `raw` must be alive as long as the result is used.
    pub(super) unsafe fn from_raw<'a>(raw: *const sys::rd_kafka_t) -> &'a Self {
        &*raw.cast()
    }

    /// A second reference to the client.
    ///
    /// # Safety
    /// The client must be alive whenever it is used.
    pub(in crate::kafka) unsafe fn unowned(&self) -> &'static Self {
        &*std::ptr::from_ref(self)
    }

    pub(super) const fn raw(&self) -> *mut sys::rd_kafka_t {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// Identifies the client as long as it lives.
    pub(crate) fn address(&self) -> usize {
        self.raw().addr()
    }

    /// The effective value of a property.
    pub(crate) fn property(&self, name: &str) -> Option<String> {
        let (conf, name) = (&raw const *rd_kafka_conf(self), c_string(name));
        // SAFETY: the configuration of a live client; the buffer is as large as librdkafka says.
        unsafe {
            let mut size = 0;
            let known = sys::rd_kafka_conf_get(conf, name.as_ptr(), null_mut(), &raw mut size);
            if known != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                return None;
            }
            let mut buffer = vec![0_u8; size.max(1)];
            let value = buffer.as_mut_ptr().cast();
            sys::rd_kafka_conf_get(conf, name.as_ptr(), value, &raw mut size);
            let value = CStr::from_bytes_until_nul(&buffer).unwrap_or_default();
            Some(value.to_string_lossy().into_owned())
        }
    }

    /// Changes a number that librdkafka reads for each request, in another thread. For other properties it has no
    /// effect, or is not safe.
    pub(crate) fn set_number(&self, name: &'static str, value: &str) {
        let (name, value) = (c_string(name), c_string(value));
        let conf = (&raw const *rd_kafka_conf(self)).cast_mut();
        // SAFETY: the configuration of a live client. The store of an aligned integer is not torn, and the old value
        // does no harm.
        unsafe { sys::rd_kafka_conf_set(conf, name.as_ptr(), value.as_ptr(), null_mut(), 0) };
    }

    /// The cluster id, once a broker has reported it; waits at most `wait`.
    pub(crate) fn cluster_id(&self, wait: Duration) -> Option<String> {
        // SAFETY: a live client; the string is ours to free.
        unsafe {
            let id = sys::rd_kafka_clusterid(self.raw(), ms(wait));
            if id.is_null() {
                return None;
            }
            let found = CStr::from_ptr(id).to_string_lossy().into_owned();
            sys::rd_kafka_mem_free(self.raw(), id.cast());
            Some(found)
        }
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
            rd_kafka_brokers_add(self, Text::from(&c_string(&list)));
        }
    }

    /// The fatal error of the client, if it has one.
    pub(crate) fn fatal_error(&self) -> Option<(Code, String)> {
        // SAFETY: a live client, and a buffer of this size.
        let (code, reason) =
            written(|reason, size| unsafe { sys::rd_kafka_fatal_error(self.raw(), reason, size) });
        code.is_error().then(|| (code.into(), reason))
    }

    /// Stops the client with a fatal error.
    pub(in crate::kafka) fn raise_fatal_error(&self, code: Code, reason: &str) {
        rd_kafka_test_fatal_error(self, raw_code(code), Text::from(&c_string(reason)));
    }

    /// Number of messages and requests that are not completed.
    pub(in crate::kafka) fn queued(&self) -> i32 {
        rd_kafka_outq_len(self)
    }

    /// Serves callbacks of the client, without waiting.
    pub(crate) fn poll(&self) {
        rd_kafka_poll(self, 0);
    }

    /// Waits until all messages are acknowledged or have failed, at most `bound`.
    pub(crate) fn flush(&self, bound: Duration) {
        rd_kafka_flush(self, ms(bound));
    }

    /// Discards messages that are queued, and also those in flight.
    pub(in crate::kafka) fn purge(&self, in_flight: bool) {
        let mut which = sys::RD_KAFKA_PURGE_F_QUEUE;
        if in_flight {
            which |= sys::RD_KAFKA_PURGE_F_INFLIGHT;
        }
        rd_kafka_purge(self, which);
    }

    /// Requests of tokens are served by a thread of librdkafka.
    pub(in crate::kafka) fn serve_token_requests(&self) {
        take_error(rd_kafka_sasl_background_callbacks_enable(self));
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
        let (value, principal) = (c_string(value), c_string(principal));
        let each = extensions.iter();
        let texts: Vec<_> = each
            .flat_map(|(name, value)| [c_string(name), c_string(value)])
            .collect();
        let mut pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        // SAFETY: a live client; the texts are copied, and the buffer has this size.
        let (code, reason) = written(|reason, size| unsafe {
            sys::rd_kafka_oauthbearer_set_token(
                self.raw(),
                value.as_ptr(),
                expires_ms,
                principal.as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                reason,
                size,
            )
        });
        if code.is_error() {
            return Err(reason);
        }
        Ok(())
    }

    /// Tells the client why it gets no token: it asks again in ten seconds.
    pub(in crate::kafka) fn refuse_token(&self, reason: &str) {
        rd_kafka_oauthbearer_set_token_failure(self, Text::from(&c_string(reason)));
    }

    /// Ends the wait of a thread that polls the main queue.
    pub(in crate::kafka) fn wake(&self) {
        rd_kafka_queue_yield(&rd_kafka_queue_get_main(self));
    }
}

/// An owned client. Its queues and topic handles own it too, so it is destroyed after them. In a forked child it is
/// leaked: its threads do not exist there, and librdkafka would wait for them for ever.
#[derive(Clone)]
pub struct Client(Arc<ClientState>);

struct ClientState {
    raw: NonNull<sys::rd_kafka_t>,
    generation: u32,
    flags: AtomicI32,
    has_ended: AtomicBool,
    /// Objects whose addresses librdkafka has, by address: dropped after the client.
    kept: Mutex<HashMap<usize, Kept>>,
}

// SAFETY: librdkafka's clients may be used from any thread.
unsafe impl Send for ClientState {}
// SAFETY: as above.
unsafe impl Sync for ClientState {}

pub(super) type Kept = Arc<dyn Any + Send + Sync>;

fn address(kept: &Kept) -> usize {
    Arc::as_ptr(kept).addr()
}

impl Client {
    /// # Safety
    /// `raw` must be a live client that the caller owns.
    pub(super) unsafe fn from_raw(raw: NonNull<sys::rd_kafka_t>, kept: Vec<Kept>) -> Self {
        Self(Arc::new(ClientState {
            raw,
            generation: runtime::generation(),
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
        self.0.generation != runtime::generation()
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
        // SAFETY: alive as long as it has owners.
        unsafe { self.0.raw.cast().as_ref() }
    }
}

impl ClientState {
    /// Once, by the last owner or by [`Client::end`].
    fn destroy(&self) {
        if self.has_ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let is_inherited = self.generation != runtime::generation();
        let flags = self.flags.load(Ordering::Acquire);
        if is_inherited || flags & IMMEDIATE != 0 {
            // Threads may still use them.
            forget(std::mem::take(&mut *self.kept.lock()));
        }
        if !is_inherited {
            // SAFETY: every queue and topic handle is gone.
            unsafe { sys::rd_kafka_destroy_flags(self.raw.as_ptr(), flags) };
        }
    }
}

impl Drop for ClientState {
    fn drop(&mut self) {
        self.destroy();
    }
}

/// An object of a client, which it owns too. In a forked child it is leaked, as the client is.
pub(super) struct Part<T: Native> {
    /// Null once it is released.
    raw: AtomicPtr<T>,
    client: Client,
}

impl<T: Native> Part<T> {
    /// `None` where librdkafka makes none.
    pub fn new(
        client: &Client,
        make: impl FnOnce(&NativeClient) -> Option<Owned<'_, T>>,
    ) -> Option<Self> {
        let raw = make(client)?.into_raw();
        Some(Self {
            raw: AtomicPtr::new(raw.as_ptr()),
            client: client.clone(),
        })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    #[inline]
    pub fn raw(&self) -> *mut T {
        self.raw.load(Ordering::Relaxed)
    }

    /// Releases the object before its `Drop` does.
    ///
    /// # Safety
    /// It must not be used any more.
    pub unsafe fn release(&self) {
        let owned = Owned::from_raw(self.raw.swap(null_mut(), Ordering::Relaxed));
        if self.client.is_inherited() {
            forget(owned);
        }
    }
}

impl<T: Native> Deref for Part<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: alive until it is released.
        unsafe { &*self.raw() }
    }
}

impl<T: Native> Drop for Part<T> {
    fn drop(&mut self) {
        // SAFETY: not used any more.
        unsafe { self.release() };
    }
}
