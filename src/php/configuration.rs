//! The application's configuration as PHP gives it: environment variables, INI settings and arrays.

use ext_php_rs::flags::DataType;
use ext_php_rs::types::{ZendCallable, ZendHashTable, Zval};

use super::arguments::{self, CallError};
use super::{token, zend};
use crate::config::{Environment, Value};
use crate::error::Error;
use crate::log::Level;
use crate::runtime;

/// PHP's view of the environment: `$_ENV`, `$_SERVER`, `getenv()`. PHP-FPM clears libc's own.
pub struct PhpEnvironment;

impl Environment for PhpEnvironment {
    fn raw_var(&self, name: &str) -> Option<String> {
        for superglobal in ["_ENV", "_SERVER"] {
            let value = zend::superglobal(superglobal)
                .and_then(Zval::array)
                .and_then(|table| table.get(name));
            // A web server puts request headers into $_SERVER as HTTP_…; none of our names has that prefix.
            if let Some(text) = value
                .map(Zval::dereference)
                .and_then(Zval::coerce_to_string)
                .filter(|text| !text.trim().is_empty())
            {
                return Some(text);
            }
        }
        let value = ZendCallable::try_from_name("getenv")
            .ok()?
            .try_call(vec![&name])
            .ok()?;
        value.is_string().then(|| value.string()).flatten()
    }

    fn variables(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for superglobal in ["_ENV", "_SERVER"] {
            if let Some(table) = zend::superglobal(superglobal).and_then(Zval::array) {
                add_variables(table, &mut all);
            }
        }
        let system = ZendCallable::try_from_name("getenv").ok();
        let system = system.and_then(|getenv| getenv.try_call(Vec::new()).ok());
        if let Some(table) = system.as_ref().and_then(Zval::array) {
            add_variables(table, &mut all);
        }
        all
    }

    fn warn_of_comment(&self, name: &str) {
        runtime::current().log.write_once(
            Level::Warning,
            &format!(
                "The environment variable {name} ends with a comment (\"# …\"), which is ignored. Move the comment \
                 to a line of its own, or quote a value that contains it."
            ),
        );
    }

    fn ini(&self, name: &str) -> Option<String> {
        zend::ini(&format!("toporia_realtime.{name}"))
    }
}

fn add_variables(table: &ZendHashTable, all: &mut Vec<(String, String)>) {
    for (name, value) in arguments::entries(table) {
        let name = name.text().filter(|name| !is_of_request(name));
        if let Some((name, text)) = name.zip(value.dereference().string()) {
            all.push((name, text));
        }
    }
}

/// True for entries of `$_SERVER`, and of `getenv()` in PHP-FPM, that come from the request.
fn is_of_request(name: &str) -> bool {
    const PREFIXES: [&str; 9] = [
        "HTTP_", "PATH_", "QUERY_", "REQUEST_", "ORIG_", "SCRIPT_", "PHP_", "REMOTE_", "CONTENT_",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Deeper configuration arrays are refused: an array that contains itself by reference has no end.
const MAX_CONFIGURATION_DEPTH: usize = 64;

/// A configuration array, without the comments of environment variables that it reads. Objects (closures among the
/// handlers, for example) are reduced to their class name.
///
/// # Errors
/// Configuration: a key or a text is not UTF-8, or the array is nested too deeply.
pub fn read(value: &Zval) -> Result<Value, Error> {
    let mut value = read_at(value, "", 0)?;
    crate::config::remove_comments(&mut value, "", &PhpEnvironment);
    Ok(value)
}

/// The array given to a constructor; `None` if there is none, or an empty one.
pub fn given(config: Option<&Zval>, place: &str) -> Result<Option<Value>, CallError> {
    let given = arguments::optional(config, |config| {
        arguments::array(config, place)?;
        Ok(read(config)?)
    })?;
    Ok(given.filter(|config| !matches!(config, Value::List(list) if list.is_empty())))
}

fn read_at(value: &Zval, path: &str, depth: usize) -> Result<Value, Error> {
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
        let entries = arguments::entries(table);
        let is_list = arguments::is_list(&entries);
        let mut map = Vec::with_capacity(entries.len());
        for (key, value) in &entries {
            let Some(name) = key.text() else {
                return Err(Error::configuration(format!(
                    "A key of the configuration is not valid UTF-8: \"{path}{key}\"."
                )));
            };
            let inside = read_at(value, &format!("{path}{name}."), depth + 1)?;
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
