//! Finds the next byte that is not plain text, eight bytes at a time.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks (bit 7) the bytes of `word` that are zero. Bytes above a marked one may be marked wrongly: only the lowest
/// counts.
#[inline]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

/// Marks (bit 7) control bytes, `"`, `\`, bytes above 0x7f and, if `SLASH`, `/`; the lowest mark is right.
#[inline]
const fn marks<const SLASH: bool>(word: u64) -> u64 {
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let mut found = (control | word) & HIGH;
    found |= zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64));
    if SLASH {
        found |= zeros(word ^ (ONES * b'/' as u64));
    }
    found
}

/// True where [`plain`] would stop at one of the eight bytes.
#[inline]
pub const fn has_special<const SLASH: bool>(word: u64) -> bool {
    marks::<SLASH>(word) != 0
}

/// True for a byte that [`plain`] stops at.
#[inline]
pub const fn is_special<const SLASH: bool>(byte: u8) -> bool {
    byte < 0x20 || byte >= 0x80 || byte == b'"' || byte == b'\\' || (SLASH && byte == b'/')
}

/// Position of the first byte from `from` on that is a control byte, `"`, `\`, above 0x7f or, if `SLASH`, `/`;
/// the length of `text` where there is none.
#[inline]
pub fn plain<const SLASH: bool>(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(chunk) = text.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or([0; 8]));
        let found = marks::<SLASH>(word);
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < text.len() && !is_special::<SLASH>(text[at]) {
        at += 1;
    }
    at
}
