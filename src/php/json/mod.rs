//! PHP values to JSON and back, without an intermediate tree.
//!
//! - [`encode`] writes what `json_encode($value)` gives, byte for byte.
//! - [`decode`] builds what `json_decode($json, true)` gives, value for value.
//!
//! | file | what is in it |
//! |---|---|
//! | `encode.rs` | the writer: scalars and arrays |
//! | `object.rs` | objects: properties, `jsonSerialize()`, enums, hooks, lazy objects |
//! | `text.rs` | strings with PHP's escapes |
//! | `number.rs` | integers and floats as PHP spells them |
//! | `decode.rs` | the parser |
//! | `literal.rs` | strings and numbers of the parser |
//! | `zend.rs` | the engine's structures, as far as the others need them; the cache of key strings |
//!
//! Both run on the thread of the PHP request. `encode` runs user code (`jsonSerialize()`, property hooks, destructors),
//! which may throw, exit, come back in here, or end in a fatal error that jumps over every Rust frame: nothing is
//! locked or borrowed while it runs.

// The engine counts in 32 and 64 bits, signed and unsigned; every cast here is between types that the value is known to
// fit.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

mod decode;
mod encode;
mod literal;
pub(crate) mod number;
mod object;
mod text;
mod zend;

use std::cell::Cell;

use ext_php_rs::types::Zval;

pub use decode::decode;
pub use encode::{encode, encode_named};

#[derive(Debug)]
pub enum EncodeError {
    /// JSON cannot represent the value; the message says where and why. Always [`crate::error::Kind::Encoding`].
    Json(crate::error::Error),
    /// User code threw (or called `exit`). The exception is pending in the engine and must reach the caller untouched:
    /// return to PHP without throwing anything else.
    Pending,
}

/// Maximum nesting of arrays and objects, as in `json_encode` with its default depth.
pub const MAX_DEPTH: u32 = 512;

/// A string that is often the same: a short one is shared with earlier calls.
pub fn name(text: &[u8]) -> Zval {
    zend::shared(text).unwrap_or_else(|| super::binary(text))
}

/// A buffer that grew beyond this is freed after use.
const MAX_KEPT_BYTES: usize = 1 << 20;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Empties a buffer that is used again. One that has grown large is freed.
#[inline]
pub fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > MAX_KEPT_BYTES {
        *buffer = Vec::new();
    }
}

/// Runs `f` with an empty buffer that keeps its memory from call to call.
///
/// The buffer is taken out while `f` runs, so `f` may call PHP and PHP may call this function again: the inner call
/// gets a buffer of its own. A fatal error in `f` leaks that one allocation and nothing else.
pub fn with_buffer<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = BUFFER.with(Cell::take);
    buffer.clear();
    let result = f(&mut buffer);
    if buffer.capacity() <= MAX_KEPT_BYTES {
        BUFFER.with(|cell| cell.set(buffer));
    }
    result
}
