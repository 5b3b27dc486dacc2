//! `GET /sse`: server-sent events with the names, signatures and bounds of WebSocket connections.
//!
//! An `EventSource` reconnects with the URL it was created with, so its signatures must stay valid. They are made for
//! the socket id of a ticket, which this gateway issues (`GET /sse/ticket`) and accepts for ten minutes, and longer
//! from a client that comes back with a position (`Last-Event-ID`) that was sent to this id within ten minutes.

use std::collections::BTreeMap;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::handshake::is_origin_allowed;
use crate::config::gateway_settings::Settings;
use crate::gateway::hub::Hub;
use crate::gateway::protocol::SocketId;
use crate::gateway::replay::token::{Keys, Token};
use crate::gateway::session::CLOSED;
use crate::http::request::{query_pairs, Request};
use crate::http::{cors_headers, Response};
use crate::ids::unix_ms;

pub const PATH: &str = "/sse";
pub const TICKET_PATH: &str = "/sse/ticket";

/// Delay before a client reconnects, in ms; after a refusal for lack of capacity the longer one.
const RETRY_MS: u32 = 1000;
const BUSY_RETRY_MS: u32 = 15_000;
/// Takes the place of the channel in the token of a ticket.
const TICKET: &str = "ticket";

/// A valid request for an event stream.
pub struct StreamRequest {
    /// The id that the signatures are for; `None` without private channels.
    pub socket_id: Option<SocketId>,
    /// What a WebSocket client would send: `realtime:resume`, `pusher:signin`, `pusher:subscribe`.
    pub messages: Vec<String>,
    allowed_origin: Option<String>,
}

/// Parses `?channels=a,b&socket_id=…&ticket=…&auth[a]=…&channel_data[a]=…&user_data=…&user_auth=…`.
///
/// # Errors
/// The response: 400, 401, 403, 405, or 204 for a preflight request and for a client that must not reconnect.
pub fn parse(hub: &Hub, request: &Request) -> Result<StreamRequest, Response> {
    let allowed_origin = check(hub.settings(), request)?;
    let error = |status: u16, why: &str| Response {
        allowed_origin: allowed_origin.clone(),
        ..Response::text(status, format!("{why}\n"))
    };
    let last_id = request.header("last-event-id").unwrap_or_default();
    if last_id == CLOSED {
        return Err(error(204, ""));
    }
    // As forms and URLSearchParams encode a space.
    let pairs = query_pairs(&request.query.replace('+', "%20"))
        .map_err(|why| error(400, &format!("Invalid query: {why}.")))?;
    let value = |name: &str| {
        let pair = pairs.iter().find(|(n, _)| n == name);
        pair.map(|(_, value)| value.as_str())
    };
    let channels: Vec<&str> = value("channels")
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .collect();
    if channels.is_empty() {
        return Err(error(
            400,
            "The parameter channels is missing: /sse?channels=public.news,public.sport",
        ));
    }
    let mut tokens: BTreeMap<String, String> = serde_json::from_str(last_id).unwrap_or_default();
    let socket_id = value("socket_id")
        .map(|id| {
            id.parse::<SocketId>()
                .ok()
                .filter(|id| {
                    is_valid(hub.settings(), *id, value("ticket").unwrap_or_default())
                        || is_resumed(hub, *id, &tokens)
                })
                .ok_or_else(|| {
                    error(401, "The ticket has expired or belongs to another socket_id. Get a new one: GET /sse/ticket")
                })
        })
        .transpose()?;
    if !last_id.is_empty() {
        // A channel without a position is answered with `recovered: false`.
        for channel in &channels {
            tokens.entry((*channel).to_owned()).or_default();
        }
    }
    let message =
        |event: &str, data: &serde_json::Value| json!({"event": event, "data": data}).to_string();
    let mut messages = vec![message("realtime:resume", &json!(tokens))];
    if let (Some(user_data), Some(auth)) = (value("user_data"), value("user_auth")) {
        let data = json!({"user_data": user_data, "auth": auth});
        messages.push(message("pusher:signin", &data));
    }
    for channel in channels {
        let data = json!({
            "channel": channel,
            "auth": value(&format!("auth[{channel}]")),
            "channel_data": value(&format!("channel_data[{channel}]")),
        });
        messages.push(message("pusher:subscribe", &data));
    }
    Ok(StreamRequest {
        socket_id,
        messages,
        allowed_origin,
    })
}

/// Method and origin; returns the origin to name in the response. A preflight request is answered with 204.
fn check(settings: &Settings, request: &Request) -> Result<Option<String>, Response> {
    if !matches!(request.method.as_str(), "GET" | "OPTIONS") {
        return Err(Response::text(405, "Only GET is supported.\n"));
    }
    let given = request.header("origin");
    if !is_origin_allowed(settings, given) {
        return Err(Response::text(
            403,
            "This origin is not allowed (realtime.gateway.allowed_origins).\n",
        ));
    }
    let given = given.map(str::to_owned);
    if request.method == "OPTIONS" {
        return Err(Response {
            allowed_origin: given,
            ..Response::text(204, "")
        });
    }
    Ok(given)
}

/// `GET /sse/ticket`: a socket id to be authorized, and the ticket that makes it acceptable.
#[must_use]
pub fn issue_ticket(settings: &Settings, request: &Request) -> Response {
    let allowed_origin = match check(settings, request) {
        Ok(origin) => origin,
        Err(response) => return response,
    };
    let Ok(id) = SocketId::random() else {
        return Response::text(
            503,
            "The system provides no random numbers for a socket id.\n",
        );
    };
    let ticket = Token {
        issued_ms: unix_ms(),
        socket: id.to_string(),
        user: None,
        topics: Vec::new(),
    };
    let ticket = ticket.encode(TICKET, &keys(settings));
    Response {
        allowed_origin,
        ..Response::json(json!({"socket_id": id.to_string(), "ticket": ticket}).to_string())
    }
}

fn keys(settings: &Settings) -> Keys {
    Keys::new(&settings.secrets, "toporia_realtime event stream")
}

/// True for a ticket of this id that was issued within `position_ttl`.
fn is_valid(settings: &Settings, id: SocketId, ticket: &str) -> bool {
    let longest = settings.position_ttl_ms();
    Token::decode(ticket, TICKET, &keys(settings), unix_ms(), longest)
        .is_ok_and(|ticket| ticket.socket == id.to_string())
}

/// True if the client presents a recent position that was sent to this id.
fn is_resumed(hub: &Hub, id: SocketId, tokens: &BTreeMap<String, String>) -> bool {
    hub.history().is_some_and(|history| {
        let mut tokens = tokens.iter();
        tokens.any(|(channel, token)| history.previous_socket(token, channel) == Some(id))
    })
}

fn head(request: &StreamRequest, retry_ms: u32) -> String {
    // nginx would buffer the stream without X-Accel-Buffering.
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Accel-Buffering: \
         no\r\nX-Content-Type-Options: nosniff\r\n{}Connection: close\r\n\r\nretry: {retry_ms}\n\n",
        cors_headers(request.allowed_origin.as_deref())
    )
}

/// Writes the head of the response.
///
/// # Errors
/// Errors of the socket.
pub async fn begin(stream: &mut TcpStream, request: &StreamRequest) -> std::io::Result<()> {
    stream.write_all(head(request, RETRY_MS).as_bytes()).await
}

/// Refuses for lack of capacity. The status is 200, because an `EventSource` reconnects after no other.
pub async fn refuse(stream: &mut TcpStream, request: &StreamRequest, why: &str) {
    let text = format!("{}: {why}\n\n", head(request, BUSY_RETRY_MS));
    // The connection is closed whether or not the client has read the text.
    if stream.write_all(text.as_bytes()).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}
