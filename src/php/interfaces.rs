//! `Toporia\Realtime\Contract\Publisher` and `Consumer`: interfaces built from the methods of `Broker`, so that they
//! cannot differ.

use std::sync::atomic::{AtomicPtr, Ordering};

use ext_php_rs::builders::ClassBuilder;
use ext_php_rs::class::RegisteredClass;
use ext_php_rs::ffi::zend_class_entry;
use ext_php_rs::flags::{ClassFlags, MethodFlags};
use ext_php_rs::types::Zval;
use ext_php_rs::zend::ClassEntry;

use super::arguments::{self, CallError};
use super::broker::Broker;
use super::signatures;

static PUBLISHER: AtomicPtr<zend_class_entry> = AtomicPtr::new(std::ptr::null_mut());
static CONSUMER: AtomicPtr<zend_class_entry> = AtomicPtr::new(std::ptr::null_mut());

pub fn publisher() -> &'static ClassEntry {
    // SAFETY: set while the module starts, valid until the process ends.
    unsafe { &*PUBLISHER.load(Ordering::Acquire) }
}

pub fn consumer() -> &'static ClassEntry {
    // SAFETY: as above.
    unsafe { &*CONSUMER.load(Ordering::Acquire) }
}

fn interface(name: &str) -> ClassBuilder {
    let wanted = signatures::interface_methods(name);
    let mut builder =
        ClassBuilder::new(format!("Toporia\\Realtime\\{name}")).flags(ClassFlags::Interface);
    for ((method, _), name) in Broker::method_builders()
        .into_iter()
        .zip(super::broker::METHODS)
    {
        if wanted.contains(name) {
            builder = builder.method(method, MethodFlags::Public | MethodFlags::Abstract);
        }
    }
    builder
}

/// Registers both. Called once, while the module starts, before `Broker`.
///
/// # Errors
/// The engine refuses them.
pub fn register() -> ext_php_rs::error::Result<()> {
    interface("Contract\\Publisher")
        .registration(|entry, tables| {
            PUBLISHER.store(entry, Ordering::Release);
            std::mem::forget(tables);
        })
        .register()?;
    interface("Contract\\Consumer")
        .registration(|entry, tables| {
            CONSUMER.store(entry, Ordering::Release);
            std::mem::forget(tables);
        })
        .register()
}

/// A TypeError if the value is not a publisher.
pub fn check_publisher(value: &Zval, place: &str) -> Result<(), CallError> {
    let value = value.dereference();
    if value
        .object()
        .is_some_and(|object| object.instance_of(publisher()))
    {
        return Ok(());
    }
    Err(arguments::type_error(place, "Toporia\\Realtime\\Contract\\Publisher", value).into())
}
