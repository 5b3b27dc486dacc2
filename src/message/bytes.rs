//! Looking through JSON bytes quickly: what may be passed over, and JSON's grammar of a number.

/// Bytes of a string that need no look: all but `"`, `\` and control characters.
pub(super) const PLAIN_IN_STRING: [bool; 256] = {
    let mut table = [true; 256];
    let mut i = 0;
    while i < 0x20 {
        table[i] = false;
        i += 1;
    }
    table[b'"' as usize] = false;
    table[b'\\' as usize] = false;
    table
};

/// Bytes between the brackets and strings of an array or object.
pub(super) const PLAIN_IN_VALUE: [bool; 256] = {
    let mut table = [true; 256];
    table[b'"' as usize] = false;
    table[b'[' as usize] = false;
    table[b']' as usize] = false;
    table[b'{' as usize] = false;
    table[b'}' as usize] = false;
    table
};

/// Position of the first `"` or `\`, eight bytes at a time.
#[inline]
pub(super) fn find_quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const QUOTE: u64 = 0x22;
    const BACKSLASH: u64 = 0x5c;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut chunks = bytes.chunks_exact(8);
    let mut at = 0;
    for chunk in &mut chunks {
        let mut eight = [0_u8; 8];
        eight.copy_from_slice(chunk);
        let word = u64::from_le_bytes(eight);
        let found = zero_bytes(word ^ (ONES * QUOTE)) | zero_bytes(word ^ (ONES * BACKSLASH));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = chunks.remainder();
    let run = rest.iter().position(|&b| b == b'"' || b == b'\\')?;
    Some(at + run)
}

/// JSON's grammar of a number.
pub(super) fn is_number(word: &[u8]) -> bool {
    let digits = |at: usize| word[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(word.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && word[at] == b'0') {
        return false;
    }
    at += whole;
    if word.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return false;
        }
        at += 1 + fraction;
    }
    if let Some(b'e' | b'E') = word.get(at) {
        at += 1;
        at += usize::from(matches!(word.get(at), Some(b'+' | b'-')));
        let exponent = digits(at);
        if exponent == 0 {
            return false;
        }
        at += exponent;
    }
    at == word.len()
}

/// How many bytes from the start are plain.
#[inline]
pub(super) fn plain(bytes: &[u8], table: &[bool; 256]) -> usize {
    bytes
        .iter()
        .position(|&b| !table[usize::from(b)])
        .unwrap_or(bytes.len())
}
