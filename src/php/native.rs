//! The functions of our objects that the engine calls. The methods that run for every message are native functions of
//! their own: `Realtime::broadcast()` and the getters of `Message`.
//!
//! The functions that ext-php-rs generates parse arguments and set a jump buffer, which takes several times as long as
//! a getter. The getters here neither run PHP code nor throw: in every other case (an argument, data that is not valid
//! JSON, a panic) they call the generated function, which throws.
//!
//! The handlers of our objects: the callables of a broker for the garbage collector, as closures over `$this` would
//! otherwise never be freed; what `var_dump()`, casts and `==` see of a message, which has no PHP properties.

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

use ext_php_rs::boxed::ZBox;
use ext_php_rs::class::RegisteredClass;
use ext_php_rs::exception::PhpException;
use ext_php_rs::ffi::{zend_array, zend_execute_data, zend_object};
use ext_php_rs::types::{ZendClassObject, ZendHashTable, Zval};
use ext_php_rs::zend::ce;

use super::arguments::CallError;
use super::broker::Broker;
use super::message::Message;
use super::realtime::{self, Realtime};
use super::{binary, int, json, zend};

/// A getter; `None` where the generated function is to throw.
type Getter = fn(&Message) -> Option<Zval>;

/// Name in lower case, as in the engine's table, and function.
const GETTERS: [(&str, Getter); COUNT] = [
    ("getid", |message| {
        Some(binary(message.inner.id().as_bytes()))
    }),
    ("gettype", |message| {
        Some(json::name(message.inner.kind().as_bytes()))
    }),
    ("getchannel", |message| {
        Some(name(message.inner.channel_bytes()))
    }),
    ("getevent", |message| {
        Some(name(message.inner.event_bytes()))
    }),
    ("getdata", |message| message.data().ok()),
    ("gettimestamp", |message| {
        Some(int(message.inner.timestamp()))
    }),
    ("getkey", |message| {
        Some(message.inner.key().map_or_else(Zval::null, binary))
    }),
    ("gettopic", |message| {
        let origin = message.inner.origin.as_ref();
        Some(name(origin.map(|origin| origin.topic.as_bytes())))
    }),
    ("getpartition", |message| {
        let origin = message.inner.origin.as_ref();
        Some(origin.map_or_else(Zval::null, |origin| int(origin.partition.into())))
    }),
    ("getoffset", |message| {
        let origin = message.inner.origin.as_ref();
        Some(origin.map_or_else(Zval::null, |origin| int(origin.offset)))
    }),
    ("getattempt", |message| {
        let origin = message.inner.origin.as_ref();
        Some(int(origin.map_or(1, |origin| origin.attempt.into())))
    }),
];

const COUNT: usize = 11;

/// The functions for [`GETTERS`].
const FUNCTIONS: [zend::NativeFunction; COUNT] = [
    get::<0>, get::<1>, get::<2>, get::<3>, get::<4>, get::<5>, get::<6>, get::<7>, get::<8>,
    get::<9>, get::<10>,
];

/// The generated functions, as addresses.
static GENERATED: [AtomicUsize; COUNT] = [const { AtomicUsize::new(0) }; COUNT];

/// A name, most often one that was returned before.
fn name(text: Option<&[u8]>) -> Zval {
    text.map_or_else(Zval::null, json::name)
}

/// The generated `Realtime::broadcast()`.
static BROADCAST: AtomicUsize = AtomicUsize::new(0);

/// Puts the functions in place of the generated ones. Called once, before PHP code runs.
pub fn install() {
    install_handlers();
    for (place, (name, _)) in GETTERS.iter().enumerate() {
        let old = zend::replace_method::<Message>(name, FUNCTIONS[place]);
        GENERATED[place].store(old.map_or(0, |old| old as usize), Ordering::Relaxed);
    }
    let old = zend::replace_method::<Realtime>("broadcast", broadcast);
    BROADCAST.store(old.map_or(0, |old| old as usize), Ordering::Relaxed);
}

/// Calls the generated function, which reports a wrong number of arguments.
///
/// # Safety
/// `frame` and `result` must be those of a call of this function.
unsafe fn call_generated(
    generated: &AtomicUsize,
    frame: *mut zend_execute_data,
    result: *mut Zval,
) {
    let generated = generated.load(Ordering::Relaxed);
    // SAFETY: stored by `install`, which is the only place where the functions here become reachable.
    let generated =
        unsafe { std::mem::transmute::<usize, Option<zend::NativeFunction>>(generated) };
    if let Some(generated) = generated {
        generated(frame, result);
    }
}

/// `broadcast($channel, $event, $data = null, $key = null, $headers = [], $except = null)`.
unsafe extern "C" fn broadcast(frame: *mut zend_execute_data, result: *mut Zval) {
    let count = zend::argument_count(frame);
    // SAFETY: below `count`.
    let argument = |place| (place < count).then(|| unsafe { zend::argument(frame, place) });
    let (Some(channel), Some(event), None) = (argument(0), argument(1), argument(6)) else {
        return call_generated(&BROADCAST, frame, result);
    };
    // A panic must not cross into the engine.
    let returned = catch_unwind(AssertUnwindSafe(|| {
        realtime::broadcast(
            channel,
            event,
            argument(2),
            argument(3),
            argument(4),
            argument(5),
        )
    }));
    match returned {
        // SAFETY: the engine passes an initialised slot without a value to destroy.
        Ok(Ok(id)) => unsafe { result.write(id) },
        Ok(Err(CallError::Throw(exception))) => exception.throw(),
        Ok(Err(CallError::Pending)) => {}
        Err(_) => {
            let text = "Realtime::broadcast() failed: a bug of the extension (a panic).";
            PhpException::new(text.to_owned(), 0, ce::error()).throw();
        }
    }
}

unsafe extern "C" fn get<const N: usize>(frame: *mut zend_execute_data, result: *mut Zval) {
    if zend::argument_count(frame) == 0 {
        // SAFETY: `This` of a method's frame holds the object, which the engine keeps alive during the call.
        let object = unsafe { (*frame).This.object() };
        let message = object.and_then(ZendClassObject::<Message>::from_zend_obj);
        let value = message.and_then(|message| {
            // A panic must not cross into the engine.
            catch_unwind(AssertUnwindSafe(|| (GETTERS[N].1)(message)))
                .ok()
                .flatten()
        });
        if let Some(value) = value {
            // SAFETY: the engine passes an initialised slot without a value to destroy.
            unsafe { result.write(value) };
            return;
        }
    }
    call_generated(&GENERATED[N], frame, result);
}

/// Sets the handlers in the tables of the classes, in place: with another table the engine would not recognise the
/// class of an object.
fn install_handlers() {
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
    describe(object)
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
    describe(object)
}

/// The members of a message, as a new array.
unsafe fn describe(object: *mut zend_object) -> *mut zend_array {
    let message = object
        .as_ref()
        .and_then(ZendClassObject::<Message>::from_zend_obj);
    let table = message.and_then(|message| members(message).ok());
    table.unwrap_or_else(ZendHashTable::new).into_raw()
}

fn members(message: &Message) -> ext_php_rs::error::Result<ZBox<ZendHashTable>> {
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
