//! The WebSocket handshake. A refused connection also gets a 101 first: after a failed HTTP handshake pusher-js waits
//! 15 s and more, while a close code tells it whether to reconnect.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::origin;
use crate::config::gateway_settings::Settings;
use crate::gateway::protocol::Close;
use crate::http::request::{query_pairs, Request};

/// Checks that the request is a handshake by RFC 6455 and returns its `Sec-WebSocket-Accept`.
///
/// # Errors
/// Status and text of the HTTP response.
pub fn accept_key(request: &Request) -> Result<String, (u16, &'static str)> {
    if request.method != "GET" {
        return Err((405, "A WebSocket handshake must be a GET request."));
    }
    if request.is_http_1_0 {
        return Err((
            400,
            "A WebSocket handshake needs HTTP/1.1. In nginx: proxy_http_version 1.1;",
        ));
    }
    if request.header("sec-websocket-version") != Some("13") {
        return Err((426, "Only WebSocket version 13 is supported."));
    }
    let key = request.header("sec-websocket-key").unwrap_or_default();
    if STANDARD.decode(key).map(|k| k.len()) != Ok(16) {
        return Err((400, "Sec-WebSocket-Key is not 16 bytes in base64."));
    }
    Ok(derive_accept_key(key.as_bytes()))
}

/// The 101 response. It is sent with the first frame: a system call of its own takes longer than all the rest.
#[must_use]
pub fn switch(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \
         {accept}\r\n\r\n"
    )
}

/// Checks the application key, the protocol version and the origin.
///
/// # Errors
/// The close code of the refusal; never one after which clients reconnect without a delay.
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
        // Java and .NET announce 5, pysher 6; their frames are those of 7.
        Ok(5..=7) => {}
        Ok(_) => return Err(Close::UnsupportedProtocol),
        Err(_) => return Err(Close::VersionFormat),
    }
    if !origin::is_allowed(settings, request.header("origin")) {
        return Err(Close::Unauthorized);
    }
    Ok(())
}
