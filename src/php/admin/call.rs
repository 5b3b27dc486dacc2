//! One call of a method of Admin: polls PHP's interrupts while it waits, and records whether a fatal error ended it.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

use ext_php_rs::exception::PhpException;
use ext_php_rs::zend::{ce, try_catch, CatchError};

use crate::clock::coarse_ms;
use crate::kafka::admin::AdminError;
use crate::php::arguments::CallError;
use crate::php::{lifecycle, signals, zend};

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
                lifecycle::deliver_log();
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
