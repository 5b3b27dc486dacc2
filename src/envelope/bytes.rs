//! Fast searches in JSON bytes, eight at a time, and JSON's grammar of numbers.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Sets bit 7 of each byte of `word` that equals `byte`. Only the lowest set bit is reliable: bytes above it may be
/// marked wrongly.
#[inline]
const fn marks(word: u64, byte: u8) -> u64 {
    let zero = word ^ (ONES * byte as u64);
    zero.wrapping_sub(ONES) & !zero & HIGH
}

/// The position, at or after `at`, of the first matching byte, or the length. `word` tests eight bytes, `byte` a single
/// one.
#[inline]
fn find(
    bytes: &[u8],
    mut at: usize,
    word: impl Fn(u64) -> u64,
    byte: impl Fn(u8) -> bool,
) -> usize {
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = word(u64::from_le_bytes(*eight));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < bytes.len() && !byte(bytes[at]) {
        at += 1;
    }
    at
}

/// The position of the next `"`, `\` or control character: the end of a run of plain string bytes.
#[inline]
#[must_use]
pub fn end_of_run(bytes: &[u8], at: usize) -> usize {
    find(
        bytes,
        at,
        |word| {
            let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
            control | marks(word, b'"') | marks(word, b'\\')
        },
        |byte| byte < 0x20 || byte == b'"' || byte == b'\\',
    )
}

/// The position of the next `"` or `\`.
#[inline]
pub(super) fn quote_or_backslash(bytes: &[u8], at: usize) -> usize {
    find(
        bytes,
        at,
        |word| marks(word, b'"') | marks(word, b'\\'),
        |byte| byte == b'"' || byte == b'\\',
    )
}

/// The position of the next `"`, bracket or brace. May also stop at `Y`, `_`, `y` and DEL, which have the same bits as
/// brackets.
#[inline]
pub(super) fn quote_or_bracket(bytes: &[u8], at: usize) -> usize {
    find(
        bytes,
        at,
        |word| marks(word | (ONES * 0x26), 0x7f) | marks(word, b'"'),
        |byte| matches!(byte, b'"' | b'[' | b']' | b'{' | b'}'),
    )
}

/// True if `word` is a number in JSON's grammar.
pub(super) fn is_number(word: &[u8]) -> bool {
    let digits = |at: usize| word[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(word.first() == Some(&b'-'));
    let integer_digits = digits(at);
    if integer_digits == 0 || (integer_digits > 1 && word[at] == b'0') {
        return false;
    }
    at += integer_digits;
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
