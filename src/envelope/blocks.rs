//! Finds the end of an array or object 64 bytes at a time, without looking at each string in it.

use super::MAX_DEPTH;

/// What stands where in 64 bytes: the lowest bit is the first byte.
struct Masks {
    quotes: u64,
    backslashes: u64,
    /// Brackets and braces; also `Y`, `_`, `y` and DEL, which share their bits and stand in strings only.
    brackets: u64,
}

/// With SSE2, which every x86-64 processor has.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)] // bytes are bytes, 16 bits are 16 bits
#[allow(clippy::cast_ptr_alignment)] // the load is for any address
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
        // SAFETY: reads the 16 bytes of `part`; the instructions are part of the architecture.
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

/// Every bit from a set one up to before the next set one: what lies between quotes, the opening one included.
#[inline]
const fn between(mut quotes: u64) -> u64 {
    let mut step = 1;
    while step < 64 {
        quotes ^= quotes << step;
        step *= 2;
    }
    quotes
}

/// The byte behind the array or object that opens at `from`. `None` where it is broken or nested too deeply; which of these
/// and where is for others to say.
#[inline]
pub(super) fn end_of_nested(bytes: &[u8], from: usize) -> Option<usize> {
    // One bit for each open bracket: set where it is a brace.
    let mut braces = [0_u64; MAX_DEPTH / 64];
    let mut depth = 0_usize;
    // All ones where the block begins inside a string; one where its first byte is escaped.
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
            // Escapes nothing there: whatever that is, it is not JSON.
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

    const WHOLE: &str = r#"[{"a":[1,"]}",null],"bc\"{":"x\\","long":"0123456789 0123456789 0123456789 0123456789\"]"},[[]],"y_Y",{"deep":{"er":[{}]}},"\u00e9\/"] ,"more":"{"#;

    /// What the way byte by byte makes of it.
    fn slowly(text: &str) -> Option<usize> {
        let bytes = text.as_bytes();
        let mut scanner = Scanner { text, bytes, at: 0 };
        scanner.nested_bytewise().ok().map(|()| scanner.at)
    }

    #[test]
    fn ends_where_the_slow_way_does() {
        let mut found = 0;
        for shift in 0..70 {
            let padded = format!("[\"{}\",{}]", "s".repeat(shift), &WHOLE[..WHOLE.len() - 11]);
            let end = end_of_nested(padded.as_bytes(), 0);
            assert_eq!(end, slowly(&padded));
            assert_eq!(end, Some(padded.len()));
        }
        for at in 1..WHOLE.len() {
            for byte in *b"\"\\{}[]:,0 Yy_\x7f" {
                for length in [WHOLE.len(), at + 1] {
                    let mut bytes = WHOLE.as_bytes()[..length].to_vec();
                    bytes[at] = byte;
                    let text = String::from_utf8(bytes).expect("ASCII");
                    if let Some(end) = end_of_nested(text.as_bytes(), 0) {
                        found += 1;
                        assert_eq!(Some(end), slowly(&text), "{text}");
                    }
                }
            }
        }
        assert!(found > 500, "{found}");
    }

    #[test]
    fn too_deep_is_for_others_to_say() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(end_of_nested(nested(512).as_bytes(), 0), Some(1024));
        assert_eq!(end_of_nested(nested(513).as_bytes(), 0), None);
    }
}
