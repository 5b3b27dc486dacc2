//! A cache of key strings: the same few keys occur in every message, and each would cost an allocation and a hash.

use std::cell::Cell;

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
        let hash = hash(key);
        // SAFETY: the index is below SLOTS, the slots belong to this thread, their strings are never freed.
        unsafe {
            let slot = &mut *self.0.add((hash >> 48) as usize % SLOTS);
            if !slot.string.is_null() {
                return (slot.seen == hash && zend::bytes(slot.string) == key)
                    .then_some(slot.string);
            }
            if slot.seen != hash {
                slot.seen = hash;
                return None;
            }
            slot.string = zend::permanent_string(key);
            Some(slot.string)
        }
    }
}

/// Mixes the length with the first and the last eight bytes. The bytes between do not matter, as the string found is
/// compared. Not the engine's hash, which is stored with the string and not needed to find it.
#[inline]
fn hash(key: &[u8]) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let short = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    let (first, last) = match (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => match (key.first_chunk::<4>(), key.last_chunk::<4>()) {
            (Some(first), Some(last)) => (short(first), short(last)),
            _ => (
                key.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)),
                0,
            ),
        },
    };
    let hash = (first ^ key.len() as u64).wrapping_mul(MIX);
    let hash = (hash.rotate_left(23) ^ last).wrapping_mul(MIX);
    hash ^ hash << 32
}
