//! A PHP callable, resolved once and called many times.

use std::mem::ManuallyDrop;

use ext_php_rs::ffi::{self, zend_fcall_info_cache};
use ext_php_rs::types::Zval;

use super::zend;

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

    /// Calls it. `false`: an exception is pending, which may be `exit`.
    pub fn call(&self, arguments: &mut [Zval]) -> bool {
        self.call_for_result(arguments).is_some()
    }

    /// Calls it and returns its result. `None`: an exception is pending.
    pub fn call_for_result(&self, arguments: &mut [Zval]) -> Option<Zval> {
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

    /// The callable without a reference of its own, for the engine's garbage collector.
    pub fn borrowed_zval(&self) -> ManuallyDrop<Zval> {
        // SAFETY: a copy of the bytes that is never destroyed; the collector only follows it while the original lives.
        ManuallyDrop::new(unsafe { std::ptr::read(&raw const self.callable) })
    }
}
