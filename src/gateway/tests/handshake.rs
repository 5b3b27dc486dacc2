//! Handshakes, refusals, invalid HTTP, and the limits before a connection is established.

use std::io::Write;

use super::*;

const APP: &str = "/app/app-key?protocol=7";

#[test]
fn a_refused_connection_gets_101_an_error_and_a_close() {
    let gateway = gateway(|s| {
        s.allowed_origins = vec!["https://shop.example".into()];
    });
    let cases = [
        ("/app/other?protocol=7", "", 4001),
        ("/app/app-key", "", 4008),
        ("/app/app-key?protocol=", "", 4008),
        ("/app/app-key?protocol=seven", "", 4006),
        ("/app/app-key?protocol=7&protocol=7", "", 4006),
        ("/app/app-key?protocol=4", "", 4007),
        ("/app/app-key?protocol=8", "", 4007),
        ("/app/app-key?protocol=99999999999", "", 4007),
        ("/app/app-key?protocol=%2B7", "", 4006),
        ("/", "", 4005),
        ("/app/", "", 4005),
        ("/app/app-key/x?protocol=7", "", 4005),
        ("/other/app-key?protocol=7", "", 4005),
        (APP, "Origin: https://evil.test\r\n", 4009),
        (APP, "Origin: http://shop.example\r\n", 4009),
        (APP, "Origin: https://shop.example:444\r\n", 4009),
        (APP, "Origin: null\r\n", 4009),
    ];
    for (path, headers, code) in cases {
        let mut client = TestClient::open(gateway.address(), path, headers);
        assert_eq!(client.expect_close(), code, "{path} {headers}");
    }
    assert_eq!(
        gateway.hub().counters().connections_refused.get(),
        cases.len() as u64
    );
    for headers in ["", "Origin: HTTPS://shop.example:443\r\n"] {
        TestClient::open(gateway.address(), APP, headers).establish();
    }
}

/// Requests as the official SDKs and pysher build them, from their sources: path, query, and the headers of their
/// WebSocket library.
const SDK_HANDSHAKES: &[(&str, &str, &str)] = &[
    (
        "pusher-js 8",
        "?protocol=7&client=js&version=8.4.0&flash=false",
        "Origin: https://shop.example\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
    ),
    (
        "pusher-websocket-java 2.4",
        "?client=java-client&protocol=5&version=2.4.4",
        "",
    ),
    (
        "pusher-websocket-swift 10",
        "?client=pusher-websocket-swift&version=10.1.5&protocol=7",
        "",
    ),
    (
        "pusher-websocket-dotnet 2",
        "?protocol=5&client=pusher-dotnet-client&version=2.2.0",
        "",
    ),
    (
        "pysher 1",
        "?client=Pysher&version=1.0.8&protocol=6",
        "Origin: http://127.0.0.1:6001\r\n",
    ),
];

#[test]
fn handshakes_of_official_sdks_are_accepted() {
    let gateway = gateway(|_| {});
    for (sdk, query, headers) in SDK_HANDSHAKES {
        let mut client =
            TestClient::open(gateway.address(), &format!("/app/app-key{query}"), headers);
        client.establish();
        client.subscribe("private-a", None);
        assert_eq!(send(&gateway, "a", "e", "1"), 1, "{sdk}");
        client.expect("e", "private-a");
        client.frame(0x88, &1000_u16.to_be_bytes());
        assert_eq!(client.expect_close(), 1000);
        eventually("the connection is removed", || {
            gateway.hub().sockets().is_empty()
        });
    }
}

#[test]
fn invalid_and_ambiguous_http_requests_are_rejected() {
    let gateway = gateway(|_| {});
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
     dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let cases = [
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"
                .to_owned(),
            400,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
            400,
        ),
        (
            format!("GET {APP} HTTP/1.1\r\n{upgrade}Content-Length: 5\r\n\r\nhello"),
            400,
        ),
        (
            format!("GET {APP} HTTP/1.1\r\n{upgrade}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (format!("POST {APP} HTTP/1.1\r\n{upgrade}\r\n"), 405),
        (format!("GET {APP} HTTP/1.0\r\n{upgrade}\r\n"), 400),
        (
            format!("GET {APP} HTTP/1.1\r\n{}\r\n", upgrade.replace("13", "8")),
            426,
        ),
        (
            format!(
                "GET {APP} HTTP/1.1\r\n{}\r\n",
                upgrade.replace("dGhlIHNhbXBsZSBub25jZQ==", "short")
            ),
            400,
        ),
        (format!("GET {APP} HTTP/1.1\r\nHost: a\r\n\r\n"), 426),
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 404),
        ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 404),
        ("GET /ready HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 404),
        ("GET /up HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200),
        (
            "GET http://a/up HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            200,
        ),
        ("HEAD /up HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200),
        ("HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 404),
        (
            "HEAD /sse?channels=public.a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            405,
        ),
        (
            format!("GET /up HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9000)),
            431,
        ),
        ("\0\0\0\0\r\n\r\n".to_owned(), 400),
        (
            "POST /apps/app/events HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n".to_owned(),
            413,
        ),
    ];
    for (request, status) in cases {
        let mut client = TestClient::raw(gateway.address());
        client.write(request.as_bytes());
        // A pipelined second request is never answered: the connection closes.
        client.write(b"GET /up HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.read_to_end();
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {response}"
        );
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response}");
        assert!(response.contains("Connection: close"), "{response}");
        let has_body = !response.ends_with("\r\n\r\n");
        assert_eq!(has_body, !request.starts_with("HEAD "), "{response}");
        assert!(!response.contains("Content-Length: 0"), "{response}");
    }
}

#[test]
fn slow_handshakes_time_out() {
    let gateway = gateway(|s| s.handshake_timeout = Duration::from_millis(300));
    let mut silent = TestClient::raw(gateway.address());
    let mut dripping = TestClient::raw(gateway.address());
    let started = Instant::now();
    for byte in b"GET /app/app-key?protocol=7 HTTP/1.1\r\nHost: " {
        if dripping.stream.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(silent.read_to_end().starts_with("HTTP/1.1 408"));
    assert!(!dripping.read_to_end().contains("101"));
    assert!(started.elapsed() < Duration::from_secs(4));
    assert_eq!(gateway.hub().counters().handshake_timeouts.get(), 2);
}

#[test]
fn frames_sent_with_the_handshake_are_read() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::raw(gateway.address());
    let ping = br#"{"event":"pusher:ping"}"#;
    let mut all = format!(
        "GET {APP} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: \
     Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes();
    all.extend([0x81, 0x80 | u8::try_from(ping.len()).unwrap(), 0, 0, 0, 0]);
    all.extend(ping);
    client.write(&all);
    assert!(client.read_head().starts_with("HTTP/1.1 101"));
    client.establish();
    assert_eq!(client.event()["event"], "pusher:pong");
}

#[test]
fn connections_are_limited_in_total_and_per_address() {
    let gateway = gateway(|s| {
        s.max_connections = 23;
        s.max_connections_per_address = 2;
        s.trusted_proxies = vec!["127.0.0.1".into()];
    });
    let from = |address: &str| {
        TestClient::open(
            gateway.address(),
            APP,
            &format!("X-Forwarded-For: 6.6.6.6, {address}\r\n"),
        )
    };
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut client = from("1.2.3.4");
        client.establish();
        kept.push(client);
    }
    assert_eq!(from("1.2.3.4").expect_close(), 4100);
    // Addresses of one IPv6 /64 share a limit, which is ten times that of an IPv4 address.
    for last in 1..=20 {
        let mut client = from(&format!("2001:db8::{last}"));
        client.establish();
        kept.push(client);
    }
    assert_eq!(from("2001:db8::99").expect_close(), 4100);
    // A trusted proxy without X-Forwarded-For is not limited.
    let mut silent = TestClient::open(gateway.address(), APP, "");
    silent.establish();
    assert_eq!(from("9.9.9.9").expect_close(), 4100);
    drop(kept);
    eventually("the permits are released", || {
        gateway.hub().sockets().len() == 1
    });
    from("1.2.3.4").establish();
}

#[test]
fn the_first_refusal_per_minute_is_logged_with_the_setting() {
    let refuse = |change: fn(&mut Settings), forwarded: &str| {
        let gateway = gateway(|s| {
            s.trusted_proxies = vec!["127.0.0.1".into()];
            change(s);
        });
        let headers = format!("X-Forwarded-For: {forwarded}\r\n");
        let mut open = TestClient::open(gateway.address(), APP, &headers);
        open.establish();
        let mut refused = TestClient::open(gateway.address(), APP, &headers);
        assert_eq!(refused.expect_close(), 4100);
        let lines = crate::runtime::current().log.drain();
        lines.into_iter().map(|l| l.text).collect::<Vec<_>>()
    };
    // The log belongs to the process, so another test may have taken the line.
    let is_logged = |change: fn(&mut Settings), parts: [&str; 2]| {
        (0..10).any(|_| {
            let lines = refuse(change, "1.2.3.4");
            lines
                .iter()
                .any(|line| parts.iter().all(|part| line.contains(part)))
        })
    };
    assert!(is_logged(
        |s| s.max_connections_per_address = 1,
        ["1.2.3.4", "max_connections_per_address (1"]
    ));
    assert!(is_logged(
        |s| s.max_connections = 1,
        ["1 are open", "max_connections"]
    ));
}

#[test]
fn x_forwarded_for_of_untrusted_peers_is_ignored() {
    let gateway = gateway(|s| s.max_connections_per_address = 1);
    for _ in 0..3 {
        let mut client = TestClient::open(gateway.address(), APP, "X-Forwarded-For: 1.2.3.4\r\n");
        client.establish();
        let addresses: Vec<String> = gateway
            .hub()
            .sockets()
            .iter()
            .map(|s| s.address.to_string())
            .collect();
        assert!(addresses.iter().all(|a| a == "127.0.0.1"), "{addresses:?}");
        std::mem::forget(client);
    }
}

#[test]
fn half_open_connections_are_evicted_for_new_ones() {
    // 400 descriptors, as with a small ulimit: a quarter of them may be pending.
    let gateway = gateway(|s| {
        s.descriptor_reserve = crate::gateway::server::ports::descriptors() - 400;
    });
    let mut half = Vec::new();
    for i in 0..1200 {
        let mut client = TestClient::raw(gateway.address());
        // The beginning of a handshake, and an API request without its body.
        client.write(match i % 2 {
            0 => b"GET /app".as_slice(),
            _ => b"POST /apps/app/events HTTP/1.1\r\nContent-Length: 9",
        });
        half.push(client);
    }
    for _ in 0..20 {
        let started = Instant::now();
        let mut client = TestClient::connect(&gateway);
        client.subscribe("private-a", None);
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    assert!(gateway.hub().counters().handshake_timeouts.get() >= 1000);
    assert_eq!(gateway.hub().counters().descriptors_short.get(), 0);
}

#[test]
fn the_body_of_an_unsigned_request_is_not_read() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::raw(gateway.address());
    let started = Instant::now();
    // The body is never sent, and the server does not wait for it.
    client.write(
        b"POST /apps/app/events?auth_key=app-key&auth_version=1.0&auth_timestamp=1 \
     HTTP/1.1\r\nContent-Length: 200000\r\n\r\n",
    );
    assert!(client.read_head().starts_with("HTTP/1.1 401"));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn the_response_and_the_first_frame_are_sent_together() {
    let gateway = gateway(|_| {});
    let _client = TestClient::connect(&gateway);
    let counters = gateway.hub().counters();
    // They are counted after the write.
    eventually("the frame is counted", || counters.frames_sent.get() == 1);
    assert_eq!(counters.writes.get(), 1);
}
