//! Numbers as PHP spells them in JSON.

use std::ffi::{c_char, c_int, CStr};

use ext_php_rs::ffi;

const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// `serialize_precision=-1` (the shortest text that reads back the same) counts as this many digits in the choice of
/// notation.
const SHORTEST_DIGITS: i32 = 17;

/// Doubles below this hold every integer exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

extern "C" {
    // `sign` is an int or a bool, depending on the version: a zeroed int serves for both.
    fn zend_dtoa(
        value: f64,
        mode: c_int,
        digits: c_int,
        point: *mut c_int,
        sign: *mut c_int,
        end: *mut *mut c_char,
    ) -> *mut c_char;
    fn zend_freedtoa(text: *mut c_char);
}

/// The longest integer has 20 characters.
const MAX_INTEGER: usize = 20;

#[inline]
pub fn integer(value: i64, out: &mut Vec<u8>) {
    out.reserve(MAX_INTEGER);
    if value < 0 {
        out.push(b'-');
    }
    let mut rest = value.unsigned_abs();
    let count = rest.checked_ilog10().unwrap_or(0) as usize + 1;
    let end = out.len() + count;
    // SAFETY: sign and digits have room; the digits are written from the last one to the first, two at a time.
    unsafe {
        let mut to = out.as_mut_ptr().add(end);
        while rest >= 100 {
            let pair = PAIRS.as_ptr().add((rest % 100) as usize * 2);
            rest /= 100;
            to = to.sub(2);
            to.copy_from_nonoverlapping(pair, 2);
        }
        if rest >= 10 {
            let pair = PAIRS.as_ptr().add(rest as usize * 2);
            to.sub(2).copy_from_nonoverlapping(pair, 2);
        } else {
            to.sub(1).write(b'0' + rest as u8);
        }
        out.set_len(end);
    }
}

/// Appends a finite float with the digits `serialize_precision` asks for.
pub fn double(value: f64, out: &mut Vec<u8>) {
    // SAFETY: the globals of this thread; no Zend call happens while they are read.
    let precision = unsafe { (*ffi::ext_php_rs_process_globals()).serialize_precision };
    // The engine narrows the setting to an int before it uses it.
    let precision = precision as i32;
    if precision < 0 {
        shortest(value, out);
    } else {
        rounded(value, precision, out);
    }
}

/// The shortest digits that read back as `value`.
#[allow(clippy::float_cmp)] // Exactness is the question.
fn shortest(value: f64, out: &mut Vec<u8>) {
    if value.abs() < EXACT && value.trunc() == value && (value != 0.0 || value.is_sign_positive()) {
        return integer(value as i64, out);
    }
    if let Some((scaled, places)) = short_decimal(value) {
        return decimal(value.is_sign_negative(), scaled, places, out);
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value).as_bytes();
    let mut digits = [0_u8; 24];
    let (mut count, mut point, mut exponent) = (0, None, 0_i32);
    let mut at = usize::from(text[0] == b'-');
    while at < text.len() {
        match text[at] {
            b'.' => point = Some(count),
            b'e' => {
                exponent = std::str::from_utf8(&text[at + 1..])
                    .ok()
                    .and_then(|number| number.parse().ok())
                    .unwrap_or(0);
                break;
            }
            digit => {
                digits[count] = digit;
                count += 1;
            }
        }
        at += 1;
    }
    let point = point.unwrap_or(count) as i32 + exponent;
    let mut digits = &digits[..count];
    let mut leading = 0;
    while digits.len() > 1 && digits[0] == b'0' {
        digits = &digits[1..];
        leading += 1;
    }
    while digits.len() > 1 && digits[digits.len() - 1] == b'0' {
        digits = &digits[..digits.len() - 1];
    }
    // Zero has its one digit before the point.
    let point = if digits == b"0" { 1 } else { point - leading };
    spell(
        value.is_sign_negative(),
        digits,
        point,
        SHORTEST_DIGITS,
        out,
    );
}

/// A number with at most three decimal places, such as a price: its digits as an integer, and the number of places.
///
/// An integer below 10^15 and the power of ten are exact as floats, so the division gives the float that is nearest to
/// the decimal: if that is `value`, the decimal reads back as `value`. Fewer digits do not, as fewer places were tried
/// first, and with the same number of places the next decimal is another float.
#[allow(clippy::float_cmp)] // Exactness is the question.
#[inline]
fn short_decimal(value: f64) -> Option<(u64, usize)> {
    let size = value.abs();
    if !(0.001..1e11).contains(&size) {
        return None;
    }
    [10.0, 100.0, 1000.0]
        .iter()
        .enumerate()
        .find_map(|(place, power)| {
            let scaled = (size * power + 0.5).trunc();
            (scaled / power == size).then_some((scaled as u64, place + 1))
        })
}

/// Writes `digits / 10^places`; there are at most three places.
fn decimal(negative: bool, digits: u64, places: usize, out: &mut Vec<u8>) {
    let power = [1, 10, 100, 1000][places];
    if negative {
        out.push(b'-');
    }
    integer((digits / power) as i64, out);
    let rest = digits % power;
    // With a leading 1, the rest keeps its zeros: the 1 becomes the point.
    let point = out.len();
    integer((power + rest) as i64, out);
    out[point] = b'.';
}

/// `precision` significant digits, correctly rounded, trailing zeros dropped.
fn rounded(value: f64, precision: i32, out: &mut Vec<u8>) {
    let (mut point, mut sign) = (0, 0);
    // SAFETY: dtoa gives a text that ends with a zero byte and is freed once, after its last use.
    unsafe {
        let text = zend_dtoa(
            value,
            2,
            precision,
            &raw mut point,
            &raw mut sign,
            std::ptr::null_mut(),
        );
        spell(
            sign != 0,
            CStr::from_ptr(text).to_bytes(),
            point,
            precision,
            out,
        );
        zend_freedtoa(text);
    }
}

/// Writes `0.digits × 10^point` in the notation PHP chooses: `1.0e+25`, `0.0001`, `120`, `1.5`.
fn spell(negative: bool, digits: &[u8], point: i32, precision: i32, out: &mut Vec<u8>) {
    if negative {
        out.push(b'-');
    }
    if point < -3 || point > precision {
        out.push(digits[0]);
        out.push(b'.');
        out.extend_from_slice(if digits.len() > 1 { &digits[1..] } else { b"0" });
        out.push(b'e');
        let exponent = point - 1;
        out.push(if exponent < 0 { b'-' } else { b'+' });
        return integer(i64::from(exponent.abs()), out);
    }
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
        return out.extend_from_slice(digits);
    }
    let integer_digits = point as usize;
    if digits.len() <= integer_digits {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', integer_digits - digits.len()));
    } else {
        out.extend_from_slice(&digits[..integer_digits]);
        out.push(b'.');
        out.extend_from_slice(&digits[integer_digits..]);
    }
}
