//! An `rd_kafka_conf_t`: the properties of a client, checked as they are set.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

use rdkafka_sys as sys;

use super::{c_string, text};
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

/// An `rd_kafka_conf_t`, destroyed unless a client took ownership of it.
pub struct Conf {
    raw: *mut sys::rd_kafka_conf_t,
    /// The source of its OAUTHBEARER tokens.
    token_source: Option<String>,
}

impl Conf {
    /// librdkafka's defaults, with log lines redirected to our log.
    #[must_use]
    pub fn empty() -> Self {
        // SAFETY: plain constructor; the callback is a static function.
        unsafe {
            let conf = sys::rd_kafka_conf_new();
            sys::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            super::resolve::set_resolve_callback(conf);
            #[cfg(test)]
            super::connectivity::set_connect_callback(conf);
            Self {
                raw: conf,
                token_source: None,
            }
        }
    }

    /// Without logging, for a client that has no brokers and would only log that.
    #[must_use]
    pub(crate) fn silent() -> Self {
        let mut conf = Self::empty();
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
            oauth::prepare(self);
            return Ok(());
        }
        if crate::config::is_secret(name) {
            crate::process::current().log.add_secret(value);
        }
        let mut reason = [0 as c_char; 512];
        let (c_name, c_value) = (c_string(name), c_string(value));
        // SAFETY: valid pointers; `reason` is large enough for its stated size.
        let result = unsafe {
            sys::rd_kafka_conf_set(
                self.raw,
                c_name.as_ptr(),
                c_value.as_ptr(),
                reason.as_mut_ptr(),
                reason.len(),
            )
        };
        match result {
            sys::bindings::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => {
                self.check_number(name, value, what)
            }
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
        // SAFETY: a live object.
        unsafe { property(self.raw, name) }
    }

    fn names(&self) -> Vec<String> {
        let mut count = 0usize;
        // SAFETY: the dump is an array of `count` strings, name and value in turn, freed below.
        unsafe {
            let dump = sys::rd_kafka_conf_dump(self.raw, &raw mut count);
            let names = (0..count).step_by(2).map(|n| text(*dump.add(n))).collect();
            sys::rd_kafka_conf_dump_free(dump, count);
            names
        }
    }

    /// The raw object, for setting callbacks.
    pub(crate) fn raw(&mut self) -> *mut sys::rd_kafka_conf_t {
        self.raw
    }

    /// Creates the client.
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
            let client = sys::rd_kafka_new(kind, self.raw, reason.as_mut_ptr(), reason.len());
            if client.is_null() {
                return Err(Error::configuration(format!(
                    "The Kafka client rejects its configuration: {}.",
                    text(reason.as_ptr())
                )));
            }
            self.raw = std::ptr::null_mut();
            if let Some(source) = &self.token_source {
                oauth::attach(client, source);
            }
            Ok(client)
        }
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: still ours.
            unsafe { sys::rd_kafka_conf_destroy(self.raw) };
        }
    }
}

/// Logs a line of librdkafka.
pub(crate) unsafe extern "C" fn on_log(
    client: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    let name = if client.is_null() {
        String::new()
    } else {
        text(sys::rd_kafka_name(client))
    };
    let line = text(line);
    if line.contains(super::REFUSED_BATCH) {
        // Not an error: the producer divides the batch, and says so.
        return;
    }
    // "(after 3ms in state CONNECT)" would make every repetition a new line.
    let line = line.split(" (after ").next().unwrap_or_default();
    // "[thrd:localhost:9092/1]: " names the thread, and the broker follows anyway.
    let line = line.split_once("]: ").map_or(line, |(_, rest)| rest);
    let facility = text(facility);
    let text = format!("Kafka client: {line} ({facility})");
    let context = vec![("client", name), ("facility", facility)];
    crate::process::current()
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

/// The effective value of a property, also of a client that exists already.
///
/// # Safety
/// `conf` must be alive.
pub(in crate::kafka) unsafe fn property(
    conf: *const sys::rd_kafka_conf_t,
    name: &str,
) -> Option<String> {
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
