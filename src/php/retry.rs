//! Decides whether a record whose callback threw is tried again: by the class of the exception first, then by the
//! application's own retry strategy, or the configured one.

use std::rc::Rc;
use std::time::Duration;

use ext_php_rs::args::Arg;
use ext_php_rs::builders::{ClassBuilder, FunctionBuilder};
use ext_php_rs::flags::{ClassFlags, DataType, MethodFlags};
use ext_php_rs::types::{ZendClassObject, Zval};
use ext_php_rs::zend::ClassEntry;

use super::arguments::Abort;
use super::broker::Broker;
use super::exceptions::Class;
use super::message::Message;
use super::{arguments, int, retry, zend};
use crate::config::BrokerConfig;
use crate::message::{Message as Inner, Origin};
use crate::retry::{ExponentialBackoff, RetryStrategy};

/// Its name below `Toporia\Realtime`.
const INTERFACE: &str = "Contract\\RetryStrategy";

/// Registers `Contract\RetryStrategy`. Called once, while the module starts.
///
/// # Errors
/// The engine refuses it.
pub fn register() -> ext_php_rs::error::Result<()> {
    ClassBuilder::new(format!("Toporia\\Realtime\\{INTERFACE}"))
        .flags(ClassFlags::Interface)
        .method(
            FunctionBuilder::new_abstract("delay")
                .arg(Arg::new("message", DataType::Mixed))
                .arg(Arg::new("why", DataType::Mixed))
                .arg(Arg::new("attempt", DataType::Long))
                .returns(DataType::Long, false, true),
            MethodFlags::Public | MethodFlags::Abstract,
        )
        .registration(|_, tables| std::mem::forget(tables))
        .register()
}

/// A TypeError if the value is not a retry strategy.
pub fn check(value: &Zval, place: &str) -> Result<(), arguments::CallError> {
    let name = format!("Toporia\\Realtime\\{INTERFACE}");
    let fits = value
        .object()
        .zip(ClassEntry::try_find(&name))
        .is_some_and(|(object, class)| object.instance_of(class));
    if fits {
        return Ok(());
    }
    Err(arguments::type_error(place, &format!("?{name}"), value).into())
}

/// The exception that caused the failure: for a BatchException its previous one.
pub fn cause(why: &Zval) -> Zval {
    let is_batch = why
        .object()
        .is_some_and(|object| object.instance_of(Class::Batch.entry()));
    if !is_batch {
        return why.shallow_clone();
    }
    zend::previous_of(why).unwrap_or_else(|| why.shallow_clone())
}

/// What the class of an exception says about further attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Another attempt cannot succeed.
    Permanent,
    /// Something that the callback needs is unavailable: the attempt does not count.
    Transient,
    Other,
}

/// What happens to a message whose callback threw.
#[derive(Debug, Clone, Copy)]
pub struct Decision {
    pub kind: FailureKind,
    /// The delay before the next attempt; `None` if it is not tried again.
    pub wait: Option<Duration>,
    /// It has failed transiently for longer than `transient_max_seconds`.
    pub is_expired: bool,
}

impl Decision {
    pub const fn give_up(kind: FailureKind) -> Self {
        Self {
            kind,
            wait: None,
            is_expired: false,
        }
    }
}

/// Decides about the next attempt of this message.
///
/// # Errors
/// The application's strategy threw.
pub fn decide(broker: &Broker, message: &Rc<Inner>, why: &Zval) -> Result<Decision, Abort> {
    let config = &broker.config;
    let cause = cause(why);
    let mut decision = Decision::give_up(kind_of(config, &cause));
    if decision.kind == FailureKind::Permanent {
        return Ok(decision);
    }
    let is_transient = decision.kind == FailureKind::Transient;
    let origin = message.origin.as_ref();
    let left = time_left(config, origin).filter(|_| is_transient);
    if left.is_some_and(|left| left.is_zero()) {
        decision.is_expired = true;
        return Ok(decision);
    }
    let strategy = broker.strategy.borrow().as_ref().map(Zval::shallow_clone);
    decision.wait = match strategy {
        Some(strategy) => ask(&strategy, message, &cause)?,
        None if is_transient => {
            let earlier = origin.map_or(0, |origin| origin.transient);
            Some(configured(config).wait(earlier + 1))
        }
        None => configured(config).delay(origin.map_or(1, Origin::counted_attempt)),
    };
    decision.wait = decision
        .wait
        .map(|wait| left.map_or(wait, |left| wait.min(left)));
    Ok(decision)
}

/// How long a message may still fail transiently; `None` without a limit.
fn time_left(config: &BrokerConfig, origin: Option<&Origin>) -> Option<Duration> {
    let limit = Duration::from_secs(config.transient_max_seconds);
    let since = origin.and_then(|origin| origin.transient_since);
    let used = since.map_or(Duration::ZERO, |since| since.elapsed());
    (!limit.is_zero()).then(|| limit.saturating_sub(used))
}

/// The answer of the application's strategy.
fn ask(strategy: &Zval, message: &Rc<Inner>, cause: &Zval) -> Result<Option<Duration>, Abort> {
    let attempt = message.origin.as_ref().map_or(1, |origin| origin.attempt);
    let message = super::object(Message::new(Rc::clone(message)));
    let attempt = int(i64::from(attempt));
    let result = strategy.try_call_method("delay", vec![&message, cause, &attempt]);
    if zend::has_exception() {
        return Err(Abort::Pending);
    }
    let delay = result.ok().and_then(|result| result.long());
    Ok(delay.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
}

pub fn configured(config: &BrokerConfig) -> ExponentialBackoff {
    ExponentialBackoff {
        max_retries: config.max_retries,
        initial: Duration::from_millis(config.retry_backoff_ms),
        max: Duration::from_millis(config.retry_backoff_max_ms),
    }
}

/// The kind of a failure. Interfaces of the exception itself take precedence over the configured lists, and transient
/// over permanent.
pub fn kind_of(config: &BrokerConfig, why: &Zval) -> FailureKind {
    let Some(object) = why.object() else {
        return FailureKind::Other;
    };
    let class = object.get_class_entry();
    let listed = |list: &[String]| list.iter().any(|name| is_a(class, name));
    if object.instance_of(Class::Transient.entry()) || listed(&config.transient_exceptions) {
        return FailureKind::Transient;
    }
    // Exceptions of ours about the message itself, which fail the same way every time.
    let ours = [
        Class::Permanent,
        Class::Encoding,
        Class::HopLimit,
        Class::InvalidChannel,
        Class::MessageTooLarge,
    ];
    if ours.iter().any(|class| object.instance_of(class.entry()))
        || listed(&config.permanent_exceptions)
    {
        return FailureKind::Permanent;
    }
    let is_outage = [Class::Connection, Class::QueueFull];
    if is_outage
        .iter()
        .any(|class| object.instance_of(class.entry()))
        || is_unreachable(why)
    {
        return FailureKind::Transient;
    }
    FailureKind::Other
}

/// `instanceof` by name: a class that is not loaded has no objects, so no class has to be loaded for this.
pub fn is_a(class: &ClassEntry, name: &str) -> bool {
    class
        .name()
        .is_some_and(|own| own.eq_ignore_ascii_case(name))
        || class.parent().is_some_and(|parent| is_a(parent, name))
        || class
            .interfaces()
            .is_some_and(|mut all| all.any(|interface| is_a(interface, name)))
}

pub fn set_strategy(
    broker: &ZendClassObject<Broker>,
    strategy: Option<&Zval>,
) -> Result<(), arguments::CallError> {
    let strategy = strategy
        .map(Zval::dereference)
        .filter(|strategy| !strategy.is_null());
    if let Some(strategy) = strategy {
        check(strategy, "Broker::retryWith(): Argument #1 ($strategy)")?;
    }
    let old = broker.strategy.replace(strategy.map(Zval::shallow_clone));
    drop(old);
    Ok(())
}

// Recognises exceptions of a database that cannot be reached: the message is not the reason, and waiting helps.

/// Exceptions to look at in a chain: applications and ORMs wrap those of the driver.
const MAX_CHAIN: usize = 8;

/// Connection refused or lost, too many connections, server shutting down.
const MYSQL_CODES: [i64; 6] = [1040, 1053, 2002, 2003, 2006, 2013];
/// Of PostgreSQL: shut down by the administrator, crashed, starting up, too many connections.
const SQL_STATES: [&str; 4] = ["57P01", "57P02", "57P03", "53300"];
/// The class of connection exceptions in the SQL standard.
const CONNECTION_CLASS: &str = "08";
/// The code of `pdo_pgsql` for errors without an SQLSTATE of the server.
const PGSQL_FATAL_ERROR: i64 = 7;

/// True if the exception, or a previous one, is of a database that cannot be reached.
pub fn is_unreachable(why: &Zval) -> bool {
    let mut next = Some(why.shallow_clone());
    for _ in 0..MAX_CHAIN {
        let Some(object) = next else {
            return false;
        };
        if has_lost_connection(&object) {
            return true;
        }
        next = zend::previous_of(&object);
    }
    false
}

fn has_lost_connection(why: &Zval) -> bool {
    let Some(object) = why.object() else {
        return false;
    };
    let class = object.get_class_entry();
    if retry::is_a(class, "mysqli_sql_exception") {
        return MYSQL_CODES.contains(&zend::code_of(why));
    }
    if !retry::is_a(class, "PDOException") {
        return false;
    }
    let info = zend::read(class, why, "errorInfo");
    let info = info.as_ref().map(Zval::dereference).and_then(Zval::array);
    let text = |index| {
        let value = info.and_then(|info| info.get_index(index));
        value.and_then(Zval::string).unwrap_or_default()
    };
    let code = info
        .and_then(|info| info.get_index(1)?.long())
        .unwrap_or_default();
    match text(0).as_str() {
        "HY000" if code == PGSQL_FATAL_ERROR => text(2).contains("connection"),
        "HY000" => MYSQL_CODES.contains(&code),
        state => state.starts_with(CONNECTION_CLASS) || SQL_STATES.contains(&state),
    }
}
