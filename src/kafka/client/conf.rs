//! An `rd_kafka_conf_t`: the properties of a client, checked as they are set.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rdkafka::config::NativeClientConfig;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::{RDKafkaRespErr, RDKafkaType};
use rdkafka::ClientConfig;
use rdkafka_sys as sys;

use super::c_string;
use super::handle::{Client, Kept, NativeClient};
use super::owned::{copied, written, AssignedPartitions};
use crate::config::nearest;
use crate::error::{Error, Result};
use crate::kafka::oauth;
use crate::log::Level;

/// Property names librdkafka accepts but does not list; used for "did you mean".
const ALIASES: [&str; 6] = [
    "linger.ms",
    "compression.type",
    "max.in.flight",
    "delivery.timeout.ms",
    "bootstrap.servers",
    "retries",
];

/// The severity of a debug line in syslog.
const DEBUG: c_int = 7;

/// The events of a consumer; called while it polls, and `on_debug_line` by librdkafka's threads.
pub(in crate::kafka) trait ConsumerEvents: Send + Sync + 'static {
    /// The group assigns partitions, or revokes them, and waits for the answer.
    fn on_rebalance(&self, client: &NativeClient, is_assigned: bool, list: AssignedPartitions);
    /// An error of the client.
    fn on_error(&self, client: &NativeClient, code: Code, reason: String);
    fn on_debug_line(&self, line: &str);
}

/// The crate's native configuration. Its properties are set here one after the other: `ClientConfig` has them in a hash
/// map, and of a property and its alias (`linger.ms`, `queue.buffering.max.ms`) the last one has to win.
pub struct Conf {
    native: NativeClientConfig,
    /// The source of its OAUTHBEARER tokens.
    token_source: Option<String>,
    /// What its callbacks refer to.
    kept: Vec<Kept>,
}

impl Conf {
    /// librdkafka's defaults, with log lines redirected to our log.
    ///
    /// # Panics
    /// Never: the crate reports invalid properties, and there are none.
    #[must_use]
    pub fn empty() -> Self {
        let native = ClientConfig::new().create_native_config();
        let native = native.expect("librdkafka's defaults are valid");
        let conf = native.ptr();
        // SAFETY: the conf is ours; the callbacks are static functions.
        unsafe {
            sys::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            super::network::set_callbacks(conf);
        }
        Self {
            native,
            token_source: None,
            kept: Vec::new(),
        }
    }

    /// Without logging, for a client that has no brokers and would only log that.
    #[must_use]
    pub(crate) fn silent() -> Self {
        let conf = Self::empty();
        // SAFETY: the conf is ours.
        unsafe { sys::rd_kafka_conf_set_log_cb(conf.raw(), None) };
        conf
    }

    /// Sets all `properties`. `what` (`producer_config`, `consumer_config`) names the configuration key in errors.
    ///
    /// # Errors
    /// Configuration: an unknown property (the error suggests the nearest known one) or an invalid value.
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
        if name == oauth::TOKEN_PROPERTY {
            self.token_source = Some(value.to_owned());
            self.ask_for_tokens();
            return Ok(());
        }
        if crate::config::is_secret(name) {
            crate::runtime::current().log.add_secret(value);
        }
        let (c_name, c_value) = (c_string(name), c_string(value));
        let (conf, name_at, value_at) = (self.raw(), c_name.as_ptr(), c_value.as_ptr());
        // SAFETY: the conf is ours, and the buffer has this size.
        let (result, reason) = written(|reason, size| unsafe {
            sys::rd_kafka_conf_set(conf, name_at, value_at, reason, size)
        });
        match result {
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => self.check_number(name, value, what),
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN => {
                let names = self.names();
                let names: Vec<&str> = names.iter().map(String::as_str).chain(ALIASES).collect();
                let hint = nearest(name, &names)
                    .map_or_else(String::new, |near| format!(" Did you mean \"{near}\"?"));
                Err(Error::configuration(format!(
                    "{what} has an unknown librdkafka property \"{name}\".{hint}"
                )))
            }
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_INVALID => {
                let to = if crate::config::is_secret(name) {
                    String::new()
                } else {
                    format!(" to \"{value}\"")
                };
                Err(Error::configuration(format!(
                    "{what}: \"{name}\" cannot be set{to}: {}.",
                    reason.trim_end()
                )))
            }
        }
    }

    /// librdkafka reads a number up to the first other character: `2000K` as 2000, `1e6` as 1, `010` as 8.
    fn check_number(&self, name: &str, value: &str, what: &str) -> Result<()> {
        let Some(effective) = self.get(name) else {
            return Ok(());
        };
        if is_read_as_meant(value, &effective) {
            return Ok(());
        }
        Err(Error::configuration(format!(
            "{what}: \"{name}\" must be a plain number without a unit; \"{value}\" would be read as {effective}."
        )))
    }

    /// The effective value of a property.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        self.native.get(name).ok()
    }

    /// The file of a property that cannot be read: librdkafka's reason names OpenSSL's error only.
    fn unreadable_file(&self) -> Option<String> {
        const FILES: [&str; 5] = [
            "ssl.ca.location",
            "ssl.certificate.location",
            "ssl.key.location",
            "ssl.keystore.location",
            "ssl.crl.location",
        ];
        FILES.iter().find_map(|name| {
            let file = self
                .get(name)
                .filter(|file| !file.is_empty() && file != "probe")?;
            let why = std::fs::metadata(&file)
                .and_then(|about| {
                    if about.is_dir() {
                        Ok(())
                    } else {
                        std::fs::File::open(&file).map(drop)
                    }
                })
                .err()?;
            Some(format!(
                "{name} is \"{file}\", which cannot be read ({why})"
            ))
        })
    }

    fn names(&self) -> Vec<String> {
        let mut count = 0usize;
        // SAFETY: the dump is an array of `count` strings, name and value in turn, freed below.
        unsafe {
            let dump = sys::rd_kafka_conf_dump(self.raw(), &raw mut count);
            let names = (0..count)
                .step_by(2)
                .map(|n| copied(*dump.add(n)))
                .collect();
            sys::rd_kafka_conf_dump_free(dump, count);
            names
        }
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_conf_t {
        self.native.ptr()
    }

    /// Keeps what a callback refers to, until the client is destroyed.
    pub(super) fn keep(&mut self, object: Kept) {
        self.kept.push(object);
    }

    /// The errors of the client are events of its main queue, and with `deliveries` the delivery reports too.
    pub(crate) fn report_events(&mut self, deliveries: bool) {
        let mut events = sys::RD_KAFKA_EVENT_ERROR;
        if deliveries {
            events |= sys::RD_KAFKA_EVENT_DR;
        }
        // SAFETY: the conf is ours.
        unsafe { sys::rd_kafka_conf_set_events(self.raw(), events) };
    }

    /// Collects the log lines, instead of logging them. Only for a client without other callbacks of ours.
    pub(in crate::kafka) fn collect_log_lines(&mut self, lines: &Arc<LogLines>) {
        self.keep(Arc::clone(lines) as _);
        // SAFETY: the conf is ours; the callback is static, and the client keeps the lines.
        unsafe {
            sys::rd_kafka_conf_set_log_cb(self.raw(), Some(on_collected_log));
            sys::rd_kafka_conf_set_opaque(self.raw(), super::opaque(Arc::as_ptr(lines)));
        }
    }

    /// Passes the events of the consumer to `events`, which its client keeps.
    pub(in crate::kafka) fn set_consumer_events<E: ConsumerEvents>(&mut self, events: &Arc<E>) {
        self.keep(Arc::clone(events) as _);
        let conf = self.raw();
        // SAFETY: the conf is ours, the functions are static, and the client keeps the receiver until it is destroyed.
        unsafe {
            sys::rd_kafka_conf_set_rebalance_cb(conf, Some(on_rebalance::<E>));
            sys::rd_kafka_conf_set_error_cb(conf, Some(on_error::<E>));
            sys::rd_kafka_conf_set_opaque(conf, super::opaque(Arc::as_ptr(events)));
        }
    }

    /// Passes debug lines to the events of the consumer; `are_logged`: to the log too.
    pub(in crate::kafka) fn watch_debug_lines<E: ConsumerEvents>(&mut self, are_logged: bool) {
        let callback = if are_logged {
            on_watched_log::<E, true>
        } else {
            on_watched_log::<E, false>
        };
        // SAFETY: the conf is ours; the callback is a static function.
        unsafe { sys::rd_kafka_conf_set_log_cb(self.raw(), Some(callback)) };
    }

    /// OAUTHBEARER tokens are requested in a thread of librdkafka.
    fn ask_for_tokens(&mut self) {
        // SAFETY: the conf is ours and the function static.
        unsafe {
            sys::rd_kafka_conf_set_oauthbearer_token_refresh_cb(self.raw(), Some(on_token_refresh));
            sys::rd_kafka_conf_enable_sasl_queue(self.raw(), 1);
        }
    }

    /// Creates the client.
    ///
    /// # Errors
    /// Configuration: properties that contradict each other.
    pub(crate) fn into_client(self, kind: RDKafkaType) -> Result<Client> {
        // SAFETY: a client owns the conf it was made of, which is forgotten then; on failure it stays ours.
        let client = unsafe {
            let (raw, reason) =
                written(|reason, size| sys::rd_kafka_new(kind, self.raw(), reason, size));
            let Some(raw) = NonNull::new(raw) else {
                return Err(Error::configuration(format!(
                    "The Kafka client rejects its configuration: {}.",
                    self.unreadable_file().unwrap_or(reason)
                )));
            };
            std::mem::forget(self.native);
            Client::from_raw(raw, self.kept)
        };
        if let Some(source) = &self.token_source {
            oauth::attach(&client, source);
        }
        Ok(client)
    }
}

/// Log lines, and when they were written.
pub(in crate::kafka) type LogLines = Mutex<Vec<(Instant, String)>>;

unsafe extern "C" fn on_collected_log(
    client: *const sys::rd_kafka_t,
    _level: c_int,
    _facility: *const c_char,
    line: *const c_char,
) {
    if client.is_null() {
        return;
    }
    let lines = sys::rd_kafka_opaque(client).cast::<LogLines>();
    if let Some(lines) = lines.as_ref() {
        lines.lock().push((Instant::now(), copied(line)));
    }
}

unsafe extern "C" fn on_token_refresh(
    client: *mut sys::rd_kafka_t,
    _config: *const c_char,
    _opaque: *mut c_void,
) {
    oauth::refresh(NativeClient::from_raw(client));
}

unsafe extern "C" fn on_rebalance<E: ConsumerEvents>(
    client: *mut sys::rd_kafka_t,
    code: RDKafkaRespErr,
    list: *mut sys::rd_kafka_topic_partition_list_t,
    events: *mut c_void,
) {
    let is_assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    let list = AssignedPartitions::copy_of(&*list.cast());
    let client = NativeClient::from_raw(client);
    (*events.cast::<E>()).on_rebalance(client, is_assigned, list);
}

unsafe extern "C" fn on_error<E: ConsumerEvents>(
    client: *mut sys::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    events: *mut c_void,
) {
    // librdkafka hands over its own enum as an int.
    let code = RDKafkaRespErr::try_from(code).map_or(Code::Unknown, Code::from);
    let client = NativeClient::from_raw(client);
    (*events.cast::<E>()).on_error(client, code, copied(reason));
}

unsafe extern "C" fn on_watched_log<E: ConsumerEvents, const ARE_LOGGED: bool>(
    client: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    if level >= DEBUG && !client.is_null() {
        let events = sys::rd_kafka_opaque(client).cast::<E>();
        if let Some(events) = events.as_ref() {
            events.on_debug_line(&copied(line));
        }
    }
    if ARE_LOGGED || level < DEBUG {
        on_log(client, level, facility, line);
    }
}

/// Logs a line of librdkafka.
unsafe extern "C" fn on_log(
    client: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    let name = if client.is_null() {
        String::new()
    } else {
        copied(sys::rd_kafka_name(client))
    };
    let line = copied(line);
    if line.contains(super::REFUSED_BATCH) {
        // Not an error: the producer divides the batch, and says so.
        return;
    }
    // "(after 3ms in state CONNECT)" would make every repetition a new line.
    let line = line.split(" (after ").next().unwrap_or_default();
    // "[thrd:localhost:9092/1]: " names the thread, and the broker follows anyway.
    let line = line.split_once("]: ").map_or(line, |(_, rest)| rest);
    let facility = copied(facility);
    let text = format!("Kafka client: {line} ({facility})");
    let context = vec![("client", name), ("facility", facility)];
    crate::runtime::current()
        .log
        .write_from_librdkafka(Level::of_severity(level), &text, context);
}

/// False if `effective` is a number and `value`, which begins as one, is another.
fn is_read_as_meant(value: &str, effective: &str) -> bool {
    let value = value.trim();
    let begins_as_number =
        value.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    let Ok(effective_number) = effective.parse::<f64>() else {
        return true;
    };
    if !begins_as_number || value == effective && !is_grouped(value) {
        return true;
    }
    // A float is printed with six digits.
    let plain = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    plain
        && !is_grouped(value)
        && value
            .parse::<f64>()
            .is_ok_and(|meant| (meant - effective_number).abs() <= effective_number.abs() * 1e-5)
}

/// `1.000` may mean a thousand: groups of three digits after a number from 1 to 999.
fn is_grouped(value: &str) -> bool {
    let mut groups = value.split('.');
    let first = groups.next().unwrap_or_default();
    let mut rest = groups.peekable();
    (1..=3).contains(&first.len())
        && !first.starts_with('0')
        && rest.peek().is_some()
        && rest.all(|group| group.len() == 3)
}

#[cfg(test)]
mod tests {
    use super::{is_read_as_meant, Conf};

    #[test]
    fn numbers_with_units_are_refused() {
        for value in [
            "2000K",
            "2000 ms",
            "30 seconds",
            "1e6",
            "0x10",
            "2,000",
            "1.000",
        ] {
            let error = Conf::empty().set("linger.ms", value, "producer_config");
            let error = error.expect_err(value);
            assert!(error.message().contains("linger.ms"), "{}", error.message());
        }
        for value in ["2000", " 20 ", "+5", "0", "0.5"] {
            assert_eq!(
                Conf::empty().set("linger.ms", value, "producer_config"),
                Ok(()),
                "{value}"
            );
        }
    }

    #[test]
    fn other_properties_are_not_numbers() {
        for (name, value) in [
            ("acks", "all"),
            ("client.id", "1a"),
            ("client.rack", "2000K"),
            ("compression.type", "zstd"),
        ] {
            assert_eq!(
                Conf::empty().set(name, value, "producer_config"),
                Ok(()),
                "{name}"
            );
        }
        assert!(is_read_as_meant("0.333", "0.333"));
    }
}
