//! Reads one HTTP request within a maximum size and time. httparse parses it; further checks reject requests whose end
//! a proxy could see elsewhere (request smuggling).

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{timeout_at, Instant};

use super::{ChunkedBody, RequestError};

/// Maximum number of header fields.
const MAX_HEADERS: usize = 64;
/// Maximum number of query parameters.
const MAX_PAIRS: usize = 64;

#[derive(Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path as sent, percent-encoded.
    pub path: String,
    /// The query string as sent, without the `?`.
    pub query: String,
    /// HTTP/1.0, which has no WebSocket handshake.
    pub is_http_1_0: bool,
    /// Header fields with names in lower case.
    headers: Vec<(String, String)>,
    /// Length of the body in bytes; 0 if it is chunked.
    pub content_length: usize,
    /// The body is sent in chunks.
    pub is_chunked: bool,
    /// Bytes received behind the head.
    pub remaining: Vec<u8>,
}

/// Reads a request head of at most `max` bytes.
///
/// # Errors
/// [`RequestError`].
pub async fn read_head(
    stream: &mut TcpStream,
    max: usize,
    end: Instant,
) -> Result<Request, RequestError> {
    let mut buffer = Vec::with_capacity(1024);
    loop {
        if let Some(request) = parse(&buffer, max)? {
            return Ok(request);
        }
        if buffer.len() >= max {
            return Err(RequestError::Status(
                431,
                "The request headers are too large.",
            ));
        }
        let space = max - buffer.len();
        let mut chunk = [0_u8; 2048];
        let want = space.min(chunk.len());
        match timeout_at(end, stream.read(&mut chunk[..want])).await {
            Err(_) => return Err(RequestError::Timeout),
            Ok(Ok(n)) if n > 0 => buffer.extend_from_slice(&chunk[..n]),
            Ok(_) => return Err(RequestError::Disconnected),
        }
    }
}

/// Reads the body of a request, of at most `max` bytes. The caller has checked its Content-Length.
///
/// # Errors
/// [`RequestError`].
pub async fn read_body(
    stream: &mut TcpStream,
    request: &mut Request,
    max: usize,
    end: Instant,
) -> Result<Vec<u8>, RequestError> {
    let mut body = std::mem::take(&mut request.remaining);
    if request.is_chunked {
        let mut chunks = ChunkedBody::new(body, max);
        loop {
            if let Some(body) = chunks.take()? {
                return Ok(body);
            }
            let mut received = [0_u8; 4096];
            match timeout_at(end, stream.read(&mut received)).await {
                Err(_) => return Err(RequestError::Timeout),
                Ok(Ok(n)) if n > 0 => chunks.push(&received[..n]),
                Ok(_) => return Err(RequestError::Disconnected),
            }
        }
    }
    // Drops a pipelined second request: the connection closes after the response.
    body.truncate(request.content_length);
    while body.len() < request.content_length {
        let mut chunk = [0_u8; 4096];
        let want = (request.content_length - body.len()).min(chunk.len());
        match timeout_at(end, stream.read(&mut chunk[..want])).await {
            Err(_) => return Err(RequestError::Timeout),
            Ok(Ok(n)) if n > 0 => body.extend_from_slice(&chunk[..n]),
            Ok(_) => return Err(RequestError::Disconnected),
        }
    }
    Ok(body)
}

/// The time by which a request must have arrived.
#[must_use]
pub fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout
}

/// Parses a head; `None` while it is incomplete.
///
/// # Errors
/// [`RequestError::Status`].
pub fn parse(buffer: &[u8], max: usize) -> Result<Option<Request>, RequestError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut raw = httparse::Request::new(&mut fields);
    let used = match raw.parse(buffer) {
        Ok(httparse::Status::Complete(used)) if used <= max => used,
        Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => {
            return Err(RequestError::Status(
                431,
                "The request headers are too large.",
            ))
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(RequestError::Status(400, "This is not an HTTP request.")),
    };
    let mut request = Request {
        method: raw.method.unwrap_or_default().to_owned(),
        path: String::new(),
        query: String::new(),
        is_http_1_0: raw.version == Some(0),
        headers: Vec::with_capacity(raw.headers.len()),
        content_length: 0,
        is_chunked: false,
        remaining: buffer[used..].to_vec(),
    };
    let target = without_authority(raw.path.unwrap_or_default());
    if !target.starts_with('/') || target.contains('#') {
        return Err(RequestError::Status(
            400,
            "The request target must be a path.",
        ));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    path.clone_into(&mut request.path);
    query.clone_into(&mut request.query);
    for field in raw.headers.iter() {
        // Cookies and other fields that are not used here may have any encoding.
        let value = String::from_utf8_lossy(field.value);
        request
            .headers
            .push((field.name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    request.check()?;
    Ok(Some(request))
}

/// Path and query of a request target. Servers must accept its absolute form, `http://host/path`, too.
fn without_authority(target: &str) -> &str {
    let schemes = ["http://", "https://"];
    let absolute = schemes.iter().find_map(|s| target.strip_prefix(s));
    absolute.map_or(target, |rest| rest.find('/').map_or("/", |at| &rest[at..]))
}

/// The parameters of a query string, percent-decoded, in the order sent.
///
/// # Errors
/// A text for the response: a duplicate name, invalid UTF-8, too many parameters.
pub fn query_pairs(query: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = decode(name).ok_or("a parameter's name is not UTF-8")?;
        let value = decode(value).ok_or("a parameter's value is not UTF-8")?;
        if pairs.iter().any(|(n, _)| n.eq_ignore_ascii_case(&name)) {
            return Err("a parameter is repeated");
        }
        if pairs.len() >= MAX_PAIRS {
            return Err("there are too many parameters");
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// Percent-decodes; `+` is not decoded. `None`: an escape is incomplete, or the text is not UTF-8.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let is_escape = |rest: &str| {
        let digits = rest.bytes().take(2).filter(u8::is_ascii_hexdigit);
        digits.count() == 2
    };
    // percent_decode_str() takes an incomplete escape as it stands.
    if !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.ok().map(Cow::into_owned)
}

impl Request {
    /// The first value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// All values of a header field.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// True if a comma-separated header field contains the token.
    #[must_use]
    pub fn header_has_token(&self, name: &str, token: &str) -> bool {
        self.header_values(name)
            .flat_map(|value| value.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case(token))
    }

    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// True if the request asks for a WebSocket upgrade.
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.header_has_token("upgrade", "websocket")
            && self.header_has_token("connection", "upgrade")
    }

    /// Removes the prefix of a path that a proxy passed on unchanged. A path without it stays as it is: the proxy has
    /// removed it. With the prefix `/app`, this is also true of `/app/{key}`.
    pub fn strip_prefix(&mut self, prefix: &str) {
        let is_route = |path: &str| path.starts_with("/app/") || path.starts_with("/apps/");
        let rest = self.path.strip_prefix(prefix);
        let rest = rest.filter(|rest| !prefix.is_empty() && rest.starts_with('/'));
        if let Some(rest) = rest.filter(|rest| is_route(rest) || !is_route(&self.path)) {
            self.path = rest.to_owned();
        }
    }

    /// True if the client waits for `100 Continue` before it sends the body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        !self.is_http_1_0
            && (self.is_chunked || self.remaining.len() < self.content_length)
            && self.header_has_token("expect", "100-continue")
    }

    /// Rejects requests with an ambiguous length or with duplicates of security-relevant fields.
    fn check(&mut self) -> Result<(), RequestError> {
        for name in [
            "host",
            "content-length",
            "expect",
            "transfer-encoding",
            "origin",
            "sec-websocket-key",
            "sec-websocket-version",
        ] {
            if self.header_values(name).count() > 1 {
                return Err(RequestError::Status(400, "A header field is sent twice."));
            }
        }
        if self
            .header("expect")
            .is_some_and(|expect| !expect.eq_ignore_ascii_case("100-continue"))
        {
            return Err(RequestError::Status(
                417,
                "Only the expectation 100-continue is supported.",
            ));
        }
        let length = self.header("content-length").map(str::to_owned);
        if let Some(encoding) = self.header("transfer-encoding") {
            let is_supported = encoding.eq_ignore_ascii_case("chunked")
                && length.is_none()
                && !self.is_upgrade()
                && !self.is_http_1_0;
            if !is_supported {
                return Err(RequestError::Status(
                    400,
                    "This Transfer-Encoding is not supported here.",
                ));
            }
            self.is_chunked = true;
        }
        if let Some(length) = length {
            let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
            self.content_length =
                length
                    .parse()
                    .ok()
                    .filter(|_| digits)
                    .ok_or(RequestError::Status(
                        400,
                        "Content-Length is not a valid length.",
                    ))?;
        }
        if self.content_length > 0 && self.is_upgrade() {
            return Err(RequestError::Status(
                400,
                "A WebSocket handshake must not have a body.",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, query_pairs, RequestError};

    fn status(head: &str) -> u16 {
        match parse(head.as_bytes(), 8192) {
            Ok(Some(_)) => 200,
            Ok(None) => 0,
            Err(RequestError::Status(status, _)) => status,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_with_an_ambiguous_length_are_rejected() {
        let table = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\nHost: a\r\n", 0),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", 200),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n", 200),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: the best\r\n\r\n", 417),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
            ("GET a/ HTTP/1.1\r\n\r\n", 400),
            ("OPTIONS * HTTP/1.1\r\n\r\n", 400),
            ("GET /#a HTTP/1.1\r\n\r\n", 400),
            ("nonsense\r\n\r\n", 400),
            ("\x16\x03\x01", 400),
        ];
        for (head, expected) in table {
            assert_eq!(status(head), expected, "{head:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(status(&many), 431);
    }

    #[test]
    fn the_prefix_of_a_path_is_removed_once_and_as_a_whole() {
        let table = [
            ("", "/app/key", "/app/key"),
            ("/rt", "/app/key", "/app/key"),
            ("/rt", "/rt/app/key", "/app/key"),
            ("/rt", "/rt/rt/app/key", "/rt/app/key"),
            ("/rt", "/rtx/app/key", "/rtx/app/key"),
            ("/rt", "/rt", "/rt"),
            ("/rt", "/rt/up", "/up"),
            ("/app", "/app/key", "/app/key"),
            ("/app", "/app/app/key", "/app/key"),
            ("/app", "/app/apps/1/events", "/apps/1/events"),
            ("/apps/x", "/apps/x/events", "/apps/x/events"),
            ("/a/b", "/a/b/apps/1/events", "/apps/1/events"),
        ];
        for (prefix, path, expected) in table {
            let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut request = parse(head.as_bytes(), 8192).unwrap().unwrap();
            request.strip_prefix(prefix);
            assert_eq!(request.path, expected, "{prefix} {path}");
        }
    }

    #[test]
    fn a_target_may_have_scheme_and_host() {
        let table = [
            ("http://a:80/app/key?protocol=7", "/app/key", "protocol=7"),
            ("https://a/up", "/up", ""),
            ("http://a", "/", ""),
            ("/http://a/up", "/http://a/up", ""),
        ];
        for (target, path, query) in table {
            let head = format!("GET {target} HTTP/1.1\r\nHost: b\r\n\r\n");
            let request = parse(head.as_bytes(), 8192).unwrap().unwrap();
            assert_eq!((&*request.path, &*request.query), (path, query), "{target}");
        }
    }

    #[test]
    fn header_fields_may_have_any_encoding() {
        let head = b"GET / HTTP/1.1\r\nCookie: name=M\xfcller\r\nHost: a\r\n\r\n";
        let request = parse(head, 8192).unwrap().unwrap();
        assert_eq!(request.header("host"), Some("a"));
    }

    #[test]
    fn headers_path_and_query_are_parsed() {
        let head = "GET /app/key?protocol=7&x=%20 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, \
         Upgrade\r\nUpgrade: WebSocket\r\n\r\nrest";
        let request = parse(head.as_bytes(), 8192).unwrap().unwrap();
        assert_eq!(
            (request.path.as_str(), request.query.as_str()),
            ("/app/key", "protocol=7&x=%20")
        );
        assert!(request.is_upgrade());
        assert_eq!(request.remaining, b"rest");
        assert_eq!(request.header("host"), Some("a"));
    }

    #[test]
    fn queries_are_decoded_and_duplicates_rejected() {
        assert_eq!(
            query_pairs("a=%20b&c").unwrap(),
            [("a".into(), " b".into()), ("c".into(), String::new())]
        );
        for bad in ["a=1&a=2", "a=1&%61=2", "a=%zz", "a=%2", "a=%ff", "a=%+1"] {
            assert!(query_pairs(bad).is_err(), "{bad}");
        }
    }
}
