//! Finds the next byte that is not plain text, sixteen bytes at a time.

/// Bytes that [`padded`] and the parser may read behind a text.
pub const PADDING: usize = 16;

/// True for a byte that [`plain`] stops at.
#[inline]
pub const fn is_special<const SLASH: bool>(byte: u8) -> bool {
    byte < 0x20 || byte >= 0x80 || byte == b'"' || byte == b'\\' || (SLASH && byte == b'/')
}

/// The first of the 16 bytes at `at` that [`plain`] would stop at; 16 or more where there is none.
///
/// # Safety
/// `at` must point at 16 readable bytes.
#[inline]
pub unsafe fn special_of_16<const SLASH: bool>(at: *const u8) -> usize {
    specials_of_16::<SLASH>(at).trailing_zeros() as usize
}

/// One bit for each of the 16 bytes at `at`, the lowest for the first: set where [`plain`] would stop.
///
/// # Safety
/// `at` must point at 16 readable bytes.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::cast_ptr_alignment)] // the load is unaligned
#[inline]
pub unsafe fn specials_of_16<const SLASH: bool>(at: *const u8) -> u32 {
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
pub unsafe fn specials_of_16<const SLASH: bool>(at: *const u8) -> u32 {
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
