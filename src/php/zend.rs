//! Parts of the Zend engine that ext-php-rs does not offer, each behind a safe function.

use std::ffi::{c_char, c_int, c_void};
use std::fmt::Write as _;

use ext_php_rs::class::RegisteredClass;
use ext_php_rs::exception::PhpException;
use ext_php_rs::ffi::{self, zend_class_entry, zend_object, zend_string};
use ext_php_rs::types::{ZendClassObject, ZendObject, ZendStr, Zval};
use ext_php_rs::zend::ClassEntry;

// SAFETY: as the engine has them. The classes are set before this module starts, and live as long as the process; the
// functions without arguments act on this thread, as PHP's own code does.
unsafe extern "C" {
    pub safe static spl_ce_RuntimeException: &'static ClassEntry;
    pub safe static spl_ce_InvalidArgumentException: &'static ClassEntry;
    pub safe static php_json_serializable_ce: &'static ClassEntry;
    pub safe static zend_ce_throwable: &'static ClassEntry;
    pub safe static zend_ce_generator: &'static ClassEntry;
    safe fn zend_throw_graceful_exit();
    safe fn zend_timeout();
    safe fn zend_clear_exception();
    fn zend_is_auto_global(name: *mut zend_string) -> bool;
    fn zend_update_property(
        scope: *mut zend_class_entry,
        object: *mut zend_object,
        name: *const c_char,
        length: usize,
        value: *mut Zval,
    );
    fn zend_read_property(
        scope: *mut zend_class_entry,
        object: *mut zend_object,
        name: *const c_char,
        length: usize,
        silent: bool,
        storage: *mut Zval,
    ) -> *mut Zval;
    fn zend_get_exception_base(object: *mut zend_object) -> *mut zend_class_entry;
    fn zend_is_unwind_exit(object: *const zend_object) -> bool;
    fn zend_is_graceful_exit(object: *const zend_object) -> bool;
    fn zend_throw_exception_internal(exception: *mut zend_object);
    fn php_log_err_with_severity(message: *const c_char, severity: c_int);
    fn zend_ini_string_ex(
        name: *const c_char,
        length: usize,
        original: c_int,
        exists: *mut bool,
    ) -> *const c_char;
}

/// `zif_handler`.
pub type NativeFunction = unsafe extern "C" fn(*mut ffi::zend_execute_data, *mut Zval);

/// The executor's globals of this thread.
#[inline]
fn globals() -> *mut ffi::zend_executor_globals {
    // SAFETY: returns the address of the thread's globals.
    unsafe { ffi::ext_php_rs_executor_globals() }
}

/// True while an exception (or `exit`) is pending.
#[inline]
pub fn has_exception() -> bool {
    // SAFETY: the globals are alive during a request.
    unsafe { !(*globals()).exception.is_null() }
}

/// The address of the pending exception, null without one.
pub fn pending_pointer() -> *const zend_object {
    // SAFETY: the globals are alive during a request.
    unsafe { (*globals()).exception }
}

/// The pending exception; `exit` is one too.
pub fn pending_object() -> Option<Zval> {
    // SAFETY: the exception is alive while it is pending.
    unsafe { look((*globals()).exception) }
}

/// True if the pending exception is `exit`.
pub fn is_exiting() -> bool {
    // SAFETY: the globals are alive during a request; both only read.
    unsafe {
        let pending = (*globals()).exception;
        !pending.is_null() && (zend_is_unwind_exit(pending) || zend_is_graceful_exit(pending))
    }
}

/// The Fiber that is running, 0 outside of Fibers.
pub fn active_fiber() -> usize {
    // SAFETY: the globals are alive during a request.
    unsafe { (*globals()).active_fiber as usize }
}

/// True while a Fiber is suspended that was [`active_fiber`] and has not ended.
pub fn is_fiber_suspended(fiber: usize) -> bool {
    if fiber == active_fiber() {
        return false;
    }
    // SAFETY: a Fiber that has not ended is alive.
    let fiber = unsafe { look(fiber as *mut zend_object) };
    fiber.is_some_and(|fiber| {
        let suspended = fiber.try_call_method("isSuspended", vec![]);
        suspended.is_ok_and(|suspended| suspended.is_true())
    })
}

/// True while the running Fiber is being destroyed: it was dropped while it was suspended, and its code unwinds.
pub fn is_fiber_destroyed() -> bool {
    /// `ZEND_FIBER_FLAG_DESTROYED`.
    const DESTROYED: u8 = 1 << 2;
    // SAFETY: the running Fiber is alive; in every version its flags are one byte behind the object.
    unsafe {
        let fiber = (*globals()).active_fiber.cast::<zend_object>();
        !fiber.is_null() && *fiber.add(1).cast::<u8>() & DESTROYED != 0
    }
}

/// Throws what unwinds a Fiber that is being destroyed.
pub fn throw_graceful_exit() {
    zend_throw_graceful_exit();
}

/// Throws an exception object.
pub fn throw(exception: Zval) {
    let exception = std::mem::ManuallyDrop::new(exception);
    // SAFETY: a live object, whose reference goes to the engine.
    unsafe { zend_throw_exception_internal(exception.value.obj) };
}

/// The message of the fatal error that is ending the request; `None` without one.
pub fn fatal_error() -> Option<String> {
    /// `E_ERROR`, `E_CORE_ERROR`, `E_COMPILE_ERROR`, `E_USER_ERROR`, `E_RECOVERABLE_ERROR`.
    const FATAL: i32 = 1 | 16 | 64 | 256 | 4096;
    // SAFETY: the globals of this thread; the string is copied immediately.
    unsafe {
        let globals = &*ffi::ext_php_rs_process_globals();
        if globals.last_error_type & FATAL == 0 {
            return None;
        }
        let text = globals.last_error_message.as_ref()?;
        Some(String::from_utf8_lossy(text.as_bytes()).into_owned())
    }
}

/// Clears the pending exception.
pub fn clear_exception() {
    zend_clear_exception();
}

/// An error if `__construct()` is called on an object that is constructed already: it would replace what a running
/// method of the object uses.
pub fn refuse_second_construction<T: RegisteredClass>() -> Result<(), PhpException> {
    let is_constructed = this()
        .object()
        .is_some_and(|object| ZendClassObject::<T>::from_zend_obj(object).is_some());
    if !is_constructed {
        return Ok(());
    }
    Err(PhpException::new(
        format!(
            "{} cannot be constructed twice; create another object.",
            T::CLASS_NAME
        ),
        0,
        ext_php_rs::zend::ce::error(),
    ))
}

/// `$this` of the method that PHP is calling.
pub fn this() -> Zval {
    // SAFETY: the innermost frame is the method's own, and `This` holds its object.
    unsafe { (*(*globals()).current_execute_data).This.shallow_clone() }
}

/// A counted reference to an object of the engine. Counted through the engine's pointer: through a Rust reference the
/// compiler may assume the count unchanged.
unsafe fn look(object: *mut zend_object) -> Option<Zval> {
    if object.is_null() {
        return None;
    }
    let mut look = std::mem::ManuallyDrop::new(Zval::new());
    look.value.obj = object;
    look.u1.type_info = ffi::IS_OBJECT_EX;
    Some(look.shallow_clone())
}

/// The message of a Throwable, with bytes that are not UTF-8 replaced.
pub fn message_of(object: &Zval) -> String {
    throwable_property(object, "message").map_or_else(String::new, |value| lossy_text(&value))
}

/// The code of an exception; 0 if it is not a number.
pub fn code_of(object: &Zval) -> i64 {
    throwable_property(object, "code")
        .and_then(|code| code.long())
        .unwrap_or_default()
}

/// The previous Throwable of an exception.
pub fn previous_of(object: &Zval) -> Option<Zval> {
    throwable_property(object, "previous").filter(Zval::is_object)
}

/// Longer chains are cut. A chain is short unless reflection has made it refer to itself.
const MAX_CHAIN: usize = 16;

/// Longer descriptions of a chain are cut.
const MAX_CHAIN_BYTES: usize = 4096;

/// A Throwable with all previous ones: `Class: message in file:line; caused by Class: message in file:line`.
pub fn chain_of(object: &Zval) -> String {
    let mut text = String::new();
    let mut next = Some(object.shallow_clone());
    for index in 0..MAX_CHAIN {
        let Some(object) = next.take() else {
            return text;
        };
        if index > 0 {
            text.push_str("; caused by ");
        }
        text.push_str(&class_of(&object));
        let message = message_of(&object);
        if !message.is_empty() {
            text.push_str(": ");
            text.push_str(&message);
        }
        let file = throwable_property(&object, "file").map(|file| lossy_text(&file));
        if let Some(file) = file.filter(|file| !file.is_empty()) {
            let line = throwable_property(&object, "line").and_then(|line| line.long());
            let _ = write!(text, " in {file}:{}", line.unwrap_or(0));
        }
        if text.len() > MAX_CHAIN_BYTES {
            break;
        }
        next = previous_of(&object);
    }
    if next.is_some() || text.len() > MAX_CHAIN_BYTES {
        let mut end = text.len().min(MAX_CHAIN_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The class of an object, `""` for another value.
pub fn class_of(value: &Zval) -> String {
    value.object().map_or_else(String::new, class_name)
}

/// True for a class with a public method `then()` of two parameters, as promises have it.
pub fn is_thenable(class: &ClassEntry) -> bool {
    const PUBLIC: u32 = 1;
    const STATIC: u32 = 1 << 4;
    let name = ZendStr::new("then", false).into_raw();
    // SAFETY: the function table of a live class holds zend_function values; the name is released after its use.
    unsafe {
        let found = ffi::zend_hash_find(&raw const class.function_table, name);
        ffi::ext_php_rs_zend_string_release(name);
        found.as_ref().is_some_and(|found| {
            let method = found.value.ptr.cast::<ffi::zend_function>();
            let common = &(*method).common;
            common.fn_flags & PUBLIC != 0 && common.fn_flags & STATIC == 0 && common.num_args > 1
        })
    }
}

/// The class name of an object. A class name may hold any bytes from 0x80 on; that of an anonymous class ends with a
/// zero byte and its place, which are cut.
pub fn class_name(object: &ZendObject) -> String {
    // SAFETY: the class of a live object and its name live at least as long as the object.
    let name = unsafe { (*(*object.ce).name.cast::<ZendStr>()).as_bytes() };
    let end = name.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&name[..end.unwrap_or(name.len())]).into_owned()
}

/// Text as UTF-8, numbers as text, `""` for anything else: an exception class may set its properties to any value.
fn lossy_text(value: &Zval) -> String {
    let value = value.dereference();
    if let Some(text) = value.zend_str() {
        return String::from_utf8_lossy(text.as_bytes()).into_owned();
    }
    if value.is_long() || value.is_double() {
        return value.coerce_to_string().unwrap_or_default();
    }
    String::new()
}

/// A property of a Throwable. `Exception` and `Error` declare their own, so each is read in the scope of its base
/// class.
fn throwable_property(object: &Zval, name: &str) -> Option<Zval> {
    let throwable = object.object()?;
    if !throwable.instance_of(zend_ce_throwable) {
        return None;
    }
    // SAFETY: a live Throwable, which extends either Exception or Error; both classes live as long as the process.
    let base = unsafe { zend_get_exception_base(object.value.obj).as_ref() }?;
    read(base, object, name)
}

/// Reads a property of an object in the scope of `scope`: a private property is visible only in the class that declares
/// it.
pub fn read(scope: &ClassEntry, object: &Zval, name: &str) -> Option<Zval> {
    object.object()?;
    let mut storage = Zval::new();
    // SAFETY: a live object and a class that lives as long as the process.
    unsafe {
        let object = object.value.obj;
        let value = zend_read_property(
            std::ptr::from_ref(scope).cast_mut(),
            object,
            name.as_ptr().cast(),
            name.len(),
            true,
            &raw mut storage,
        );
        value.as_ref().map(Zval::shallow_clone)
    }
}

/// Sets a property in the scope of `scope`.
pub fn write(scope: &ClassEntry, object: &Zval, name: &str, mut value: Zval) {
    if object.object().is_none() {
        return;
    }
    // SAFETY: a live object; the engine takes its own reference to the value.
    unsafe {
        zend_update_property(
            std::ptr::from_ref(scope).cast_mut(),
            object.value.obj,
            name.as_ptr().cast(),
            name.len(),
            &raw mut value,
        );
    }
}

/// The flag that makes the virtual machine call its interrupt function; valid while this thread runs PHP. It is one
/// byte in every version.
pub fn interrupt_flag() -> *mut std::sync::atomic::AtomicU8 {
    // SAFETY: the globals of this thread are alive.
    unsafe { (&raw mut (*globals()).vm_interrupt).cast() }
}

/// Runs the engine's interrupt function, as requested by a signal or the time limit; PHP's handlers run inside.
///
/// Native code that waits never reaches the points where the virtual machine checks by itself.
pub fn serve_interrupt() {
    // SAFETY: the same as the virtual machine does at this flag. The flags are one byte in every version.
    unsafe {
        let globals = globals();
        let interrupt = (&raw mut (*globals).vm_interrupt).cast::<u8>();
        if interrupt.read_volatile() == 0 {
            return;
        }
        interrupt.write_volatile(0);
        if (&raw const (*globals).timed_out)
            .cast::<u8>()
            .read_volatile()
            != 0
        {
            zend_timeout();
        } else if let Some(function) = ffi::zend_interrupt_function {
            function((*globals).current_execute_data);
        }
    }
}

/// A superglobal such as `_ENV`, filled on demand where PHP does so.
pub fn superglobal(name: &str) -> Option<&'static Zval> {
    let text = ZendStr::new(name, false);
    let raw = text.into_raw();
    // SAFETY: the string is ours; the symbol table lives as long as the request, and the result is used immediately.
    unsafe {
        zend_is_auto_global(raw);
        let found = ffi::zend_hash_find(&raw const (*globals()).symbol_table, raw);
        ffi::ext_php_rs_zend_string_release(raw);
        let mut value = found.as_ref()?;
        if let Some(inner) = value.indirect() {
            value = inner;
        }
        Some(value.dereference())
    }
}

/// Writes to PHP's error log; on the command line without one, to standard error.
pub fn log(text: &str, severity: i32) {
    let text = crate::kafka::client::c_string(text);
    // SAFETY: a valid string; the function copies it.
    unsafe { php_log_err_with_severity(text.as_ptr(), severity) };
}

/// Writes a line to the system log; usable in any thread.
pub fn syslog(text: &str, severity: i32) {
    let text = crate::kafka::client::c_string(text);
    // SAFETY: valid strings; the function copies them.
    unsafe { libc::syslog(severity, c"%s".as_ptr(), text.as_ptr()) };
}

/// An INI setting; `None` if it is empty or unknown.
pub fn ini(name: &str) -> Option<String> {
    let mut exists = false;
    // SAFETY: null, or a string of the INI system, copied immediately.
    unsafe {
        let value = zend_ini_string_ex(name.as_ptr().cast(), name.len(), 0, &raw mut exists);
        let value = (!value.is_null()).then(|| std::ffi::CStr::from_ptr(value))?;
        (!value.is_empty()).then(|| value.to_string_lossy().into_owned())
    }
}

/// Looks up a C function that only some builds of PHP have.
pub fn symbol(name: &std::ffi::CStr) -> Option<*mut c_void> {
    // SAFETY: a plain look-up among loaded symbols.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// Replaces the implementation of a native function; the previous one, `None` if there is no such function.
pub fn replace_function(name: &str, new: NativeFunction) -> Option<NativeFunction> {
    /// `ZEND_INTERNAL_FUNCTION`.
    const INTERNAL: u8 = 1;
    // SAFETY: the table of functions and its native functions live as long as the process.
    unsafe {
        let table = (*globals()).function_table;
        let found = ffi::zend_hash_str_find(table, name.as_ptr().cast(), name.len()).as_ref()?;
        let function = found.value.func.as_mut()?;
        if function.type_ != INTERNAL {
            return None;
        }
        function.internal_function.handler.replace(new)
    }
}

/// Replaces the implementation of a method of one of our classes, by its name in lower case; the previous one, `None`
/// if there is no such method.
pub fn replace_method<T: RegisteredClass>(
    name: &str,
    new: NativeFunction,
) -> Option<NativeFunction> {
    let class = T::get_metadata().ce();
    // SAFETY: the function table of a class and its native functions live as long as the process.
    unsafe {
        let table = &raw const class.function_table;
        let found = ffi::zend_hash_str_find(table, name.as_ptr().cast(), name.len()).as_ref()?;
        let function = found.value.func.as_mut()?;
        function.internal_function.handler.replace(new)
    }
}

/// The number of arguments that a native function was called with.
///
/// # Safety
/// `frame` must be the frame that the engine passed to the function.
#[inline]
pub unsafe fn argument_count(frame: *const ffi::zend_execute_data) -> u32 {
    (*frame).This.u2.num_args
}

/// An argument of a native function.
///
/// # Safety
/// As for [`argument_count`], which must be greater than `place`.
#[inline]
pub unsafe fn argument<'a>(frame: *const ffi::zend_execute_data, place: u32) -> &'a Zval {
    /// `ZEND_CALL_FRAME_SLOT`: the arguments follow the frame.
    const FIRST: usize = size_of::<ffi::zend_execute_data>().div_ceil(size_of::<Zval>());
    &*frame.cast::<Zval>().add(FIRST + place as usize)
}

/// The number of loaded classes.
#[inline]
pub fn class_count() -> u32 {
    // SAFETY: the table of classes lives as long as the request.
    unsafe { (*(*globals()).class_table).nNumOfElements }
}

/// True if a class is loaded; loads nothing. `name` in lower case, as the engine stores it.
pub fn loaded_class(name: &str) -> bool {
    // SAFETY: a plain look-up in a table that lives as long as the request.
    unsafe {
        !ffi::zend_hash_str_find((*globals()).class_table, name.as_ptr().cast(), name.len())
            .is_null()
    }
}

/// True for the command line, false for SAPIs that serve requests.
pub fn is_command_line() -> bool {
    let name = ext_php_rs::zend::php_sapi_name();
    matches!(name.as_deref(), Some("cli" | "phpdbg" | "micro"))
}
