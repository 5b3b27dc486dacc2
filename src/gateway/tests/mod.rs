//! Tests of the gateway over real sockets.

mod api;
mod channels;
mod event_stream;
mod frames;
mod handshake;
mod kafka;
mod lifecycle;
mod limits;
mod presence;
mod recovery;
pub(crate) mod test_brokers;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::bootstrap::single_node;
use super::broadcast::Broadcast;
use super::hub::Delivery;
use super::protocol::auth::{signature, subscription_text, user_text};
use super::protocol::SocketId;
use super::Gateway;
use crate::config::gateway_settings::Settings;

pub const KEY: &str = "app-key";
pub const SECRET: &str = "4f9c1d7a20b86e35f1a7c9d2e4b60837";

/// Default settings with a free port.
pub fn settings() -> Settings {
    Settings {
        port: 0,
        app_id: "app".into(),
        key: KEY.into(),
        secrets: vec![SECRET.into()],
        ops_listen: None,
        ..Settings::default()
    }
}

/// Starts a gateway for one test.
pub fn gateway(change: impl FnOnce(&mut Settings)) -> Gateway {
    crate::monitoring::install();
    let mut settings = settings();
    change(&mut settings);
    single_node(settings).unwrap()
}

/// Delivers an event with this JSON to the sockets of the gateway and returns their number.
pub fn send(gateway: &Gateway, channel: &str, event: &str, json: impl std::fmt::Display) -> usize {
    let json = json.to_string();
    gateway
        .broadcast_locally(channel, event, json.as_bytes(), None)
        .unwrap()
}

/// Delivers a broadcast to the sockets of the gateway, as the feed does.
pub fn deliver(gateway: &Gateway, broadcast: impl Into<Arc<Broadcast>>) -> Delivery {
    gateway.hub().channels().deliver(&broadcast.into())
}

/// Waits up to five seconds until the condition holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < end, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A frame received from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Pong(Vec<u8>),
    Ping,
    Close(u16, String),
    Disconnected,
    /// No frame arrived in time.
    Timeout,
}

/// A blocking WebSocket client, which can also send invalid bytes.
pub struct TestClient {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    pub id: SocketId,
}

impl TestClient {
    /// Connects like pusher-js and reads `connection_established`.
    pub fn connect(gateway: &Gateway) -> Self {
        let mut client = Self::open(
            gateway.address(),
            &format!("/app/{KEY}?protocol=7&client=js&version=8.4.0&flash=false"),
            "",
        );
        client.establish();
        client
    }

    /// Performs a handshake with any path and additional header lines; asserts a 101.
    pub fn open(address: SocketAddr, path: &str, headers: &str) -> Self {
        let mut client = Self::raw(address);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        client.write(request.as_bytes());
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        assert!(
            !head.to_lowercase().contains("sec-websocket-extensions"),
            "{head}"
        );
        client
    }

    /// Opens a TCP connection.
    pub fn raw(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
            id: "0.0".parse().unwrap(),
        }
    }

    /// Reads `connection_established`.
    pub fn establish(&mut self) {
        let event = self.event();
        assert_eq!(event["event"], "pusher:connection_established", "{event}");
        let data: Value = serde_json::from_str(event["data"].as_str().unwrap()).unwrap();
        assert!(data["activity_timeout"].as_u64().unwrap() > 0);
        self.id = data["socket_id"].as_str().unwrap().parse().unwrap();
    }

    /// Sends raw bytes; a closed connection is not an error here.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads the headers of an HTTP response.
    pub fn read_head(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            if !self.fill(Duration::from_secs(5)) {
                return String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned();
            }
        }
    }

    /// Reads until the connection ends.
    pub fn read_to_end(&mut self) -> String {
        while self.fill(Duration::from_secs(5)) {}
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    fn fill(&mut self, wait: Duration) -> bool {
        let mut chunk = [0_u8; 16384];
        self.stream
            .set_read_timeout(Some(wait.max(Duration::from_millis(1))))
            .unwrap();
        match self.stream.read(&mut chunk) {
            Ok(n) if n > 0 => {
                self.buffer.extend_from_slice(&chunk[..n]);
                true
            }
            _ => false,
        }
    }

    /// Sends a masked frame with any first byte.
    pub fn frame(&mut self, first: u8, payload: &[u8]) {
        let mut out = vec![first];
        match payload.len() {
            n if n < 126 => out.push(0x80 | u8::try_from(n).unwrap()),
            n if n < 65536 => {
                out.push(0xFE);
                out.extend(u16::try_from(n).unwrap().to_be_bytes());
            }
            n => {
                out.push(0xFF);
                out.extend((n as u64).to_be_bytes());
            }
        }
        let mask = [0x11, 0x22, 0x33, 0x44];
        out.extend(mask);
        out.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i & 3]));
        self.write(&out);
    }

    /// Sends a text message.
    pub fn text(&mut self, text: &str) {
        self.frame(0x81, text.as_bytes());
    }

    /// Sends an event without a channel.
    pub fn send(&mut self, event: &str, data: &Value) {
        self.text(&json!({"event": event, "data": data}).to_string());
    }

    /// Reads the next frame within `wait`.
    pub fn next(&mut self, wait: Duration) -> Frame {
        let end = Instant::now() + wait;
        loop {
            if let Some(frame) = self.parse() {
                return frame;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Frame::Timeout;
            }
            if !self.fill(left) {
                return if Instant::now() >= end {
                    Frame::Timeout
                } else {
                    Frame::Disconnected
                };
            }
        }
    }

    fn parse(&mut self) -> Option<Frame> {
        let b = &self.buffer;
        let (first, second) = (*b.first()?, *b.get(1)?);
        assert!(second & 0x80 == 0, "frames of a server are not masked");
        assert!(
            first & 0xF0 == 0x80,
            "one frame per message, no reserved bits"
        );
        let (length, head) = match second {
            126 => (
                usize::from(u16::from_be_bytes(b.get(2..4)?.try_into().unwrap())),
                4,
            ),
            127 => (
                usize::try_from(u64::from_be_bytes(b.get(2..10)?.try_into().unwrap())).unwrap(),
                10,
            ),
            n => (usize::from(n), 2),
        };
        let payload = b.get(head..head + length)?.to_vec();
        self.buffer.drain(..head + length);
        Some(match first & 15 {
            1 => Frame::Text(String::from_utf8(payload).unwrap()),
            8 => Frame::Close(
                u16::from_be_bytes([payload[0], payload[1]]),
                String::from_utf8(payload[2..].to_vec()).unwrap(),
            ),
            9 => Frame::Ping,
            10 => Frame::Pong(payload),
            other => panic!("opcode {other}"),
        })
    }

    /// Reads the next frame that is not a ping, as WebSocket libraries hand them to applications.
    fn next_but_pings(&mut self, wait: Duration) -> Frame {
        loop {
            match self.next(wait) {
                Frame::Ping => {}
                frame => return frame,
            }
        }
    }

    /// Reads the next text message as JSON.
    pub fn event(&mut self) -> Value {
        match self.next_but_pings(Duration::from_secs(5)) {
            Frame::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected an event, got {other:?}"),
        }
    }

    /// Reads the next event and asserts its name and channel; returns its data, parsed one level if it is a string.
    pub fn expect(&mut self, event: &str, channel: &str) -> Value {
        let got = self.event();
        assert_eq!(got["event"], event, "{got}");
        if !channel.is_empty() {
            assert_eq!(got["channel"], channel, "{got}");
        }
        match &got["data"] {
            Value::String(text) => {
                serde_json::from_str(text).unwrap_or(Value::String(text.clone()))
            }
            other => other.clone(),
        }
    }

    /// Asserts that no frame arrives for 150 ms.
    pub fn expect_silence(&mut self) {
        assert_eq!(self.next(Duration::from_millis(150)), Frame::Timeout);
    }

    /// Reads to the close frame and returns its code; a preceding `pusher:error` must have the same code.
    pub fn expect_close(&mut self) -> u16 {
        let mut error = None;
        loop {
            match self.next_but_pings(Duration::from_secs(5)) {
                Frame::Text(text) => {
                    let event: Value = serde_json::from_str(&text).unwrap();
                    if event["event"] == "pusher:error" {
                        error = event["data"]["code"].as_u64();
                    }
                }
                Frame::Close(code, _) => {
                    if let Some(error) = error {
                        assert_eq!(error, u64::from(code));
                    }
                    assert_eq!(self.next(Duration::from_secs(5)), Frame::Disconnected);
                    return code;
                }
                other => panic!("expected a close, got {other:?}"),
            }
        }
    }

    /// Sends a subscription with a valid signature.
    pub fn send_subscribe(&mut self, channel: &str, member: Option<&str>) {
        let text = subscription_text(self.id, channel, member);
        let mut data =
            json!({"channel": channel, "auth": format!("{KEY}:{}", signature(SECRET, &text))});
        if let Some(member) = member {
            data["channel_data"] = member.into();
        }
        self.send("pusher:subscribe", &data);
    }

    /// Reads the error of a subscription.
    pub fn expect_refused(&mut self, channel: &str, status: u16) {
        let error = self.expect("pusher:subscription_error", channel);
        assert_eq!(error["status"], status, "{error}");
    }

    /// Reads the answer to a ping: everything before it has been handled, and the connection is open.
    pub fn expect_pong(&mut self) {
        self.send("pusher:ping", &json!({}));
        assert_eq!(self.event()["event"], "pusher:pong");
    }

    /// Subscribes and reads the success.
    pub fn subscribe(&mut self, channel: &str, member: Option<&str>) -> Value {
        self.send_subscribe(channel, member);
        self.expect("pusher_internal:subscription_succeeded", channel)
    }

    pub fn unsubscribe(&mut self, channel: &str) {
        self.send("pusher:unsubscribe", &json!({"channel": channel}));
    }

    /// Signs in and reads the success.
    pub fn sign_in(&mut self, user_data: &str) {
        let auth = format!(
            "{KEY}:{}",
            signature(SECRET, &user_text(self.id, user_data))
        );
        self.send(
            "pusher:signin",
            &json!({"auth": auth, "user_data": user_data}),
        );
        self.expect("pusher:signin_success", "");
    }

    /// Sends a client event.
    pub fn client_event(&mut self, event: &str, channel: &str, data: &Value) {
        self.text(&json!({"event": event, "channel": channel, "data": data}).to_string());
    }
}
