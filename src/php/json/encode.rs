//! The writer: scalars and arrays, directly from the engine's memory to a byte buffer.

use ext_php_rs::types::Zval;

use super::zend::{self, kind, Str, Table, Value};
use super::{number, text, EncodeError, MAX_DEPTH};
use crate::error::Error;

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
#[inline]
pub fn encode_named(root: &str, value: &Zval, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut writer = Writer::new(out);
    // SAFETY: `value` is a live Value of this thread's request.
    let written = unsafe { writer.value((&raw const *value).cast()) };
    writer.finish();
    // A destructor may have thrown although everything was written; a pending exception takes precedence.
    if zend::exception_pending() {
        return Err(EncodeError::Pending);
    }
    written.map_err(|error| error.into_error(root))
}

/// Room that is reserved with every value and key, besides the bytes of its text: for quotes, comma and colon, for a
/// number that is written at once, and for the bytes that [`text::copy_plain`] writes behind the text.
const ROOM: usize = 64;

/// The state of the writer. It writes behind `to`, into memory that [`Writer::reserve`] has made sure of; the length of
/// the buffer is set only where the buffer itself is used.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    to: *mut u8,
    /// The end of the buffer's memory.
    end: *mut u8,
    /// Number of open arrays and objects.
    pub depth: u32,
    /// Number of nested `jsonSerialize()` results.
    pub json_serialize_depth: u32,
}

impl<'a> Writer<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        let mut writer = Self {
            out,
            to: std::ptr::null_mut(),
            end: std::ptr::null_mut(),
            depth: 0,
            json_serialize_depth: 0,
        };
        writer.resume();
        writer
    }

    /// Continues behind what the buffer holds.
    fn resume(&mut self) {
        let range = self.out.as_mut_ptr();
        // SAFETY: both are within the buffer's memory, or at its end.
        unsafe {
            self.to = range.add(self.out.len());
            self.end = range.add(self.out.capacity());
        }
    }

    /// Gives the buffer the length of what was written.
    fn finish(&mut self) {
        let written = self.to as usize - self.out.as_ptr() as usize;
        // SAFETY: `to` does not pass the end of the memory, and everything before it was written.
        unsafe { self.out.set_len(written) };
    }

    /// Runs `write` on the buffer itself.
    #[cold]
    fn in_buffer<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.finish();
        let result = write(self.out);
        self.resume();
        result
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, bytes: usize) {
        self.in_buffer(|out| out.reserve(bytes));
    }

    /// Makes sure of the memory for so many bytes.
    #[inline]
    fn reserve(&mut self, bytes: usize) {
        if (self.end as usize) - (self.to as usize) < bytes {
            self.grow(bytes);
        }
    }

    /// Writes what is reserved already.
    #[inline]
    unsafe fn put<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.to.copy_from_nonoverlapping(bytes.as_ptr(), N);
        self.to = self.to.add(N);
    }

    /// Writes a few bytes.
    #[inline]
    pub fn bytes<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.reserve(N);
        // SAFETY: reserved.
        unsafe { self.put(bytes) };
    }

    /// Writes any value. It must stay alive: containers inside it hold a reference here while user code may run.
    #[allow(clippy::inline_always)] // As a function of its own it saves more registers than most values take to write.
    #[inline(always)]
    pub unsafe fn value(&mut self, value: *const Value) -> WriteResult {
        self.reserve(ROOM);
        match zend::kind_of(value) {
            kind::NULL => self.put(b"null"),
            kind::FALSE => self.put(b"false"),
            kind::TRUE => self.put(b"true"),
            kind::LONG => self.to = number::integer_at(self.to, (*value).payload.long),
            kind::STRING => return self.string((*value).payload.string.cast()),
            _ => return self.other(value),
        }
        Ok(())
    }

    /// Values that take longer.
    #[inline(never)]
    unsafe fn other(&mut self, value: *const Value) -> WriteResult {
        match zend::kind_of(value) {
            kind::DOUBLE => self.double((*value).payload.double),
            kind::ARRAY => self.counted_array((*value).payload.table.cast()),
            kind::OBJECT => self.object((*value).payload.object),
            kind::REFERENCE => self.value(zend::behind(value)),
            _ => Err(WriteError::new(EncodeErrorKind::Type)),
        }
    }

    unsafe fn double(&mut self, float: f64) -> WriteResult {
        self.reserve(ROOM);
        if let Some(to) = number::short_double_at(self.to, float) {
            self.to = to;
            return Ok(());
        }
        if !float.is_finite() {
            return Err(WriteError::new(EncodeErrorKind::InfOrNan));
        }
        self.in_buffer(|out| number::double(float, out));
        Ok(())
    }

    #[inline]
    unsafe fn string(&mut self, string: *const Str) -> WriteResult {
        let length = (*string).len;
        self.reserve(length + ROOM);
        *self.to = b'"';
        if text::copy_plain(string, self.to.add(1)) {
            self.to = self.to.add(1 + length);
            self.put(b"\"");
            return Ok(());
        }
        self.escaped(string)
    }

    #[cold]
    unsafe fn escaped(&mut self, string: *const Str) -> WriteResult {
        self.in_buffer(|out| text::with_escapes(zend::bytes(string), out))
            .map_err(|at| WriteError::new(EncodeErrorKind::Utf8(at)))
    }

    /// `"key":`, preceded by a comma unless it is the first one.
    #[inline]
    unsafe fn key(&mut self, key: *const Str, is_first: bool) -> WriteResult {
        let length = (*key).len;
        self.reserve(length + ROOM);
        *self.to = b',';
        self.to = self.to.add(usize::from(!is_first));
        *self.to = b'"';
        if text::copy_plain(key, self.to.add(1)) {
            self.to = self.to.add(1 + length);
            self.put(b"\":");
            return Ok(());
        }
        self.escaped(key)?;
        self.bytes(b":");
        Ok(())
    }

    /// An array, with a reference while it is written: user code may change the variable it came from.
    unsafe fn counted_array(&mut self, array: *mut Table) -> WriteResult {
        if (*array).elements == 0 && self.depth < MAX_DEPTH {
            self.bytes(b"[]");
            return Ok(());
        }
        if !zend::protect(array.cast()) {
            return Err(WriteError::new(EncodeErrorKind::Recursion));
        }
        zend::add_ref(array.cast());
        let written = self.nested(|writer| {
            if is_list(array) {
                writer.list(array)
            } else {
                writer.map(array)
            }
        });
        zend::unprotect(array.cast());
        zend::release(array.cast());
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
        self.bytes(b"[");
        let mut first = true;
        let mut position = 0;
        while position < (*array).used {
            let (value, _, index) = zend::entry(array, position);
            position += 1;
            if zend::kind_of(value) == kind::UNDEF {
                continue;
            }
            if !first {
                self.bytes(b",");
            }
            first = false;
            self.value(value)
                .map_err(|error| error.under(Step::Index(index)))?;
        }
        self.bytes(b"]");
        Ok(())
    }

    unsafe fn map(&mut self, array: *mut Table) -> WriteResult {
        self.bytes(b"{");
        let mut first = true;
        // Nothing changes the array: the reference that is held here makes user code copy it first.
        for position in 0..(*array).used {
            let (value, key, index) = zend::entry(array, position);
            if zend::kind_of(value) != kind::UNDEF {
                self.member(key, index, value, &mut first)?;
            }
        }
        self.bytes(b"}");
        Ok(())
    }

    /// `"key":value`, preceded by a comma unless it is the `first`.
    #[allow(clippy::inline_always)] // The registers that a call saves take a sixth of the time of a member.
    #[inline(always)]
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
            self.reserve(ROOM);
            *self.to = b',';
            self.to = self.to.add(usize::from(!is_first));
            self.put(b"\"");
            self.to = number::integer_at(self.to, index as i64);
            self.put(b"\":");
        } else {
            self.key(key, is_first).map_err(step)?;
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

/// Why JSON cannot represent a value, in the words of `json_last_error_msg()` where PHP has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodeErrorKind {
    /// User code threw; the exception is pending.
    Pending,
    /// Not UTF-8, at this byte of the string.
    Utf8(usize),
    InfOrNan,
    Recursion,
    Depth,
    /// `jsonSerialize()` returned an object whose `jsonSerialize()` returned an object, without end.
    Chain,
    Type,
    PureEnum(String),
}

/// A reason with the path to the value, innermost step first.
#[derive(Debug)]
pub struct WriteError {
    pub kind: EncodeErrorKind,
    steps: Vec<Step>,
}

#[derive(Debug)]
pub enum Step {
    Index(u64),
    Key(Vec<u8>),
}

/// Longer paths are cut with `…`.
const MAX_PATH_STEPS: usize = 16;

/// Result of all functions that write. Boxed: the error is rare, but the result is on every path.
pub type WriteResult = Result<(), Box<WriteError>>;

#[allow(clippy::unnecessary_box_returns)] // A WriteResult is one pointer wide because of the box.
impl WriteError {
    pub fn new(kind: EncodeErrorKind) -> Box<Self> {
        Box::new(Self {
            kind,
            steps: Vec::new(),
        })
    }

    /// The same error, one step further down.
    #[cold]
    pub fn under(mut self: Box<Self>, step: Step) -> Box<Self> {
        if self.kind != EncodeErrorKind::Pending {
            self.steps.push(step);
        }
        self
    }

    /// Converts to the error of [`super::encode`]; `root` names the whole value.
    #[cold]
    pub fn into_error(self, root: &str) -> EncodeError {
        let (why, advice) = match &self.kind {
            EncodeErrorKind::Pending => return EncodeError::Pending,
            EncodeErrorKind::Utf8(at) => (
                format!("Malformed UTF-8 characters, possibly incorrectly encoded (at byte {at} of the string)"),
                "Convert it with mb_convert_encoding(), or send bytes as base64_encode()",
            ),
            EncodeErrorKind::InfOrNan => (
                "Inf and NaN cannot be JSON encoded".into(),
                "Send null or a string in their place",
            ),
            EncodeErrorKind::Recursion => (
                "Recursion detected".into(),
                "Remove the circular reference, or implement JsonSerializable",
            ),
            EncodeErrorKind::Depth => (
                format!("Maximum stack depth exceeded (more than {MAX_DEPTH} levels)"),
                "Send less of the structure",
            ),
            EncodeErrorKind::Chain => (
                "Recursion detected (jsonSerialize() keeps returning objects with a jsonSerialize() of their \
                own)".into(),
                "Return an array from jsonSerialize()",
            ),
            EncodeErrorKind::Type => (
                "Type is not supported (a resource)".into(),
                "Send its contents, for example stream_get_contents()",
            ),
            EncodeErrorKind::PureEnum(class) => (
                format!("Non-backed enums have no default serialization ({class})"),
                "Declare the enum with values (enum X: string), or send its ->name",
            ),
        };
        let path = self.path(root);
        EncodeError::Json(Error::encoding(format!(
            "Cannot encode {path} as JSON: {why}. {advice}."
        )))
    }

    /// Formats the steps as `data.items[3].name`.
    fn path(&self, root: &str) -> String {
        let mut path = root.to_owned();
        for (shown, step) in self.steps.iter().rev().enumerate() {
            if shown == MAX_PATH_STEPS {
                path.push('…');
                break;
            }
            match step {
                Step::Index(index) => path = format!("{path}[{}]", *index as i64),
                Step::Key(key) if is_identifier(key) => {
                    path.push('.');
                    path.push_str(&String::from_utf8_lossy(key));
                }
                Step::Key(key) => path = format!("{path}[{:?}]", String::from_utf8_lossy(key)),
            }
        }
        path
    }
}

fn is_identifier(key: &[u8]) -> bool {
    !key.is_empty()
        && key
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}
