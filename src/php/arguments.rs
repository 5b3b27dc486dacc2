//! Arguments as PHP users pass them: numbers and Stringables where a string is expected, arrays of headers,
//! configuration arrays.

use std::borrow::Cow;

use ext_php_rs::exception::PhpException;
use ext_php_rs::flags::DataType;
use ext_php_rs::types::{ZendHashTable, Zval};
use ext_php_rs::zend::ce;

use super::{arrays, token, zend};
use crate::config::Value;
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

/// Ends a method: throws the exception, if there is one to throw. With an exception pending the return value does not
/// matter.
pub fn finish<T: Default>(result: Result<T, CallError>) -> Result<T, PhpException> {
    match result {
        Ok(value) => Ok(value),
        Err(CallError::Throw(exception)) => Err(exception),
        Err(CallError::Pending) => Ok(T::default()),
    }
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
    for (name, value) in arrays::entries(table) {
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
            for (_, one) in arrays::entries(several) {
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

/// Deeper configuration arrays are refused: an array that contains itself by reference has no end.
const MAX_CONFIGURATION_DEPTH: usize = 64;

/// A configuration array, without the comments of environment variables that it reads. Objects (closures among the
/// handlers, for example) are reduced to their class name.
///
/// # Errors
/// Configuration: a key or a text is not UTF-8, or the array is nested too deeply.
pub fn configuration(value: &Zval) -> Result<Value, Error> {
    let mut value = read_configuration(value, "", 0)?;
    crate::config::remove_comments(&mut value, "", &super::state::PhpEnvironment);
    Ok(value)
}

fn read_configuration(value: &Zval, path: &str, depth: usize) -> Result<Value, Error> {
    let value = value.dereference();
    if path.ends_with("security.token.") {
        return token::setting(value);
    }
    if let Some(table) = value.array() {
        if depth >= MAX_CONFIGURATION_DEPTH {
            return Err(Error::configuration(format!(
                "The configuration is nested more than {MAX_CONFIGURATION_DEPTH} levels deep at \"{}…\". Does \
                 the array \
                 contain a reference to itself?",
                path.chars().take(60).collect::<String>()
            )));
        }
        let entries = arrays::entries(table);
        let is_list = arrays::is_list(&entries);
        let mut map = Vec::with_capacity(entries.len());
        for (key, value) in &entries {
            let Some(name) = key.text() else {
                return Err(Error::configuration(format!(
                    "A key of the configuration is not valid UTF-8: \"{path}{key}\"."
                )));
            };
            let inside = read_configuration(value, &format!("{path}{name}."), depth + 1)?;
            map.push((name, inside));
        }
        return Ok(if is_list {
            Value::List(map.into_iter().map(|(_, value)| value).collect())
        } else {
            Value::Map(map)
        });
    }
    if let Some(object) = value.object() {
        return Ok(Value::Str(zend::class_name(object)));
    }
    Ok(match value.get_type() {
        DataType::True => Value::Bool(true),
        DataType::False => Value::Bool(false),
        DataType::Long => Value::Int(value.long().unwrap_or(0)),
        DataType::Double => Value::Float(value.double().unwrap_or(0.0)),
        DataType::String => match value.string() {
            Some(text) => Value::Str(text),
            None => {
                return Err(Error::configuration(format!(
                    "The configuration value \"{}\" is not valid UTF-8.",
                    path.trim_end_matches('.')
                )))
            }
        },
        _ => Value::Null,
    })
}
