//! The WebSocket handshake. Whoever asks for a socket gets a 101, also where it is refused: a failed HTTP handshake would cost the
//! user half a minute, a close code says what to do.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::origin;
use super::request::Request;
use super::signature::query_pairs;
use crate::gateway::protocol::Close;
use crate::gateway::settings::Settings;

/// The `Sec-WebSocket-Accept` of a request that is a handshake by RFC 6455; else why it is none.
///
/// # Errors
/// Status and words.
pub fn accept_key(request: &Request) -> Result<String, (u16, &'static str)> {
    if request.method != "GET" {
        return Err((405, "A handshake is a GET."));
    }
    if request.is_http_1_0 {
        return Err((
            400,
            "A handshake needs version 1.1 of HTTP. In nginx: proxy_http_version 1.1;",
        ));
    }
    if request.header("sec-websocket-version") != Some("13") {
        return Err((426, "WebSocket version 13 is spoken here."));
    }
    let key = request.header("sec-websocket-key").unwrap_or_default();
    if STANDARD.decode(key).map(|k| k.len()) != Ok(16) {
        return Err((400, "Sec-WebSocket-Key is not 16 bytes in base64."));
    }
    Ok(derive_accept_key(key.as_bytes()))
}

/// Switches protocols.
///
/// # Errors
/// The socket's.
pub async fn switch(stream: &mut TcpStream, accept: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await
}

/// Whether the application, the protocol and the page are right.
///
/// # Errors
/// The close code that refuses it; never one that makes the client come back without a pause.
pub fn check(settings: &Settings, request: &Request) -> Result<(), Close> {
    let key = request.path.strip_prefix("/app/").ok_or(Close::Path)?;
    if key.is_empty() || key.contains('/') {
        return Err(Close::Path);
    }
    if key != settings.key {
        return Err(Close::NoApp);
    }
    let pairs = query_pairs(&request.query).map_err(|_| Close::VersionFormat)?;
    let protocol = pairs
        .iter()
        .find(|(name, _)| name == "protocol")
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
        .ok_or(Close::NoProtocol)?;
    match protocol.parse::<u32>() {
        Ok(7) => {}
        Ok(_) => return Err(Close::UnsupportedProtocol),
        Err(_) => return Err(Close::VersionFormat),
    }
    if !origin::is_allowed(settings, request.header("origin")) {
        return Err(Close::Unauthorized);
    }
    Ok(())
}
