//! The engine's structures and functions that the JSON code needs, in the layout of PHP 8.1 to 8.5.
//!
//! The generated bindings differ between PHP versions in exactly the fields read here, so hash tables are read through
//! a
//! view of their own; the layout is the same in every version supported (checked at compile time where it can be).

use std::cell::Cell;
use std::ffi::{c_char, c_void};

use ext_php_rs::ffi;
use ext_php_rs::types::Zval;

pub use ext_php_rs::ffi::{zend_class_entry, zend_object};

pub mod kind {
    pub const UNDEF: u8 = 0;
    pub const NULL: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const TRUE: u8 = 3;
    pub const LONG: u8 = 4;
    pub const DOUBLE: u8 = 5;
    pub const STRING: u8 = 6;
    pub const ARRAY: u8 = 7;
    pub const OBJECT: u8 = 8;
    pub const REFERENCE: u8 = 10;
    pub const INDIRECT: u8 = 12;
    pub const PTR: u8 = 13;
}

/// `u1.type_info` of a counted string, and of a counted array (which may be part of a cycle).
const STRING_EX: u32 = 6 | 1 << 8;
pub const ARRAY_EX: u32 = 7 | 1 << 8 | 1 << 9;

/// Flags in the type information of a counted value.
const GC_PROTECTED: u32 = 1 << 5;
const GC_IMMUTABLE: u32 = 1 << 6;
const STR_PERMANENT: u32 = 1 << 8;

const HASH_PACKED: u32 = 1 << 2;
/// Every key is a shared string, so that none is freed with the table.
const HASH_STATIC_KEYS: u32 = 1 << 4;
/// `HT_INVALID_IDX`.
const END_OF_CHAIN: u32 = u32::MAX;

/// Packed arrays hold bare values since PHP 8.2; before, they held buckets like the others.
pub const PACKED_VALUES: bool = ffi::ZEND_MODULE_API_NO >= 20_220_829;
/// Property hooks and lazy objects came with PHP 8.4.
pub const HOOKS: bool = ffi::ZEND_MODULE_API_NO >= 20_240_924;

/// A value (`zval`). Unlike the bindings' type it is plain data: copying it counts nothing, dropping it destroys
/// nothing.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Value {
    pub payload: Payload,
    pub type_info: u32,
    pub extra: u32,
}

/// The payload of a [`Value`], interpreted by its kind.
#[repr(C)]
#[derive(Clone, Copy)]
pub union Payload {
    pub long: i64,
    pub double: f64,
    pub counted: *mut Counted,
    pub string: *mut Str,
    pub table: *mut Table,
    pub object: *mut zend_object,
    pub value: *mut Value,
    pub ptr: *mut c_void,
}

/// Head of everything that is reference-counted.
#[repr(C)]
pub struct Counted {
    pub refcount: u32,
    pub type_info: u32,
}

/// A hash table (`zend_array`).
#[repr(C)]
pub struct Table {
    pub gc: Counted,
    pub flags: u32,
    pub mask: u32,
    pub data: *mut c_void,
    pub used: u32,
    pub elements: u32,
    pub size: u32,
    pub cursor: u32,
    pub next_free: i64,
    pub destructor: *const c_void,
}

/// One entry of a hash table that is not packed.
#[repr(C)]
pub struct Bucket {
    pub value: Value,
    pub h: u64,
    pub key: *mut Str,
}

/// `zend_string`; the bytes follow the head.
#[repr(C)]
pub struct Str {
    pub gc: Counted,
    pub h: u64,
    pub len: usize,
}

const _: () = {
    assert!(
        size_of::<Value>() == size_of::<ffi::zval>()
            && size_of::<Bucket>() == 32
            && size_of::<Str>() == 24
    );
    assert!(size_of::<Table>() == 56 && size_of::<ffi::HashTable>() == 56);
};

extern "C" {
    pub static php_json_serializable_ce: *mut zend_class_entry;
    fn rc_dtor_func(counted: *mut Counted);
    fn zend_string_hash_func(string: *mut Str) -> u64;
    pub fn _zend_handle_numeric_str_ex(key: *const c_char, length: usize, index: *mut u64) -> bool;
    pub fn zend_hash_real_init_packed(table: *mut Table);
    pub fn zend_hash_real_init_mixed(table: *mut Table);
    #[link_name = "_zend_new_array"]
    pub fn new_array(size: u32) -> *mut Table;
    #[link_name = "zend_hash_update"]
    pub fn hash_update(table: *mut Table, key: *mut Str, value: *mut Value) -> *mut Value;
    #[link_name = "zend_hash_index_update"]
    pub fn hash_index_update(table: *mut Table, index: u64, value: *mut Value) -> *mut Value;
}

/// Adds a member to a table that has room for it and is not packed, and takes over key and value. False, and nothing is
/// done, where another key has the same hash: most often it is the same key.
#[inline]
pub unsafe fn append(table: *mut Table, key: *const Value, value: *const Value) -> bool {
    let string = (*key).payload.string;
    let h = match (*string).h {
        0 => zend_string_hash_func(string),
        known => known,
    };
    let buckets = (*table).data.cast::<Bucket>();
    // The engine keeps the heads of the chains in front of the buckets, at negative places.
    let chain = (*table)
        .data
        .cast::<u32>()
        .offset((h as u32 | (*table).mask) as i32 as isize);
    let mut place = *chain;
    while place != END_OF_CHAIN {
        let other = buckets.add(place as usize);
        if (*other).h == h {
            return false;
        }
        place = (*other).value.extra;
    }
    let used = (*table).used;
    if used >= (*table).size {
        return false;
    }
    let mut value = *value;
    value.extra = *chain;
    buckets.add(used as usize).write(Bucket {
        value,
        h,
        key: string,
    });
    *chain = used;
    (*table).used = used + 1;
    (*table).elements += 1;
    if (*key).type_info & 0xff00 != 0 {
        (*table).flags &= !HASH_STATIC_KEYS;
    }
    true
}

#[inline]
pub unsafe fn kind_of(value: *const Value) -> u8 {
    ((*value).type_info & 0xff) as u8
}

#[inline]
pub unsafe fn bytes<'a>(string: *const Str) -> &'a [u8] {
    std::slice::from_raw_parts(string.cast::<u8>().add(size_of::<Str>()), (*string).len)
}

/// The value behind a reference.
#[inline]
pub unsafe fn behind(value: *const Value) -> *const Value {
    (*value)
        .payload
        .counted
        .cast::<u8>()
        .add(size_of::<Counted>())
        .cast()
}

#[inline]
pub const fn undef() -> Value {
    Value {
        payload: Payload { long: 0 },
        type_info: 0,
        extra: 0,
    }
}

/// True for arrays whose keys are positions (there may be holes).
#[inline]
pub unsafe fn is_packed(table: *const Table) -> bool {
    (*table).flags & HASH_PACKED != 0
}

/// The entry at `position`: its value, and its key if it is a string, else null and the index.
#[inline]
pub unsafe fn entry(table: *const Table, position: u32) -> (*mut Value, *mut Str, u64) {
    if PACKED_VALUES && is_packed(table) {
        let value = (*table).data.cast::<Value>().add(position as usize);
        (value, std::ptr::null_mut(), u64::from(position))
    } else {
        let bucket = (*table).data.cast::<Bucket>().add(position as usize);
        (&raw mut (*bucket).value, (*bucket).key, (*bucket).h)
    }
}

/// Adds a reference, except to what is shared and never counted.
#[inline]
pub unsafe fn add_ref(counted: *mut Counted) {
    if (*counted).type_info & GC_IMMUTABLE == 0 {
        (*counted).refcount += 1;
    }
}

/// Releases a reference; the last one destroys, which may run user code (destructors).
#[inline]
pub unsafe fn release(counted: *mut Counted) {
    if (*counted).type_info & GC_IMMUTABLE == 0 {
        (*counted).refcount -= 1;
        if (*counted).refcount == 0 {
            rc_dtor_func(counted);
        }
    }
}

/// Destroys the value in `value` without leaving a trace for the cycle collector, as for a temporary.
#[inline]
pub unsafe fn drop_value(value: *mut Value) {
    if (*value).type_info & 0xff00 != 0 {
        release((*value).payload.counted.cast());
    }
}

/// Marks `counted` as being written; false if it is marked already, which means that it contains itself.
#[inline]
pub unsafe fn protect(counted: *mut Counted) -> bool {
    let flags = (*counted).type_info;
    if flags & GC_PROTECTED != 0 {
        return false;
    }
    if flags & GC_IMMUTABLE == 0 {
        (*counted).type_info = flags | GC_PROTECTED;
    }
    true
}

#[inline]
pub unsafe fn unprotect(counted: *mut Counted) {
    if (*counted).type_info & GC_IMMUTABLE == 0 {
        (*counted).type_info &= !GC_PROTECTED;
    }
}

/// True while an exception (or `exit`) is pending in the engine.
#[inline]
pub fn exception_pending() -> bool {
    // SAFETY: the executor's globals live as long as the thread.
    unsafe { !(*ffi::ext_php_rs_executor_globals()).exception.is_null() }
}

/// A new string in the request's memory (or a shared one for nothing and for one byte), ready to be put into a Value.
#[inline]
pub unsafe fn string_value(text: &[u8]) -> Value {
    let string =
        ffi::ext_php_rs_zend_string_init(text.as_ptr().cast(), text.len(), false).cast::<Str>();
    let mut value = undef();
    value.payload.string = string;
    let shared = (*string).gc.type_info & GC_IMMUTABLE != 0;
    value.type_info = if shared {
        u32::from(kind::STRING)
    } else {
        STRING_EX
    };
    value
}

/// A string that lives as long as the process, with its hash: the engine neither counts nor frees it.
unsafe fn permanent_string(text: &[u8]) -> *mut Str {
    let string =
        ffi::ext_php_rs_zend_string_init(text.as_ptr().cast(), text.len(), true).cast::<Str>();
    zend_string_hash_func(string);
    (*string).gc.type_info |= GC_IMMUTABLE | STR_PERMANENT;
    string
}

/// Slots of the cache. Each holds at most one string for the rest of the process: 64 KB in total.
const SLOTS: usize = 1024;

/// Longer keys are not cached.
pub const MAX_CACHED_KEY_LEN: usize = 32;

#[derive(Clone, Copy)]
struct Slot {
    /// Hash of the key last seen here. A key is cached once it is seen twice in a row, so that random keys do not fill
    /// the cache.
    seen: u64,
    string: *mut Str,
}

thread_local! {
    // One per thread, because strings of the engine are not shared between threads. Never freed: arrays hold the
    // strings without counting references.
    static CACHE: Cell<*mut Slot> = const { Cell::new(std::ptr::null_mut()) };
}

/// The cache of this thread, looked up once per document.
pub struct KeyCache(*mut Slot);

impl KeyCache {
    pub fn of_this_thread() -> Self {
        let mut slots = CACHE.get();
        if slots.is_null() {
            let empty = Slot {
                seen: 0,
                string: std::ptr::null_mut(),
            };
            slots = Box::leak(vec![empty; SLOTS].into_boxed_slice()).as_mut_ptr();
            CACHE.set(slots);
        }
        Self(slots)
    }

    /// The permanent string for `key`, if it has one: 2 to [`MAX_CACHED_KEY_LEN`] bytes.
    #[inline]
    pub fn get(&mut self, key: &[u8]) -> Option<*mut Str> {
        if key.len() > MAX_CACHED_KEY_LEN {
            return None;
        }
        let mut padded = [0; 16];
        let readable = if key.len() < 8 {
            padded[..key.len()].copy_from_slice(key);
            padded.as_ptr()
        } else {
            key.as_ptr()
        };
        // SAFETY: eight bytes can be read from a longer key, and behind the copy of a shorter one.
        unsafe { self.get_padded(readable, key.len()) }
    }

    /// The same for the key of `length` bytes at `key`.
    ///
    /// # Safety
    /// Eight bytes can be read at `key`, also where it is shorter.
    #[inline]
    pub unsafe fn get_padded(&mut self, key: *const u8, length: usize) -> Option<*mut Str> {
        let ends = Ends::of(key, length);
        let hash = ends.hash(length);
        // The index is below SLOTS, the slots belong to this thread, their strings are never freed.
        let slot = &mut *self.0.add((hash >> 48) as usize % SLOTS);
        if !slot.string.is_null() {
            let is_same = slot.seen == hash
                && (*slot.string).len == length
                && (length <= 16 || bytes(slot.string) == bytes_at(key, length));
            // Equal hashes of keys of up to 16 bytes are equal keys only if their ends are equal, too.
            let has_same_ends = is_same && Ends::of(bytes(slot.string).as_ptr(), length) == ends;
            return has_same_ends.then_some(slot.string);
        }
        if slot.seen != hash {
            slot.seen = hash;
            return None;
        }
        slot.string = permanent_string(bytes_at(key, length));
        Some(slot.string)
    }
}

unsafe fn bytes_at<'a>(key: *const u8, length: usize) -> &'a [u8] {
    std::slice::from_raw_parts(key, length)
}

/// The first and the last eight bytes of a key; the last ones are 0 for a key of less than eight bytes.
#[derive(PartialEq)]
struct Ends(u64, u64);

impl Ends {
    /// # Safety
    /// Eight bytes can be read from `key` on, also where it is shorter.
    #[inline]
    unsafe fn of(key: *const u8, length: usize) -> Self {
        let first = u64::from_le(key.cast::<u64>().read_unaligned());
        if length < 8 {
            return Self(first & ((1 << (8 * length)) - 1), 0);
        }
        Self(
            first,
            u64::from_le(key.add(length - 8).cast::<u64>().read_unaligned()),
        )
    }

    /// Mixes the length with the ends. The bytes between do not matter, as the string found is compared. Not the
    /// engine's hash, which is stored with the string and not needed to find it.
    #[inline]
    fn hash(&self, length: usize) -> u64 {
        const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
        let hash = (self.0 ^ length as u64).wrapping_mul(MIX);
        let hash = (hash.rotate_left(23) ^ self.1).wrapping_mul(MIX);
        hash ^ hash << 32
    }
}

/// The shared string for a text that was seen before.
pub fn shared(text: &[u8]) -> Option<Zval> {
    if !(2..=MAX_CACHED_KEY_LEN).contains(&text.len()) {
        return None;
    }
    let string = KeyCache::of_this_thread().get(text)?;
    let mut value = undef();
    value.payload.string = string;
    value.type_info = u32::from(kind::STRING);
    // SAFETY: the same bytes; the string is permanent and not counted.
    Some(unsafe { std::mem::transmute::<Value, Zval>(value) })
}
