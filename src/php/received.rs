//! The `Message` objects of received records. The object of a record becomes that of the next one if the callback kept
//! no reference to it, which spares the allocations and the engine's work for a new object.

use std::cell::Cell;
use std::rc::Rc;

use ext_php_rs::ffi::zend_object;
use ext_php_rs::types::{ZendClassObject, Zval};

use super::message::Message;
use crate::envelope::Scanned;
use crate::kafka::consumer::Record;
use crate::message::{Message as Inner, Origin};

/// The bits of a counted value that hold its type and flags; the garbage collector uses those above.
const TYPE_AND_FLAGS: u32 = (1 << 10) - 1;

/// The objects of one loop.
#[derive(Default)]
pub struct ReceivedMessages {
    /// An object that nothing else refers to.
    spare: Cell<Option<Zval>>,
    /// The flags of a new object. The engine notes in the flags that there are weak references to an object.
    flags: Cell<u32>,
}

impl ReceivedMessages {
    /// The message of a record, and its object.
    pub fn receive(&self, record: &Record, envelope: Option<&Scanned<'_>>) -> (Zval, Rc<Inner>) {
        if let Some(mut object) = self.spare.take() {
            if let Some(message) = replace(&mut object, record, envelope) {
                return (object, message);
            }
        }
        let message = message(record, envelope, origin(record, envelope));
        let object = super::object(Message::new(Rc::clone(&message)));
        if let Some(pointer) = pointer(&object) {
            self.flags.set(flags(pointer));
        }
        (object, message)
    }

    /// The callback of a record has returned: its object is used for the next record, unless something refers to it.
    pub fn release(&self, object: Zval) {
        let is_free = pointer(&object).is_some_and(|pointer| {
            // SAFETY: the zval holds a reference to the object.
            let is_unshared =
                unsafe { (*pointer).gc.refcount == 1 && (*pointer).properties.is_null() };
            is_unshared && flags(pointer) == self.flags.get()
        });
        if is_free {
            let message = object
                .object()
                .and_then(ZendClassObject::<Message>::from_zend_obj);
            if let Some(message) = message {
                message.forget_data();
            }
            self.spare.set(Some(object));
        }
    }
}

/// The message of a record.
pub fn message(record: &Record, envelope: Option<&Scanned<'_>>, origin: Origin) -> Rc<Inner> {
    Rc::new(Inner::from_record(
        record.value(),
        record.key(),
        record.headers(),
        envelope,
        origin,
    ))
}

/// The origin of a record.
pub fn origin(record: &Record, envelope: Option<&Scanned<'_>>) -> Origin {
    Origin {
        topic: Rc::clone(&record.topic),
        partition: record.partition,
        offset: record.offset,
        attempt: record.attempt,
        transient: record.transient,
        transient_since: record.transient_since,
        timestamp_ms: if envelope.is_some() {
            -1
        } else {
            record.timestamp_ms()
        },
    }
}

fn pointer(object: &Zval) -> Option<*mut zend_object> {
    if !object.is_object() {
        return None;
    }
    // SAFETY: the value of a zval with an object is a pointer to it.
    Some(unsafe { object.value.obj })
}

fn flags(object: *const zend_object) -> u32 {
    // SAFETY: called for objects that a zval refers to.
    unsafe { (*object).gc.u.type_info & TYPE_AND_FLAGS }
}

/// Puts the message of a record into a spare object; `None` where its old message is still in use.
fn replace(
    object: &mut Zval,
    record: &Record,
    envelope: Option<&Scanned<'_>>,
) -> Option<Rc<Inner>> {
    let message: &mut Message =
        ZendClassObject::<Message>::from_zend_obj_mut(object.object_mut()?)?;
    message.unshared()?.replace_by_record(
        record.value(),
        record.key(),
        record.headers(),
        envelope,
        origin(record, envelope),
    );
    Some(Rc::clone(&message.inner))
}
