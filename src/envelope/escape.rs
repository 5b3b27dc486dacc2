//! JSON strings, byte for byte as PHP's `json_encode` writes them with default flags.

/// How a byte is written in a JSON string: 0 unchanged, 1 not ASCII, 2 `\u00xx`, otherwise the letter after the
/// backslash.
const ESCAPES: [u8; 256] = {
    let mut table = [0_u8; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = match i {
            8 => b'b',
            9 => b't',
            10 => b'n',
            12 => b'f',
            13 => b'r',
            0x22 => 0x22,
            0x2f => 0x2f,
            0x5c => 0x5c,
            0..=0x1f => 2,
            0x80..=0xff => 1,
            _ => 0,
        };
        i += 1;
    }
    table
};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends `s` as a JSON string with quotes: `/` as `\/`, and non-ASCII characters as `\uXXXX` with lower-case digits
/// and surrogate pairs.
///
/// ```text
/// write_php_string(&mut out, "a/é"); // "a\/\u00e9"
/// ```
pub fn write_php_string(out: &mut Vec<u8>, s: &str) {
    let bytes = s.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut from = 0;
    while let Some(run) = bytes[from..]
        .iter()
        .position(|&b| ESCAPES[usize::from(b)] != 0)
    {
        let at = from + run;
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match ESCAPES[usize::from(bytes[at])] {
            1 => {
                // A run of non-ASCII characters that begins at `at`.
                let mut units = [0_u16; 2];
                from = at;
                for c in s[at..].chars().take_while(|c| !c.is_ascii()) {
                    for unit in c.encode_utf16(&mut units) {
                        write_unit(out, *unit);
                    }
                    from += c.len_utf8();
                }
            }
            2 => write_unit(out, u16::from(bytes[at])),
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

fn write_unit(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u16| DIGITS[usize::from((unit >> shift) & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}
