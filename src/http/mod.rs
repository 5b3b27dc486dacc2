//! HTTP as a server speaks it: bounded request parsing, responses, query strings.
//!
//! Every response closes the connection, so a second request on it is never read.

mod chunked;
pub mod request;
pub mod respond;

/// Why a request could not be read.
#[derive(Debug, PartialEq, Eq)]
pub enum RequestError {
    /// To be answered with this status and text.
    Status(u16, &'static str),
    /// It did not arrive in time.
    Timeout,
    /// It was the oldest pending connection when the limit was reached.
    Evicted,
    Disconnected,
}
