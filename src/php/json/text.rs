//! Strings as `json_encode` writes them by default: slashes escaped, everything above ASCII as `\uXXXX`.

use super::zend::{self, Str};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` in quotes. The error is the byte position of the first sequence that is not UTF-8; what was written
/// up to there stays in `out`.
pub fn with_escapes(text: &[u8], out: &mut Vec<u8>) -> Result<(), usize> {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut at = 0;
    loop {
        let end = plain::<true>(text, at);
        out.extend_from_slice(&text[at..end]);
        if end == text.len() {
            break;
        }
        at = special(text, end, out)?;
    }
    out.push(b'"');
    Ok(())
}

/// Copies a text that needs no escapes, as most keys and values: sixteen bytes are checked and copied at a time, the
/// last ones overlapping those before. False if it is not plain.
///
/// # Safety
/// `to` must have room for the text and 16 bytes more.
#[inline]
pub unsafe fn copy_plain(string: *const Str, to: *mut u8) -> bool {
    let (from, length) = (zend::bytes(string).as_ptr(), (*string).len);
    if length <= 16 {
        // The 16 bytes that end with the text: what precedes a short one is the string's own head.
        const _: () = assert!(size_of::<Str>() >= 16);
        let before = 16 - length;
        let last = from.sub(before);
        if specials_of_16::<true>(last) >> before != 0 {
            return false;
        }
        if length >= 8 {
            let halves = [0, length - 8].map(|at| from.add(at).cast::<u64>().read_unaligned());
            to.cast::<u64>().write_unaligned(halves[0]);
            to.add(length - 8).cast::<u64>().write_unaligned(halves[1]);
        } else {
            let text = u64::from_le(last.add(8).cast::<u64>().read_unaligned());
            // Without a text the shift is by none of the 64 bits.
            let text = text.wrapping_shr(before as u32 * 8);
            to.cast::<u64>().write_unaligned(text.to_le());
        }
        return true;
    }
    let mut at = 0;
    loop {
        if specials_of_16::<true>(from.add(at)) != 0 {
            return false;
        }
        let part = from.add(at).cast::<u128>().read_unaligned();
        to.add(at).cast::<u128>().write_unaligned(part);
        if at + 16 >= length {
            return true;
        }
        at = (at + 16).min(length - 16);
    }
}

/// Writes the special character at `at` and returns the position after it.
fn special(text: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, usize> {
    let byte = text[at];
    if byte >= 0x80 {
        return beyond_ascii(text, at, out);
    }
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'/' => out.extend_from_slice(b"\\/"),
        8 => out.extend_from_slice(b"\\b"),
        12 => out.extend_from_slice(b"\\f"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => unit(u32::from(byte), out),
    }
    Ok(at + 1)
}

/// Writes the run of characters above ASCII that begins at `at`.
fn beyond_ascii(text: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, usize> {
    while at < text.len() && text[at] >= 0x80 {
        let (character, length) = character(&text[at..]).ok_or(at)?;
        if character >= 0x1_0000 {
            let rest = character - 0x1_0000;
            unit(0xd800 | rest >> 10, out);
            unit(0xdc00 | rest & 0x3ff, out);
        } else {
            unit(character, out);
        }
        at += length;
    }
    Ok(at)
}

/// The character at the start of `text`, which is not ASCII, and its length. Overlong forms, surrogates and values
/// above U+10FFFF are invalid.
#[inline]
fn character(text: &[u8]) -> Option<(u32, usize)> {
    let tail = |index: usize| -> Option<u32> {
        let byte = *text.get(index)?;
        (byte & 0xc0 == 0x80).then_some(u32::from(byte & 0x3f))
    };
    let first = u32::from(text[0]);
    match first {
        0xc2..=0xdf => Some(((first & 0x1f) << 6 | tail(1)?, 2)),
        0xe0..=0xef => {
            let character = (first & 0xf) << 12 | tail(1)? << 6 | tail(2)?;
            (character >= 0x800 && character & 0xf800 != 0xd800).then_some((character, 3))
        }
        0xf0..=0xf4 => {
            let character = (first & 7) << 18 | tail(1)? << 12 | tail(2)? << 6 | tail(3)?;
            (0x1_0000..=0x10_ffff)
                .contains(&character)
                .then_some((character, 4))
        }
        _ => None,
    }
}

#[inline]
fn unit(unit: u32, out: &mut Vec<u8>) {
    let digit = |shift: u32| HEX[(unit >> shift & 0xf) as usize];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Bytes that [`padded`] and the parser may read behind a text.
pub const PADDING: usize = 16;

/// True for a byte that [`plain`] stops at.
#[inline]
const fn is_special<const SLASH: bool>(byte: u8) -> bool {
    byte < 0x20 || byte >= 0x80 || byte == b'"' || byte == b'\\' || (SLASH && byte == b'/')
}

/// The first of the 16 bytes at `at` that [`plain`] would stop at; 16 or more where there is none.
///
/// # Safety
/// `at` must point at 16 readable bytes.
#[inline]
unsafe fn special_of_16<const SLASH: bool>(at: *const u8) -> usize {
    specials_of_16::<SLASH>(at).trailing_zeros() as usize
}

/// One bit for each of the 16 bytes at `at`, the lowest for the first: set where [`plain`] would stop.
///
/// # Safety
/// `at` must point at 16 readable bytes.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::cast_ptr_alignment)] // the load is unaligned
#[inline]
unsafe fn specials_of_16<const SLASH: bool>(at: *const u8) -> u32 {
    use core::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };
    // SSE2 is part of x86-64.
    let bytes = _mm_loadu_si128(at.cast::<__m128i>());
    let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8));
    // As signed numbers, bytes above 0x7f are below 0x20 too.
    let mut found = _mm_or_si128(
        _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)),
        _mm_or_si128(is(b'"'), is(b'\\')),
    );
    if SLASH {
        found = _mm_or_si128(found, is(b'/'));
    }
    _mm_movemask_epi8(found) as u32
}

/// The same without SSE2.
///
/// # Safety
/// `at` must point at 16 readable bytes.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
unsafe fn specials_of_16<const SLASH: bool>(at: *const u8) -> u32 {
    (0..16).fold(0, |bits, place| {
        bits | u32::from(is_special::<SLASH>(*at.add(place))) << place
    })
}

/// Position of the first byte from `from` on that is a control byte, `"`, `\`, above 0x7f or, if `SLASH`, `/`;
/// the length of `text` where there is none.
#[inline]
pub fn plain<const SLASH: bool>(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(chunk) = text.get(at..at + 16) {
        // SAFETY: 16 bytes.
        let found = unsafe { special_of_16::<SLASH>(chunk.as_ptr()) };
        if found < 16 {
            return at + found;
        }
        at += 16;
    }
    while at < text.len() && !is_special::<SLASH>(text[at]) {
        at += 1;
    }
    at
}

/// [`plain`] in a text that [`PADDING`] zero bytes follow: it stops at the first of them.
///
/// # Safety
/// `text` must have these bytes behind it, and `from` must not be behind the text.
#[inline]
pub unsafe fn padded(text: *const u8, from: usize) -> usize {
    let mut at = from;
    loop {
        let found = special_of_16::<false>(text.add(at));
        if found < 16 {
            return at + found;
        }
        at += 16;
    }
}

#[cfg(test)]
mod tests {
    use super::{is_special, padded, plain, PADDING};

    #[test]
    fn every_special_byte_is_found_at_every_place() {
        for length in 0..50 {
            for place in 0..length {
                for byte in 0..=255_u8 {
                    let mut text = vec![b'a'; length + PADDING];
                    text[length..].fill(0);
                    text[place] = byte;
                    let expected = |is_special: bool| if is_special { place } else { length };
                    let in_value = is_special::<false>(byte);
                    assert_eq!(plain::<false>(&text[..length], 0), expected(in_value));
                    let in_output = is_special::<true>(byte);
                    assert_eq!(plain::<true>(&text[..length], 0), expected(in_output));
                    // SAFETY: padded above.
                    let found = unsafe { padded(text.as_ptr(), 0) };
                    assert_eq!(found, expected(in_value));
                }
            }
        }
    }
}
