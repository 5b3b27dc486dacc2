//! A cache of key strings: the same few keys occur in every message, and each would cost an allocation and a hash.

use std::cell::Cell;

use ext_php_rs::types::Zval;

use super::zend::{self, Str};

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
                && (length <= 16 || zend::bytes(slot.string) == bytes(key, length));
            // Equal hashes of keys of up to 16 bytes are equal keys only if their ends are equal, too.
            let has_same_ends =
                is_same && Ends::of(zend::bytes(slot.string).as_ptr(), length) == ends;
            return has_same_ends.then_some(slot.string);
        }
        if slot.seen != hash {
            slot.seen = hash;
            return None;
        }
        slot.string = zend::permanent_string(bytes(key, length));
        Some(slot.string)
    }
}

unsafe fn bytes<'a>(key: *const u8, length: usize) -> &'a [u8] {
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
    let mut value = zend::undef();
    value.payload.string = string;
    value.type_info = u32::from(zend::kind::STRING);
    // SAFETY: the same bytes; the string is permanent and not counted.
    Some(unsafe { std::mem::transmute::<zend::Value, Zval>(value) })
}
