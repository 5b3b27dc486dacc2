//! Messages of librdkafka: fetched records, errors and ends of partitions, of delivery reports, and those that are
//! passed to it. The crate's producers look the topic up for each message, and have their own delivery reports, which
//! cost more than sending.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void, CStr};
use std::ops::Deref;
use std::ptr::null;

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys as sys;
use sys::{
    rd_kafka_timestamp_type_t as TimestampType, rd_kafka_vtype_t as V, rd_kafka_vu_s as Vu,
    rd_kafka_vu_s__bindgen_ty_1 as U, rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 as Memory,
};

use super::errors::take_error;
use super::owned::{bytes, copied, text, Native, Owned, Text};
use super::wrapped::with_one_read;
use super::TopicHandle;

/// The beginning of the message that librdkafka keeps behind its public struct (`rd_kafka_msg_t`), as far as
/// [`NativeMessage::is_without_headers`] needs it. The bundled version is pinned, and a test notices another layout.
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

/// A live message of librdkafka.
#[derive(Debug)]
#[repr(transparent)]
pub struct NativeMessage(sys::rd_kafka_message_t);

// SAFETY: librdkafka's function for messages that a consumer fetched.
unsafe impl Native for NativeMessage {
    const DESTROY: unsafe extern "C" fn(*mut Self) = rd_kafka_message_destroy;
}

// SAFETY: as librdkafka has them; what they return lives as long as the message.
unsafe extern "C" {
    fn rd_kafka_message_destroy(message: *mut NativeMessage);
    safe fn rd_kafka_message_errstr(message: &NativeMessage) -> *const c_char;
    safe fn rd_kafka_message_timestamp(
        message: &NativeMessage,
        kind: Option<&mut TimestampType>,
    ) -> i64;
    safe fn rd_kafka_message_latency(message: &NativeMessage) -> i64;
    safe fn rd_kafka_message_headers<'a>(
        message: &'a NativeMessage,
        headers: &mut Option<&'a sys::rd_kafka_headers_t>,
    ) -> RDKafkaRespErr;
    safe fn rd_kafka_topic_name(topic: &sys::rd_kafka_topic_t) -> Text<'_>;
    safe fn rd_kafka_headers_new(count: usize) -> Owned<'static, sys::rd_kafka_headers_t>;
}

impl NativeMessage {
    /// False for an error, or the end of a partition.
    #[inline]
    pub fn is_record(&self) -> bool {
        !self.0.err.is_error()
    }

    pub fn code(&self) -> Code {
        self.0.err.into()
    }

    /// librdkafka's text for an error.
    pub(in crate::kafka) fn error_text(&self) -> String {
        // SAFETY: the text of a live message.
        unsafe { copied(rd_kafka_message_errstr(self)) }
    }

    /// Identifies the topic, see `TopicHandle::address()`.
    #[inline]
    pub fn topic_address(&self) -> usize {
        self.0.rkt.addr()
    }

    pub fn topic(&self) -> String {
        // SAFETY: null, or the topic handle of the message, which lives as long as the message.
        text(unsafe { self.0.rkt.as_ref() }.map(|topic| rd_kafka_topic_name(topic)))
    }

    /// The partitioner with which the topic was opened.
    ///
    /// # Safety
    /// All topics of the client that have a partitioner must have a `P`.
    #[inline]
    pub(in crate::kafka) unsafe fn partitioner<P: super::Partitioner>(&self) -> Option<&P> {
        if self.0.rkt.is_null() {
            return None;
        }
        let partitioner = sys::rd_kafka_topic_opaque(self.0.rkt);
        partitioner.cast::<P>().as_ref()
    }

    #[inline]
    pub fn partition(&self) -> i32 {
        self.0.partition
    }

    #[inline]
    pub fn offset(&self) -> i64 {
        self.0.offset
    }

    /// The number that was sent with the message.
    #[inline]
    pub(in crate::kafka) fn opaque(&self) -> u64 {
        self.0._private as u64
    }

    /// Key and value.
    #[inline]
    fn content(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        let own = &self.0;
        // SAFETY: pointers and lengths of key and value, alive with the message.
        unsafe {
            let key = bytes(own.key.cast(), own.key_len);
            (key, bytes(own.payload.cast(), own.len))
        }
    }

    /// `None` for no key.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        self.content().0
    }

    /// `None` for a tombstone.
    #[inline]
    pub fn value(&self) -> Option<&[u8]> {
        self.content().1
    }

    /// Bytes of key and value.
    #[inline]
    pub fn size(&self) -> usize {
        self.0.len + self.0.key_len
    }

    /// Kafka's timestamp, Unix ms; -1 if there is none.
    pub fn timestamp_ms(&self) -> i64 {
        rd_kafka_message_timestamp(self, None)
    }

    /// The timestamp if the broker set it, Unix ms.
    pub(crate) fn append_time_ms(&self) -> Option<u64> {
        let mut kind = TimestampType::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let ms = rd_kafka_message_timestamp(self, Some(&mut kind));
        (kind == TimestampType::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME)
            .then(|| u64::try_from(ms).ok())
            .flatten()
    }

    /// µs since the message was sent.
    pub(in crate::kafka) fn age_us(&self) -> i64 {
        rd_kafka_message_latency(self).max(0)
    }

    /// True for a fetched record that has no headers. librdkafka finds that out by allocating and freeing a parser,
    /// which costs more than the rest of a record's way to its callback. In Kafka's format the headers begin with their
    /// number, directly behind the value.
    ///
    /// False where that is not known: the record of an old format, or a message that was not fetched.
    ///
    /// # Safety
    /// The message must be a record that a consumer fetched.
    #[inline]
    pub(in crate::kafka) unsafe fn is_without_headers(&self) -> bool {
        // librdkafka allocates such a message inside an operation, which is larger than this layout.
        let fetched = &*(&raw const *self).cast::<FetchedLayout>();
        let value = fetched.message.payload.cast_const().cast::<u8>();
        !value.is_null()
            && fetched.parsed_headers.is_null()
            && fetched.headers_size == 1
            && fetched.headers == value.wrapping_add(fetched.message.len)
            && *fetched.headers == 0
    }

    /// Passes on name and value of each header, in order.
    pub fn each_header(&self, mut with: impl FnMut(&CStr, Option<&[u8]>)) {
        let mut list = None;
        if rd_kafka_message_headers(self, &mut list).is_error() {
            return;
        }
        let Some(list) = list else {
            return;
        };
        let (mut name, mut value, mut size): (*const c_char, _, usize) = (null(), null(), 0);
        for place in 0.. {
            // SAFETY: names and values live as long as the message.
            unsafe {
                let (name_at, value_at) = (&raw mut name, &raw mut value);
                let code =
                    sys::rd_kafka_header_get_all(list, place, name_at, value_at, &raw mut size);
                if code.is_error() {
                    return;
                }
                with(CStr::from_ptr(name), bytes(value.cast(), size));
            }
        }
    }

    /// All headers, in order.
    pub fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let mut all = Vec::new();
        self.each_header(|name, value| {
            let name = name.to_string_lossy().into_owned();
            all.push((name, value.map(<[u8]>::to_vec)));
        });
        all
    }
}

/// A message that a consumer fetched: destroyed when it is dropped.
#[derive(Debug)]
#[repr(transparent)]
pub struct KafkaMessage(Owned<'static, NativeMessage>);

// SAFETY: a message has one owner, and librdkafka's calls on it may be made from any thread.
unsafe impl Send for KafkaMessage {}

impl KafkaMessage {
    /// Takes ownership of a message; `None` for null.
    ///
    /// # Safety
    /// `raw` must be null, or come from a consumer and not be destroyed elsewhere.
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut sys::rd_kafka_message_t) -> Option<Self> {
        Owned::from_raw(raw.cast()).map(Self)
    }

    /// Refers to the message without owning it.
    #[inline]
    pub fn id(&self) -> NativeMessageId {
        NativeMessageId(self.0.raw())
    }

    /// As [`NativeMessage::each_header`], fast for a record without headers.
    pub fn each_header(&self, with: impl FnMut(&CStr, Option<&[u8]>)) {
        // SAFETY: a consumer fetched it.
        if !self.is_record() || !unsafe { self.is_without_headers() } {
            self.0.each_header(with);
        }
    }
}

impl Deref for KafkaMessage {
    type Target = NativeMessage;

    #[inline]
    fn deref(&self) -> &NativeMessage {
        &self.0
    }
}

/// Refers to a [`KafkaMessage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NativeMessageId(*mut NativeMessage);

impl NativeMessageId {
    /// The message.
    ///
    /// # Safety
    /// It must not be dropped as long as the result is used.
    #[inline]
    pub(in crate::kafka) unsafe fn message<'a>(self) -> &'a NativeMessage {
        &*self.0
    }
}

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

fn parts(bytes: Option<&[u8]>) -> (*const u8, usize) {
    bytes.map_or((null(), 0), |bytes| (bytes.as_ptr(), bytes.len()))
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
        let result = with_one_read(|| {
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
        let error =
            with_one_read(|| sys::rd_kafka_produceva(client, arguments.as_ptr(), arguments.len()));
        Owned::from_raw(error)
    }) {
        None => {
            headers.into_raw();
            Code::NoError
        }
        Some((code, _)) => failure(topic, code),
    }
}
