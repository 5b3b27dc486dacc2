//! HTTP as a server speaks it: bounded request parsing, responses, query strings.
//!
//! Every response closes the connection, so a second request on it is never read.

pub mod request;

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{timeout, Duration};

/// Maximum length of the line with a chunk's size, extensions included.
const MAX_SIZE_LINE: usize = 256;

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

/// A response other than 101: always with Content-Length and `Connection: close`.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub kind: &'static str,
    pub body: String,
    /// The origin whose pages may read the response.
    pub allowed_origin: Option<String>,
}

impl Response {
    /// A JSON response with status 200.
    #[must_use]
    pub fn json(body: impl Into<String>) -> Self {
        Self {
            kind: "application/json",
            ..Self::text(200, body)
        }
    }

    /// A plain text response.
    #[must_use]
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: body.into(),
            allowed_origin: None,
        }
    }
}

/// Binds a port, also while old connections are in TIME_WAIT; a port with a listener is refused, unless both are
/// `shared` (`SO_REUSEPORT`). Must be called within a runtime.
///
/// # Errors
/// The system's.
pub fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    Ok(socket)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

/// Tells a client that waits for it (`Expect: 100-continue`) to send the body. Errors show when the body is read.
pub async fn invite_body(stream: &mut TcpStream) {
    let line = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
    let _ = timeout(Duration::from_secs(5), line).await;
}

/// Header lines that let the pages of an origin read a response, and send what replacements of `EventSource` send.
#[must_use]
pub fn cors_headers(origin: Option<&str>) -> String {
    origin.map_or_else(String::new, |origin| {
        format!(
            "Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\nAccess-Control-Allow-Headers: Last-Event-ID, \
             Cache-Control\r\n"
        )
    })
}

/// Sends a response and closes the connection, after giving the client up to a second to read it. `is_head`: to a HEAD
/// request, without its body.
pub async fn respond(stream: &mut TcpStream, response: &Response, is_head: bool) {
    let (extra, connection) = match response.status {
        426 => (
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            "close, Upgrade",
        ),
        _ => ("", "close"),
    };
    let cors = cors_headers(response.allowed_origin.as_deref());
    let content = match response.status {
        // Has no content, so its length must not be sent either.
        204 => String::new(),
        _ => format!(
            "Content-Type: {}\r\nContent-Length: {}\r\n",
            response.kind,
            response.body.len()
        ),
    };
    let head = format!(
        "HTTP/1.1 {} {}\r\n{content}{extra}{cors}Cache-Control: no-store\r\nX-Content-Type-Options: \
         nosniff\r\nConnection: {connection}\r\n\r\n",
        response.status,
        reason(response.status),
    );
    let body = if is_head { "" } else { &*response.body };
    let all = [head.as_bytes(), body.as_bytes()].concat();
    let written = timeout(Duration::from_secs(5), stream.write_all(&all)).await;
    if !matches!(written, Ok(Ok(()))) || stream.shutdown().await.is_err() {
        return;
    }
    // Closing with unread input would reset the connection before the client has read the response.
    let mut scratch = [0_u8; 1024];
    let drain = async {
        let mut read = 0;
        while read < 64 << 10 {
            match stream.read(&mut scratch).await {
                Ok(n) if n > 0 => read += n,
                _ => return,
            }
        }
    };
    let _ = timeout(Duration::from_secs(1), drain).await;
}

/// A request body that arrives in chunks, decoded within bounds. Trailers are not read: the connection closes after the
/// response.
pub struct ChunkedBody {
    body: Vec<u8>,
    /// Received and not decoded yet.
    input: Vec<u8>,
    /// Bytes received, with the chunks' framing.
    received: usize,
    max: usize,
}

impl ChunkedBody {
    /// A body of at most `max` bytes, of which `received` arrived with the head.
    #[must_use]
    pub fn new(received: Vec<u8>, max: usize) -> Self {
        Self {
            body: Vec::new(),
            received: received.len(),
            input: received,
            max,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.received += bytes.len();
        self.input.extend_from_slice(bytes);
    }

    /// Decodes what has arrived; the body once it is complete.
    ///
    /// # Errors
    /// [`RequestError::Status`]: 413 for too many bytes, 400 for anything that is not a chunk.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, RequestError> {
        let too_large = RequestError::Status(
            413,
            "The request body is too large (realtime.gateway.max_body).",
        );
        let malformed = RequestError::Status(400, "The body is not chunked as HTTP defines it.");
        let mut at = 0;
        let complete = loop {
            let rest = &self.input[at..];
            // httparse takes an empty line for size 0.
            if rest.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
                return Err(malformed);
            }
            let Ok(parsed) = httparse::parse_chunk_size(rest) else {
                return Err(malformed);
            };
            let httparse::Status::Complete((start, size)) = parsed else {
                if rest.len() > MAX_SIZE_LINE {
                    return Err(malformed);
                }
                break false;
            };
            if size == 0 {
                break true;
            }
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > self.max - self.body.len() {
                return Err(too_large);
            }
            let Some(chunk) = rest.get(start..start + size + 2) else {
                break false;
            };
            let (data, end) = chunk.split_at(size);
            if end != b"\r\n" {
                return Err(malformed);
            }
            self.body.extend_from_slice(data);
            at += start + size + 2;
        };
        self.input.drain(..at);
        if complete {
            return Ok(Some(std::mem::take(&mut self.body)));
        }
        // Framing of chunks of a few bytes each: the body is within the bound, what was sent is not.
        if self.received > self.max.saturating_mul(8).saturating_add(MAX_SIZE_LINE) {
            return Err(too_large);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body or the status, for input that arrives `step` bytes at a time.
    fn decode(input: &[u8], step: usize) -> Result<Option<Vec<u8>>, u16> {
        let mut body = ChunkedBody::new(Vec::new(), 64);
        for part in input.chunks(step) {
            body.push(part);
            match body.take() {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(RequestError::Status(status, _)) => return Err(status),
                Err(other) => panic!("{other:?}"),
            }
        }
        Ok(None)
    }

    type Decoded = Result<Option<&'static [u8]>, u16>;

    #[test]
    fn chunks_are_joined_however_they_arrive() {
        let table: [(&[u8], Decoded); 14] = [
            (b"3\r\nabc\r\n0\r\n\r\n", Ok(Some(b"abc"))),
            (
                b"3;a=b\r\nabc\r\n2\r\n\r\n\r\n0\r\nX: y\r\n\r\n",
                Ok(Some(b"abc\r\n")),
            ),
            (b"0\r\n\r\n", Ok(Some(b""))),
            (b"00003\r\nabc\r\n0\r\n\r\n", Ok(Some(b"abc"))),
            (b"3\r\nabc\r\n", Ok(None)),
            (b"3\r\nab", Ok(None)),
            (b"3\r\nabcd\r\n0\r\n\r\n", Err(400)),
            (b"x\r\nabc\r\n0\r\n\r\n", Err(400)),
            (b"-1\r\nabc\r\n0\r\n\r\n", Err(400)),
            (b"\r\nabc\r\n0\r\n\r\n", Err(400)),
            (b"3 3\r\nabc\r\n0\r\n\r\n", Err(400)),
            (b"41\r\n", Err(413)),
            (b"FFFFFFFFFFFFFFFF\r\n", Err(413)),
            (b"FFFFFFFFFFFFFFFFF\r\n", Err(400)),
        ];
        for (input, expected) in table {
            for step in [1, 2, 1000] {
                let found = decode(input, step);
                let expected = expected.map(|body| body.map(<[u8]>::to_vec));
                assert_eq!(
                    found,
                    expected,
                    "{:?} by {step}",
                    String::from_utf8_lossy(input)
                );
            }
        }
    }

    #[test]
    fn framing_is_bounded() {
        let extension = [b"1;".as_slice(), &[b'a'; 300]].concat();
        assert_eq!(decode(&extension, 1), Err(400));
        let mut many = Vec::new();
        for _ in 0..64 {
            many.extend_from_slice(format!("1;{}\r\nx\r\n", "a".repeat(100)).as_bytes());
        }
        assert_eq!(decode(&many, 7), Err(413));
    }
}
