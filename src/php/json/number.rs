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

pub fn integer(value: i64, out: &mut Vec<u8>) {
    out.reserve(MAX_INTEGER);
    // SAFETY: reserved, and written up to the end that is returned.
    unsafe {
        let start = out.as_mut_ptr();
        let end = integer_at(start.add(out.len()), value);
        out.set_len(end as usize - start as usize);
    }
}

/// Writes an integer and returns the position behind it.
///
/// # Safety
/// `to` must have room for [`MAX_INTEGER`] bytes.
#[inline]
pub unsafe fn integer_at(mut to: *mut u8, value: i64) -> *mut u8 {
    if value < 0 {
        *to = b'-';
        to = to.add(1);
    }
    let size = value.unsigned_abs();
    if size < 100_000_000 {
        let digits = digits_of_8(size);
        // Zeros in front, but for the last digit.
        let leading = (digits | 1 << 56).trailing_zeros() / 8;
        let text = (digits | 0x3030_3030_3030_3030) >> (leading * 8);
        to.cast::<u64>().write_unaligned(text.to_le());
        return to.add(8 - leading as usize);
    }
    large_integer_at(to, size)
}

/// The eight digits of a number below 10^8, one per byte, the first one lowest: halves, pairs and single digits are
/// divided at the same time.
#[inline]
const fn digits_of_8(number: u64) -> u64 {
    let halves = (number / 10_000) | (number % 10_000) << 32;
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (halves - hundreds * 100) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - tens * 10) << 8
}

unsafe fn large_integer_at(to: *mut u8, mut rest: u64) -> *mut u8 {
    // The digits are written from the last one to the first, two at a time.
    let end = to.add(rest.ilog10() as usize + 1);
    let mut at = end;
    while rest >= 100 {
        at = at.sub(2);
        at.copy_from_nonoverlapping(pair(rest % 100), 2);
        rest /= 100;
    }
    if rest >= 10 {
        at.sub(2).copy_from_nonoverlapping(pair(rest), 2);
    } else {
        *at.sub(1) = b'0' + rest as u8;
    }
    end
}

/// The two digits of a number below 100.
#[inline]
fn pair(number: u64) -> *const u8 {
    PAIRS[number as usize * 2..].as_ptr()
}

/// Writes a float that is an integer or has at most three decimal places, as most have; `None` for others, and where
/// `serialize_precision` asks for a number of digits.
///
/// # Safety
/// `to` must have room for [`MAX_INTEGER`] bytes and four more.
#[allow(clippy::float_cmp, clippy::cast_precision_loss)] // Exactness is the question.
#[inline]
pub unsafe fn short_double_at(to: *mut u8, value: f64) -> Option<*mut u8> {
    if precision() >= 0 {
        return None;
    }
    let size = value.abs();
    // False for what is not a number.
    if size < EXACT {
        let whole = size.to_int_unchecked::<i64>();
        if whole as f64 == size {
            let is_negative = value.is_sign_negative();
            return (whole != 0 || !is_negative)
                .then(|| integer_at(to, if is_negative { -whole } else { whole }));
        }
    }
    short_decimal(size)
        .map(|(scaled, places)| decimal_at(to, value.is_sign_negative(), scaled, places))
}

/// `serialize_precision`.
#[inline]
fn precision() -> i32 {
    // SAFETY: the globals of this thread; no Zend call happens while they are read.
    let precision = unsafe { (*ffi::ext_php_rs_process_globals()).serialize_precision };
    // The engine narrows the setting to an int before it uses it.
    precision as i32
}

/// Appends a finite float with the digits `serialize_precision` asks for.
pub fn double(value: f64, out: &mut Vec<u8>) {
    let precision = precision();
    if precision < 0 {
        shortest(value, out);
    } else {
        rounded(value, precision, out);
    }
}

/// The shortest digits that read back as `value`; for those that [`short_double_at`] leaves.
fn shortest(value: f64, out: &mut Vec<u8>) {
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

/// A positive number with at most three decimal places, such as a price: its digits as an integer, and the number of
/// places.
///
/// An integer below 10^15 and the power of ten are exact as floats, so the division gives the float that is nearest to
/// the decimal: if that is `size`, the decimal reads back as `size`. Fewer digits do not, as fewer places were tried
/// first, and with the same number of places the next decimal is another float.
#[allow(clippy::float_cmp, clippy::cast_precision_loss)] // Exactness is the question.
#[inline]
fn short_decimal(size: f64) -> Option<(u64, usize)> {
    if !(0.001..1e11).contains(&size) {
        return None;
    }
    [10.0, 100.0, 1000.0]
        .iter()
        .enumerate()
        .find_map(|(place, power)| {
            // SAFETY: below 10^15.
            let scaled = unsafe { (size * power + 0.5).to_int_unchecked::<i64>() };
            (scaled as f64 / power == size).then_some((scaled as u64, place + 1))
        })
}

/// Writes `digits / 10^places`; there are at most three places.
#[inline]
unsafe fn decimal_at(mut to: *mut u8, negative: bool, digits: u64, places: usize) -> *mut u8 {
    if negative {
        *to = b'-';
        to = to.add(1);
    }
    let (whole, rest) = match places {
        1 => (digits / 10, digits % 10 * 100),
        2 => (digits / 100, digits % 100 * 10),
        _ => (digits / 1000, digits % 1000),
    };
    to = integer_at(to, whole as i64);
    *to = b'.';
    *to.add(1) = b'0' + (rest / 100) as u8;
    to.add(2).copy_from_nonoverlapping(pair(rest % 100), 2);
    to.add(1 + places)
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
