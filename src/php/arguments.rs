//! Arguments as PHP users pass them: numbers and Stringables where a string is expected, arrays of headers.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use ext_php_rs::exception::{PhpException, PhpResult};
use ext_php_rs::flags::DataType;
use ext_php_rs::types::{ZendHashTable, Zval};
use ext_php_rs::zend::ce;

use super::json::EncodeError;
use super::zend;
use crate::envelope::headers;
use crate::error::Error;
use crate::message::Header;

/// The error of a method: an exception to throw, or one that is pending already.
pub enum CallError {
    Throw(PhpException),
    /// Pending in the engine: return without throwing.
    Pending,
}

impl From<PhpException> for CallError {
    fn from(exception: PhpException) -> Self {
        Self::Throw(exception)
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Throw(error.into())
    }
}

impl From<EncodeError> for CallError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Json(error) => error.into(),
            EncodeError::Pending => Self::Pending,
        }
    }
}

/// Why consuming has to stop.
pub enum Abort {
    /// An exception (or `exit`) is pending in the engine.
    Pending,
    /// An error of the core, not thrown yet.
    Error(Error),
}

impl From<Abort> for CallError {
    fn from(abort: Abort) -> Self {
        match abort {
            Abort::Pending => Self::Pending,
            Abort::Error(error) => error.into(),
        }
    }
}

/// Ends a method: throws the exception, if there is one to throw. With an exception pending the return value does not
/// matter.
pub fn finish<T: Default>(result: Result<T, CallError>) -> Result<T, PhpException> {
    match result {
        Ok(value) => Ok(value),
        Err(CallError::Throw(exception)) => Err(exception),
        Err(CallError::Pending) => Ok(T::default()),
    }
}

/// Ends a fluent method, which returns `$this`.
pub fn fluent(result: Result<(), CallError>) -> Result<Zval, PhpException> {
    finish(result)?;
    Ok(zend::this())
}

/// The type of a value as PHP names it; the class of an object.
pub fn type_name(value: &Zval) -> String {
    if let Some(object) = value.object() {
        return zend::class_name(object);
    }
    match value.get_type() {
        DataType::Long => "int".to_owned(),
        DataType::Double => "float".to_owned(),
        DataType::True | DataType::False | DataType::Bool => "bool".to_owned(),
        other => format!("{other:?}").to_ascii_lowercase(),
    }
}

/// A `TypeError` in PHP's own words. `place` is for example `Realtime::broadcast(): Argument #1 ($channel)`.
pub fn type_error(place: &str, wanted: &str, given: &Zval) -> PhpException {
    let given = type_name(given);
    PhpException::new(
        format!("Toporia\\Realtime\\{place} must be of type {wanted}, {given} given"),
        0,
        ce::type_error(),
    )
}

/// The bytes of a value that PHP would accept as a string: strings, numbers, Stringables.
pub fn bytes(value: &Zval, place: &str) -> Result<Vec<u8>, CallError> {
    let value = value.dereference();
    if let Some(text) = value.zend_str() {
        return Ok(text.as_bytes().to_vec());
    }
    if value.is_object() {
        let stringable = value
            .object()
            .is_some_and(|object| object.instance_of(ext_php_rs::zend::ce::stringable()));
        if stringable {
            let text = value.try_call_method("__toString", vec![]);
            if zend::has_exception() {
                return Err(CallError::Pending);
            }
            if let Some(text) = text.ok().as_ref().and_then(Zval::zend_str) {
                return Ok(text.as_bytes().to_vec());
            }
        }
    } else if value.is_long() || value.is_double() || value.is_bool() {
        return Ok(value.coerce_to_string().unwrap_or_default().into_bytes());
    }
    Err(type_error(place, "string", value).into())
}

/// The name of a channel or topic, as UTF-8 text.
pub fn channel<'a>(value: &'a Zval, place: &str) -> Result<Cow<'a, str>, CallError> {
    utf8(value, place, Error::channel)
}

/// The name of an event, as UTF-8 text: it becomes JSON.
pub fn event<'a>(value: &'a Zval, place: &str) -> Result<Cow<'a, str>, CallError> {
    utf8(value, place, Error::encoding)
}

/// Any other UTF-8 text.
pub fn text<'a>(value: &'a Zval, place: &str) -> Result<Cow<'a, str>, CallError> {
    utf8(value, place, Error::configuration)
}

fn utf8<'a>(
    value: &'a Zval,
    place: &str,
    refuse: fn(String) -> Error,
) -> Result<Cow<'a, str>, CallError> {
    let value = value.dereference();
    if let Some(text) = value.zend_str().and_then(|text| text.as_str().ok()) {
        return Ok(Cow::Borrowed(text));
    }
    String::from_utf8(bytes(value, place)?)
        .map(Cow::Owned)
        .map_err(|error| {
            refuse(format!(
                "Toporia\\Realtime\\{place} is not valid UTF-8 (byte {}).",
                error.utf8_error().valid_up_to()
            ))
            .into()
        })
}

/// `None` for null or an absent argument.
pub fn optional<'a, T>(
    value: Option<&'a Zval>,
    read: impl FnOnce(&'a Zval) -> Result<T, CallError>,
) -> Result<Option<T>, CallError> {
    match value.map(Zval::dereference) {
        None => Ok(None),
        Some(value) if value.is_null() => Ok(None),
        Some(value) => read(value).map(Some),
    }
}

pub fn array<'a>(value: &'a Zval, place: &str) -> Result<&'a ZendHashTable, CallError> {
    let value = value.dereference();
    value
        .array()
        .ok_or_else(|| type_error(place, "array", value).into())
}

/// A whole number: also a float without a fraction, a bool and a numeric string, as PHP converts them.
pub fn int(value: &Zval, place: &str) -> PhpResult<i64> {
    let value = value.dereference();
    let number = if value.is_bool() {
        Some(i64::from(value.is_true()))
    } else if let Some(text) = value.zend_str() {
        text.as_str().ok().and_then(whole_number)
    } else {
        value.long().or_else(|| value.double().and_then(whole))
    };
    number.ok_or_else(|| type_error(place, "int", value))
}

/// A number as text, surrounded by white space at most.
fn whole_number(text: &str) -> Option<i64> {
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    is_number.then(|| text.parse().ok().and_then(whole))?
}

#[allow(clippy::cast_possible_truncation)] // within the range of i64, without a fraction
fn whole(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (number.fract() == 0.0 && (-LIMIT..LIMIT).contains(&number)).then_some(number as i64)
}

/// An absent number is `default`.
pub fn int_or(value: Option<&Zval>, default: i64, place: &str) -> PhpResult<i64> {
    value.map_or(Ok(default), |value| int(value, place))
}

/// `None` for null or an absent argument.
pub fn optional_int(value: Option<&Zval>, place: &str) -> PhpResult<Option<i64>> {
    let value = value.filter(|value| !value.dereference().is_null());
    value.map(|value| int(value, place)).transpose()
}

/// A number of at least `least`.
pub fn at_least(number: i64, least: i64, place: &str) -> PhpResult<u64> {
    if number >= least {
        return Ok(number.unsigned_abs());
    }
    Err(out_of_range(number, format_args!("{least} or more"), place).into())
}

/// A number from `least` to `most`.
pub fn within(number: i64, least: i64, most: i64, place: &str) -> Result<i64, Error> {
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    let range = format_args!("from {least} to {most}");
    Err(out_of_range(number, range, place))
}

/// The error for a number outside of its range; it names the parameter as `Broker::consume(): $timeoutMs`.
pub fn out_of_range(number: i64, range: impl fmt::Display, place: &str) -> Error {
    let (method, argument) = place.split_once("Argument").unwrap_or((place, ""));
    let name = argument.split(['(', ')']).nth(1).unwrap_or_default();
    Error::configuration(format!("{method}{name} must be {range}, {number} given."))
}

pub fn milliseconds(number: i64, place: &str) -> PhpResult<Duration> {
    at_least(number, 0, place).map(Duration::from_millis)
}

/// True or false: also numbers and strings, as PHP converts them.
pub fn boolean(value: Option<&Zval>, default: bool, place: &str) -> PhpResult<bool> {
    let Some(value) = value.map(Zval::dereference) else {
        return Ok(default);
    };
    if let Some(text) = value.zend_str() {
        return Ok(!matches!(text.as_bytes(), b"" | b"0"));
    }
    let truth = value
        .bool()
        .or_else(|| value.long().map(|number| number != 0))
        .or_else(|| value.double().map(|number| number != 0.0));
    truth.ok_or_else(|| type_error(place, "bool", value))
}

/// Record headers: name to text, number, bool, null, or a list of these for a repeated name.
pub fn record_headers(value: Option<&Zval>, place: &str) -> Result<Vec<Header>, CallError> {
    headers_but(value, place, headers::is_set_by_us)
}

/// The same for a raw record, which may be the replay of a dead letter.
pub fn raw_headers(value: Option<&Zval>, place: &str) -> Result<Vec<Header>, CallError> {
    headers_but(value, place, |name| {
        headers::is_set_by_us(name) && !headers::is_of_dead_letters(name)
    })
}

fn headers_but(
    value: Option<&Zval>,
    place: &str,
    is_dropped: fn(&str) -> bool,
) -> Result<Vec<Header>, CallError> {
    let Some(table) = optional(value, |value| array(value, place).map(std::ptr::from_ref))? else {
        return Ok(Vec::new());
    };
    // SAFETY: the array belongs to the caller's argument, which outlives this call.
    let table = unsafe { &*table };
    let mut list = Vec::with_capacity(table.len());
    for (name, value) in entries(table) {
        let Some(name) = name.text().filter(|name| !name.is_empty()) else {
            return Err(Error::configuration(format!(
                "Toporia\\Realtime\\{place}: \"{name}\" is not a header name. It must be UTF-8 text and not empty."
            ))
            .into());
        };
        if is_dropped(&name) {
            continue;
        }
        if let Some(several) = value.array() {
            for (_, one) in entries(several) {
                list.push((name.clone(), header_value(&one, &name, place)?));
            }
        } else {
            list.push((name.clone(), header_value(&value, &name, place)?));
        }
    }
    Ok(list)
}

fn header_value(value: &Zval, name: &str, place: &str) -> Result<Option<Vec<u8>>, CallError> {
    optional(Some(value), |value| {
        bytes(value, &format!("{place}: header \"{name}\""))
    })
}

/// The key of an array entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Int(i64),
    Bytes(Vec<u8>),
}

impl Key {
    /// The key as UTF-8 text; `None` if its bytes are not UTF-8.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Int(number) => Some(number.to_string()),
            Self::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Bytes(bytes) => {
                write!(f, "{}", String::from_utf8_lossy(bytes).escape_debug())
            }
        }
    }
}

/// The entries of an array in their order, without references around the values.
///
/// The values are counted copies: reading one may run PHP code (`__toString()`), which may change the array.
pub fn entries(table: &ZendHashTable) -> Vec<(Key, Zval)> {
    let mut entries = Vec::with_capacity(table.len());
    let mut iterator = table.iter();
    while let Some((key, value)) = iterator.next_zval() {
        let key = match key.long() {
            Some(number) => Key::Int(number),
            None => Key::Bytes(
                key.zend_str()
                    .map(|text| text.as_bytes().to_vec())
                    .unwrap_or_default(),
            ),
        };
        entries.push((key, value.dereference().shallow_clone()));
    }
    entries
}

/// True if the keys are 0, 1, 2 … in this order.
pub fn is_list(entries: &[(Key, Zval)]) -> bool {
    entries
        .iter()
        .zip(0..)
        .all(|((key, _), index)| *key == Key::Int(index))
}
