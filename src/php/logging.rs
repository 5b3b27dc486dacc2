//! Writes the log of the process: to the application's logger, else standard error, else PHP's error log.

use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::rc::Rc;

use ext_php_rs::types::{ZendHashTable, Zval};
use parking_lot::Mutex;

use super::arguments::CallError;
use super::callback::Callback;
use super::configuration::PhpEnvironment;
use super::{binary, zend};
use crate::config::{LogConfig, Value};
use crate::error::Error;
use crate::log::{self, Level, Line};
use crate::runtime;

/// The application's logger: `log()` of a PSR-3 logger, or a callable with the same three arguments.
pub struct Logger(Callback);

impl Logger {
    /// Reads the value of `logger`; `None` if it is unset.
    ///
    /// # Errors
    /// Configuration: neither a PSR-3 logger nor callable.
    pub fn of(value: &Zval) -> Result<Option<Self>, Error> {
        let value = value.dereference();
        if value.is_null() || value.str().is_some_and(str::is_empty) {
            return Ok(None);
        }
        let mut pair = ZendHashTable::new();
        let method = value.is_object()
            && pair.push(value.shallow_clone()).is_ok()
            && pair.push(binary(b"log")).is_ok();
        let method = method.then(|| super::array(pair));
        let found = method
            .and_then(|method| Callback::new(&method))
            .or_else(|| Callback::new(value));
        found.map(|callback| Some(Self(callback))).ok_or_else(|| {
            Error::configuration(
                "realtime.logger must be a PSR-3 logger (an object with log($level, $message, $context)) or a \
                callable with the same \
                 arguments.",
            )
        })
    }

    /// Writes one line. False if the logger threw; the exception is cleared.
    fn write(&self, line: &Line) -> bool {
        let mut context = ZendHashTable::new();
        let source = if line.from_librdkafka {
            "librdkafka"
        } else {
            "toporia_realtime"
        };
        let mut complete = context.insert("source", source).is_ok()
            && context.insert("time", log::iso(line.at)).is_ok();
        for (name, value) in &line.context {
            complete &= context.insert(*name, value.as_str()).is_ok();
        }
        debug_assert!(complete, "a small array of text");
        let table = super::array(context);
        let level = binary(line.level.as_str().as_bytes());
        if self
            .0
            .call(&mut [level, binary(line.text.as_bytes()), table])
        {
            return true;
        }
        if zend::is_exiting() {
            // Assume that it wrote the line: the process is ending.
            return true;
        }
        let why = zend::pending_object();
        zend::clear_exception();
        let what = why.map_or_else(String::new, |why| {
            format!("{}: {}", zend::class_of(&why), zend::message_of(&why))
        });
        let said = format!("The logger of realtime.logger threw {what}. Until it works again, log lines are written \
        here.");
        if runtime::current().log.is_first(&said) {
            let line = Line {
                level: Level::Error,
                text: runtime::current().log.redact(&said),
                at: std::time::SystemTime::now(),
                context: Vec::new(),
                from_librdkafka: false,
            };
            plain_as(&line, config());
        }
        false
    }
}

thread_local! {
    /// A logger may send messages itself; log lines caused by that wait for the next delivery.
    static WRITING: Cell<bool> = const { Cell::new(false) };
    /// The settings used last, for the end of the process, when the configuration is gone.
    static LAST: Cell<Option<LogConfig>> = const { Cell::new(None) };
    /// Those of this request.
    static CONFIG: Cell<Option<LogConfig>> = const { Cell::new(None) };
    static LOGGER: RefCell<Option<Rc<Logger>>> = const { RefCell::new(None) };
    /// The response of this request has been sent.
    static RESPONSE_FINISHED: Cell<bool> = const { Cell::new(false) };
}

/// Sets settings and logger of this request.
///
/// # Errors
/// Configuration.
pub fn configure(settings: &Value, logger: Option<&Zval>) -> Result<(), Error> {
    let config = LogConfig::resolve(Some(settings), &PhpEnvironment)?;
    let logger = logger.map(Logger::of).transpose()?.flatten().map(Rc::new);
    CONFIG.set(Some(config));
    LAST.set(Some(config));
    // Dropped outside the borrow: it may run PHP code.
    let old = LOGGER.replace(logger);
    drop(old);
    Ok(())
}

/// Clears what belongs to the request.
pub fn forget() {
    CONFIG.set(None);
    drop(LOGGER.take());
}

/// The log settings. `configure()` refuses invalid values from the environment; without configure() they count as
/// unset.
fn config() -> LogConfig {
    let config = CONFIG
        .get()
        .unwrap_or_else(|| LogConfig::resolve(None, &PhpEnvironment).unwrap_or_default());
    CONFIG.set(Some(config));
    config
}

pub fn set_response_finished(is_finished: bool) {
    RESPONSE_FINISHED.set(is_finished);
}

/// Writes pending lines. Only on PHP's own thread.
pub fn deliver() {
    write(log::Log::drain);
}

/// The same after every message: checks one flag.
#[inline]
pub fn deliver_if_waiting() {
    if runtime::current().log.has_pending() {
        deliver();
    }
}

/// The end of the process: lines suppressed as repeated are summarised too.
pub fn deliver_last() {
    write(log::Log::drain_final);
}

/// Writes lines logged after the application's objects are gone. `is_last`: the process ends.
pub fn deliver_rest(is_last: bool) {
    let log = &runtime::current().log;
    let config = LAST.get().unwrap_or_default();
    for line in if is_last {
        log.drain_final()
    } else {
        log.drain()
    } {
        if config.takes(line.level, line.from_librdkafka) {
            plain_as(&line, config);
        }
    }
}

/// At the begin and end of a request: a fatal error may have jumped out of a logger.
pub fn reset() {
    WRITING.set(false);
}

fn write(take: impl FnOnce(&log::Log) -> Vec<Line>) {
    if WRITING.replace(true) {
        return;
    }
    let lines = take(&runtime::current().log);
    if !lines.is_empty() {
        let config = config();
        LAST.set(Some(config));
        let logger = LOGGER.with(|logger| logger.borrow().clone());
        // A pending exception is saved, because PHP runs no code while one is pending. An exit cannot be saved.
        let waits = logger.is_some() && zend::has_exception() && !zend::is_exiting();
        let pending = waits.then(zend::pending_object).flatten();
        if pending.is_some() {
            zend::clear_exception();
        }
        for line in lines {
            if !config.takes(line.level, line.from_librdkafka) {
                continue;
            }
            let usable = !zend::has_exception() && zend::fatal_error().is_none();
            let logger = logger.as_ref().filter(|_| usable);
            if !logger.is_some_and(|logger| logger.write(&line)) {
                plain_as(&line, config);
            }
        }
        if let Some(pending) = pending.filter(|_| !zend::has_exception()) {
            zend::throw(pending);
        }
    }
    WRITING.set(false);
}

/// Without a logger: standard error on the command line unless php.ini sets `error_log`, PHP's error log otherwise.
fn plain_as(line: &Line, config: LogConfig) {
    if zend::is_command_line() && zend::ini("error_log").is_none() {
        write_to_standard_error(line, config);
        return;
    }
    if RESPONSE_FINISHED.get() && zend::ini("error_log").is_none() {
        // PHP-FPM would write it to the connection with the web server, which is closed.
        zend::syslog(&plain(line), line.level.severity());
        return;
    }
    zend::log(&plain(line), line.level.severity());
}

/// Where lines are written in a thread without PHP.
enum LogTarget {
    StandardError,
    File(String),
    Syslog,
}

static TARGET: Mutex<Option<(LogTarget, LogConfig)>> = Mutex::new(None);

/// Stores where this process logs, for [`write_without_php`].
pub fn remember_target() {
    let target = match zend::ini("error_log") {
        Some(file) if file != "syslog" => LogTarget::File(file),
        None if zend::is_command_line() => LogTarget::StandardError,
        _ => LogTarget::Syslog,
    };
    *TARGET.lock() = Some((target, config()));
}

/// Writes pending lines in a thread without PHP, because the process ends: not with the application's logger.
pub fn write_without_php() {
    let target = TARGET.lock();
    let Some((target, config)) = target.as_ref() else {
        return;
    };
    let mut lines = runtime::current().log.drain_final();
    lines.retain(|line| config.takes(line.level, line.from_librdkafka));
    match target {
        LogTarget::File(path) => {
            let text: Vec<String> = lines
                .iter()
                .map(|line| format!("[{}] {}\n", log::iso(line.at), plain(line)))
                .collect();
            // Opened once: there may be little time left.
            let file = OpenOptions::new().append(true).create(true).open(path);
            let written = file.and_then(|mut file| file.write_all(text.concat().as_bytes()));
            if written.is_ok() {
                return;
            }
        }
        LogTarget::Syslog => {
            for line in &lines {
                zend::syslog(&plain(line), line.level.severity());
            }
            return;
        }
        LogTarget::StandardError => {}
    }
    for line in &lines {
        write_to_standard_error(line, *config);
    }
}

fn plain(line: &Line) -> String {
    format!("toporia_realtime.{}: {}", line.level.as_str(), line.text)
}

/// In one write, so that lines of several processes do not mix. If standard error is closed there is no place left to
/// report it.
fn write_to_standard_error(line: &Line, config: LogConfig) {
    let text = log::formatted(line, config.format, std::process::id());
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

pub fn log(level: &str, text: &str) -> Result<(), CallError> {
    let Some(level) = Level::named(level) else {
        let names: Vec<&str> = Level::ALL.iter().map(|level| level.as_str()).collect();
        return Err(Error::configuration(format!(
            "Realtime::log(): \"{}\" is not a log level. Levels: {}.",
            level.escape_debug(),
            names.join(", ")
        ))
        .into());
    };
    runtime::current().log.write(level, text);
    deliver();
    Ok(())
}
