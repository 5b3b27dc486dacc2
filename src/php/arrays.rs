//! Reads PHP arrays whose keys may be any bytes. The iterators of ext-php-rs panic at a key that is not UTF-8.

use std::fmt;

use ext_php_rs::types::{ZendHashTable, Zval};

/// The key of an array entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Int(i64),
    Bytes(Vec<u8>),
}

impl Key {
    /// The key as UTF-8 text; `None` if its bytes are not UTF-8.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Int(number) => Some(number.to_string()),
            Self::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Bytes(bytes) => {
                write!(f, "{}", String::from_utf8_lossy(bytes).escape_debug())
            }
        }
    }
}

/// The entries of an array in their order, without references around the values.
///
/// The values are counted copies: reading one may run PHP code (`__toString()`), which may change the array.
pub fn entries(table: &ZendHashTable) -> Vec<(Key, Zval)> {
    let mut entries = Vec::with_capacity(table.len());
    let mut iterator = table.iter();
    while let Some((key, value)) = iterator.next_zval() {
        let key = match key.long() {
            Some(number) => Key::Int(number),
            None => Key::Bytes(
                key.zend_str()
                    .map(|text| text.as_bytes().to_vec())
                    .unwrap_or_default(),
            ),
        };
        entries.push((key, value.dereference().shallow_clone()));
    }
    entries
}

/// True if the keys are 0, 1, 2 … in this order.
pub fn is_list(entries: &[(Key, Zval)]) -> bool {
    entries
        .iter()
        .zip(0..)
        .all(|((key, _), index)| *key == Key::Int(index))
}
