//! Reports the callables that a broker holds to PHP's garbage collector: closures over `$this` would otherwise never be
//! freed.

use std::ffi::c_int;
use std::mem::ManuallyDrop;

use ext_php_rs::class::RegisteredClass;
use ext_php_rs::ffi::{zend_array, zend_object};
use ext_php_rs::types::{ZendClassObject, Zval};
use ext_php_rs::zend::ZendObjectHandlers;

use super::broker::Broker;

/// Sets the handler in the class's own table, in place: with another table the engine would not recognise the object's
/// class.
pub fn install() {
    let handlers = std::ptr::from_ref(Broker::get_metadata().handlers()).cast_mut();
    // SAFETY: the table lives as long as the process; this runs once, before the first object exists.
    unsafe {
        let slot: *mut ZendObjectHandlers = handlers;
        (*slot).get_gc = Some(get_gc);
    }
}

unsafe extern "C" fn get_gc(
    object: *mut zend_object,
    table: *mut *mut Zval,
    count: *mut c_int,
) -> *mut zend_array {
    *table = std::ptr::null_mut();
    *count = 0;
    let Some(broker) = object
        .as_ref()
        .and_then(ZendClassObject::<Broker>::from_zend_obj)
    else {
        return std::ptr::null_mut();
    };
    // An allocation inside a borrow of ours may start the collector: nothing is reported this time.
    let (Ok(subscriptions), Ok(mut gc_buffer)) = (
        broker.subscriptions.try_borrow(),
        broker.gc_buffer.try_borrow_mut(),
    ) else {
        return std::ptr::null_mut();
    };
    let callbacks = subscriptions.iter().filter_map(|one| one.callback.as_ref());
    // The collector counts references itself: these zvals must not own one, and are never destroyed.
    gc_buffer.clear();
    gc_buffer.extend(callbacks.map(super::callback::Callback::borrowed_zval));
    broker.hooks.collect_callables(&mut gc_buffer);
    if let Ok(strategy) = broker.strategy.try_borrow() {
        // SAFETY: a copy of the bytes that is never destroyed, as above.
        let look =
            |value: &Zval| ManuallyDrop::new(unsafe { std::ptr::read(std::ptr::from_ref(value)) });
        gc_buffer.extend(strategy.iter().map(look));
    }
    *table = gc_buffer.as_mut_ptr().cast();
    *count = c_int::try_from(gc_buffer.len()).unwrap_or(0);
    std::ptr::null_mut()
}
