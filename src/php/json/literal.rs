//! Strings and numbers of the parser.

use super::decode::{fits_in_limit, ParseError, ParseErrorKind, Parser};
use super::text;
use super::zend::{self, kind, Value, MAX_CACHED_KEY_LEN};

/// The text between two quotes.
enum Text {
    /// Its first byte and its end.
    Plain(usize, usize),
    /// It had escapes; the result is in the parser's scratch buffer.
    Unescaped,
}

impl Parser<'_> {
    fn bytes(&self, text: &Text) -> &[u8] {
        match text {
            // SAFETY: a part of the document.
            Text::Plain(start, end) => unsafe {
                std::slice::from_raw_parts(self.text.add(*start), end - start)
            },
            Text::Unescaped => &self.buffers.scratch,
        }
    }

    /// Parses a string as a value, from its first quote.
    #[inline]
    pub fn string(&mut self) -> Result<(), ParseError> {
        let text = self.text()?;
        self.push_string(&text)
    }

    #[inline]
    fn push_string(&mut self, text: &Text) -> Result<(), ParseError> {
        let text = self.bytes(text);
        self.check_memory(fits_in_limit(text.len()))?;
        // SAFETY: creates a string of this request.
        let value = unsafe { zend::string_value(text) };
        self.buffers.values.push(value);
        Ok(())
    }

    /// Parses a string as a key: an integer where PHP's arrays use one.
    #[inline]
    pub fn key(&mut self) -> Result<(), ParseError> {
        let text = self.text()?;
        let bytes = self.bytes(&text);
        if let Some(index) = array_index(bytes) {
            self.buffers.values.push(long(index));
            return Ok(());
        }
        if (2..=MAX_CACHED_KEY_LEN).contains(&bytes.len()) {
            let found = match text {
                // SAFETY: at least PADDING bytes follow the text.
                Text::Plain(start, end) => unsafe {
                    self.keys.get_padded(self.text.add(start), end - start)
                },
                Text::Unescaped => self.keys.get(&self.buffers.scratch),
            };
            if let Some(string) = found {
                let mut value = zend::undef();
                value.payload.string = string;
                value.type_info = u32::from(kind::STRING);
                self.buffers.values.push(value);
                return Ok(());
            }
        }
        self.push_string(&text)
    }

    /// Parses a string from its first quote; the position afterwards is behind the last.
    #[inline]
    fn text(&mut self) -> Result<Text, ParseError> {
        let start = self.at + 1;
        // SAFETY: the document is padded, and the quote is in it.
        let at = unsafe { text::padded(self.text, start) };
        if self.byte(at) == b'"' {
            self.at = at + 1;
            return Ok(Text::Plain(start, at));
        }
        self.special_text(start, at)
    }

    /// Parses the rest of a string that begins at `start` and has a special byte at `at`.
    #[cold]
    fn special_text(&mut self, start: usize, mut at: usize) -> Result<Text, ParseError> {
        let mut ascii = true;
        loop {
            match self.json().get(at) {
                Some(b'"') => break,
                Some(0x80..) => {
                    ascii = false;
                    while matches!(self.json().get(at), Some(0x80..)) {
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
            at = text::plain::<false>(self.json(), at);
        }
        self.check_utf8(start, at, ascii)?;
        self.at = at + 1;
        Ok(Text::Plain(start, at))
    }

    fn check_utf8(&self, start: usize, end: usize, ascii: bool) -> Result<(), ParseError> {
        if ascii {
            return Ok(());
        }
        match std::str::from_utf8(&self.json()[start..end]) {
            Ok(_) => Ok(()),
            Err(bad) => Err(ParseError {
                kind: ParseErrorKind::Utf8,
                at: start + bad.valid_up_to(),
            }),
        }
    }

    /// Parses the rest of a string whose first backslash is at `at`.
    fn unescape(&mut self, start: usize, mut at: usize) -> Result<Text, ParseError> {
        self.buffers.scratch.clear();
        self.unescaped(start, at);
        loop {
            match self.json().get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Text::Unescaped);
                }
                Some(b'\\') => at = self.escape(at)?,
                Some(0x20..) => {
                    let mut end = at;
                    let mut ascii = true;
                    loop {
                        end = text::plain::<false>(self.json(), end);
                        if !matches!(self.json().get(end), Some(0x80..)) {
                            break;
                        }
                        ascii = false;
                        end += 1;
                    }
                    self.check_utf8(at, end, ascii)?;
                    self.unescaped(at, end);
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

    /// Adds a part of the document to the unescaped string.
    fn unescaped(&mut self, from: usize, to: usize) {
        // SAFETY: a part of the document, which is in another buffer.
        let part = unsafe { std::slice::from_raw_parts(self.text.add(from), to - from) };
        self.buffers.scratch.extend_from_slice(part);
    }

    /// Parses one escape with its backslash at `at`; returns the position behind it.
    fn escape(&mut self, at: usize) -> Result<usize, ParseError> {
        let byte = match self.json().get(at + 1) {
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
        self.buffers.scratch.push(byte);
        Ok(at + 2)
    }

    /// `\uXXXX`, or a surrogate pair.
    fn unicode(&mut self, at: usize) -> Result<usize, ParseError> {
        let unit = |from: usize| hex4(self.json().get(from + 2..from + 6)?);
        let first = unit(at).ok_or(ParseError {
            kind: ParseErrorKind::Syntax,
            at,
        })?;
        let (code, length) = if (0xd800..0xdc00).contains(&first) {
            let second = (self.json().get(at + 6..at + 8) == Some(b"\\u"))
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
        self.buffers
            .scratch
            .extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(at + length)
    }

    /// Parses a number from its sign or first digit. An integer out of range becomes a float.
    #[allow(clippy::cast_precision_loss)] // used below 10^15
    pub fn number(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let negative = self.byte(start) == b'-';
        let first = start + usize::from(negative);
        let (integer, mut at) = self.integer(first);
        if at == first {
            return Err(ParseError {
                kind: ParseErrorKind::Syntax,
                at: start,
            });
        }
        // With more than 18 digits it has wrapped, and is not used.
        let signed = if negative {
            integer.wrapping_neg()
        } else {
            integer
        };
        let mut value = long(signed);
        let mut digits = at - first;
        if self.byte(at) == b'.' {
            let (decimal, end) = self.decimal(integer, at + 1);
            if end > at + 1 {
                digits = end - first - 1;
                // At most 15 digits, such as a price: both they and the power of ten are exact as floats, so that one
                // division rounds as the full parser does. With more digits, the value is not used.
                let float = decimal as f64 / TENS[(end - at - 1).min(15)];
                value = double(if negative { -float } else { float });
                at = end;
                if digits > 15 {
                    return self.long_number(start, at);
                }
            }
        }
        if digits > 18 || matches!(self.byte(at), b'e' | b'E') {
            return self.long_number(start, at);
        }
        self.at = at;
        self.buffers.values.push(value);
        Ok(())
    }

    /// The integer at `at`, and the position behind it; the integer is wrong where it has more than 18 digits.
    #[inline]
    fn integer(&self, at: usize) -> (i64, usize) {
        if self.byte(at) == b'0' {
            return (0, at + 1);
        }
        self.decimal(0, at)
    }

    /// Appends the digits at `at` to an integer: the result, and the position behind them.
    #[inline]
    fn decimal(&self, mut integer: i64, mut at: usize) -> (i64, usize) {
        loop {
            let digit = self.byte(at).wrapping_sub(b'0');
            if digit > 9 {
                return (integer, at);
            }
            integer = integer.wrapping_mul(10).wrapping_add(i64::from(digit));
            at += 1;
        }
    }

    /// Parses a number with an exponent or with more digits than fit; `end` is behind its digits.
    #[cold]
    fn long_number(&mut self, start: usize, end: usize) -> Result<(), ParseError> {
        let end = self.exponent(end);
        self.at = end;
        // The text consists of digits, signs, a point and an `e`.
        let text = std::str::from_utf8(&self.json()[start..end]).unwrap_or_default();
        let value = match text.parse() {
            Ok(integer) => long(integer),
            Err(_) => double(text.parse().map_err(|_| ParseError {
                kind: ParseErrorKind::Syntax,
                at: start,
            })?),
        };
        self.buffers.values.push(value);
        Ok(())
    }

    /// The position behind `e5`, `E+5` at `at`; `at` itself if there is none.
    fn exponent(&self, at: usize) -> usize {
        match (self.json().get(at), self.json().get(at + 1)) {
            (Some(b'e' | b'E'), Some(b'+' | b'-')) => self.digits(at + 2).unwrap_or(at),
            (Some(b'e' | b'E'), _) => self.digits(at + 1).unwrap_or(at),
            _ => at,
        }
    }

    /// The position behind the digits at `at`, if there are any.
    fn digits(&self, at: usize) -> Option<usize> {
        let mut end = at;
        while matches!(self.json().get(end), Some(b'0'..=b'9')) {
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

/// The powers of ten that are exact as floats and that a short decimal can have.
const TENS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)?)
    })
}
