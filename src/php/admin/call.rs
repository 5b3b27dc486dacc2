//! One call of a method of Admin: what PHP's engine wants meanwhile, and how the call ended for it.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

use ext_php_rs::exception::PhpException;
use ext_php_rs::zend::{ce, try_catch, CatchError};

use crate::clock::coarse_ms;
use crate::kafka::admin::AdminError;
use crate::php::arguments::CallError;
use crate::php::{lifecycle, signals, zend};

/// PHP's signal handlers and the log get their turn this often.
const INTERRUPT_INTERVAL_MS: u64 = 50;

/// How one call ended for the engine.
#[derive(Default)]
pub struct Call {
    /// A fatal error: the engine wants to go on with its end, once everything of ours is given back.
    pub bailed_out: Cell<bool>,
    interrupts_polled: Cell<Option<u64>>,
}

impl Call {
    /// Runs code that may end in a fatal error, which jumps: nothing of ours may stand between here and there.
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

    /// Signals, time limits and the log; false where PHP wants to stop.
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

    /// What a method ends with where the core gave up.
    pub fn error(error: AdminError) -> CallError {
        match error {
            AdminError::Error(error) => error.into(),
            AdminError::Interrupted => CallError::Pending,
        }
    }
}
