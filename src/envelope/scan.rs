//! Scans an envelope without decoding its data.
//!
//! Most callbacks use the event and a part of the data, and many records are skipped, so the scan only borrows: the
//! data stays encoded until it is needed. Inside the data only strings and brackets are followed, which is enough to
//! find its end; the rest is validated when the data is decoded.

use std::borrow::Cow;

use super::bytes::{
    ascii, end_of_nested, end_of_run, is_number, quote_or_backslash, quote_or_bracket,
};
use super::{EnvelopeKind, MAX_DEPTH};
use crate::error::{Error, Result};

/// An envelope, borrowed from the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned<'a> {
    /// Empty if the envelope has none.
    pub id: Cow<'a, str>,
    /// `event` if the envelope has no type.
    pub kind: EnvelopeKind,
    pub channel: Option<Cow<'a, str>>,
    pub event: Option<Cow<'a, str>>,
    /// The JSON of the data; `None` if absent or `null`.
    pub data: Option<&'a [u8]>,
    /// Unix seconds.
    pub timestamp: Option<i64>,
}

/// Scans an envelope: keys in any order, unknown keys are skipped, the last of duplicate keys is used.
///
/// # Errors
/// [`crate::error::Kind::Encoding`] if the bytes are not UTF-8, not a single JSON object, nested deeper than
/// [`MAX_DEPTH`] below the envelope, or if a known key has the wrong type.
pub fn scan_envelope(bytes: &[u8]) -> Result<Scanned<'_>> {
    let text = match ascii(bytes) {
        Some(text) => text,
        None => std::str::from_utf8(bytes).map_err(|e| {
            Error::encoding(format!(
                "Not an envelope: invalid UTF-8 at byte {}.",
                e.valid_up_to()
            ))
        })?,
    };
    let mut scanner = Scanner { text, bytes, at: 0 };
    if let Some(scanned) = scanner.canonical() {
        return Ok(scanned);
    }
    scanner.at = 0;
    scanner.envelope()
}

pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn envelope(&mut self) -> Result<Scanned<'a>> {
        let mut scanned = Scanned {
            id: Cow::Borrowed(""),
            kind: EnvelopeKind::Event,
            channel: None,
            event: None,
            data: None,
            timestamp: None,
        };
        self.space();
        if self.peek() != Some(b'{') {
            return Err(self.wrong("a JSON object was expected"));
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.member(&mut scanned)?;
                self.space();
                match self.next() {
                    Some(b',') => self.space(),
                    Some(b'}') => break,
                    _ => return Err(self.back().wrong("',' or '}' was expected")),
                }
            }
        }
        self.space();
        if self.at < self.bytes.len() {
            return Err(self.wrong("unexpected data after the object"));
        }
        Ok(scanned)
    }

    fn member(&mut self, scanned: &mut Scanned<'a>) -> Result<()> {
        if self.peek() != Some(b'"') {
            return Err(self.wrong("a key was expected"));
        }
        let key = self.string()?;
        self.space();
        if self.next() != Some(b':') {
            return Err(self.back().wrong("':' was expected"));
        }
        self.space();
        match key.as_ref() {
            "id" => scanned.id = self.optional_string("id")?.unwrap_or_default(),
            "type" => {
                scanned.kind = match self.optional_string("type")? {
                    None => EnvelopeKind::Event,
                    Some(word) => EnvelopeKind::parse(&word).ok_or_else(|| unknown_kind(&word))?,
                }
            }
            "channel" => scanned.channel = self.optional_string("channel")?,
            "event" => scanned.event = self.optional_string("event")?,
            "data" => {
                let data = self.value()?;
                scanned.data = (data != b"null").then_some(data);
            }
            "timestamp" => scanned.timestamp = self.timestamp()?,
            _ => {
                self.value()?;
            }
        }
        Ok(())
    }

    fn optional_string(&mut self, key: &str) -> Result<Option<Cow<'a, str>>> {
        if self.peek() == Some(b'"') {
            return self.string().map(Some);
        }
        match self.value()? {
            b"null" => Ok(None),
            _ => Err(Error::encoding(format!(
                "Not an envelope: '{key}' must be a string."
            ))),
        }
    }

    fn timestamp(&mut self) -> Result<Option<i64>> {
        let raw = if self.peek() == Some(b'"') {
            self.string()?
        } else {
            let from = self.at;
            self.value()?;
            Cow::Borrowed(&self.text[from..self.at])
        };
        if raw == "null" {
            return Ok(None);
        }
        if let Ok(seconds) = raw.parse::<i64>() {
            return Ok(Some(seconds));
        }
        // Other producers may write fractions of a second; values beyond 2^63 are refused.
        match raw.parse::<f64>() {
            #[allow(clippy::cast_possible_truncation)]
            Ok(seconds) if seconds.abs() < 9.2e18 => Ok(Some(seconds as i64)),
            _ => Err(Error::encoding(
                "Not an envelope: 'timestamp' must be a whole number of Unix seconds.",
            )),
        }
    }

    /// Reads a string; allocates only if it has an escape.
    fn string(&mut self) -> Result<Cow<'a, str>> {
        let open = self.at;
        self.at += 1;
        let from = self.at;
        self.at = end_of_run(self.bytes, from);
        match self.peek() {
            Some(b'"') => {
                let text = &self.text[from..self.at];
                self.at += 1;
                Ok(Cow::Borrowed(text))
            }
            Some(b'\\') => {
                self.skip_string(open)?;
                let quoted = &self.text[open..self.at];
                serde_json::from_str::<String>(quoted)
                    .map(Cow::Owned)
                    .map_err(|_| self.at(open).wrong("a string with an invalid escape"))
            }
            Some(_) => Err(self.wrong("a control character in a string")),
            None => Err(self.at(open).wrong("an unterminated string")),
        }
    }

    /// Skips the string that opens at `open`.
    fn skip_string(&mut self, open: usize) -> Result<()> {
        let mut at = open + 1;
        loop {
            at = quote_or_backslash(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(());
                }
                Some(_) => at += 2,
                None => return Err(self.at(open).wrong("an unterminated string")),
            }
        }
    }

    /// Skips a value and returns its bytes.
    pub(super) fn value(&mut self) -> Result<&'a [u8]> {
        let from = self.at;
        match self.peek() {
            Some(b'{' | b'[') => self.nested()?,
            Some(b'"') => self.skip_string(from)?,
            Some(_) => self.scalar()?,
            None => return Err(self.wrong("a value was expected")),
        }
        Ok(&self.bytes[from..self.at])
    }

    fn scalar(&mut self) -> Result<()> {
        let from = self.at;
        while let Some(&byte) = self.bytes.get(self.at) {
            if matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
                break;
            }
            self.at += 1;
        }
        let word = &self.bytes[from..self.at];
        if matches!(word, b"null" | b"true" | b"false") || is_number(word) {
            return Ok(());
        }
        Err(self.at(from).wrong("a value was expected"))
    }

    /// Skips an array or object, matching brackets and skipping strings.
    fn nested(&mut self) -> Result<()> {
        if let Some(end) = end_of_nested(self.bytes, self.at) {
            self.at = end;
            return Ok(());
        }
        self.nested_bytewise()
    }

    /// Like [`Self::nested`], byte by byte, with a precise error.
    #[cold]
    pub(super) fn nested_bytewise(&mut self) -> Result<()> {
        // One bit for each open bracket: set where it is a brace.
        let mut braces = [0_u64; MAX_DEPTH / 64];
        let mut depth = 0_usize;
        let mut at = self.at;
        loop {
            at = quote_or_bracket(self.bytes, at);
            let Some(&byte) = self.bytes.get(at) else {
                return Err(self.wrong("a bracket is not closed"));
            };
            match byte {
                b'"' => {
                    self.skip_string(at)?;
                    at = self.at;
                    continue;
                }
                b'{' | b'[' => {
                    if depth == MAX_DEPTH {
                        return Err(self.at(at).wrong("nested deeper than 512 levels"));
                    }
                    let bit = 1 << (depth % 64);
                    if byte == b'{' {
                        braces[depth / 64] |= bit;
                    } else {
                        braces[depth / 64] &= !bit;
                    }
                    depth += 1;
                }
                b'}' | b']' => {
                    depth -= 1;
                    let brace = braces[depth / 64] >> (depth % 64) & 1 == 1;
                    if brace != (byte == b'}') {
                        return Err(self.at(at).wrong("a bracket closes another kind"));
                    }
                    if depth == 0 {
                        self.at = at + 1;
                        return Ok(());
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn back(&mut self) -> &Self {
        self.at -= 1;
        self
    }

    fn at(&mut self, at: usize) -> &Self {
        self.at = at;
        self
    }

    #[cold]
    fn wrong(&self, what: &str) -> Error {
        if self.bytes.is_empty() {
            return Error::encoding("Not an envelope: the value is empty.");
        }
        Error::encoding(format!(
            "Not an envelope: {what} at byte {}.",
            self.at.min(self.bytes.len())
        ))
    }
}

#[cold]
fn unknown_kind(word: &str) -> Error {
    let word: String = word.chars().take(40).collect();
    Error::encoding(format!(
        "Not an envelope: type '{}' must be one of event, subscribe, unsubscribe, error, ping, pong.",
        word.escape_debug()
    ))
}

/// True if a value is nested at most [`MAX_DEPTH`] levels, so that a recursive parser can be used on it.
pub(super) fn is_shallow(json: &[u8]) -> bool {
    let mut scanner = Scanner {
        text: "",
        bytes: json,
        at: 0,
    };
    scanner.space();
    scanner.value().is_ok()
}

// The fast path for the canonical form that this crate writes. Most records have it, and the general scanner is three
// times slower. Both return the same result; where they could differ, the fast path returns `None`.
impl<'a> Scanner<'a> {
    /// The envelope, if it has the canonical keys in order, without spaces and escapes. Leaves the position undefined.
    #[inline]
    pub(super) fn canonical(&mut self) -> Option<Scanned<'a>> {
        self.literal(br#"{"id":""#)?;
        let id = self.plain_string()?;
        self.literal(br#","type":"event""#)?;
        let channel = match self.literal(br#","channel":""#) {
            Some(()) => Some(self.plain_string()?),
            None => None,
        };
        let event = match self.literal(br#","event":""#) {
            Some(()) => Some(self.plain_string()?),
            None => None,
        };
        let data = match self.literal(br#","data":"#) {
            Some(()) => Some(self.value().ok()?).filter(|data| *data != b"null"),
            None => None,
        };
        self.literal(br#","timestamp":"#)?;
        let timestamp = self.digits()?;
        self.literal(b"}")?;
        (self.at == self.bytes.len()).then_some(Scanned {
            id,
            kind: EnvelopeKind::Event,
            channel,
            event,
            data,
            timestamp: Some(timestamp),
        })
    }

    #[inline]
    fn literal<const N: usize>(&mut self, wanted: &[u8; N]) -> Option<()> {
        if self.bytes.get(self.at..)?.first_chunk::<N>()? != wanted {
            return None;
        }
        self.at += N;
        Some(())
    }

    /// A string without escapes; the opening quote is already consumed.
    #[inline]
    fn plain_string(&mut self) -> Option<Cow<'a, str>> {
        let from = self.at;
        let end = end_of_run(self.bytes, from);
        if self.bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        self.text.get(from..end).map(Cow::Borrowed)
    }

    /// An integer of 1 to 18 digits, which cannot overflow.
    #[inline]
    fn digits(&mut self) -> Option<i64> {
        let from = self.at;
        let mut number = 0_i64;
        while let Some(digit) = self.bytes.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            number = number * 10 + i64::from(digit - b'0');
            self.at += 1;
            if self.at - from > 18 {
                return None;
            }
        }
        let leading_zero = self.bytes.get(from) == Some(&b'0') && self.at - from > 1;
        (self.at > from && !leading_zero).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::Scanner;

    fn scanner(bytes: &[u8]) -> Option<Scanner<'_>> {
        let text = std::str::from_utf8(bytes).ok()?;
        Some(Scanner { text, bytes, at: 0 })
    }

    const COMPLETE: &[u8] = concat!(
        r#"{"id":"019a9f5e","type":"event","channel":"user.1","event":"Y_y""#,
        r#","data":{"a":[1,"]}",null],"b":"x"},"timestamp":1763700000}"#
    )
    .as_bytes();

    #[test]
    fn canonical_envelopes_are_accepted() {
        let found = scanner(COMPLETE)
            .and_then(|mut ours| ours.canonical())
            .expect("an envelope");
        assert_eq!(found.channel.as_deref(), Some("user.1"));
        assert_eq!(found.data, Some(&br#"{"a":[1,"]}",null],"b":"x"}"#[..]));
        for part in [
            &br#"{"id":"a","type":"event","timestamp":0}"#[..],
            br#"{"id":"","type":"event","event":"e","data":null,"timestamp":5}"#,
        ] {
            let mut ours = scanner(part).expect("text");
            assert!(ours.canonical().is_some());
        }
    }

    #[test]
    fn the_fast_path_agrees_with_the_general_scanner() {
        let mut taken = 0;
        for at in 0..COMPLETE.len() {
            for byte in *b"\"\\{}[]:,0 9-e\n\x01Yy_az\x7f" {
                for length in [COMPLETE.len(), at + 1] {
                    let mut bytes = COMPLETE[..length].to_vec();
                    bytes[at] = byte;
                    let Some(mut ours) = scanner(&bytes) else {
                        continue;
                    };
                    if let Some(quick) = ours.canonical() {
                        taken += 1;
                        ours.at = 0;
                        assert_eq!(ours.envelope(), Ok(quick));
                    }
                }
            }
        }
        assert!(taken > 500, "{taken}");
    }
}
