//! Server-sent events over real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{json, Value};

use super::*;
use crate::gateway::backend::Target;
use crate::gateway::protocol::auth::{signature, subscription_text};
use crate::gateway::protocol::SocketId;

/// A blocking client of `/sse`.
pub struct EventClient {
    stream: TcpStream,
    buffer: String,
    pub head: String,
}

impl EventClient {
    /// Requests `path` and reads the head of the response.
    pub fn get(gateway: &Gateway, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(gateway.address()).unwrap();
        let timeout = Some(Duration::from_secs(5));
        stream.set_read_timeout(timeout).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut client = Self {
            stream,
            buffer: String::new(),
            head: String::new(),
        };
        client.head = client.until("\r\n\r\n").unwrap();
        client
    }

    /// Subscribes to `public.a`; `more` parameters.
    fn subscribed(gateway: &Gateway, more: &str) -> Self {
        let mut client = Self::get(gateway, &format!("/sse?channels=public.a{more}"), "");
        client.event();
        client.expect("pusher_internal:subscription_succeeded", "public.a");
        client
    }

    fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.find(end) {
                let found = self.buffer[..at].to_owned();
                self.buffer.drain(..at + end.len());
                return Some(found);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).unwrap() {
                0 => return None,
                n => self
                    .buffer
                    .push_str(std::str::from_utf8(&bytes[..n]).unwrap()),
            }
        }
    }

    /// The next block of the stream; `None` at its end.
    pub fn block(&mut self) -> Option<String> {
        self.until("\n\n")
    }

    /// The next event; skips ids and comments.
    pub fn event(&mut self) -> Value {
        loop {
            let block = self.block().expect("the stream goes on");
            if let Some(data) = block.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    pub fn expect(&mut self, event: &str, channel: &str) -> Value {
        let got = self.event();
        assert_eq!(
            (&got["event"], &got["channel"]),
            (&json!(event), &json!(channel))
        );
        got["data"].clone()
    }

    /// The rest of the response.
    fn body(mut self) -> String {
        let mut rest = std::mem::take(&mut self.buffer);
        self.stream.read_to_string(&mut rest).unwrap();
        rest
    }
}

/// A socket id and its ticket, as query parameters, and the id.
fn ticket(gateway: &Gateway) -> (String, SocketId) {
    let client = EventClient::get(gateway, "/sse/ticket", "");
    let ticket: Value = serde_json::from_str(&client.body()).unwrap();
    let id = ticket["socket_id"].as_str().unwrap();
    let query = format!(
        "socket_id={id}&ticket={}",
        ticket["ticket"].as_str().unwrap()
    );
    (query, id.parse().unwrap())
}

fn auth(id: SocketId, channel: &str, data: Option<&str>) -> String {
    format!(
        "{KEY}:{}",
        signature(SECRET, &subscription_text(id, channel, data))
    )
}

#[test]
fn public_channels_need_no_ticket() {
    let gateway = gateway(|_| {});
    let mut client = EventClient::get(&gateway, "/sse?channels=public.a,public.b", "");
    assert!(
        client.head.starts_with("HTTP/1.1 200 OK"),
        "{}",
        client.head
    );
    assert!(client
        .head
        .contains("\r\nContent-Type: text/event-stream\r\n"));
    assert_eq!(client.block().unwrap(), "retry: 1000");
    assert_eq!(client.event()["event"], "pusher:connection_established");
    client.expect("pusher_internal:subscription_succeeded", "public.a");
    client.expect("pusher_internal:subscription_succeeded", "public.b");
    send(&gateway, "public.b", "created", "{\"id\":7}");
    assert_eq!(client.expect("created", "public.b"), json!("{\"id\":7}"));
    assert_eq!(gateway.hub().counters().connections.get(), 1);
    drop(client);
    eventually("the stream has ended", || {
        gateway.hub().counters().connections.get() == 0
    });
}

#[test]
fn private_and_presence_channels_are_authorized_for_the_id_of_the_ticket() {
    let gateway = gateway(|_| {});
    let (query, id) = ticket(&gateway);
    let member = r#"{"user_id":"7","user_info":{"name":"An a"}}"#;
    let encoded = member.replace('"', "%22").replace(' ', "+");
    let path = format!(
        "/sse?{query}&channels=private-a,presence-b,private-c&auth[private-a]={}&auth%5Bpresence-b%5D={}\
         &channel_data[presence-b]={encoded}&auth[private-c]={KEY}:00",
        auth(id, "private-a", None),
        auth(id, "presence-b", Some(member)),
    );
    // An EventSource reconnects with the same URL.
    for _ in 0..2 {
        let mut client = EventClient::get(&gateway, &path, "");
        let established = client.event();
        assert!(established["data"]
            .as_str()
            .unwrap()
            .contains(&id.to_string()));
        client.expect("pusher_internal:subscription_succeeded", "private-a");
        let members = client.expect("pusher_internal:subscription_succeeded", "presence-b");
        assert!(members.as_str().unwrap().contains("An a"), "{members}");
        client.expect("pusher:subscription_error", "private-c");
        // toOthers(): the page sends the id of its ticket.
        gateway
            .broadcast_locally("a", "own", b"1", Some(id))
            .unwrap();
        send(&gateway, "a", "other", "1");
        client.expect("other", "private-a");
    }
}

#[test]
fn requests_that_cannot_be_streamed_are_refused() {
    let gateway =
        gateway(|settings| settings.allowed_origins = vec!["https://shop.example".into()]);
    let (query, id) = ticket(&gateway);
    let other = "socket_id=1.2";
    let ticket_of_other = query.replace(&id.to_string(), "1.2");
    let old = "ticket=1000.AAAAAAAAAAAAAAAAAAAAAA";
    for (status, path, headers) in [
        (400, "/sse".to_owned(), ""),
        (400, "/sse?channels=".to_owned(), ""),
        (
            400,
            "/sse?channels=public.a&channels=public.b".to_owned(),
            "",
        ),
        (401, format!("/sse?channels=private-a&{other}"), ""),
        (
            401,
            format!("/sse?channels=private-a&{ticket_of_other}"),
            "",
        ),
        (
            401,
            format!("/sse?channels=private-a&socket_id={id}&{old}"),
            "",
        ),
        (
            401,
            "/sse?channels=private-a&socket_id=01.2&ticket=x".to_owned(),
            "",
        ),
        (
            403,
            "/sse?channels=public.a".to_owned(),
            "Origin: https://evil.example\r\n",
        ),
        (403, "/sse/ticket".to_owned(), "Origin: null\r\n"),
        (
            204,
            "/sse?channels=public.a".to_owned(),
            "Last-Event-ID: closed\r\n",
        ),
        (
            200,
            "/sse?channels=public.a".to_owned(),
            "Last-Event-ID: nonsense\r\n",
        ),
    ] {
        let client = EventClient::get(&gateway, &path, headers);
        let line = format!("HTTP/1.1 {status} ");
        assert!(client.head.starts_with(&line), "{path}: {}", client.head);
    }
    for path in ["/sse/ticket", "/sse?channels=private-a"] {
        let mut client = TestClient::raw(gateway.address());
        client.write(
            format!(
                "OPTIONS {path} HTTP/1.1\r\nHost: test\r\nOrigin: https://shop.example\r\n\
                 Access-Control-Request-Headers: last-event-id\r\n\r\n"
            )
            .as_bytes(),
        );
        let preflight = client.read_to_end();
        assert!(preflight.starts_with("HTTP/1.1 204 "), "{preflight}");
        assert!(preflight.contains("\r\nAccess-Control-Allow-Headers: Last-Event-ID"));
        assert!(!preflight.contains("Content-Length"));
    }
    let origin = "Origin: https://shop.example\r\n";
    for path in ["/sse/ticket", "/sse?channels=public.a", "/sse"] {
        let client = EventClient::get(&gateway, path, origin);
        assert!(
            client.head.contains(
                "\r\nAccess-Control-Allow-Origin: https://shop.example\r\nVary: Origin\r\n"
            ),
            "{path}: {}",
            client.head
        );
    }
}

#[test]
fn a_client_that_is_kicked_does_not_reconnect_and_a_restart_ends_the_stream() {
    let gateway = gateway(|_| {});
    let mut client = EventClient::subscribed(&gateway, "");
    let target = Target {
        channel: Some("public.a".into()),
        ..Target::default()
    };
    assert_eq!(gateway.hub().kick(&target), 1);
    assert_eq!(client.event()["event"], "pusher:error");
    assert_eq!(client.block().unwrap(), "id: closed");
    assert_eq!(client.block(), None);
    // The application knows the id of the ticket.
    let (query, id) = ticket(&gateway);
    let mut client = EventClient::subscribed(&gateway, &format!("&{query}"));
    let target = Target {
        socket: Some(id),
        ..Target::default()
    };
    assert_eq!(gateway.hub().kick(&target), 1);
    assert_eq!(client.event()["event"], "pusher:error");
    let mut client = EventClient::subscribed(&gateway, "");
    drop(gateway);
    while let Some(block) = client.block() {
        assert!(!block.contains("id: closed"), "{block}");
    }
}

#[test]
fn streams_count_as_connections_and_are_told_to_come_back_later() {
    let gateway = gateway(|settings| settings.max_connections = 2);
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = EventClient::get(&gateway, "/sse?channels=public.a", "");
        client.event();
        open.push(client);
    }
    let refused = EventClient::get(&gateway, "/sse?channels=public.a", "");
    assert!(refused.head.starts_with("HTTP/1.1 200 OK"));
    assert!(refused.body().starts_with("retry: 15000\n\n"));
}

#[test]
fn a_client_that_does_not_read_is_closed_at_the_bound_of_its_queue() {
    let gateway = gateway(|settings| settings.max_queue = 64 << 10);
    let _client = EventClient::subscribed(&gateway, "");
    let data = format!("\"{}\"", "x".repeat(4000));
    eventually("it is closed", || {
        for _ in 0..50 {
            send(&gateway, "public.a", "e", &data);
        }
        gateway.hub().counters().slow_clients.get() == 1
    });
}

#[test]
fn comments_are_sent_while_nothing_happens() {
    let gateway = gateway(|settings| settings.activity_timeout = Duration::from_secs(1));
    let mut client = EventClient::get(&gateway, "/sse?channels=public.a", "");
    while client.block().unwrap() != ":" {}
    assert_eq!(client.block().unwrap(), ":");
}
