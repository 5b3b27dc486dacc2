//! The methods that run for every message, as native functions of their own: `Realtime::broadcast()` and the getters of
//! `Message`.
//!
//! The functions that ext-php-rs generates parse arguments and set a jump buffer, which takes several times as long as
//! a getter. The getters here neither run PHP code nor throw: in every other case (an argument, data that is not valid
//! JSON, a panic) they call the generated function, which throws.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

use ext_php_rs::exception::PhpException;
use ext_php_rs::ffi::zend_execute_data;
use ext_php_rs::types::{ZendClassObject, Zval};
use ext_php_rs::zend::ce;

use super::arguments::CallError;
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
