//! A PHP callable, resolved once and called many times, and those that a broker calls for events other than records:
//! assigned and revoked partitions, the tick, failed attempts.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;

use ext_php_rs::exception::PhpException;
use ext_php_rs::ffi::{self, zend_fcall_info_cache, zend_object};
use ext_php_rs::types::{ZendHashTable, ZendObject, Zval};

use super::arguments::{self, Abort};
use super::message::Message;
use super::retry::{is_a, Decision, FailureKind};
use super::{int, zend};
use crate::error::{Error, Kind};
use crate::kafka::consumer::rebalance::TopicPartition;
use crate::message::Message as Inner;

/// `ZEND_ACC_CALL_VIA_TRAMPOLINE`: created for every call (`__call`), so it cannot be kept.
const TRAMPOLINE: u32 = 1 << 18;

/// A callable with its resolved function.
#[derive(Debug)]
pub struct Callback {
    callable: Zval,
    target: Option<zend_fcall_info_cache>,
}

impl Callback {
    /// Wraps a callable; `None` if PHP cannot call it.
    pub fn new(callable: &Zval) -> Option<Self> {
        let callable = callable.dereference().shallow_clone();
        // SAFETY: an all-zero cache is what the engine expects to fill.
        let mut cache: zend_fcall_info_cache = unsafe { std::mem::zeroed() };
        // SAFETY: plain look-up; the callable is kept alive by this object for as long as the result is used.
        let found = unsafe {
            ffi::zend_is_callable_ex(
                std::ptr::from_ref(&callable).cast_mut(),
                std::ptr::null_mut(),
                0,
                std::ptr::null_mut(),
                &raw mut cache,
                std::ptr::null_mut(),
            )
        };
        if !found || cache.function_handler.is_null() {
            return None;
        }
        // SAFETY: the engine filled it.
        let flags = unsafe { (*cache.function_handler).common.fn_flags };
        let target = (flags & TRAMPOLINE == 0).then_some(cache);
        Some(Self { callable, target })
    }

    /// Wraps the callable of an argument.
    ///
    /// # Errors
    /// A `TypeError`.
    pub fn required(value: &Zval, place: &str) -> Result<Self, PhpException> {
        Self::new(value).ok_or_else(|| arguments::type_error(place, "callable", value))
    }

    /// Calls it and runs a returned generator to its end. `false`: an exception is pending, which may be `exit`.
    #[inline]
    pub fn call(&self, arguments: &mut [Zval]) -> bool {
        self.call_for_result(arguments).is_some()
    }

    /// Calls it and returns its result, for a generator the value of its `return`. `None`: an exception is pending.
    ///
    /// A promise is refused with a ConfigurationException: its work would not be done when the call returns.
    pub fn call_for_result(&self, arguments: &mut [Zval]) -> Option<Zval> {
        let mut result = self.invoke(arguments)?;
        while is_generator(&result) {
            result = run_generator(&result)?;
        }
        is_finished(&result, "returned").then_some(result)
    }

    fn invoke(&self, arguments: &mut [Zval]) -> Option<Zval> {
        let mut result = Zval::new();
        let count = u32::try_from(arguments.len()).unwrap_or(0);
        // SAFETY: the callable and its arguments are alive; the result is destroyed by its own drop.
        unsafe {
            if let Some(target) = &self.target {
                ffi::zend_call_known_function(
                    target.function_handler,
                    target.object,
                    target.called_scope,
                    &raw mut result,
                    count,
                    arguments.as_mut_ptr(),
                    std::ptr::null_mut(),
                );
            } else {
                ffi::_call_user_function_impl(
                    std::ptr::null_mut(),
                    std::ptr::from_ref(&self.callable).cast_mut(),
                    &raw mut result,
                    count,
                    arguments.as_mut_ptr(),
                    std::ptr::null_mut(),
                );
            }
        }
        (!zend::has_exception()).then_some(result)
    }

    /// The same callable: the same object, or the same function of the same object.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.target, &other.target) {
            (Some(one), Some(two)) => {
                one.function_handler == two.function_handler
                    && one.object == two.object
                    && one.called_scope == two.called_scope
            }
            _ => false,
        }
    }

    /// Where the code of the callable is, the same in every request: `Class::method` or `file:line`.
    pub fn origin(&self) -> String {
        /// `ZEND_USER_FUNCTION`.
        const USER_FUNCTION: u8 = 2;
        let class = self
            .callable
            .object()
            .map_or_else(String::new, zend::class_name);
        let Some(target) = &self.target else {
            return class;
        };
        // SAFETY: resolved in `new`, and kept alive by the callable.
        unsafe {
            let function = &*target.function_handler;
            if function.type_ != USER_FUNCTION {
                return class;
            }
            let code = &function.op_array;
            let file = code.filename.as_ref().map_or_else(String::new, |name| {
                String::from_utf8_lossy(name.as_bytes()).into_owned()
            });
            format!("{class}@{file}:{}", code.line_start)
        }
    }

    /// The callable without a reference of its own, for the engine's garbage collector.
    pub fn borrowed_zval(&self) -> ManuallyDrop<Zval> {
        // SAFETY: a copy of the bytes that is never destroyed; the collector only follows it while the original lives.
        ManuallyDrop::new(unsafe { std::ptr::read(&raw const self.callable) })
    }
}

/// Return values that represent unfinished work: ReactPHP, Guzzle, HTTPlug, Amp 3 and Amp 2.
const PROMISES: [&str; 5] = [
    "React\\Promise\\PromiseInterface",
    "GuzzleHttp\\Promise\\PromiseInterface",
    "Http\\Promise\\Promise",
    "Amp\\Future",
    "Amp\\Promise",
];

thread_local! {
    /// The exception that refused a promise, to be recognised while it is pending.
    static REFUSED: Cell<*const zend_object> = const { Cell::new(std::ptr::null()) };
}

/// The exception of the PHP layer that refuses a promise.
const REFUSED_IN_PHP: &str = "Toporia\\Realtime\\Support\\UnfinishedWork";

/// True if the pending exception refuses a promise: another attempt cannot help, the callback has to be changed.
pub fn is_promise_refused() -> bool {
    let pending = zend::pending_pointer();
    if pending.is_null() {
        return false;
    }
    REFUSED.get() == pending
        || zend::pending_object().is_some_and(|why| {
            why.object()
                .is_some_and(|why| is_a(why.get_class_entry(), REFUSED_IN_PHP))
        })
}

fn is_generator(value: &Zval) -> bool {
    value
        .object()
        .is_some_and(|object| object.instance_of(zend::zend_ce_generator))
}

/// False where the value represents unfinished work: a ConfigurationException that refuses it is pending.
#[inline]
fn is_finished(value: &Zval, how: &str) -> bool {
    value
        .object()
        .is_none_or(|object| is_finished_object(object, value, how))
}

#[cold]
fn is_finished_object(object: &ZendObject, value: &Zval, how: &str) -> bool {
    let Some(kind) = unfinished(object, value) else {
        return !zend::has_exception();
    };
    PhpException::from(Error::configuration(format!(
        "A callback {how} {}, {kind}, which is not waited for. Wait for it in the callback (await() or wait()) and \
         return without it.",
        zend::class_name(object)
    )))
    .throw();
    REFUSED.set(zend::pending_pointer());
    false
}

fn unfinished(object: &ZendObject, value: &Zval) -> Option<String> {
    let class = object.get_class_entry();
    let promise = PROMISES.iter().find(|name| is_a(class, name));
    if let Some(promise) = promise {
        return Some(format!("a promise ({promise})"));
    }
    if is_a(class, "Fiber") {
        let ended = value.try_call_method("isTerminated", vec![]);
        let ended = ended.is_ok_and(|ended| ended.is_true());
        return (!ended).then(|| "a Fiber that has not ended".to_owned());
    }
    zend::is_thenable(class).then(|| "a promise (it has then())".to_owned())
}

/// Runs a generator to its end and returns the value of its `return`. `None`: an exception is pending.
fn run_generator(generator: &Zval) -> Option<Zval> {
    let method = |name: &str| {
        let result = generator.try_call_method(name, vec![]);
        if zend::has_exception() {
            return None;
        }
        result.ok()
    };
    while method("valid")?.is_true() {
        // A coroutine yields what it waits for.
        if !is_finished(&method("current")?, "yielded") {
            return None;
        }
        method("next")?;
    }
    method("getReturn")
}

#[derive(Default)]
pub struct Hooks {
    pub(super) assigned: RefCell<Option<Rc<Callback>>>,
    pub(super) revoked: RefCell<Option<Rc<Callback>>>,
    pub(super) tick: RefCell<Option<Rc<Callback>>>,
    pub(super) failed: RefCell<Option<Rc<Callback>>>,
    pub(super) every_ms: Cell<u64>,
    pub(super) last_tick: Cell<Option<u64>>,
    pub(super) interrupts_polled: Cell<Option<u64>>,
    pub(super) in_tick: Cell<bool>,
    /// A failed attempt is being reported; stats() called from there counts it already.
    pub failing: Cell<bool>,
    /// Class and message of the exception of the last failed attempt.
    pub last_failure: RefCell<Option<String>>,
}

impl Hooks {
    /// Sets the callable of a hook.
    pub fn set(
        hook: &RefCell<Option<Rc<Callback>>>,
        value: &Zval,
        place: &str,
    ) -> Result<(), PhpException> {
        let old = hook.replace(Some(Rc::new(Callback::required(value, place)?)));
        drop(old);
        Ok(())
    }

    /// Reports a failed attempt to onFailed(). False where that callback threw.
    pub fn call_failed(&self, message: &Rc<Inner>, why: &Zval, decision: Decision) -> bool {
        let hook = self.failed.borrow().clone();
        let Some(hook) = hook else {
            return true;
        };
        let wait = decision.wait.map_or_else(Zval::null, |wait| {
            int(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
        });
        let message = super::object(Message::new(Rc::clone(message)));
        let is_transient = super::boolean(decision.kind == FailureKind::Transient);
        hook.call(&mut [message, why.shallow_clone(), wait, is_transient])
    }

    /// Adds the callables for the garbage collector.
    pub fn collect_callables(&self, list: &mut Vec<ManuallyDrop<Zval>>) {
        for hook in [&self.assigned, &self.revoked, &self.tick, &self.failed] {
            if let Ok(hook) = hook.try_borrow() {
                list.extend(hook.iter().map(|hook| hook.borrowed_zval()));
            }
        }
    }
}

fn partitions(list: &[TopicPartition], is_lost: Option<bool>) -> ext_php_rs::error::Result<Zval> {
    let mut all = ZendHashTable::new();
    for (topic, partition) in list {
        let mut entry = ZendHashTable::new();
        entry.insert("topic", topic.as_str())?;
        entry.insert("partition", i64::from(*partition))?;
        if let Some(is_lost) = is_lost {
            entry.insert("lost", is_lost)?;
        }
        all.push(entry)?;
    }
    Ok(super::array(all))
}

/// Calls a hook that takes a list of partitions.
pub fn call_hook(
    hook: Option<Rc<Callback>>,
    list: &[TopicPartition],
    is_lost: Option<bool>,
) -> Result<(), Abort> {
    let Some(hook) = hook else {
        return Ok(());
    };
    let list = partitions(list, is_lost)
        .map_err(|error| Abort::Error(Error::new(Kind::Encoding, error.to_string())))?;
    if hook.call(&mut [list]) {
        Ok(())
    } else {
        Err(Abort::Pending)
    }
}
