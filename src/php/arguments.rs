//! Arguments as PHP users pass them: numbers and Stringables where a string is expected, arrays of headers,
//! configuration arrays.

use std::borrow::Cow;

use ext_php_rs::exception::PhpException;
use ext_php_rs::flags::DataType;
use ext_php_rs::types::{ArrayKey, ZendHashTable, Zval};
use ext_php_rs::zend::ce;

use crate::config::Value;
use crate::envelope::headers;
use crate::error::Error;
use crate::kafka::producer::delivery::Header;

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

/// Ends a method: throws the exception, if there is one to throw. With an exception pending the return value does not
/// matter.
pub fn finish<T: Default>(result: Result<T, CallError>) -> Result<T, PhpException> {
    match result {
        Ok(value) => Ok(value),
        Err(CallError::Throw(exception)) => Err(exception),
        Err(CallError::Pending) => Ok(T::default()),
    }
}

/// A `TypeError` in PHP's own words. `place` is for example `Realtime::broadcast(): Argument #1 ($channel)`.
pub fn type_error(place: &str, wanted: &str, given: &Zval) -> PhpException {
    let given = match given.object() {
        Some(object) => object.get_class_name().unwrap_or_default(),
        None => match given.get_type() {
            DataType::Long => "int".to_owned(),
            DataType::Double => "float".to_owned(),
            DataType::True | DataType::False | DataType::Bool => "bool".to_owned(),
            other => format!("{other:?}").to_ascii_lowercase(),
        },
    };
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
            if super::zend::has_exception() {
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

/// The same as UTF-8 text.
pub fn text<'a>(value: &'a Zval, place: &str) -> Result<Cow<'a, str>, CallError> {
    let value = value.dereference();
    if let Some(text) = value.zend_str().and_then(|text| text.as_str().ok()) {
        return Ok(Cow::Borrowed(text));
    }
    String::from_utf8(bytes(value, place)?)
        .map(Cow::Owned)
        .map_err(|error| {
            Error::channel(format!(
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

/// Record headers: name to text, number, bool, null, or a list of these for a repeated name.
pub fn record_headers(value: Option<&Zval>, place: &str) -> Result<Vec<Header>, CallError> {
    headers_but(value, place, |name| {
        headers::is_ours(name) && name != headers::PUBLIC && name != headers::SOCKET
    })
}

/// The same for a raw record, which may be the replay of a dead letter.
pub fn raw_headers(value: Option<&Zval>, place: &str) -> Result<Vec<Header>, CallError> {
    headers_but(value, place, |name| {
        headers::is_ours(name)
            && !headers::is_of_dead_letters(name)
            && name != headers::PUBLIC
            && name != headers::SOCKET
    })
}

fn headers_but(
    value: Option<&Zval>,
    place: &str,
    refused: fn(&str) -> bool,
) -> Result<Vec<Header>, CallError> {
    let Some(table) = optional(value, |value| array(value, place).map(std::ptr::from_ref))? else {
        return Ok(Vec::new());
    };
    // SAFETY: the array belongs to the caller's argument, which outlives this call.
    let table = unsafe { &*table };
    let mut list = Vec::with_capacity(table.len());
    for (name, value) in table {
        let name = match name {
            ArrayKey::Long(number) => number.to_string(),
            other => other.to_string(),
        };
        if name.is_empty() || refused(&name) {
            return Err(Error::configuration(format!(
                "The header \"{name}\" cannot be set: names must not be empty, and the extension sets its own \
                headers itself."
            ))
            .into());
        }
        let value = value.dereference();
        if let Some(several) = value.array() {
            for (_, one) in several {
                list.push((name.clone(), header_value(one, &name)?));
            }
        } else {
            list.push((name.clone(), header_value(value, &name)?));
        }
    }
    Ok(list)
}

fn header_value(value: &Zval, name: &str) -> Result<Option<Vec<u8>>, CallError> {
    optional(Some(value), |value| {
        bytes(value, &format!("header \"{name}\""))
    })
}

/// A configuration array. Objects (closures among the handlers, for example) are reduced to their class name.
pub fn configuration(value: &Zval) -> Value {
    let value = value.dereference();
    if let Some(table) = value.array() {
        if table.has_sequential_keys() {
            return Value::List(table.values().map(configuration).collect());
        }
        return Value::Map(
            table
                .iter()
                .map(|(key, value)| (key.to_string(), configuration(value)))
                .collect(),
        );
    }
    if let Some(object) = value.object() {
        return Value::Str(object.get_class_name().unwrap_or_default());
    }
    match value.get_type() {
        DataType::True => Value::Bool(true),
        DataType::False => Value::Bool(false),
        DataType::Long => Value::Int(value.long().unwrap_or(0)),
        DataType::Double => Value::Float(value.double().unwrap_or(0.0)),
        DataType::String => Value::Str(value.string().unwrap_or_default()),
        _ => Value::Null,
    }
}
