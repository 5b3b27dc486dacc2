//! Objects as `json_encode` sees them: `jsonSerialize()`, enum values, otherwise the public properties.

use std::ffi::c_void;
use std::sync::OnceLock;

use ext_php_rs::ffi;

use super::encode::{EncodeErrorKind, Step, WriteError, WriteResult, Writer};
use super::zend::{
    self, add_ref, kind, undef, zend_class_entry, zend_object, Counted, Str, Table, Value, HOOKS,
};

/// Limit of nested `jsonSerialize()` results: each takes native stack.
const MAX_JSON_SERIALIZE_DEPTH: u32 = 1024;

/// The bit of an object's guard word that `json_encode` uses (PHP 8.3 on). In PHP 8.4 it is the next one, as property
/// hooks have got one.
const GUARD_JSON: u32 = if HOOKS { 1 << 7 } else { 1 << 6 };

impl Writer<'_> {
    pub unsafe fn object(&mut self, object: *mut zend_object) -> WriteResult {
        // User code may drop the last other reference to it.
        add_ref(object.cast());
        let written = if is_serializable((*object).ce) {
            self.serializable(object)
        } else if (*(*object).ce).ce_flags & ffi::ZEND_ACC_ENUM == ffi::ZEND_ACC_ENUM {
            self.enumeration(object)
        } else {
            self.properties(object)
        };
        zend::release(object.cast());
        written
    }

    /// A backed enum is written as its value; a pure enum has none.
    unsafe fn enumeration(&mut self, object: *mut zend_object) -> WriteResult {
        // The properties of a case: name and, where it is backed, value.
        if (*(*object).ce).default_properties_count < 2 {
            let class = zend::bytes((*(*object).ce).name.cast());
            return Err(WriteError::new(EncodeErrorKind::PureEnum(
                String::from_utf8_lossy(class).into_owned(),
            )));
        }
        self.value(
            (&raw const (*object).properties_table)
                .cast::<Value>()
                .add(1),
        )
    }

    /// The result of `jsonSerialize()`.
    unsafe fn serializable(&mut self, object: *mut zend_object) -> WriteResult {
        if self.json_serialize_depth >= MAX_JSON_SERIALIZE_DEPTH {
            return Err(WriteError::new(EncodeErrorKind::Chain));
        }
        let Some(guard) = Guard::enter(object) else {
            return Err(WriteError::new(EncodeErrorKind::Recursion));
        };
        let mut result = zend::undef();
        call_json_serialize(object, &mut result);
        if zend::exception_pending() || zend::kind_of(&raw const result) == kind::UNDEF {
            guard.leave();
            zend::drop_value(&raw mut result);
            return Err(WriteError::new(EncodeErrorKind::Pending));
        }
        self.json_serialize_depth += 1;
        let itself =
            zend::kind_of(&raw const result) == kind::OBJECT && result.payload.object == object;
        let written = if itself {
            guard.leave();
            self.properties(object)
        } else {
            let written = self.value(&raw const result);
            guard.leave();
            written
        };
        self.json_serialize_depth -= 1;
        zend::drop_value(&raw mut result);
        written
    }

    /// `{…}` of the public properties.
    unsafe fn properties(&mut self, object: *mut zend_object) -> WriteResult {
        if !has_plain_slots(object) {
            return self.property_table(object);
        }
        if !zend::protect(object.cast()) {
            return Err(WriteError::new(EncodeErrorKind::Recursion));
        }
        let written = self.nested(|writer| writer.slots(object));
        zend::unprotect(object.cast());
        written
    }

    /// Properties in the slots their class declares; there are no others.
    unsafe fn slots(&mut self, object: *mut zend_object) -> WriteResult {
        let class = (*object).ce;
        self.bytes(b"{");
        let mut first = true;
        for position in 0..(*class).default_properties_count as usize {
            let info = *(*class).properties_info_table.add(position);
            if info.is_null() {
                continue;
            }
            let name = (*info).name.cast::<Str>();
            let slot = object.cast::<u8>().add((*info).offset as usize).cast();
            if !is_hidden(name) && zend::kind_of(slot) != kind::UNDEF {
                self.member(name, 0, slot, &mut first)?;
            }
        }
        self.bytes(b"}");
        Ok(())
    }

    /// Properties as the object's handlers return them: dynamic ones, those of internal classes, hooked and lazy ones.
    unsafe fn property_table(&mut self, object: *mut zend_object) -> WriteResult {
        let table = properties_for_json(object);
        if zend::exception_pending() {
            if !table.is_null() {
                zend::release(table.cast());
            }
            return Err(WriteError::new(EncodeErrorKind::Pending));
        }
        if table.is_null() {
            return self.nested(|writer| {
                writer.bytes(b"{}");
                Ok(())
            });
        }
        // As PHP does: the mark is on the table, so that it is seen wherever the same table is reached, except where
        // the table is created for each call.
        let marked: *mut Counted = if has_hooks_or_is_lazy(object) {
            object.cast()
        } else {
            table.cast()
        };
        let written = if zend::protect(marked) {
            let written = self.nested(|writer| writer.table_members(object, table));
            zend::unprotect(marked);
            written
        } else {
            Err(WriteError::new(EncodeErrorKind::Recursion))
        };
        zend::release(table.cast());
        written
    }

    unsafe fn table_members(&mut self, object: *mut zend_object, table: *mut Table) -> WriteResult {
        self.bytes(b"{");
        let mut first = true;
        let mut position = 0;
        while position < (*table).used {
            let (mut value, key, index) = zend::entry(table, position);
            position += 1;
            if zend::kind_of(value) == kind::INDIRECT {
                value = (*value).payload.value;
            }
            if zend::kind_of(value) == kind::UNDEF || (!key.is_null() && is_hidden(key)) {
                continue;
            }
            // The key is named in errors, and user code may have removed it: ArrayObject changes its table in place,
            // also while there is another reference to it.
            if !key.is_null() {
                add_ref(key.cast());
            }
            let written = self.table_member(object, key, index, value, &mut first);
            if !key.is_null() {
                zend::release(key.cast());
            }
            written?;
        }
        self.bytes(b"}");
        Ok(())
    }

    #[inline]
    unsafe fn table_member(
        &mut self,
        object: *mut zend_object,
        key: *mut Str,
        index: u64,
        value: *const Value,
        first: &mut bool,
    ) -> WriteResult {
        if zend::kind_of(value) != kind::PTR {
            return self.member(key, index, value, first);
        }
        let Some(mut result) = read_hooked(object, (*value).payload.ptr) else {
            return Ok(());
        };
        let written = if zend::exception_pending() {
            Err(WriteError::new(EncodeErrorKind::Pending).under(Step::Index(index)))
        } else {
            self.member(key, index, &raw const result, first)
        };
        zend::drop_value(&raw mut result);
        written
    }
}

/// Prevents `jsonSerialize()` from being called on an object whose result is being written, with the marks that
/// `json_encode` sets, so that nested calls of either see them: a bit of the object's guard word since PHP 8.3, before
/// that the mark on its property table. The table may be replaced in between, so the object is marked too.
struct Guard {
    object: *mut zend_object,
    word: *mut u32,
    table: *mut Table,
}

impl Guard {
    /// `None` if the object is being written already.
    unsafe fn enter(object: *mut zend_object) -> Option<Self> {
        let word = recursion_guard(object);
        if !word.is_null() {
            let free = *word & GUARD_JSON == 0;
            *word |= GUARD_JSON;
            return free.then_some(Self {
                object,
                word,
                table: std::ptr::null_mut(),
            });
        }
        let table = properties_of(object);
        if !zend::protect(object.cast()) {
            return None;
        }
        if !table.is_null() {
            if !zend::protect(table.cast()) {
                zend::unprotect(object.cast());
                return None;
            }
            add_ref(table.cast());
        }
        Some(Self {
            object,
            word,
            table,
        })
    }

    unsafe fn leave(self) {
        if !self.word.is_null() {
            *self.word &= !GUARD_JSON;
            return;
        }
        zend::unprotect(self.object.cast());
        if !self.table.is_null() {
            zend::unprotect(self.table.cast());
            zend::release(self.table.cast());
        }
    }
}

#[inline]
unsafe fn is_serializable(class: *const zend_class_entry) -> bool {
    (*class).num_interfaces != 0 && {
        let interfaces = (*class).__bindgen_anon_3.interfaces;
        (0..(*class).num_interfaces as usize)
            .any(|at| *interfaces.add(at) == zend::php_json_serializable_ce)
    }
}

/// Calls the method; `result` stays undefined if it threw.
unsafe fn call_json_serialize(object: *mut zend_object, result: &mut Value) {
    const NAME: &[u8] = b"jsonserialize";
    let class = (*object).ce;
    let method = ffi::zend_hash_str_find(
        &raw const (*class).function_table,
        NAME.as_ptr().cast(),
        NAME.len(),
    );
    if method.is_null() {
        return;
    }
    ffi::zend_call_known_function(
        (*method).value.ptr.cast(),
        object,
        class,
        (&raw mut *result).cast(),
        0,
        std::ptr::null_mut(),
        std::ptr::null_mut(),
    );
}

/// True if the object has only its declared slots, readable without a handler.
#[inline]
unsafe fn has_plain_slots(object: *const zend_object) -> bool {
    let handlers = (*object).handlers;
    (*object).properties.is_null()
        && (*handlers).get_properties_for.is_none()
        && (*handlers)
            .get_properties
            .is_some_and(|get| get as usize == ffi::zend_std_get_properties as *const () as usize)
        && !has_hooks_or_is_lazy(object)
}

/// Private and protected properties have names that begin with a zero byte.
#[inline]
unsafe fn is_hidden(name: *const Str) -> bool {
    zend::bytes(name).first() == Some(&0)
}

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
unsafe fn properties_for_json(object: *mut zend_object) -> *mut Table {
    const PURPOSE_JSON: u32 = 4;
    let mut value = object_value(object);
    zend_get_properties_for(&raw mut value, PURPOSE_JSON)
}

/// The property table as the object's handler returns it, without a reference; null if there is none. Runs no user
/// code.
unsafe fn properties_of(object: *mut zend_object) -> *mut Table {
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
unsafe fn read_hooked(object: *mut zend_object, info: *const c_void) -> Option<Value> {
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
unsafe fn has_hooks_or_is_lazy(object: *const zend_object) -> bool {
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
unsafe fn recursion_guard(object: *mut zend_object) -> *mut u32 {
    type Find = unsafe extern "C" fn(*mut zend_object) -> *mut u32;
    static FIND: OnceLock<Option<Find>> = OnceLock::new();
    let find = FIND.get_or_init(|| {
        let symbol = libc::dlsym(libc::RTLD_DEFAULT, c"zend_get_recursion_guard".as_ptr());
        (!symbol.is_null()).then(|| std::mem::transmute::<*mut c_void, Find>(symbol))
    });
    find.map_or(std::ptr::null_mut(), |find| find(object))
}
