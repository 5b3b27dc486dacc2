//! HTTP as a server speaks it: bounded request parsing, responses, query strings.
//!
//! Every response closes the connection, so a second request on it is never read.

mod chunked;
pub mod request;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{timeout, Duration};

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
            status: 200,
            kind: "application/json",
            body: body.into(),
            allowed_origin: None,
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

/// Sends a response and closes the connection, after giving the client up to a second to read it.
pub async fn respond(stream: &mut TcpStream, response: &Response) {
    let extra = match response.status {
        426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        _ => "",
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
         nosniff\r\nConnection: close\r\n\r\n",
        response.status,
        reason(response.status),
    );
    let all = [head.as_bytes(), response.body.as_bytes()].concat();
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
