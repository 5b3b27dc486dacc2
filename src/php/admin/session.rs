//! The frame of every method of Admin: its arguments, the client, interrupts while waiting, the result as an array.

use std::borrow::Cow;
use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use ext_php_rs::boxed::ZBox;
use ext_php_rs::exception::PhpException;
use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendHashTable, Zval};
use ext_php_rs::zend::{bailout, ce, try_catch, CatchError};

use super::{results, Admin, OPEN};
use crate::error::{Error, Kind};
use crate::kafka::admin::{
    self as core, AdminError, AdminResult, PollInterrupts, ReadStep, TopicReader,
};
use crate::php::arguments::{self, finish, CallError, Key};
use crate::php::callback::Callback;
use crate::php::message::Message;
use crate::php::{logging, signals, zend};
use crate::runtime::clock::coarse_ms;

/// While no records arrive, interrupts are polled this often.
const SLICE: Duration = Duration::from_millis(50);

impl Admin {
    /// Runs a method. A fatal error continues from here, when no value of ours is left on the stack.
    pub(super) fn run<T: Default>(
        &self,
        method: impl FnOnce(&Call) -> Result<T, CallError>,
    ) -> PhpResult<T> {
        let call = Call::default();
        let result = method(&call);
        if call.bailed_out.get() {
            drop(result);
            self.leave();
            // SAFETY: continues the engine's own bailout; nothing left here needs to be dropped.
            unsafe { bailout() }
        }
        if self.closing.get() && !self.reading.get() {
            self.leave();
        }
        finish(result)
    }

    /// Sends a request to the cluster and converts the result to an array.
    pub(super) fn query<T>(
        &self,
        request: impl FnOnce(&core::Admin, PollInterrupts<'_>) -> Result<AdminResult<T>, CallError>,
        to_array: impl FnOnce(&T) -> ext_php_rs::error::Result<ZBox<ZendHashTable>>,
    ) -> PhpResult<Zval> {
        self.run(|call| {
            let found = request(&*self.client()?, &|| call.poll_interrupts())?;
            array_result(to_array(&found.map_err(Call::error)?))
        })
        .map(Option::unwrap_or_default)
    }

    /// The client, created on first use and after a fork.
    pub(super) fn client(&self) -> Result<Rc<core::Admin>, Error> {
        if self.closing.get() {
            return Err(Error::configuration(
                "This Admin is closed. Create another one.",
            ));
        }
        let known = self.client.borrow().clone();
        if let Some(client) = known.filter(|client| !client.is_inherited()) {
            return Ok(client);
        }
        let client = Rc::new(core::Admin::start(&self.config)?);
        *self.client.borrow_mut() = Some(Rc::clone(&client));
        OPEN.with(|open| open.add(self));
        Ok(client)
    }

    pub(super) fn leave(&self) {
        OPEN.with(|open| open.remove(self));
        let client = self.client.borrow_mut().take();
        drop(client);
    }

    pub(super) fn read_all(
        &self,
        call: &Call,
        topic: &str,
        callback: &Callback,
        from: &[(i32, i64)],
    ) -> Result<i64, CallError> {
        let poll_interrupts = || call.poll_interrupts();
        let mut reader = TopicReader::start(&self.client()?, topic, from, &poll_interrupts)
            .map_err(Call::error)?;
        let mut count = 0;
        while !self.closing.get() {
            if !call.poll_interrupts() {
                return Err(CallError::Pending);
            }
            match reader.next(SLICE).map_err(Call::error)? {
                ReadStep::End => break,
                ReadStep::Waiting => {}
                ReadStep::Record(message) => {
                    count += 1;
                    let message = Rc::from(message);
                    let result = call.guard(|| {
                        callback.call_for_result(&mut [crate::php::object(Message::new(message))])
                    })?;
                    match result {
                        None => return Err(CallError::Pending),
                        Some(result) if result.is_false() => break,
                        Some(_) => {}
                    }
                }
            }
        }
        Ok(count)
    }
}

/// The array as a method returns it.
pub(super) fn array_result(
    table: ext_php_rs::error::Result<ZBox<ZendHashTable>>,
) -> Result<Option<Zval>, CallError> {
    match table {
        Ok(table) => Ok(Some(results::value(table))),
        Err(error) => Err(Error::new(Kind::Encoding, error.to_string()).into()),
    }
}

/// How often PHP's signal handlers run and log lines are delivered.
const INTERRUPT_INTERVAL_MS: u64 = 50;

/// The state of one call.
#[derive(Default)]
pub struct Call {
    /// A fatal error occurred: the engine's bailout continues once all values of the call are dropped.
    pub bailed_out: Cell<bool>,
    interrupts_polled: Cell<Option<u64>>,
}

impl Call {
    /// Runs code that may end in a fatal error, which is a longjmp: no value that needs to be dropped may live between
    /// here and there.
    pub fn guard<R>(&self, run: impl FnOnce() -> R) -> Result<R, CallError> {
        match try_catch(AssertUnwindSafe(run)) {
            Ok(result) => Ok(result),
            Err(CatchError::Bailout) => {
                self.bailed_out.set(true);
                Err(CallError::Pending)
            }
            Err(error) => {
                Err(
                    PhpException::new(format!("Rust panic in Admin: {error}"), 0, ce::error())
                        .into(),
                )
            }
        }
    }

    /// Polls signals, the time limit and the log; false if PHP wants to stop.
    pub fn poll_interrupts(&self) -> bool {
        let now = coarse_ms();
        let due = self
            .interrupts_polled
            .get()
            .is_none_or(|last| now.saturating_sub(last) >= INTERRUPT_INTERVAL_MS);
        let served = self.guard(|| {
            zend::serve_interrupt();
            if due {
                signals::dispatch();
                logging::deliver();
            }
        });
        if due {
            self.interrupts_polled.set(Some(now));
        }
        served.is_ok() && !zend::has_exception()
    }

    /// The error of a method whose request failed in the core.
    pub fn error(error: AdminError) -> CallError {
        match error {
            AdminError::Error(error) => error.into(),
            AdminError::Interrupted => CallError::Pending,
        }
    }
}

pub fn topic(topic: &Zval, method: &str) -> Result<String, CallError> {
    let place = format!("Admin::{method}(): Argument #1 ($topic)");
    arguments::channel(topic, &place).map(Cow::into_owned)
}

pub fn group(group: &Zval, method: &str) -> Result<String, CallError> {
    let place = format!("Admin::{method}(): Argument #1 ($group)");
    arguments::text(group, &place).map(Cow::into_owned)
}

pub fn names(list: &Zval, method: &str, argument: &str) -> Result<Vec<String>, CallError> {
    let place = format!("Admin::{method}(): Argument #1 (${argument})");
    let list = arguments::array(list, &place)?;
    let mut names = Vec::with_capacity(list.len());
    for (key, name) in arguments::entries(list) {
        let place = format!("{place}[{key}]");
        names.push(arguments::text(&name, &place)?.into_owned());
    }
    Ok(names)
}

/// An array of partition => offset.
pub fn offsets(value: Option<&Zval>, place: &str) -> Result<Vec<(i32, i64)>, CallError> {
    let Some(table) = arguments::optional(value, |value| arguments::array(value, place))? else {
        return Ok(Vec::new());
    };
    let mut list = Vec::new();
    for (key, offset) in arguments::entries(table) {
        let partition = match &key {
            Key::Int(number) => i32::try_from(*number).ok().filter(|number| *number >= 0),
            Key::Bytes(_) => None,
        };
        let offset = offset
            .long()
            .or_else(|| offset.zend_str()?.as_str().ok()?.parse().ok())
            .filter(|offset| *offset >= 0);
        let (Some(partition), Some(offset)) = (partition, offset) else {
            return Err(Error::configuration(format!(
                "{place} must be an array of partition => offset, both integers of 0 or more; entry \"{key}\" is not."
            ))
            .into());
        };
        list.push((partition, offset));
    }
    Ok(list)
}

/// The settings of a new topic, by name.
pub fn settings(value: Option<&Zval>) -> Result<Vec<(String, String)>, CallError> {
    let place = "Admin::createTopic(): Argument #4 ($config)";
    let Some(table) = arguments::optional(value, |value| arguments::array(value, place))? else {
        return Ok(Vec::new());
    };
    let mut list = Vec::new();
    for (key, setting) in arguments::entries(table) {
        let Some(name) = key.text() else {
            return Err(Error::configuration(format!(
                "{place}: the name \"{key}\" is not valid UTF-8."
            ))
            .into());
        };
        let text = if setting.is_bool() {
            setting.is_true().to_string()
        } else {
            arguments::text(&setting, &format!("{place}[\"{name}\"]"))?.into_owned()
        };
        list.push((name, text));
    }
    Ok(list)
}

/// An integer of at least `least`. `place` is for example `createTopic(): $partitions`.
pub fn integer(value: i64, least: i32, place: &str) -> Result<i32, Error> {
    let number = i32::try_from(value).ok().filter(|number| *number >= least);
    number.ok_or_else(|| {
        Error::configuration(format!(
            "Admin::{place} must be {least} or more, {value} given."
        ))
    })
}
