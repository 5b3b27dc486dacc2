//! The exception classes: registered by hand, so that PHP code can create and extend them and they have file, line and
//! trace; and the only place where an error of the core is converted to one.

use std::sync::atomic::{AtomicPtr, Ordering};

use ext_php_rs::args::Arg;
use ext_php_rs::builders::{ClassBuilder, FunctionBuilder};
use ext_php_rs::exception::PhpException;
use ext_php_rs::ffi::zend_class_entry;
use ext_php_rs::flags::{ClassFlags, DataType, MethodFlags, PropertyFlags};
use ext_php_rs::types::{ZendHashTable, ZendObject, Zval};
use ext_php_rs::zend::{ClassEntry, ExecuteData};

use super::arguments::CallError;
use super::zend;
use crate::error::{Error, Kind};

/// The classes, in the order they are registered.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the documentation
pub enum Class {
    RealtimeException,
    Transient,
    Permanent,
    Configuration,
    InvalidChannel,
    Encoding,
    Connection,
    QueueFull,
    Delivery,
    MessageTooLarge,
    UnknownTopic,
    HopLimit,
    Batch,
    ExtensionMissing,
    TransientException,
    PermanentException,
}

use Class as C;

const COUNT: usize = 16;
static ENTRIES: [AtomicPtr<zend_class_entry>; COUNT] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; COUNT];

impl Class {
    pub fn entry(self) -> &'static ClassEntry {
        // SAFETY: set while the module starts, valid until the process ends.
        unsafe { &*ENTRIES[self as usize].load(Ordering::Acquire) }
    }

    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Configuration => C::Configuration,
            Kind::InvalidChannel => C::InvalidChannel,
            Kind::Encoding => C::Encoding,
            Kind::Connection => C::Connection,
            Kind::QueueFull => C::QueueFull,
            Kind::Delivery => C::Delivery,
            Kind::MessageTooLarge => C::MessageTooLarge,
            Kind::UnknownTopic => C::UnknownTopic,
            Kind::HopLimit => C::HopLimit,
        }
    }
}

macro_rules! register {
    ($class:expr, $builder:expr) => {
        $builder
            .registration(|entry, tables| {
                ENTRIES[$class as usize].store(entry, Ordering::Release);
                // The engine keeps pointers into them for the life of the process.
                std::mem::forget(tables);
            })
            .register()
    };
}

fn named(name: &str) -> ClassBuilder {
    ClassBuilder::new(format!("Toporia\\Realtime\\Exception\\{name}"))
}

/// Registers all classes. Called once, while the module starts.
///
/// # Errors
/// The engine refuses a class.
pub fn register() -> ext_php_rs::error::Result<()> {
    let marker = |name: &str| {
        named(name)
            .flags(ClassFlags::Interface)
            .implements((|| zend::zend_ce_throwable, "Throwable"))
    };
    register!(C::RealtimeException, marker("RealtimeException"))?;
    register!(C::Transient, marker("Transient"))?;
    register!(C::Permanent, marker("Permanent"))?;
    let ours: (fn() -> &'static ClassEntry, &'static str) =
        (|| C::RealtimeException.entry(), "RealtimeException");
    let argument = |name: &str| {
        named(name)
            .extends((
                || zend::spl_ce_InvalidArgumentException,
                "InvalidArgumentException",
            ))
            .implements(ours)
    };
    let at_runtime = |name: &str| {
        named(name)
            .extends((|| zend::spl_ce_RuntimeException, "RuntimeException"))
            .implements(ours)
    };
    register!(C::Configuration, argument("ConfigurationException"))?;
    register!(C::InvalidChannel, argument("InvalidChannelException"))?;
    register!(C::Encoding, argument("EncodingException"))?;
    register!(C::Connection, at_runtime("ConnectionException"))?;
    register!(C::QueueFull, at_runtime("QueueFullException"))?;
    register!(
        C::Delivery,
        at_runtime("DeliveryException")
            .property(failed_property())
            .method(get_failed(), MethodFlags::Public)
    )?;
    register!(C::MessageTooLarge, at_runtime("MessageTooLargeException"))?;
    register!(C::UnknownTopic, at_runtime("UnknownTopicException"))?;
    register!(
        C::HopLimit,
        at_runtime("HopLimitException").implements((|| C::Permanent.entry(), "Permanent"))
    )?;
    register!(
        C::Batch,
        at_runtime("BatchException")
            .property(property("index", DataType::Long, || Zval::try_from(0_i64)))
            .method(
                batch_constructor(),
                MethodFlags::Public | MethodFlags::IsConstructor
            )
            .method(get_index(), MethodFlags::Public)
    )?;
    register!(C::ExtensionMissing, at_runtime("ExtensionMissingException"))?;
    register!(
        C::TransientException,
        at_runtime("TransientException").implements((|| C::Transient.entry(), "Transient"))
    )?;
    register!(
        C::PermanentException,
        at_runtime("PermanentException").implements((|| C::Permanent.entry(), "Permanent"))
    )
}

fn property(
    name: &str,
    ty: DataType,
    default: fn() -> ext_php_rs::error::Result<Zval>,
) -> ext_php_rs::builders::ClassProperty {
    ext_php_rs::builders::ClassProperty {
        name: name.into(),
        flags: PropertyFlags::Private,
        default: Some(Box::new(default)),
        docs: &[],
        ty: Some(ty),
        nullable: false,
        readonly: false,
        default_stub: None,
    }
}

fn failed_property() -> ext_php_rs::builders::ClassProperty {
    let mut property = property("failed", DataType::Array, || Ok(Zval::null()));
    property.default = None;
    property
}

fn get_failed() -> FunctionBuilder<'static> {
    extern "C" fn handler(_call: &mut ExecuteData, result: &mut Zval) {
        let found = zend::read(C::Delivery.entry(), &zend::this(), "failed");
        match found {
            Some(list) if list.is_array() => *result = list,
            _ => result.set_hashtable(ZendHashTable::new()),
        }
    }
    FunctionBuilder::new("getFailed", handler)
        .returns(DataType::Array, false, false)
        .docs(&["The messages that were not delivered: a list of ['id' => string, 'topic' => string, 'reason' => \
        string]."])
}

fn get_index() -> FunctionBuilder<'static> {
    extern "C" fn handler(_call: &mut ExecuteData, result: &mut Zval) {
        let found = zend::read(C::Batch.entry(), &zend::this(), "index");
        result.set_long(found.and_then(|index| index.long()).unwrap_or(0));
    }
    FunctionBuilder::new("getIndex", handler)
        .returns(DataType::Long, false, false)
        .docs(&["The position of the message that failed, from 0."])
}

fn batch_constructor() -> FunctionBuilder<'static> {
    extern "C" fn handler(call: &mut ExecuteData, _result: &mut Zval) {
        let mut index = Arg::new("index", DataType::Mixed);
        let mut previous = Arg::new("previous", DataType::Mixed).allow_null();
        if call
            .parser()
            .arg(&mut index)
            .not_required()
            .arg(&mut previous)
            .parse()
            .is_err()
        {
            return;
        }
        let Some(given) = index.zval() else {
            return;
        };
        let place = "Exception\\BatchException::__construct(): Argument #1 ($index)";
        let index = match super::arguments::int(given, place) {
            Ok(index) => index,
            Err(error) => return error.throw(),
        };
        let previous = previous.zval().map(|value| value.shallow_clone());
        let previous = previous.filter(|value| !value.is_null());
        let this = zend::this();
        let why = previous
            .as_ref()
            .map_or_else(String::new, |why| format!(": {}", zend::message_of(why)));
        let mut message = Zval::new();
        if message
            .set_string(&format!("Message {index} of the batch failed{why}"), false)
            .is_ok()
        {
            zend::write(ext_php_rs::zend::ce::exception(), &this, "message", message);
        }
        let mut place = Zval::new();
        place.set_long(index);
        zend::write(C::Batch.entry(), &this, "index", place);
        if let Some(previous) = previous {
            zend::write(
                ext_php_rs::zend::ce::exception(),
                &this,
                "previous",
                previous,
            );
        }
    }
    FunctionBuilder::new("__construct", handler)
        .arg(Arg::new("index", DataType::Long))
        .not_required()
        .arg(
            Arg::new("previous", DataType::Mixed)
                .allow_null()
                .default("null"),
        )
        .docs(&["@param int $index the position in the list, from 0"])
}

/// The class that an error is thrown as.
pub fn class_of(error: &Error) -> String {
    Class::of(error.kind())
        .entry()
        .name()
        .unwrap_or_default()
        .to_owned()
}

impl From<Error> for PhpException {
    fn from(error: Error) -> Self {
        let class = Class::of(error.kind()).entry();
        let exception = Self::new(error.message().replace('\0', "\\0"), 0, class);
        if error.failed().is_empty() || error.kind() != Kind::Delivery {
            return exception;
        }
        match delivery_object(&error) {
            Some(object) => exception.with_object(object),
            None => exception,
        }
    }
}

/// The exception object with its list of messages.
fn delivery_object(error: &Error) -> Option<Zval> {
    let class = C::Delivery.entry();
    let object = super::object_to_zval(ZendObject::new(class));
    let mut text = Zval::new();
    text.set_string(error.message(), false).ok()?;
    zend::write(ext_php_rs::zend::ce::exception(), &object, "message", text);
    let mut list = ZendHashTable::new();
    for message in error.failed() {
        let mut entry = ZendHashTable::new();
        entry.insert("id", message.id.as_str()).ok()?;
        entry.insert("topic", message.topic.as_str()).ok()?;
        entry.insert("reason", message.reason.as_str()).ok()?;
        list.push(entry).ok()?;
    }
    let failed = super::array(list);
    zend::write(class, &object, "failed", failed);
    Some(object)
}

/// The index of a pending BatchException, which is the number of messages that were handled; 0 for other exceptions.
pub fn pending_batch_index() -> usize {
    let index = zend::pending_object()
        .filter(|value| {
            value
                .object()
                .is_some_and(|object| object.instance_of(C::Batch.entry()))
        })
        .and_then(|object| zend::read(C::Batch.entry(), &object, "index"))
        .and_then(|index| index.long());
    usize::try_from(index.unwrap_or(0)).unwrap_or(0)
}

/// The BatchException for entry `place`, with the reason as its previous exception. `exit` is passed through.
pub fn in_batch(place: usize, why: CallError) -> CallError {
    if let CallError::Throw(exception) = why {
        exception.throw();
    }
    let is_throwable = |value: &Zval| {
        value
            .object()
            .is_some_and(|object| object.instance_of(zend::zend_ce_throwable))
    };
    let Some(previous) = zend::pending_object().filter(is_throwable) else {
        return CallError::Pending;
    };
    zend::clear_exception();
    let object = super::object_to_zval(ZendObject::new(C::Batch.entry()));
    let mut index = Zval::new();
    index.set_long(i64::try_from(place).unwrap_or(i64::MAX));
    // The constructor cannot fail on an int and a Throwable.
    drop(object.try_call_method("__construct", vec![&index, &previous]));
    CallError::Throw(PhpException::new(String::new(), 0, C::Batch.entry()).with_object(object))
}
