//! The frame of every method of Admin: the client, interrupts while waiting, the result as an array.

use std::rc::Rc;
use std::time::Duration;

use ext_php_rs::boxed::ZBox;
use ext_php_rs::prelude::*;
use ext_php_rs::types::{ZendHashTable, Zval};
use ext_php_rs::zend::bailout;

use super::call::Call;
use super::{results, Admin, OPEN};
use crate::error::{Error, Kind};
use crate::kafka::admin::{self as core, AdminResult, PollInterrupts, ReadStep, TopicReader};
use crate::php::arguments::{finish, CallError};
use crate::php::callback::Callback;
use crate::php::message::Message;

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
        OPEN.with(|open| {
            let mut open = open.borrow_mut();
            let this = std::ptr::from_ref(self);
            if !open.contains(&this) {
                open.push(this);
            }
        });
        Ok(client)
    }

    pub(super) fn leave(&self) {
        let this = std::ptr::from_ref(self);
        OPEN.with(|open| open.borrow_mut().retain(|known| *known != this));
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
