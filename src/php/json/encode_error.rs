//! Reason and path of an encoding error, collected while the writer unwinds, so that success costs nothing.

use super::EncodeError;
use crate::error::Error;

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
                format!("Maximum stack depth exceeded (more than {} levels)", super::MAX_DEPTH),
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
