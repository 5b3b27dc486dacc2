//! Query strings, and percent encoding.

use std::fmt::Write;

/// Maximum number of query parameters.
const MAX_PAIRS: usize = 64;

/// The parameters of a query string, percent-decoded, in the order sent.
///
/// # Errors
/// A text for the response: a duplicate name, invalid UTF-8, too many parameters.
pub fn query_pairs(query: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = decode(name).ok_or("a parameter's name is not UTF-8")?;
        let value = decode(value).ok_or("a parameter's value is not UTF-8")?;
        if pairs.iter().any(|(n, _)| n.eq_ignore_ascii_case(&name)) {
            return Err("a parameter is repeated");
        }
        if pairs.len() >= MAX_PAIRS {
            return Err("there are too many parameters");
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// Percent-decodes; `+` is not decoded.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b'%' {
            let hex = text.get(i + 1..i + 3)?;
            if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            out.push(u8::from_str_radix(hex, 16).ok()?);
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8(out).ok()
}

/// Percent-encodes everything but the unreserved characters.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
