//! Access to an object's properties, hooks, laziness, and its guard against recursion.

use std::ffi::c_void;
use std::sync::OnceLock;

use super::zend::{add_ref, kind, undef, zend_class_entry, zend_object, Str, Table, Value, HOOKS};

extern "C" {
    fn zend_get_properties_for(object: *mut Value, purpose: u32) -> *mut Table;
    fn zend_read_property_ex(
        scope: *mut zend_class_entry,
        object: *mut zend_object,
        name: *mut Str,
        silent: bool,
        rv: *mut Value,
    ) -> *mut Value;
}

/// The properties `json_encode` would see. To be passed to [`release`]; may run user code (lazy objects).
pub unsafe fn properties_for_json(object: *mut zend_object) -> *mut Table {
    const PURPOSE_JSON: u32 = 4;
    let mut value = object_value(object);
    zend_get_properties_for(&raw mut value, PURPOSE_JSON)
}

/// The property table as the object's handler returns it, without a reference; null if there is none. Runs no user
/// code.
pub unsafe fn properties_of(object: *mut zend_object) -> *mut Table {
    match (*(*object).handlers).get_properties {
        Some(get) => get(object).cast(),
        None => std::ptr::null_mut(),
    }
}

/// `object` as a value that does not own it.
unsafe fn object_value(object: *mut zend_object) -> Value {
    let mut value = undef();
    value.payload.object = object;
    value.type_info = u32::from(kind::OBJECT) | 1 << 8 | 1 << 9;
    value
}

/// Reads a property that has hooks; `None` for a write-only one. The caller drops the value. `info` is the property's
/// description, in the layout it has since PHP 8.4.
pub unsafe fn read_hooked(object: *mut zend_object, info: *const c_void) -> Option<Value> {
    #[repr(C)]
    struct Info {
        offset: u32,
        flags: u32,
        name: *mut Str,
        doc_comment: *mut Str,
        attributes: *mut Table,
        scope: *mut zend_class_entry,
        type_: [u64; 2],
        prototype: *const c_void,
        hooks: *const *const c_void,
    }
    const VIRTUAL: u32 = 1 << 9;
    let info = info.cast::<Info>();
    if (*info).flags & VIRTUAL != 0 && (*(*info).hooks).is_null() {
        return None;
    }
    let mut value = undef();
    let found = zend_read_property_ex((*info).scope, object, (*info).name, true, &raw mut value);
    if found != &raw mut value {
        // The property itself, not a result: add a reference, so that the caller may drop it.
        if (*found).type_info & 0xff00 != 0 {
            add_ref((*found).payload.counted.cast());
        }
        value = *found;
    }
    Some(value)
}

/// True if the class or the object needs more than reading its property slots (hooks, lazy objects).
#[inline]
pub unsafe fn has_hooks_or_is_lazy(object: *const zend_object) -> bool {
    if !HOOKS {
        return false;
    }
    // `num_hooked_props` follows `num_traits`, `extra_flags` follows `handle`; the bindings of older versions lack
    // both.
    let hooked = *(&raw const (*(*object).ce).num_traits).add(1);
    let extra = *(&raw const (*object).handle).add(1);
    hooked != 0 || extra != 0
}

/// The flag word that guards `jsonSerialize()` against recursion, where PHP has one per object (8.3 on).
pub unsafe fn recursion_guard(object: *mut zend_object) -> *mut u32 {
    type Find = unsafe extern "C" fn(*mut zend_object) -> *mut u32;
    static FIND: OnceLock<Option<Find>> = OnceLock::new();
    let find = FIND.get_or_init(|| {
        let symbol = libc::dlsym(libc::RTLD_DEFAULT, c"zend_get_recursion_guard".as_ptr());
        (!symbol.is_null()).then(|| std::mem::transmute::<*mut c_void, Find>(symbol))
    });
    find.map_or(std::ptr::null_mut(), |find| find(object))
}
