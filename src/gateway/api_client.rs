//! A client of the HTTP API, for commands and controllers when the gateway runs in another process.
//!
//! No HTTP client crate: hyper adds 330 KB to the extension and ureq 470 KB, for 40 lines here. minreq (95 KB) takes a
//! body that ends early for a complete one, and bounds the request as a whole instead of each wait.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use md5::{Digest, Md5};
use percent_encoding::{utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};

use super::protocol::auth::signature;
use super::server::api::signed_text;
use crate::config::gateway_settings::Settings;
use crate::error::{Error, Result};

/// Timeout of the connection attempt and of each read. The gateway may need a few seconds to ask the other gateways.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a response, in bytes.
const MAX_RESPONSE: u64 = 256 << 20;
/// All but the unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A client of a gateway's HTTP API.
#[derive(Debug, Clone)]
pub struct ApiClient {
    address: String,
    app_id: String,
    key: String,
    secret: String,
}

impl ApiClient {
    /// Creates a client for the gateway with these settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let address = settings
            .api_listen
            .clone()
            .unwrap_or_else(|| host_port(&settings.host, settings.port));
        Self {
            address: connect_address(&address),
            app_id: settings.app_id.clone(),
            key: settings.key.clone(),
            secret: settings.secret().to_owned(),
        }
    }

    /// Sends `GET /apps/{id}{path}` and returns the response body.
    ///
    /// # Errors
    /// Connection: no gateway responds, or it refuses the request.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>> {
        self.request("GET", path, query, None)
    }

    /// Sends `POST /apps/{id}{path}` and returns the response body.
    ///
    /// # Errors
    /// Connection: no gateway responds, or it refuses the request.
    pub fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.request("POST", path, &[], Some(body))
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Vec<u8>> {
        let path = format!("/apps/{}{path}", self.app_id);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        let query = self.signed_query(method, &path, query, body, now);
        let mut request = format!(
            "{method} {path}?{query} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\nConnection: close\r\n",
            self.address
        );
        if let Some(body) = body {
            let _ = write!(
                request,
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            );
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        let response = self.exchange(&bytes).map_err(|error| {
            let why = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => "no response within 10 s".to_owned(),
                _ => error.to_string(),
            };
            Error::connection(format!(
                "No gateway responds at {} ({why}). Is it running (realtime:gateway)? Does its HTTP API listen \
                 there (realtime.gateway.api_listen, or host and port)?",
                self.address
            ))
        })?;
        self.response_body(&response)
    }

    /// The signed query string: parameters sorted by name, signed unencoded and sent percent-encoded.
    fn signed_query(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&[u8]>,
        now: u64,
    ) -> String {
        let mut all: Vec<(String, String)> = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        all.push(("auth_key".into(), self.key.clone()));
        all.push(("auth_timestamp".into(), now.to_string()));
        all.push(("auth_version".into(), "1.0".into()));
        if let Some(body) = body {
            all.push(("body_md5".into(), hex::encode(Md5::digest(body))));
        }
        let text = signed_text(method, path, &all);
        all.sort();
        let mut sent: Vec<String> = all
            .iter()
            .map(|(k, v)| format!("{k}={}", utf8_percent_encode(v, ENCODED)))
            .collect();
        sent.push(format!("auth_signature={}", signature(&self.secret, &text)));
        sent.join("&")
    }

    fn exchange(&self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut last = None;
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Err(error) => last = Some(error),
                Ok(mut stream) => {
                    stream.set_read_timeout(Some(TIMEOUT))?;
                    stream.set_write_timeout(Some(TIMEOUT))?;
                    stream.write_all(request)?;
                    let mut response = Vec::new();
                    stream.take(MAX_RESPONSE).read_to_end(&mut response)?;
                    return Ok(response);
                }
            }
        }
        Err(last.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into()))
    }

    fn response_body(&self, response: &[u8]) -> Result<Vec<u8>> {
        let Some((status, length, body)) = parse_response(response) else {
            return Err(Error::connection(format!(
                "{} is not a gateway (no HTTP response).",
                self.address
            )));
        };
        if length.is_some_and(|length| length != body.len()) {
            return Err(Error::connection(format!(
                "The gateway at {} disconnected in the middle of its response.",
                self.address
            )));
        }
        if status == 200 {
            return Ok(body.to_vec());
        }
        let said: String = String::from_utf8_lossy(body).chars().take(200).collect();
        let hint = match status {
            401 | 403 => " Do both have the same app id, key and secret, and synchronized clocks?",
            404 => " Is it a gateway of the same version, with this app id?",
            _ => "",
        };
        Err(Error::connection(format!(
            "The gateway at {} responded with {status}: {}.{hint}",
            self.address,
            said.trim().trim_end_matches('.').escape_debug()
        )))
    }
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Replaces the wildcard address, which cannot be connected to, with loopback.
fn connect_address(address: &str) -> String {
    match address.rsplit_once(':') {
        Some(("0.0.0.0" | "*" | "", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]" | "::", port)) => format!("[::1]:{port}"),
        _ => address.to_owned(),
    }
}

/// Parses a response into status, Content-Length and body.
fn parse_response(response: &[u8]) -> Option<(u16, Option<usize>, &[u8])> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(end)) = head.parse(response) else {
        return None;
    };
    let mut lengths = head
        .headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("content-length"))
        .filter_map(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    Some((head.code?, lengths.next(), &response[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn client(address: &str) -> ApiClient {
        ApiClient::new(&Settings {
            app_id: "3".into(),
            key: "278d425bdf160c739803".into(),
            secrets: vec!["7ad3773142a6692b25b8".into()],
            api_listen: Some(address.into()),
            ..Settings::default()
        })
    }

    #[test]
    fn signed_queries_match_pushers_published_vector() {
        let body = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        let query =
            client("x:1").signed_query("POST", "/apps/3/events", &[], Some(body), 1_353_088_179);
        assert_eq!(
            query,
            "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        );
    }

    #[test]
    fn wildcard_addresses_are_connected_to_on_loopback() {
        for (listens, connects) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(client(listens).address, connects);
        }
        assert_eq!(host_port("::1", 6001), "[::1]:6001");
    }

    #[test]
    fn responses_must_be_complete_and_errors_carry_the_reason() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Ok("{}")),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
                Err("middle of its response"),
            ),
            (
                "HTTP/1.1 401 No\r\ncontent-length: 3\r\n\r\nbad",
                Err("same app id"),
            ),
            ("SSH-2.0\r\n\r\n", Err("no HTTP response")),
        ];
        for (sent, expected) in cases {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap();
                stream.write_all(sent.as_bytes()).unwrap();
                String::from_utf8_lossy(&request[..read]).into_owned()
            });
            let response = client(&address).get("/channels", &[("info", "a b&c")]);
            let request = server.join().unwrap();
            assert!(
                request.starts_with("GET /apps/3/channels?auth_key="),
                "{request}"
            );
            assert!(request.contains("&info=a%20b%26c&"), "{request}");
            match expected {
                Ok(body) => assert_eq!(response.unwrap(), body.as_bytes()),
                Err(part) => assert!(response.unwrap_err().message().contains(part), "{sent}"),
            }
        }
        let error = client("127.0.0.1:1").get("/channels", &[]).unwrap_err();
        assert!(
            error
                .message()
                .contains("No gateway responds at 127.0.0.1:1"),
            "{error}"
        );
    }
}
