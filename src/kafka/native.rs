//! Thin wrappers around librdkafka's C API: configuration objects, lists, and its errors in our words.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void, CStr, CString};

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use crate::config::nearest;
use crate::error::{Error, Kind, Result};
use crate::log::Level;

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
    Conf::empty().get("builtin.features").unwrap_or_default()
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

/// Names librdkafka takes and does not list, for "did you mean".
const ALIASES: [&str; 6] = [
    "linger.ms",
    "compression.type",
    "max.in.flight",
    "delivery.timeout.ms",
    "bootstrap.servers",
    "retries",
];

/// An `rd_kafka_conf_t` that is destroyed unless a client took it.
pub struct Conf(*mut sys::rd_kafka_conf_t);

impl Conf {
    /// librdkafka's defaults, with its log lines sent to ours.
    #[must_use]
    pub fn empty() -> Self {
        // SAFETY: plain constructor; the callback is a static function.
        unsafe {
            let conf = sys::rd_kafka_conf_new();
            sys::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            Self(conf)
        }
    }

    /// For a client that talks to nobody: it would only complain about that.
    #[must_use]
    pub(crate) fn silent() -> Self {
        let mut conf = Self::empty();
        // SAFETY: the conf is ours.
        unsafe { sys::rd_kafka_conf_set_log_cb(conf.raw(), None) };
        conf
    }

    /// Sets all `properties`; `what` (`producer_config`, `consumer_config`) says in an error where the name stands.
    ///
    /// # Errors
    /// Configuration: an unknown property (with the nearest known one) or a value it does not take.
    pub fn new(properties: &[(String, String)], what: &str) -> Result<Self> {
        let mut conf = Self::empty();
        for (name, value) in properties {
            conf.set(name, value, what)?;
        }
        Ok(conf)
    }

    /// Sets one property.
    ///
    /// # Errors
    /// See [`Conf::new`].
    pub fn set(&mut self, name: &str, value: &str, what: &str) -> Result<()> {
        let mut reason = [0 as c_char; 512];
        let (c_name, c_value) = (c_string(name), c_string(value));
        // SAFETY: valid pointers; `reason` is large enough for its stated size.
        let result = unsafe {
            sys::rd_kafka_conf_set(
                self.0,
                c_name.as_ptr(),
                c_value.as_ptr(),
                reason.as_mut_ptr(),
                reason.len(),
            )
        };
        match result {
            sys::bindings::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
            sys::bindings::rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN => {
                let names = self.names();
                let names: Vec<&str> = names.iter().map(String::as_str).chain(ALIASES).collect();
                let hint = nearest(name, &names)
                    .map_or_else(String::new, |near| format!(" Did you mean \"{near}\"?"));
                Err(Error::configuration(format!(
                    "{what} has an unknown librdkafka property \"{name}\".{hint}"
                )))
            }
            sys::bindings::rd_kafka_conf_res_t::RD_KAFKA_CONF_INVALID => {
                // SAFETY: librdkafka wrote a NUL-terminated text.
                let reason = unsafe { text(reason.as_ptr()) };
                Err(Error::configuration(format!(
                    "{what}: \"{name}\" cannot be set: {reason}."
                )))
            }
        }
    }

    /// The effective value of a property.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let name = c_string(name);
        let mut buffer = [0 as c_char; 1024];
        let mut size = buffer.len();
        // SAFETY: valid pointers and size.
        let result = unsafe {
            sys::rd_kafka_conf_get(self.0, name.as_ptr(), buffer.as_mut_ptr(), &raw mut size)
        };
        matches!(result, sys::bindings::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK)
            // SAFETY: librdkafka wrote a NUL-terminated text.
            .then(|| unsafe { text(buffer.as_ptr()) })
    }

    fn names(&self) -> Vec<String> {
        let mut count = 0usize;
        // SAFETY: the dump is an array of `count` strings, name and value in turn, freed below.
        unsafe {
            let dump = sys::rd_kafka_conf_dump(self.0, &raw mut count);
            let names = (0..count).step_by(2).map(|n| text(*dump.add(n))).collect();
            sys::rd_kafka_conf_dump_free(dump, count);
            names
        }
    }

    /// The raw object, for callbacks.
    pub(crate) fn raw(&mut self) -> *mut sys::rd_kafka_conf_t {
        self.0
    }

    /// Makes the client.
    ///
    /// # Errors
    /// Configuration: properties that contradict each other.
    pub(crate) fn into_client(
        mut self,
        kind: sys::bindings::rd_kafka_type_t,
    ) -> Result<*mut sys::rd_kafka_t> {
        let mut reason = [0 as c_char; 512];
        // SAFETY: on success the client owns the conf, so it is taken out of `self`; on failure it stays ours.
        unsafe {
            let client = sys::rd_kafka_new(kind, self.0, reason.as_mut_ptr(), reason.len());
            if client.is_null() {
                return Err(Error::configuration(format!(
                    "The Kafka client refuses its configuration: {}.",
                    text(reason.as_ptr())
                )));
            }
            self.0 = std::ptr::null_mut();
            Ok(client)
        }
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: still ours.
            unsafe { sys::rd_kafka_conf_destroy(self.0) };
        }
    }
}

unsafe extern "C" fn on_log(
    _client: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // syslog levels; what is below a warning is for debugging, and `debug` properties ask for it.
    let level = match level {
        0..=3 => Level::Error,
        4 => Level::Warning,
        5 | 6 => Level::Notice,
        _ => Level::Debug,
    };
    let line = text(line);
    // "(after 3ms in state CONNECT)" would make every repetition a new line.
    let line = line.split(" (after ").next().unwrap_or_default();
    // "[thrd:localhost:9092/1]: " names the thread, and the broker follows anyway.
    let line = line.split_once("]: ").map_or(line, |(_, rest)| rest);
    let text = format!("Kafka client: {line} ({})", text(facility));
    crate::process::current().log.say(level, text);
}

/// A list of topic partitions that is destroyed with its owner.
pub struct Partitions(*mut sys::rd_kafka_topic_partition_list_t);

impl Partitions {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: plain constructor.
        Self(unsafe { sys::rd_kafka_topic_partition_list_new(8) })
    }

    /// Takes over a list librdkafka handed out for us to destroy.
    ///
    /// # Safety
    /// `raw` must be a list nobody else destroys.
    pub(crate) unsafe fn from_raw(raw: *mut sys::rd_kafka_topic_partition_list_t) -> Self {
        Self(raw)
    }

    /// Adds a partition at `offset`.
    pub fn add(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> &mut sys::rd_kafka_topic_partition_t {
        let topic = c_string(topic);
        // SAFETY: the list is ours; the added element is valid until the list changes, which the borrow prevents.
        unsafe {
            let added =
                &mut *sys::rd_kafka_topic_partition_list_add(self.0, topic.as_ptr(), partition);
            added.offset = offset;
            added
        }
    }

    /// Puts bytes into the metadata of an element; they are copied and freed with the list.
    pub fn set_metadata(element: &mut sys::rd_kafka_topic_partition_t, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        // SAFETY: librdkafka frees element metadata with free(), so it has to come from malloc().
        unsafe {
            let copy = libc::malloc(bytes.len());
            if !copy.is_null() {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy.cast::<u8>(), bytes.len());
                element.metadata = copy;
                element.metadata_size = bytes.len();
            }
        }
    }

    /// The elements.
    #[must_use]
    pub fn elements(&self) -> &[sys::rd_kafka_topic_partition_t] {
        // SAFETY: `elems` points at `cnt` elements.
        unsafe {
            let list = &*self.0;
            if list.cnt <= 0 {
                return &[];
            }
            std::slice::from_raw_parts(list.elems, usize::try_from(list.cnt).unwrap_or(0))
        }
    }

    /// The elements, to change in place.
    pub fn elements_mut(&mut self) -> &mut [sys::rd_kafka_topic_partition_t] {
        // SAFETY: as above, and the list is ours alone.
        unsafe {
            let list = &mut *self.0;
            if list.cnt <= 0 {
                return &mut [];
            }
            std::slice::from_raw_parts_mut(list.elems, usize::try_from(list.cnt).unwrap_or(0))
        }
    }

    /// The raw list.
    #[must_use]
    pub(crate) fn raw(&self) -> *mut sys::rd_kafka_topic_partition_list_t {
        self.0
    }
}

impl Default for Partitions {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Partitions {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) };
    }
}

/// The topic of a list element.
pub(crate) fn topic_of(element: &sys::rd_kafka_topic_partition_t) -> String {
    // SAFETY: librdkafka sets the topic of every element.
    unsafe { text(element.topic) }
}

/// Turns an `rd_kafka_error_t*` into a code and words, and frees it; `None` for success.
///
/// # Safety
/// `error` must be null or an error object nobody else frees.
pub(crate) unsafe fn take_error(error: *mut sys::rd_kafka_error_t) -> Option<(Code, String)> {
    if error.is_null() {
        return None;
    }
    let result = (
        sys::rd_kafka_error_code(error),
        text(sys::rd_kafka_error_string(error)),
    );
    sys::rd_kafka_error_destroy(error);
    Some(result)
}

/// One of our errors for a librdkafka code. `doing` says what failed, `reason` librdkafka's words where it gave some.
#[must_use]
pub fn to_error(code: Code, doing: &str, reason: &str, brokers: &str) -> Error {
    use Code::{
        RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
        RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, RD_KAFKA_RESP_ERR__AUTHENTICATION,
        RD_KAFKA_RESP_ERR__CONFLICT, RD_KAFKA_RESP_ERR__INVALID_ARG, RD_KAFKA_RESP_ERR__QUEUE_FULL,
        RD_KAFKA_RESP_ERR__RESOLVE, RD_KAFKA_RESP_ERR__SSL, RD_KAFKA_RESP_ERR__TIMED_OUT,
        RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
        RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, RD_KAFKA_RESP_ERR__WAIT_COORD,
    };
    let words = if reason.is_empty() {
        describe(code)
    } else {
        reason.to_owned()
    };
    let (kind, advice) = match code {
        RD_KAFKA_RESP_ERR__TRANSPORT
        | Code::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT
        | Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE
        | Code::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
        | RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
        | RD_KAFKA_RESP_ERR__RESOLVE
        | RD_KAFKA_RESP_ERR__TIMED_OUT
        | RD_KAFKA_RESP_ERR__WAIT_COORD
        | RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE => (
            Kind::Connection,
            format!(" Is a broker running at {brokers}, and reachable from here?"),
        ),
        RD_KAFKA_RESP_ERR__AUTHENTICATION | RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED => (
            Kind::Connection,
            " Check security.mechanism, security.username and security.password.".to_owned(),
        ),
        RD_KAFKA_RESP_ERR__SSL => (
            Kind::Connection,
            " Check security.protocol and security.ca.".to_owned(),
        ),
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED => (
            Kind::Connection,
            " Kafka's ACLs do not allow it for this user.".to_owned(),
        ),
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE | RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE => (
            Kind::MessageTooLarge,
            " Raise producer_config \"message.max.bytes\" and the topic's max.message.bytes, or send less.".to_owned(),
        ),
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        | RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        | RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION => (
            Kind::UnknownTopic,
            " Create the topic, or allow its creation (auto_create_topics, and auto.create.topics.enable of the broker).".to_owned(),
        ),
        RD_KAFKA_RESP_ERR__QUEUE_FULL => (
            Kind::QueueFull,
            " Kafka takes messages more slowly than they are sent.".to_owned(),
        ),
        RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION => (Kind::InvalidChannel, String::new()),
        RD_KAFKA_RESP_ERR__INVALID_ARG | RD_KAFKA_RESP_ERR__CONFLICT => (Kind::Configuration, String::new()),
        _ => (Kind::Delivery, String::new()),
    };
    let words = words.trim_end_matches('.');
    Error::new(kind, format!("{doing}: {words}.{advice}"))
}

/// True where sending the same record again can never succeed.
#[must_use]
pub fn is_permanent(code: Code) -> bool {
    use Code::{
        RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, RD_KAFKA_RESP_ERR_INVALID_RECORD,
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
        RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
        RD_KAFKA_RESP_ERR__BAD_MSG, RD_KAFKA_RESP_ERR__INVALID_ARG,
    };
    matches!(
        code,
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
            | RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE
            | RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION
            | RD_KAFKA_RESP_ERR_INVALID_RECORD
            | RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE
            | RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT
            | RD_KAFKA_RESP_ERR__INVALID_ARG
            | RD_KAFKA_RESP_ERR__BAD_MSG
    )
}

/// A pointer librdkafka hands back to a callback.
pub(crate) fn opaque<T>(value: *const T) -> *mut c_void {
    value.cast_mut().cast()
}

/// `rd_kafka_produceva` with headers, partition and timestamp.
///
/// # Safety
/// `client` and `topic` must be alive.
pub(super) unsafe fn produce_full(
    client: *mut sys::rd_kafka_t,
    topic: *mut sys::rd_kafka_topic_t,
    message: &super::producer::Outgoing<'_>,
    opaque: u64,
) -> Code {
    use sys::bindings::{
        rd_kafka_vtype_t as V, rd_kafka_vu_s as Vu, rd_kafka_vu_s__bindgen_ty_1 as U,
    };
    let headers = sys::rd_kafka_headers_new(message.headers.len());
    for (name, value) in message.headers {
        let (bytes, size) = super::producer::parts(value.as_deref());
        sys::rd_kafka_header_add(
            headers,
            name.as_ptr().cast(),
            isize::try_from(name.len()).unwrap_or(0),
            bytes.cast(),
            isize::try_from(size).unwrap_or(0),
        );
    }
    let mem = |bytes: Option<&[u8]>| {
        let (ptr, size) = super::producer::parts(bytes);
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
        None => Code::RD_KAFKA_RESP_ERR_NO_ERROR,
        Some((code, _)) => {
            // On failure the headers stay ours.
            sys::rd_kafka_headers_destroy(headers);
            code
        }
    }
}

/// `RD_KAFKA_OFFSET_INVALID`: no offset.
pub const INVALID_OFFSET: i64 = -1001;
