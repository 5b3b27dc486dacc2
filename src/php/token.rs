//! `security.token`: obtains OAUTHBEARER tokens from PHP code, when the virtual machine is interrupted.
//!
//! PHP serves the interrupt between two opcodes, so also while a callback runs, as it does for signal handlers; the
//! native code that waits (`consume()`, `flush()`, `Admin`, `Gateway::run()`) serves it by itself.

use std::cell::{Cell, RefCell};
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::OnceLock;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use ext_php_rs::ffi::{self, zend_execute_data};
use ext_php_rs::types::{ZendHashTable, Zval};

use super::callback::Callback;
use super::{arguments, binary, logging, zend};
use crate::config::{BrokerConfig, TokenSource, Value, CALLABLE};
use crate::error::{Error, Result};
use crate::kafka::oauth::TOKENS;
use crate::kafka::oauth::{set_interrupt_flag, Token};
use crate::runtime;

/// The PHP function that obtains tokens of sources that are not callables.
const NAMED: &str = "Toporia\\Realtime\\Security\\TokenSources::token";

type Interrupt = unsafe extern "C" fn(*mut zend_execute_data);

/// The function that was installed before ours.
static PREVIOUS: OnceLock<Option<Interrupt>> = OnceLock::new();

#[derive(Default)]
struct Sources {
    callables: Vec<(String, Rc<Callback>)>,
    named: Vec<TokenSource>,
}

thread_local! {
    static SOURCES: RefCell<Sources> = RefCell::default();
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Called once, when the module starts.
pub fn install() {
    // SAFETY: PHP is single-threaded at this point.
    unsafe {
        let previous = ffi::zend_interrupt_function;
        if PREVIOUS.set(previous).is_ok() {
            ffi::zend_interrupt_function = Some(on_interrupt);
        }
    }
}

unsafe extern "C" fn on_interrupt(execute_data: *mut zend_execute_data) {
    if let Some(Some(previous)) = PREVIOUS.get() {
        previous(execute_data);
    }
    // A panic must not cross into the engine.
    drop(catch_unwind(serve));
}

pub fn request_startup() {
    set_interrupt_flag(zend::interrupt_flag());
    TOKENS.current().remind();
}

pub fn request_shutdown() {
    set_interrupt_flag(std::ptr::null_mut());
    BUSY.set(false);
    let old = SOURCES.with(|sources| std::mem::take(&mut *sources.borrow_mut()));
    drop(old);
}

/// The value of `security.token` in a configuration: a callable is kept and replaced by a name, which is the same for
/// the same code in the next request.
///
/// # Errors
/// Configuration: neither text nor callable.
pub fn setting(value: &Zval) -> Result<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    if let Some(text) = value.str() {
        return Ok(Value::Str(text.to_owned()));
    }
    let callback = Callback::new(value).ok_or_else(|| {
        Error::configuration(
            "security.token must be a callable that returns a token, the name of an invokable class, 'oidc' or \
             'aws-msk-iam'.",
        )
    })?;
    let origin = format!("{CALLABLE}{}", callback.origin());
    let name = SOURCES.with(|sources| {
        let mut sources = sources.borrow_mut();
        let same = |(_, known): &&(String, Rc<Callback>)| known.is_same(&callback);
        if let Some((name, _)) = sources.callables.iter().find(same) {
            return name.clone();
        }
        let others = sources.callables.iter();
        let others = others.filter(|(name, _)| name.starts_with(&origin)).count();
        let name = format!("{origin}#{}", others + 1);
        sources.callables.push((name.clone(), Rc::new(callback)));
        name
    });
    TOKENS.current().remind();
    Ok(Value::Str(name))
}

/// Remembers the sources of a configuration for this request.
pub fn remember(config: &BrokerConfig) {
    if config.token_sources.is_empty() {
        return;
    }
    SOURCES.with(|sources| {
        let mut sources = sources.borrow_mut();
        for source in &config.token_sources {
            if !source.kind.starts_with(CALLABLE) && !sources.named.contains(source) {
                sources.named.push(source.clone());
            }
        }
    });
    TOKENS.current().remind();
}

/// Obtains the tokens that clients wait for.
pub fn serve() {
    if BUSY.get() || zend::has_exception() {
        return;
    }
    let tokens = TOKENS.current();
    for name in tokens.due() {
        BUSY.set(true);
        let outcome = obtain(&name);
        BUSY.set(false);
        let Some(outcome) = outcome else {
            continue;
        };
        if let Err(reason) = &outcome {
            runtime::error(format!(
                "No OAUTHBEARER token for Kafka: {reason}. It is requested again in ten seconds."
            ));
        }
        if let Err(error) = tokens.provide(&name, outcome) {
            runtime::error(error.message());
        }
        logging::deliver();
        if zend::has_exception() {
            // exit() in the callable.
            return;
        }
    }
}

/// Calls the source. `None`: it is not known in this request.
fn obtain(name: &str) -> Option<std::result::Result<Token, String>> {
    let (callback, named) = SOURCES.with(|sources| {
        let sources = sources.borrow();
        let mut callables = sources.callables.iter();
        let callable = callables.find(|(known, _)| known == name);
        let named = sources.named.iter().find(|source| source.name == name);
        (
            callable.map(|(_, callback)| Rc::clone(callback)),
            named.cloned(),
        )
    });
    let mut arguments = Vec::new();
    let callback = match (callback, named) {
        (Some(callback), _) => callback,
        (None, Some(source)) => {
            let Some(callback) = Callback::new(&binary(NAMED.as_bytes())) else {
                zend::clear_exception();
                return Some(Err(format!(
                    "security.token is '{}', which needs the PHP classes of toporia/realtime: install the package \
                     with Composer, or set security.token to a callable",
                    source.kind
                )));
            };
            let mut settings = ZendHashTable::new();
            for (setting, value) in source.settings.iter() {
                if settings.insert(setting, value).is_err() {
                    return Some(Err(format!(
                        "the setting {setting} cannot be passed to PHP"
                    )));
                }
            }
            let table = super::array(settings);
            arguments.extend([binary(source.kind.as_bytes()), table]);
            Rc::new(callback)
        }
        (None, None) => return None,
    };
    let result = callback.call_for_result(&mut arguments);
    if zend::is_exiting() {
        return None;
    }
    let Some(result) = result else {
        let why = zend::pending_object();
        zend::clear_exception();
        return Some(Err(
            why.map_or_else(|| "it failed".to_owned(), |why| zend::chain_of(&why))
        ));
    };
    Some(read(&result))
}

/// Reads the result of a source: a JWT, or an array with `token` and its lifetime.
fn read(result: &Zval) -> std::result::Result<Token, String> {
    const SHAPE: &str = "security.token must return a JWT, or an array with 'token' and 'expires_at' (Unix time in \
                         seconds) or 'lifetime' (seconds), and optionally 'principal' and 'extensions'";
    let result = result.dereference();
    if let Some(text) = result.str() {
        let (expires_ms, principal) = claims(text);
        return Ok(Token {
            value: text.to_owned(),
            expires_ms: expires_ms
                .ok_or_else(|| format!("{SHAPE}; it returned text that is not a JWT with 'exp'"))?,
            principal: principal.unwrap_or_default(),
            extensions: Vec::new(),
        });
    }
    let Some(table) = result.array() else {
        return Err(format!(
            "{SHAPE}; it returned {}",
            arguments::type_name(result)
        ));
    };
    let mut token = Token {
        value: String::new(),
        expires_ms: 0,
        principal: String::new(),
        extensions: Vec::new(),
    };
    let mut expires_ms = None;
    for (key, value) in arguments::entries(table) {
        let value = value.dereference();
        let text = || value.coerce_to_string().unwrap_or_default();
        let seconds = || value.coerce_to_double().filter(|seconds| *seconds > 0.0);
        match key.text().as_deref() {
            Some("token") => token.value = text(),
            Some("principal") => token.principal = text(),
            Some("expires_at") if value.is_object() => {
                let at = value.try_call_method("getTimestamp", vec![]).ok();
                zend::clear_exception();
                expires_ms = at.and_then(|at| at.long()).map(|at| at * 1000);
            }
            Some("expires_at") => expires_ms = seconds().map(to_ms),
            Some("lifetime" | "expires_in") => {
                let now = i64::try_from(crate::ids::unix_ms()).unwrap_or(i64::MAX);
                expires_ms = seconds().map(|seconds| now.saturating_add(to_ms(seconds)));
            }
            Some("extensions") => {
                for (name, value) in value.array().into_iter().flat_map(arguments::entries) {
                    let name = name.text().unwrap_or_default();
                    let value = value.coerce_to_string().unwrap_or_default();
                    token.extensions.push((name, value));
                }
            }
            _ => {}
        }
    }
    if token.value.is_empty() {
        return Err(format!("{SHAPE}; 'token' is missing"));
    }
    let (from_token, subject) = claims(&token.value);
    token.expires_ms = expires_ms.or(from_token).ok_or_else(|| {
        format!("{SHAPE}; neither 'expires_at' nor 'lifetime' is set, and 'token' has no 'exp'")
    })?;
    if token.principal.is_empty() {
        token.principal = subject.unwrap_or_default();
    }
    Ok(token)
}

#[allow(clippy::cast_possible_truncation)] // saturates
fn to_ms(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

/// `exp`, in ms, and `sub` of a JWT.
fn claims(token: &str) -> (Option<i64>, Option<String>) {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('='));
    let claims: Option<serde_json::Value> = payload
        .ok()
        .and_then(|payload| serde_json::from_slice(&payload).ok());
    let Some(claims) = claims else {
        return (None, None);
    };
    (
        claims["exp"].as_f64().map(to_ms),
        claims["sub"].as_str().map(str::to_owned),
    )
}
