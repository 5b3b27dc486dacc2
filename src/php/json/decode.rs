//! The parser: JSON straight into PHP values, as `json_decode($json, true)` makes them.

use std::cell::Cell;

use ext_php_rs::types::Zval;

use super::build;
use super::fault::{Fault, Reason};
use super::keys::Keys;
use super::memory;
use super::zend::{self, kind, Value};
use crate::error::Error;

/// `json_decode` with its default depth refuses the array that would be number 512.
const MAX_NESTING: u32 = 511;

/// Buffers that grew beyond this many entries are not kept.
const KEEP: usize = 1 << 14;

thread_local! {
    static VALUES: Cell<Vec<Value>> = const { Cell::new(Vec::new()) };
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The value of `json`, as `json_decode($json, true)` gives it: objects become arrays, a key that comes again replaces the
/// earlier one, integers too large become floats.
///
/// # Errors
///
/// Kind Encoding, with the reason in PHP's words and the byte where it was found.
pub fn decode(json: &[u8]) -> Result<Zval, Error> {
    let mut parser = Parser {
        json,
        at: 0,
        depth: 0,
        look_at: memory::LOOK_EVERY,
        values: VALUES.take(),
        scratch: SCRATCH.take(),
        keys: Keys::of_this_thread(),
    };
    let value = parser
        .document()
        .map_err(|fault| fault.into_error(json.len()))?;
    // SAFETY: the same bytes; from here on the value is owned and destroyed by its type.
    Ok(unsafe { std::mem::transmute::<Value, Zval>(value) })
}

/// Where the parser is.
pub struct Parser<'a> {
    pub json: &'a [u8],
    pub at: usize,
    depth: u32,
    /// Where to look at the memory limit next.
    look_at: usize,
    /// Finished values of the containers that are still open: for an object, key and value alternate.
    values: Vec<Value>,
    /// The string being unescaped.
    pub scratch: Vec<u8>,
    pub keys: Keys,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<Value, Fault> {
        self.blanks();
        let mut value = self.value()?;
        self.blanks();
        if self.at < self.json.len() {
            let fault = self.unexpected();
            // SAFETY: the value is ours and goes nowhere else.
            unsafe { zend::drop_value(&raw mut value) };
            return Err(fault);
        }
        Ok(value)
    }

    /// The value at the parser's place.
    fn value(&mut self) -> Result<Value, Fault> {
        if self.at >= self.look_at {
            self.look_at = self.at + memory::LOOK_EVERY;
            self.ensure(memory::is_within_limit())?;
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

    fn array(&mut self) -> Result<Value, Fault> {
        self.enter()?;
        if self.closes(b']', b'}')? {
            return Ok(build::empty());
        }
        let base = self.values.len();
        loop {
            let value = self.value()?;
            self.values.push(value);
            self.blanks();
            if self.json.get(self.at) == Some(&b',') {
                self.at += 1;
                self.blanks();
            } else if self.closes(b']', b'}')? {
                self.ensure(memory::has_room(build::list_bytes(
                    self.values.len() - base,
                )))?;
                // SAFETY: the values are taken out of the stack, so they have one owner.
                let list = unsafe { build::list(&self.values[base..]) };
                self.values.truncate(base);
                return Ok(list);
            } else {
                return Err(self.unexpected());
            }
        }
    }

    fn object(&mut self) -> Result<Value, Fault> {
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
            self.blanks();
            if self.json.get(self.at) != Some(&b':') {
                return Err(self.unexpected());
            }
            self.at += 1;
            self.blanks();
            let value = self.value()?;
            self.values.push(value);
            self.blanks();
            if self.json.get(self.at) == Some(&b',') {
                self.at += 1;
                self.blanks();
            } else if self.closes(b'}', b']')? {
                self.ensure(memory::has_room(build::map_bytes(
                    (self.values.len() - base) / 2,
                )))?;
                // SAFETY: keys and values are taken out of the stack, so they have one owner.
                let map = unsafe { build::map(&mut self.values[base..]) };
                self.values.truncate(base);
                return Ok(map);
            } else {
                return Err(self.unexpected());
            }
        }
    }

    /// An error where there is no memory left for what comes.
    pub fn ensure(&self, room: bool) -> Result<(), Fault> {
        if room {
            return Ok(());
        }
        Err(Fault {
            reason: Reason::Memory,
            at: self.at,
        })
    }

    /// Over an opening bracket.
    fn enter(&mut self) -> Result<(), Fault> {
        if self.depth >= MAX_NESTING {
            return Err(Fault {
                reason: Reason::Depth,
                at: self.at,
            });
        }
        self.depth += 1;
        self.at += 1;
        self.blanks();
        Ok(())
    }

    /// Over the closing bracket `own`, if it is there; `other` there is a mismatch.
    #[inline]
    fn closes(&mut self, own: u8, other: u8) -> Result<bool, Fault> {
        match self.json.get(self.at) {
            Some(byte) if *byte == own => {
                self.depth -= 1;
                self.at += 1;
                Ok(true)
            }
            Some(byte) if *byte == other => Err(Fault {
                reason: Reason::Mismatch,
                at: self.at,
            }),
            _ => Ok(false),
        }
    }

    fn word(&mut self, word: &[u8], kind: u8) -> Result<Value, Fault> {
        if !self.json[self.at..].starts_with(word) {
            return Err(self.unexpected());
        }
        self.at += word.len();
        let mut value = zend::undef();
        value.type_info = u32::from(kind);
        Ok(value)
    }

    #[inline]
    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.json.get(self.at) {
            self.at += 1;
        }
    }

    /// What PHP says of something that does not belong here: its scanner's complaint about the thing itself comes first.
    #[cold]
    fn unexpected(&mut self) -> Fault {
        let at = self.at;
        let reason = match self.json.get(at) {
            Some(b'"') => match self.string() {
                Ok(mut value) => {
                    // SAFETY: the value is ours and goes nowhere else.
                    unsafe { zend::drop_value(&raw mut value) };
                    Reason::Syntax
                }
                Err(fault) => return fault,
            },
            Some(0..=0x1f) => Reason::Control,
            Some(0x80..) => {
                let next = &self.json[at..self.json.len().min(at + 4)];
                match std::str::from_utf8(next) {
                    Err(bad) if bad.valid_up_to() == 0 => Reason::Utf8,
                    _ => Reason::Syntax,
                }
            }
            _ => Reason::Syntax,
        };
        Fault { reason, at }
    }
}

impl Drop for Parser<'_> {
    fn drop(&mut self) {
        let (mut values, scratch) = (
            std::mem::take(&mut self.values),
            std::mem::take(&mut self.scratch),
        );
        for value in &mut values {
            // SAFETY: what is left on the stack after an error belongs to nobody else.
            unsafe { zend::drop_value(value) };
        }
        values.clear();
        if values.capacity() <= KEEP {
            VALUES.set(values);
        }
        if scratch.capacity() <= KEEP {
            SCRATCH.set(scratch);
        }
    }
}
