//! Why and where the parser refused a document.

use crate::error::Error;

/// What is wrong, and the byte where it is.
#[derive(Debug, Clone, Copy)]
pub struct ParseError {
    pub kind: ParseErrorKind,
    pub at: usize,
}

/// The reasons of `json_last_error_msg()`, and one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseErrorKind {
    Syntax,
    /// `]` for `}` or the other way round.
    Mismatch,
    /// A control byte; PHP says the same of a string without an end.
    Control,
    Utf8,
    /// Half of a `\uXXXX\uXXXX` pair.
    Surrogate,
    Depth,
    /// PHP's `memory_limit`; where `json_decode` ends the script, this is an error like the others.
    Memory,
}

impl ParseError {
    /// The error for the caller; `length` is that of the document.
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
                    "Cannot decode JSON: its {length} bytes make values larger than memory_limit \
                     leaves room for. Raise memory_limit, or send less in one message."
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
            "Cannot decode JSON: {why}, {place}. Check what the sender wrote there."
        ))
    }
}
