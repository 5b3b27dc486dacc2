//! Handlers of our objects in the engine: the callables of a broker for the garbage collector, as closures over `$this`
//! would otherwise never be freed; what `var_dump()`, casts and `==` see of a message, which has no PHP properties.

use std::ffi::c_int;
use std::mem::ManuallyDrop;

use ext_php_rs::boxed::ZBox;
use ext_php_rs::class::RegisteredClass;
use ext_php_rs::ffi::{zend_array, zend_object};
use ext_php_rs::types::{ZendClassObject, ZendHashTable, Zval};

use super::broker::Broker;
use super::message::Message;
use super::{binary, json};

/// Sets the handlers in the tables of the classes, in place: with another table the engine would not recognise the
/// class of an object.
pub fn install() {
    let broker = std::ptr::from_ref(Broker::get_metadata().handlers()).cast_mut();
    let message = std::ptr::from_ref(Message::get_metadata().handlers()).cast_mut();
    // SAFETY: the tables live as long as the process; this runs once, before the first object exists.
    unsafe {
        (*broker).get_gc = Some(get_gc);
        (*message).get_debug_info = Some(debug_info);
        (*message).get_properties_for = Some(properties_for);
        (*message).compare = Some(compare);
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

/// `PROP_PURPOSE_ARRAY_CAST`: `(array) $message`, which is also how PHPUnit compares objects.
const PURPOSE_ARRAY_CAST: u32 = 1;
/// The result of a comparison that has no order.
const UNCOMPARABLE: c_int = 1;

extern "C" {
    fn zend_std_get_properties_for(object: *mut zend_object, purpose: u32) -> *mut zend_array;
    fn zend_std_compare_objects(left: *mut Zval, right: *mut Zval) -> c_int;
}

unsafe extern "C" fn properties_for(object: *mut zend_object, purpose: u32) -> *mut zend_array {
    if purpose != PURPOSE_ARRAY_CAST {
        return zend_std_get_properties_for(object, purpose);
    }
    let message = object
        .as_ref()
        .and_then(ZendClassObject::<Message>::from_zend_obj);
    let table = message.and_then(|message| describe(message).ok());
    table.unwrap_or_else(ZendHashTable::new).into_raw()
}

/// `==`: without PHP properties, two messages would always be equal.
unsafe extern "C" fn compare(left: *mut Zval, right: *mut Zval) -> c_int {
    let message = |value: *mut Zval| {
        let object = value.as_ref()?.object()?;
        ZendClassObject::<Message>::from_zend_obj(object)
    };
    match (message(left), message(right)) {
        (Some(left), Some(right)) if left.inner.has_same_content(&right.inner) => 0,
        (Some(_), Some(_)) => UNCOMPARABLE,
        _ => zend_std_compare_objects(left, right),
    }
}

unsafe extern "C" fn debug_info(
    object: *mut zend_object,
    is_temporary: *mut c_int,
) -> *mut zend_array {
    *is_temporary = 1;
    let message = object
        .as_ref()
        .and_then(ZendClassObject::<Message>::from_zend_obj);
    let table = message.and_then(|message| describe(message).ok());
    table.unwrap_or_else(ZendHashTable::new).into_raw()
}

fn describe(message: &Message) -> ext_php_rs::error::Result<ZBox<ZendHashTable>> {
    let inner = &message.inner;
    let text = |text: Option<&str>| text.map_or_else(Zval::null, |text| binary(text.as_bytes()));
    let mut all = ZendHashTable::new();
    all.insert("id", binary(inner.id().as_bytes()))?;
    all.insert("type", binary(inner.kind().as_bytes()))?;
    all.insert("channel", text(inner.channel()))?;
    all.insert("event", text(inner.event()))?;
    let bytes = if inner.is_raw() {
        inner.value()
    } else {
        inner.data_json()
    };
    // Broken data is shown as text: it is what a dump is for.
    let data = bytes.map_or_else(Zval::null, |bytes| {
        json::decode(bytes).unwrap_or_else(|_| binary(bytes))
    });
    all.insert("data", data)?;
    all.insert("timestamp", inner.timestamp())?;
    all.insert("key", inner.key().map_or_else(Zval::null, binary))?;
    if !inner.headers.is_empty() {
        let mut headers = ZendHashTable::new();
        for (name, value) in &inner.headers {
            headers.insert(
                name.as_str(),
                value.as_deref().map_or_else(Zval::null, binary),
            )?;
        }
        all.insert("headers", headers)?;
    }
    if let Some(origin) = &inner.origin {
        all.insert("topic", binary(origin.topic.as_bytes()))?;
        all.insert("partition", i64::from(origin.partition))?;
        all.insert("offset", origin.offset)?;
        all.insert("attempt", i64::from(origin.attempt))?;
    }
    Ok(all)
}
