//! Fast searches in JSON bytes: strings eight bytes at a time, the end of an array or object in blocks of 64 bytes
//! without parsing the strings in it. And JSON's grammar of numbers.

use super::MAX_DEPTH;

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

/// Bit masks of a block of 64 bytes; the lowest bit is the first byte.
struct Masks {
    quotes: u64,
    backslashes: u64,
    /// Brackets and braces; also `Y`, `_`, `y` and DEL, which have the same bits but only occur in strings.
    brackets: u64,
}

/// With SSE2, which is part of x86-64.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)] // only bit patterns matter
#[allow(clippy::cast_ptr_alignment)] // the load is unaligned
#[inline]
fn masks(block: &[u8; 64]) -> Masks {
    use core::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    let mut masks = Masks {
        quotes: 0,
        backslashes: 0,
        brackets: 0,
    };
    for (number, part) in block.chunks_exact(16).enumerate() {
        // SAFETY: reads the 16 bytes of `part`; SSE2 is always available on x86-64.
        let [quotes, backslashes, brackets] = unsafe {
            let bytes = _mm_loadu_si128(part.as_ptr().cast::<__m128i>());
            let is = |bytes, byte: u8| {
                let same = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8));
                _mm_movemask_epi8(same) as u64 & 0xffff
            };
            let brackets = _mm_or_si128(bytes, _mm_set1_epi8(0x26));
            [is(bytes, b'"'), is(bytes, b'\\'), is(brackets, 0x7f)]
        };
        masks.quotes |= quotes << (16 * number);
        masks.backslashes |= backslashes << (16 * number);
        masks.brackets |= brackets << (16 * number);
    }
    masks
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn masks(block: &[u8; 64]) -> Masks {
    let bits = |is: fn(u8) -> bool| {
        let bytes = block.iter().enumerate();
        bytes.fold(0, |mask, (place, byte)| {
            mask | u64::from(is(*byte)) << place
        })
    };
    Masks {
        quotes: bits(|byte| byte == b'"'),
        backslashes: bits(|byte| byte == b'\\'),
        brackets: bits(|byte| byte | 0x26 == 0x7f),
    }
}

/// The text of bytes that are all ASCII, which takes a fraction of the time of checking UTF-8.
#[allow(unsafe_code)]
#[inline]
pub(super) fn ascii(bytes: &[u8]) -> Option<&str> {
    // SAFETY: ASCII is UTF-8.
    bytes
        .is_ascii()
        .then(|| unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// Sets all bits from each opening quote up to, but not including, its closing quote (prefix XOR).
#[inline]
const fn between(mut quotes: u64) -> u64 {
    let mut step = 1;
    while step < 64 {
        quotes ^= quotes << step;
        step *= 2;
    }
    quotes
}

/// The index after the array or object that opens at `from`. `None` if it is malformed or nested too deeply;
/// `Scanner::nested_bytewise` finds the error and its position.
#[inline]
pub(super) fn end_of_nested(bytes: &[u8], from: usize) -> Option<usize> {
    // One bit for each open bracket: set where it is a brace.
    let mut braces = [0_u64; MAX_DEPTH / 64];
    let mut depth = 0_usize;
    // `inside`: all ones if the block begins inside a string. `escape`: one if the first byte of the block is escaped.
    let (mut inside, mut escape) = (0_u64, 0_u64);
    let mut start = from;
    while start < bytes.len() {
        let rest = &bytes[start..];
        let found = rest.first_chunk::<64>().map_or_else(
            || {
                let mut last = [0_u8; 64];
                last[..rest.len()].copy_from_slice(rest);
                masks(&last)
            },
            masks,
        );
        let mut quotes = found.quotes;
        if found.backslashes != 0 || escape != 0 {
            let mut backslashes = found.backslashes & !escape;
            let mut escaped = std::mem::take(&mut escape);
            while backslashes != 0 {
                let bit = backslashes & backslashes.wrapping_neg();
                escape = bit >> 63;
                escaped |= bit << 1;
                backslashes &= !(bit | bit << 1);
            }
            quotes &= !escaped;
        }
        let strings = between(quotes) ^ inside;
        if found.backslashes & !strings != 0 {
            // A backslash outside a string is not JSON.
            return None;
        }
        inside = if strings >> 63 == 1 { u64::MAX } else { 0 };
        let mut brackets = found.brackets & !strings;
        while brackets != 0 {
            let at = start + brackets.trailing_zeros() as usize;
            match bytes[at] {
                open @ (b'{' | b'[') => {
                    let word = braces.get_mut(depth / 64)?;
                    let bit = 1 << (depth % 64);
                    *word = (*word & !bit) | if open == b'{' { bit } else { 0 };
                    depth += 1;
                }
                close @ (b'}' | b']') => {
                    depth = depth.checked_sub(1)?;
                    if (braces[depth / 64] >> (depth % 64) & 1 == 1) != (close == b'}') {
                        return None;
                    }
                    if depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
            brackets &= brackets - 1;
        }
        start += 64;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::scan::Scanner;
    use super::end_of_nested;

    const COMPLETE: &str = concat!(
        r#"[{"a":[1,"]}",null],"#,
        r#""bc\"{":"x\\","long":"0123456789 0123456789 0123456789 0123456789\"]"},"#,
        r#"[[]],"y_Y",{"deep":{"er":[{}]}},"\u00e9\/"] ,"more":"{"#
    );

    /// The result of the bytewise scan.
    fn bytewise(text: &str) -> Option<usize> {
        let bytes = text.as_bytes();
        let mut scanner = Scanner { text, bytes, at: 0 };
        scanner.nested_bytewise().ok().map(|()| scanner.at)
    }

    #[test]
    fn the_end_agrees_with_the_bytewise_scan() {
        let mut found = 0;
        for shift in 0..70 {
            let padded = format!(
                "[\"{}\",{}]",
                "s".repeat(shift),
                &COMPLETE[..COMPLETE.len() - 11]
            );
            let end = end_of_nested(padded.as_bytes(), 0);
            assert_eq!(end, bytewise(&padded));
            assert_eq!(end, Some(padded.len()));
        }
        for at in 1..COMPLETE.len() {
            for byte in *b"\"\\{}[]:,0 Yy_\x7f" {
                for length in [COMPLETE.len(), at + 1] {
                    let mut bytes = COMPLETE.as_bytes()[..length].to_vec();
                    bytes[at] = byte;
                    let text = String::from_utf8(bytes).expect("ASCII");
                    if let Some(end) = end_of_nested(text.as_bytes(), 0) {
                        found += 1;
                        assert_eq!(Some(end), bytewise(&text), "{text}");
                    }
                }
            }
        }
        assert!(found > 500, "{found}");
    }

    #[test]
    fn nesting_beyond_the_limit_is_not_scanned() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(end_of_nested(nested(512).as_bytes(), 0), Some(1024));
        assert_eq!(end_of_nested(nested(513).as_bytes(), 0), None);
    }
}
