//! Builds PHP arrays from parsed values.

use super::zend::{self, kind, Table, Value};

/// The array of the values in `items`; takes ownership of them.
pub unsafe fn list(items: &[Value]) -> Value {
    let table = zend::new_array(items.len() as u32);
    zend::zend_hash_real_init_packed(table);
    if zend::PACKED_VALUES {
        std::ptr::copy_nonoverlapping(items.as_ptr(), (*table).data.cast::<Value>(), items.len());
    } else {
        for (index, item) in items.iter().enumerate() {
            let bucket = (*table).data.cast::<zend::Bucket>().add(index);
            (*bucket).value = *item;
            (*bucket).h = index as u64;
            (*bucket).key = std::ptr::null_mut();
        }
    }
    (*table).used = items.len() as u32;
    (*table).elements = items.len() as u32;
    (*table).next_free = items.len() as i64;
    array_value(table)
}

/// The array of `members`, alternating keys (strings or integers) and values; takes ownership of them. A repeated key
/// replaces the value and keeps its position.
pub unsafe fn map(members: &mut [Value]) -> Value {
    let table = zend::new_array((members.len() / 2) as u32);
    zend::zend_hash_real_init_mixed(table);
    for pair in members.chunks_exact_mut(2) {
        let [key, value] = pair else { continue };
        if zend::kind_of(key) == kind::LONG {
            zend::hash_index_update(table, key.payload.long as u64, value);
        } else if !zend::append(table, key, value) {
            zend::hash_update(table, key.payload.string.cast(), value);
            zend::drop_value(key);
        }
    }
    array_value(table)
}

/// The engine's shared empty array.
pub fn empty() -> Value {
    let mut value = zend::undef();
    value.payload.table = (&raw const ext_php_rs::ffi::zend_empty_array)
        .cast_mut()
        .cast();
    value.type_info = u32::from(kind::ARRAY);
    value
}

fn array_value(table: *mut Table) -> Value {
    let mut value = zend::undef();
    value.payload.table = table;
    value.type_info = zend::ARRAY_EX;
    value
}

/// Size in bytes of the data block of a list with `count` values.
pub fn list_bytes(count: usize) -> usize {
    let each = if zend::PACKED_VALUES {
        size_of::<Value>()
    } else {
        size_of::<zend::Bucket>()
    };
    count.next_power_of_two() * each
}

/// Size in bytes of the data block of a map with `count` members: a bucket and a hash slot each.
pub fn map_bytes(count: usize) -> usize {
    count.next_power_of_two() * (size_of::<zend::Bucket>() + size_of::<u32>())
}
