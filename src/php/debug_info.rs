//! The properties that `var_dump()`, `print_r()` and debuggers show for a message, which has no PHP properties.

use std::ffi::c_int;

use ext_php_rs::boxed::ZBox;
use ext_php_rs::class::RegisteredClass;
use ext_php_rs::ffi::{zend_array, zend_object};
use ext_php_rs::types::{ZendClassObject, ZendHashTable, Zval};
use ext_php_rs::zend::ZendObjectHandlers;

use super::message::Message;
use super::{binary, json};

/// Sets the handler in the class's own table, in place.
pub fn install() {
    let handlers: *mut ZendObjectHandlers =
        std::ptr::from_ref(Message::get_metadata().handlers()).cast_mut();
    // SAFETY: the table lives as long as the process; this runs once, before the first object exists.
    unsafe { (*handlers).get_debug_info = Some(debug_info) };
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
    if let Some(origin) = &inner.origin {
        all.insert("topic", binary(origin.topic.as_bytes()))?;
        all.insert("partition", i64::from(origin.partition))?;
        all.insert("offset", origin.offset)?;
        all.insert("attempt", i64::from(origin.attempt))?;
    }
    Ok(all)
}
