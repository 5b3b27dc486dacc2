//! Strings and numbers of the parser.

use super::decode::Parser;
use super::decode_error::{ParseError, ParseErrorKind};
use super::key_cache::MAX_CACHED_KEY_LEN;
use super::memory;
use super::scan;
use super::zend::{self, kind, Value};

/// The text between two quotes.
enum Text<'a> {
    Plain(&'a [u8]),
    /// It had escapes; the result is in the parser's scratch buffer.
    Unescaped,
}

impl<'a> Parser<'a> {
    /// Parses a string as a value, from its first quote.
    pub fn string(&mut self) -> Result<Value, ParseError> {
        let text = self.text()?;
        let text = match &text {
            Text::Plain(text) => *text,
            Text::Unescaped => self.scratch.as_slice(),
        };
        self.check_memory(memory::fits_in_limit(text.len()))?;
        // SAFETY: creates a string of this request.
        Ok(unsafe { zend::string_value(text) })
    }

    /// Parses a string as a key: an integer where PHP's arrays use one.
    pub fn key(&mut self) -> Result<Value, ParseError> {
        let text = self.text()?;
        let text = match &text {
            Text::Plain(text) => *text,
            Text::Unescaped => self.scratch.as_slice(),
        };
        if let Some(index) = array_index(text) {
            return Ok(long(index));
        }
        if (2..=MAX_CACHED_KEY_LEN).contains(&text.len()) {
            if let Some(string) = self.keys.get(text) {
                let mut value = zend::undef();
                value.payload.string = string;
                value.type_info = u32::from(kind::STRING);
                return Ok(value);
            }
        }
        self.check_memory(memory::fits_in_limit(text.len()))?;
        // SAFETY: creates a string of this request.
        Ok(unsafe { zend::string_value(text) })
    }

    /// Parses a string from its first quote; the position afterwards is behind the last.
    fn text(&mut self) -> Result<Text<'a>, ParseError> {
        let start = self.at + 1;
        let mut at = start;
        let mut ascii = true;
        loop {
            at = scan::plain::<false>(self.json, at);
            match self.json.get(at) {
                Some(b'"') => break,
                Some(0x80..) => {
                    ascii = false;
                    while matches!(self.json.get(at), Some(0x80..)) {
                        at += 1;
                    }
                }
                Some(b'\\') => {
                    self.check_utf8(start, at, ascii)?;
                    return self.unescape(start, at);
                }
                // A control byte, or the end: PHP's scanner sees a zero byte there and reports the same error for both.
                _ => {
                    self.check_utf8(start, at, ascii)?;
                    return Err(ParseError {
                        kind: ParseErrorKind::Control,
                        at,
                    });
                }
            }
        }
        self.check_utf8(start, at, ascii)?;
        self.at = at + 1;
        Ok(Text::Plain(&self.json[start..at]))
    }

    fn check_utf8(&self, start: usize, end: usize, ascii: bool) -> Result<(), ParseError> {
        if ascii {
            return Ok(());
        }
        match std::str::from_utf8(&self.json[start..end]) {
            Ok(_) => Ok(()),
            Err(bad) => Err(ParseError {
                kind: ParseErrorKind::Utf8,
                at: start + bad.valid_up_to(),
            }),
        }
    }

    /// Parses the rest of a string whose first backslash is at `at`.
    fn unescape(&mut self, start: usize, mut at: usize) -> Result<Text<'a>, ParseError> {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.json[start..at]);
        loop {
            match self.json.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Text::Unescaped);
                }
                Some(b'\\') => at = self.escape(at)?,
                Some(0x20..) => {
                    let mut end = at;
                    let mut ascii = true;
                    loop {
                        end = scan::plain::<false>(self.json, end);
                        if !matches!(self.json.get(end), Some(0x80..)) {
                            break;
                        }
                        ascii = false;
                        end += 1;
                    }
                    self.check_utf8(at, end, ascii)?;
                    self.scratch.extend_from_slice(&self.json[at..end]);
                    at = end;
                }
                _ => {
                    return Err(ParseError {
                        kind: ParseErrorKind::Control,
                        at,
                    })
                }
            }
        }
    }

    /// Parses one escape with its backslash at `at`; returns the position behind it.
    fn escape(&mut self, at: usize) -> Result<usize, ParseError> {
        let byte = match self.json.get(at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode(at),
            _ => {
                return Err(ParseError {
                    kind: ParseErrorKind::Syntax,
                    at,
                })
            }
        };
        self.scratch.push(byte);
        Ok(at + 2)
    }

    /// `\uXXXX`, or a surrogate pair.
    fn unicode(&mut self, at: usize) -> Result<usize, ParseError> {
        let unit = |from: usize| hex4(self.json.get(from + 2..from + 6)?);
        let first = unit(at).ok_or(ParseError {
            kind: ParseErrorKind::Syntax,
            at,
        })?;
        let (code, length) = if (0xd800..0xdc00).contains(&first) {
            let second = (self.json.get(at + 6..at + 8) == Some(b"\\u"))
                .then(|| unit(at + 6))
                .flatten()
                .filter(|second| (0xdc00..0xe000).contains(second));
            let second = second.ok_or(ParseError {
                kind: ParseErrorKind::Surrogate,
                at,
            })?;
            (0x1_0000 + ((first & 0x3ff) << 10) + (second & 0x3ff), 12)
        } else {
            (first, 6)
        };
        let character = char::from_u32(code).ok_or(ParseError {
            kind: ParseErrorKind::Surrogate,
            at,
        })?;
        self.scratch
            .extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(at + length)
    }

    /// Parses a number from its sign or first digit. An integer out of range becomes a float.
    pub fn number(&mut self) -> Result<Value, ParseError> {
        let start = self.at;
        let negative = self.json[start] == b'-';
        let mut at = start + usize::from(negative);
        let first = at;
        let mut integer = 0_u64;
        let mut fits = true;
        while let Some(digit @ b'0'..=b'9') = self.json.get(at) {
            if at - first >= 18 {
                let next = integer
                    .checked_mul(10)
                    .and_then(|value| value.checked_add(u64::from(digit - b'0')));
                fits &= next.is_some();
                integer = next.unwrap_or(0);
            } else {
                integer = integer * 10 + u64::from(digit - b'0');
            }
            at += 1;
            if self.json[first] == b'0' {
                break;
            }
        }
        if at == first {
            return Err(ParseError {
                kind: ParseErrorKind::Syntax,
                at: start,
            });
        }
        let integer_end = at;
        at = self.fraction(at);
        at = self.exponent(at);
        self.at = at;
        let limit = if negative { 1 << 63 } else { i64::MAX as u64 };
        if at == integer_end && fits && integer <= limit {
            return Ok(long(if negative {
                (integer as i64).wrapping_neg()
            } else {
                integer as i64
            }));
        }
        if let Some(value) = short_decimal(&self.json[first..at], integer_end - first) {
            return Ok(double(if negative { -value } else { value }));
        }
        // The text consists of digits, signs, a point and an `e`.
        let text = std::str::from_utf8(&self.json[start..at]).unwrap_or_default();
        let value = text.parse().map_err(|_| ParseError {
            kind: ParseErrorKind::Syntax,
            at: start,
        })?;
        Ok(double(value))
    }

    /// The position behind `.5` at `at`; `at` itself if there is none (the point is then a separate error).
    fn fraction(&self, at: usize) -> usize {
        match self.json.get(at) {
            Some(b'.') => self.digits(at + 1).unwrap_or(at),
            _ => at,
        }
    }

    /// The position behind `e5`, `E+5` at `at`; `at` itself if there is none.
    fn exponent(&self, at: usize) -> usize {
        match (self.json.get(at), self.json.get(at + 1)) {
            (Some(b'e' | b'E'), Some(b'+' | b'-')) => self.digits(at + 2).unwrap_or(at),
            (Some(b'e' | b'E'), _) => self.digits(at + 1).unwrap_or(at),
            _ => at,
        }
    }

    /// The position behind the digits at `at`, if there are any.
    fn digits(&self, at: usize) -> Option<usize> {
        let mut end = at;
        while matches!(self.json.get(end), Some(b'0'..=b'9')) {
            end += 1;
        }
        (end > at).then_some(end)
    }
}

#[inline]
fn long(value: i64) -> Value {
    let mut result = zend::undef();
    result.payload.long = value;
    result.type_info = u32::from(kind::LONG);
    result
}

/// The integer that PHP uses in place of the key `text`, if any.
#[inline]
fn array_index(text: &[u8]) -> Option<i64> {
    // The engine's function assumes a digit first, or second after a sign.
    if text.len() > 20 || !matches!(text, [b'0'..=b'9', ..] | [b'-', b'0'..=b'9', ..]) {
        return None;
    }
    // The engine reads up to the zero byte at the end of a string, so it gets a copy with one.
    let mut copy = [0_u8; 21];
    copy[..text.len()].copy_from_slice(text);
    let mut index = 0;
    // SAFETY: pointer and length are those of `copy`.
    unsafe { zend::_zend_handle_numeric_str_ex(copy.as_ptr().cast(), text.len(), &raw mut index) }
        .then_some(index as i64)
}

fn double(float: f64) -> Value {
    let mut value = zend::undef();
    value.payload.double = float;
    value.type_info = u32::from(kind::DOUBLE);
    value
}

/// A decimal of at most 15 digits with the point at `point`, such as a price: both its digits and the power of ten are
/// exact as floats, so one division rounds as the full parser does.
#[inline]
fn short_decimal(text: &[u8], point: usize) -> Option<f64> {
    const TENS: [f64; 16] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ];
    if text.len() > 16 || text.get(point) != Some(&b'.') {
        return None;
    }
    let mut digits = 0_u64;
    for (place, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digits = digits * 10 + u64::from(byte - b'0'),
            _ if place == point => {}
            _ => return None,
        }
    }
    #[allow(clippy::cast_precision_loss)] // below 10^15
    Some(digits as f64 / TENS[text.len() - point - 1])
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)?)
    })
}
