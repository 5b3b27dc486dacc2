//! The parser: JSON directly to PHP values, as `json_decode($json, true)` creates them.

use std::cell::Cell;

use ext_php_rs::types::Zval;

use super::build;
use super::decode_error::{ParseError, ParseErrorKind};
use super::key_cache::KeyCache;
use super::memory;
use super::zend::{self, kind, Value};
use crate::error::Error;

/// `json_decode` with its default depth refuses the 512th nested array.
const MAX_NESTING: u32 = 511;

/// Buffers that grew beyond this many entries are freed.
const MAX_KEPT_CAPACITY: usize = 1 << 14;

thread_local! {
    static VALUES: Cell<Vec<Value>> = const { Cell::new(Vec::new()) };
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The value of `json`, as `json_decode($json, true)` returns it: objects become arrays, a repeated key replaces the
/// earlier one, integers out of range become floats.
///
/// # Errors
///
/// Kind Encoding, with the reason in PHP's words and the byte where it was found.
pub fn decode(json: &[u8]) -> Result<Zval, Error> {
    let mut parser = Parser {
        json,
        at: 0,
        depth: 0,
        next_memory_check: memory::CHECK_INTERVAL_BYTES,
        values: VALUES.take(),
        scratch: SCRATCH.take(),
        keys: KeyCache::of_this_thread(),
    };
    let value = parser
        .document()
        .map_err(|error| error.into_error(json.len()))?;
    // SAFETY: the same bytes; from here on the value is owned and destroyed by its type.
    Ok(unsafe { std::mem::transmute::<Value, Zval>(value) })
}

/// The state of the parser.
pub struct Parser<'a> {
    pub json: &'a [u8],
    pub at: usize,
    depth: u32,
    /// Position of the next memory check.
    next_memory_check: usize,
    /// Finished values of the containers that are still open: for an object, key and value alternate.
    values: Vec<Value>,
    pub scratch: Vec<u8>,
    pub keys: KeyCache,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<Value, ParseError> {
        self.skip_whitespace();
        let mut value = self.value()?;
        self.skip_whitespace();
        if self.at < self.json.len() {
            let error = self.unexpected();
            // SAFETY: the value is ours and used nowhere else.
            unsafe { zend::drop_value(&raw mut value) };
            return Err(error);
        }
        Ok(value)
    }

    /// Parses the value at the current position.
    fn value(&mut self) -> Result<Value, ParseError> {
        if self.at >= self.next_memory_check {
            self.next_memory_check = self.at + memory::CHECK_INTERVAL_BYTES;
            self.check_memory(memory::is_within_limit())?;
        }
        match self.json.get(self.at) {
            Some(b'"') => self.string(),
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true", kind::TRUE),
            Some(b'f') => self.word(b"false", kind::FALSE),
            Some(b'n') => self.word(b"null", kind::NULL),
            _ => Err(self.unexpected()),
        }
    }

    fn array(&mut self) -> Result<Value, ParseError> {
        self.enter()?;
        if self.closes(b']', b'}')? {
            return Ok(build::empty());
        }
        let base = self.values.len();
        loop {
            let value = self.value()?;
            self.values.push(value);
            self.skip_whitespace();
            if self.json.get(self.at) == Some(&b',') {
                self.at += 1;
                self.skip_whitespace();
            } else if self.closes(b']', b'}')? {
                self.check_memory(memory::fits_in_limit(build::list_bytes(
                    self.values.len() - base,
                )))?;
                // SAFETY: the values are taken from the stack, so they have one owner.
                let list = unsafe { build::list(&self.values[base..]) };
                self.values.truncate(base);
                return Ok(list);
            } else {
                return Err(self.unexpected());
            }
        }
    }

    fn object(&mut self) -> Result<Value, ParseError> {
        self.enter()?;
        if self.closes(b'}', b']')? {
            return Ok(build::empty());
        }
        let base = self.values.len();
        loop {
            if self.json.get(self.at) != Some(&b'"') {
                return Err(self.unexpected());
            }
            let key = self.key()?;
            self.values.push(key);
            self.skip_whitespace();
            if self.json.get(self.at) != Some(&b':') {
                return Err(self.unexpected());
            }
            self.at += 1;
            self.skip_whitespace();
            let value = self.value()?;
            self.values.push(value);
            self.skip_whitespace();
            if self.json.get(self.at) == Some(&b',') {
                self.at += 1;
                self.skip_whitespace();
            } else if self.closes(b'}', b']')? {
                self.check_memory(memory::fits_in_limit(build::map_bytes(
                    (self.values.len() - base) / 2,
                )))?;
                // SAFETY: keys and values are taken from the stack, so they have one owner.
                let map = unsafe { build::map(&mut self.values[base..]) };
                self.values.truncate(base);
                return Ok(map);
            } else {
                return Err(self.unexpected());
            }
        }
    }

    /// An error if there is not enough memory.
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
        match self.json.get(self.at) {
            Some(byte) if *byte == own => {
                self.depth -= 1;
                self.at += 1;
                Ok(true)
            }
            Some(byte) if *byte == other => Err(ParseError {
                kind: ParseErrorKind::Mismatch,
                at: self.at,
            }),
            _ => Ok(false),
        }
    }

    fn word(&mut self, word: &[u8], kind: u8) -> Result<Value, ParseError> {
        if !self.json[self.at..].starts_with(word) {
            return Err(self.unexpected());
        }
        self.at += word.len();
        let mut value = zend::undef();
        value.type_info = u32::from(kind);
        Ok(value)
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.json.get(self.at) {
            self.at += 1;
        }
    }

    /// The error PHP reports for an unexpected token: errors of its scanner take precedence.
    #[cold]
    fn unexpected(&mut self) -> ParseError {
        let at = self.at;
        let kind = match self.json.get(at) {
            Some(b'"') => match self.string() {
                Ok(mut value) => {
                    // SAFETY: the value is ours and used nowhere else.
                    unsafe { zend::drop_value(&raw mut value) };
                    ParseErrorKind::Syntax
                }
                Err(error) => return error,
            },
            Some(0..=0x1f) => ParseErrorKind::Control,
            Some(0x80..) => {
                let next = &self.json[at..self.json.len().min(at + 4)];
                match std::str::from_utf8(next) {
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
        let (mut values, scratch) = (
            std::mem::take(&mut self.values),
            std::mem::take(&mut self.scratch),
        );
        for value in &mut values {
            // SAFETY: values left on the stack after an error have no other owner.
            unsafe { zend::drop_value(value) };
        }
        values.clear();
        if values.capacity() <= MAX_KEPT_CAPACITY {
            VALUES.set(values);
        }
        if scratch.capacity() <= MAX_KEPT_CAPACITY {
            SCRATCH.set(scratch);
        }
    }
}
