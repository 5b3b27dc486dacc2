//! Reason and position of a parse error.

use crate::error::Error;

#[derive(Debug, Clone, Copy)]
pub struct ParseError {
    pub kind: ParseErrorKind,
    pub at: usize,
}

/// The reasons of `json_last_error_msg()`, and one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseErrorKind {
    Syntax,
    /// `]` for `}` or the reverse.
    Mismatch,
    /// A control byte; PHP reports the same for an unterminated string.
    Control,
    Utf8,
    /// Half of a `\uXXXX\uXXXX` pair.
    Surrogate,
    Depth,
    /// PHP's `memory_limit`. `json_decode` ends the script there; here it is an error like the others.
    Memory,
}

impl ParseError {
    /// The error for the caller; `length` is the length of the document.
    #[cold]
    pub fn into_error(self, length: usize) -> Error {
        let why = match self.kind {
            ParseErrorKind::Syntax => "Syntax error",
            ParseErrorKind::Mismatch => "State mismatch (invalid or malformed JSON)",
            ParseErrorKind::Control => "Control character error, possibly incorrectly encoded",
            ParseErrorKind::Utf8 => "Malformed UTF-8 characters, possibly incorrectly encoded",
            ParseErrorKind::Surrogate => "Single unpaired UTF-16 surrogate in unicode escape",
            ParseErrorKind::Depth => "Maximum stack depth exceeded",
            ParseErrorKind::Memory => {
                return Error::encoding(format!(
                    "Cannot decode JSON: the values of its {length} bytes need more memory than memory_limit \
                     allows. Raise memory_limit, or send less in one message."
                ));
            }
        };
        let at = self.at;
        let place = if at >= length {
            format!("at the end (byte {at})")
        } else {
            format!("at byte {at} of {length}")
        };
        Error::encoding(format!(
            "Cannot decode JSON: {why}, {place}. Check the data that the sender wrote there."
        ))
    }
}
