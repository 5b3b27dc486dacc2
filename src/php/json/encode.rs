//! The writer: scalars and arrays, directly from the engine's memory to a byte buffer.

use ext_php_rs::types::Zval;

use super::encode_error::{EncodeErrorKind, Step, WriteError, WriteResult};
use super::zend::{self, kind, Str, Table, Value};
use super::{number, text, EncodeError, MAX_DEPTH};

/// Appends the JSON of `value` to `out`: byte for byte the output of `json_encode($value)` with default flags.
///
/// # Errors
///
/// [`EncodeError::Json`] if `json_encode` would return false, with the place (`data.items[3].name`) and PHP's reason;
/// [`EncodeError::Pending`] if user code threw. `out` may then contain a part of the value: the caller truncates.
pub fn encode(value: &Zval, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    encode_named("data", value, out)
}

/// [`encode`], with another name than `data` for the whole value in error messages.
///
/// # Errors
///
/// As [`encode`].
pub fn encode_named(root: &str, value: &Zval, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut writer = Writer {
        out,
        depth: 0,
        json_serialize_depth: 0,
    };
    // SAFETY: `value` is a live Value of this thread's request.
    let written = unsafe { writer.value((&raw const *value).cast()) };
    // A destructor may have thrown although everything was written; a pending exception takes precedence.
    if zend::exception_pending() {
        return Err(EncodeError::Pending);
    }
    written.map_err(|error| error.into_error(root))
}

/// The state of the writer.
pub struct Writer<'a> {
    pub out: &'a mut Vec<u8>,
    /// Number of open arrays and objects.
    pub depth: u32,
    /// Number of nested `jsonSerialize()` results.
    pub json_serialize_depth: u32,
}

impl Writer<'_> {
    /// Writes any value. It must stay alive: containers inside it hold a reference here while user code may run.
    #[inline]
    pub unsafe fn value(&mut self, value: *const Value) -> WriteResult {
        match zend::kind_of(value) {
            kind::NULL => self.out.extend_from_slice(b"null"),
            kind::FALSE => self.out.extend_from_slice(b"false"),
            kind::TRUE => self.out.extend_from_slice(b"true"),
            kind::LONG => number::integer((*value).payload.long, self.out),
            kind::DOUBLE => {
                let float = (*value).payload.double;
                if !float.is_finite() {
                    return Err(WriteError::new(EncodeErrorKind::InfOrNan));
                }
                number::double(float, self.out);
            }
            kind::STRING => return self.string((*value).payload.string.cast()),
            kind::ARRAY => return self.counted_array((*value).payload.table.cast()),
            kind::OBJECT => return self.object((*value).payload.object),
            kind::REFERENCE => return self.value(zend::behind(value)),
            _ => return Err(WriteError::new(EncodeErrorKind::Type)),
        }
        Ok(())
    }

    #[inline]
    unsafe fn string(&mut self, string: *const Str) -> WriteResult {
        text::string(zend::bytes(string), self.out)
            .map_err(|at| WriteError::new(EncodeErrorKind::Utf8(at)))
    }

    /// An array, with a reference while it is written: user code may change the variable it came from.
    unsafe fn counted_array(&mut self, array: *mut Table) -> WriteResult {
        if (*array).elements == 0 && self.depth < MAX_DEPTH {
            self.out.extend_from_slice(b"[]");
            return Ok(());
        }
        zend::add_ref(array.cast());
        let written = self.array(array);
        zend::release(array.cast());
        written
    }

    unsafe fn array(&mut self, array: *mut Table) -> WriteResult {
        if !zend::protect(array.cast()) {
            return Err(WriteError::new(EncodeErrorKind::Recursion));
        }
        let written = self.nested(|writer| {
            if is_list(array) {
                writer.list(array)
            } else {
                writer.map(array)
            }
        });
        zend::unprotect(array.cast());
        written
    }

    /// Writes one level deeper, unless that exceeds the limit.
    #[inline]
    pub unsafe fn nested(&mut self, write: impl FnOnce(&mut Self) -> WriteResult) -> WriteResult {
        if self.depth >= MAX_DEPTH {
            return Err(WriteError::new(EncodeErrorKind::Depth));
        }
        self.depth += 1;
        let written = write(self);
        self.depth -= 1;
        written
    }

    unsafe fn list(&mut self, array: *mut Table) -> WriteResult {
        self.out.push(b'[');
        let mut first = true;
        let mut position = 0;
        while position < (*array).used {
            let (value, _, index) = zend::entry(array, position);
            position += 1;
            if zend::kind_of(value) == kind::UNDEF {
                continue;
            }
            if !first {
                self.out.push(b',');
            }
            first = false;
            self.value(value)
                .map_err(|error| error.under(Step::Index(index)))?;
        }
        self.out.push(b']');
        Ok(())
    }

    unsafe fn map(&mut self, array: *mut Table) -> WriteResult {
        self.out.push(b'{');
        let mut first = true;
        let mut position = 0;
        while position < (*array).used {
            let (value, key, index) = zend::entry(array, position);
            position += 1;
            if zend::kind_of(value) != kind::UNDEF {
                self.member(key, index, value, &mut first)?;
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// `"key":value`, preceded by a comma unless it is the `first`.
    #[inline]
    pub unsafe fn member(
        &mut self,
        key: *mut Str,
        index: u64,
        value: *const Value,
        first: &mut bool,
    ) -> WriteResult {
        let is_first = std::mem::replace(first, false);
        let step = |error: Box<WriteError>| {
            error.under(if key.is_null() {
                Step::Index(index)
            } else {
                Step::Key(zend::bytes(key).to_vec())
            })
        };
        if key.is_null() {
            if !is_first {
                self.out.push(b',');
            }
            self.out.push(b'"');
            number::integer(index as i64, self.out);
            self.out.extend_from_slice(b"\":");
        } else {
            text::key(zend::bytes(key), is_first, self.out)
                .map_err(|at| step(WriteError::new(EncodeErrorKind::Utf8(at))))?;
        }
        self.value(value).map_err(step)
    }
}

/// True if the keys are 0, 1, 2 … in this order.
unsafe fn is_list(array: *const Table) -> bool {
    if zend::is_packed(array) && (*array).used == (*array).elements {
        return true;
    }
    let mut expected = 0;
    for position in 0..(*array).used {
        let (value, key, index) = zend::entry(array, position);
        if zend::kind_of(value) == kind::UNDEF {
            continue;
        }
        if !key.is_null() || index != expected {
            return false;
        }
        expected += 1;
    }
    true
}
