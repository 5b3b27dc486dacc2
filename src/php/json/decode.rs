//! The parser: JSON directly to PHP values, as `json_decode($json, true)` creates them.

use std::cell::Cell;

use ext_php_rs::ffi;
use ext_php_rs::types::Zval;

use super::text::PADDING;
use super::zend::{self, kind, KeyCache, Table, Value};
use crate::error::Error;

/// `json_decode` with its default depth refuses the 512th nested array.
const MAX_NESTING: u32 = 511;

/// Larger buffers are freed after use, in bytes.
const MAX_KEPT_BYTES: usize = 1 << 18;

/// Memory that is kept from document to document.
#[derive(Default)]
pub struct Buffers {
    /// The document and [`PADDING`] zero bytes, so that no read has to be checked against its end: the parser goes past
    /// a byte only if it is one of the bytes that it expects, and none of these is zero.
    json: Vec<u8>,
    /// Finished values of the containers that are still open: for an object, key and value alternate.
    pub values: Vec<Value>,
    /// The last string with escapes.
    pub scratch: Vec<u8>,
}

impl Buffers {
    fn bytes(&self) -> usize {
        self.json.capacity() + self.scratch.capacity() + self.values.capacity() * size_of::<Value>()
    }
}

thread_local! {
    static BUFFERS: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

/// The value of `json`, as `json_decode($json, true)` returns it: objects become arrays, a repeated key replaces the
/// earlier one, integers out of range become floats.
///
/// # Errors
///
/// Kind Encoding, with the reason in PHP's words and the byte where it was found.
pub fn decode(json: &[u8]) -> Result<Zval, Error> {
    let mut buffers = BUFFERS.take().unwrap_or_default();
    buffers.json.clear();
    buffers.json.reserve(json.len() + PADDING);
    buffers.json.extend_from_slice(json);
    buffers.json.extend_from_slice(&[0; PADDING]);
    let result = Parser {
        text: buffers.json.as_ptr(),
        length: json.len(),
        at: 0,
        depth: 0,
        next_memory_check: CHECK_INTERVAL_BYTES,
        buffers: &mut buffers,
        keys: KeyCache::of_this_thread(),
    }
    .document();
    if buffers.bytes() <= MAX_KEPT_BYTES {
        BUFFERS.set(Some(buffers));
    }
    let value = result.map_err(|error| error.into_error(json.len()))?;
    // SAFETY: the same bytes; from here on the value is owned and destroyed by its type.
    Ok(unsafe { std::mem::transmute::<Value, Zval>(value) })
}

/// The state of the parser.
pub struct Parser<'b> {
    /// The document, in the buffers.
    pub text: *const u8,
    pub length: usize,
    pub at: usize,
    depth: u32,
    /// Position of the next memory check.
    next_memory_check: usize,
    pub buffers: &'b mut Buffers,
    pub keys: KeyCache,
}

impl Parser<'_> {
    /// The byte at a position; 0 at the end.
    #[inline]
    pub fn byte(&self, at: usize) -> u8 {
        debug_assert!(at < self.length + PADDING);
        // SAFETY: no position is behind the end by more than the padding, see `Buffers::json`.
        unsafe { *self.text.add(at) }
    }

    /// The document.
    pub fn json(&self) -> &[u8] {
        &self.buffers.json[..self.length]
    }

    fn document(&mut self) -> Result<Value, ParseError> {
        self.skip_whitespace();
        self.value()?;
        self.skip_whitespace();
        if self.at < self.length {
            return Err(self.unexpected());
        }
        Ok(self.buffers.values.pop().unwrap_or_else(zend::undef))
    }

    /// Parses the value at the current position, onto the stack of values.
    fn value(&mut self) -> Result<(), ParseError> {
        if self.at >= self.next_memory_check {
            self.next_memory_check = self.at + CHECK_INTERVAL_BYTES;
            self.check_memory(is_within_limit())?;
        }
        match self.byte(self.at) {
            b'"' => self.string(),
            b'{' => self.object(),
            b'[' => self.array(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true", kind::TRUE),
            b'f' => self.word(b"false", kind::FALSE),
            b'n' => self.word(b"null", kind::NULL),
            _ => Err(self.unexpected()),
        }
    }

    fn array(&mut self) -> Result<(), ParseError> {
        self.enter()?;
        if self.closes(b']', b'}')? {
            self.buffers.values.push(empty());
            return Ok(());
        }
        let base = self.buffers.values.len();
        loop {
            self.value()?;
            self.skip_whitespace();
            if self.byte(self.at) == b',' {
                self.at += 1;
                self.skip_whitespace();
            } else if self.closes(b']', b'}')? {
                let count = self.buffers.values.len() - base;
                self.check_memory(fits_in_limit(list_bytes(count)))?;
                let values = &mut self.buffers.values;
                // SAFETY: the values are taken from the stack, so they have one owner.
                let list = unsafe { list(&values[base..]) };
                values.truncate(base);
                values.push(list);
                return Ok(());
            } else {
                return Err(self.unexpected());
            }
        }
    }

    fn object(&mut self) -> Result<(), ParseError> {
        self.enter()?;
        if self.closes(b'}', b']')? {
            self.buffers.values.push(empty());
            return Ok(());
        }
        let base = self.buffers.values.len();
        loop {
            if self.byte(self.at) != b'"' {
                return Err(self.unexpected());
            }
            self.key()?;
            self.skip_whitespace();
            if self.byte(self.at) != b':' {
                return Err(self.unexpected());
            }
            self.at += 1;
            self.skip_whitespace();
            self.value()?;
            self.skip_whitespace();
            if self.byte(self.at) == b',' {
                self.at += 1;
                self.skip_whitespace();
            } else if self.closes(b'}', b']')? {
                let count = (self.buffers.values.len() - base) / 2;
                self.check_memory(fits_in_limit(map_bytes(count)))?;
                let values = &mut self.buffers.values;
                // SAFETY: keys and values are taken from the stack, so they have one owner.
                let map = unsafe { map(&mut values[base..]) };
                values.truncate(base);
                values.push(map);
                return Ok(());
            } else {
                return Err(self.unexpected());
            }
        }
    }

    /// An error if there is not enough memory.
    #[inline]
    pub fn check_memory(&self, has_memory: bool) -> Result<(), ParseError> {
        if has_memory {
            return Ok(());
        }
        Err(ParseError {
            kind: ParseErrorKind::Memory,
            at: self.at,
        })
    }

    /// Skips an opening bracket.
    #[inline]
    fn enter(&mut self) -> Result<(), ParseError> {
        if self.depth >= MAX_NESTING {
            return Err(ParseError {
                kind: ParseErrorKind::Depth,
                at: self.at,
            });
        }
        self.depth += 1;
        self.at += 1;
        self.skip_whitespace();
        Ok(())
    }

    /// Skips the closing bracket `own`, if present; `other` in its place is a mismatch.
    #[inline]
    fn closes(&mut self, own: u8, other: u8) -> Result<bool, ParseError> {
        let byte = self.byte(self.at);
        if byte == own {
            self.depth -= 1;
            self.at += 1;
            return Ok(true);
        }
        if byte == other {
            return Err(ParseError {
                kind: ParseErrorKind::Mismatch,
                at: self.at,
            });
        }
        Ok(false)
    }

    fn word(&mut self, word: &[u8], kind: u8) -> Result<(), ParseError> {
        if !self.json()[self.at..].starts_with(word) {
            return Err(self.unexpected());
        }
        self.at += word.len();
        let mut value = zend::undef();
        value.type_info = u32::from(kind);
        self.buffers.values.push(value);
        Ok(())
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while let b' ' | b'\t' | b'\n' | b'\r' = self.byte(self.at) {
            self.at += 1;
        }
    }

    /// The error PHP reports for an unexpected token: errors of its scanner take precedence.
    #[cold]
    fn unexpected(&mut self) -> ParseError {
        let at = self.at;
        let kind = match self.json().get(at) {
            Some(b'"') => match self.string() {
                Ok(()) => ParseErrorKind::Syntax,
                Err(error) => return error,
            },
            Some(0..=0x1f) => ParseErrorKind::Control,
            Some(0x80..) => {
                let json = self.json();
                match std::str::from_utf8(&json[at..json.len().min(at + 4)]) {
                    Err(bad) if bad.valid_up_to() == 0 => ParseErrorKind::Utf8,
                    _ => ParseErrorKind::Syntax,
                }
            }
            _ => ParseErrorKind::Syntax,
        };
        ParseError { kind, at }
    }
}

impl Drop for Parser<'_> {
    fn drop(&mut self) {
        for mut value in self.buffers.values.drain(..) {
            // SAFETY: values left on the stack after an error have no other owner.
            unsafe { zend::drop_value(&raw mut value) };
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct ParseError {
    pub kind: ParseErrorKind,
    pub at: usize,
}

/// The reasons of `json_last_error_msg()`, and one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseErrorKind {
    Syntax,
    /// `]` for `}` or the reverse.
    Mismatch,
    /// A control byte; PHP reports the same for an unterminated string.
    Control,
    Utf8,
    /// Half of a `\uXXXX\uXXXX` pair.
    Surrogate,
    Depth,
    /// PHP's `memory_limit`. `json_decode` ends the script there; here it is an error like the others.
    Memory,
}

impl ParseError {
    /// The error for the caller; `length` is the length of the document.
    #[cold]
    pub fn into_error(self, length: usize) -> Error {
        let why = match self.kind {
            ParseErrorKind::Syntax => "Syntax error",
            ParseErrorKind::Mismatch => "State mismatch (invalid or malformed JSON)",
            ParseErrorKind::Control => "Control character error, possibly incorrectly encoded",
            ParseErrorKind::Utf8 => "Malformed UTF-8 characters, possibly incorrectly encoded",
            ParseErrorKind::Surrogate => "Single unpaired UTF-16 surrogate in unicode escape",
            ParseErrorKind::Depth => "Maximum stack depth exceeded",
            ParseErrorKind::Memory => {
                return Error::encoding(format!(
                    "Cannot decode JSON: the values of its {length} bytes need more memory than memory_limit \
                     allows. Raise memory_limit, or send less in one message."
                ));
            }
        };
        let at = self.at;
        let place = if at >= length {
            format!("at the end (byte {at})")
        } else {
            format!("at byte {at} of {length}")
        };
        Error::encoding(format!(
            "Cannot decode JSON: {why}, {place}. Check the data that the sender wrote there."
        ))
    }
}

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
fn list_bytes(count: usize) -> usize {
    let each = if zend::PACKED_VALUES {
        size_of::<Value>()
    } else {
        size_of::<zend::Bucket>()
    };
    count.next_power_of_two() * each
}

/// Size in bytes of the data block of a map with `count` members: a bucket and a hash slot each.
fn map_bytes(count: usize) -> usize {
    count.next_power_of_two() * (size_of::<zend::Bucket>() + size_of::<u32>())
}

/// Bytes of JSON between two checks: the smallest arrays take some 50 bytes per byte of JSON, so this is less than one
/// megabyte.
const CHECK_INTERVAL_BYTES: usize = 16 * 1024;

/// From this size on the allocator takes memory from the system for a single block.
const HUGE: usize = 2 * 1024 * 1024 - 4096;

extern "C" {
    fn zend_memory_usage(real: bool) -> usize;
}

/// False if the limit is exceeded.
#[cold]
#[inline(never)]
fn is_within_limit() -> bool {
    fits(0)
}

/// False if a single block of `bytes` would exceed the limit. Smaller blocks always fit: they are checked by
/// [`is_within_limit`].
#[inline]
pub fn fits_in_limit(bytes: usize) -> bool {
    bytes < HUGE || fits(bytes)
}

fn fits(bytes: usize) -> bool {
    // SAFETY: reads two numbers of this thread.
    let (limit, used) = unsafe {
        (
            (*ffi::ext_php_rs_process_globals()).memory_limit,
            zend_memory_usage(true),
        )
    };
    // A negative limit means no limit.
    usize::try_from(limit).map_or(true, |limit| used.saturating_add(bytes) <= limit)
}
