//! Authentication of the HTTP API.

use serde_json::json;

use super::api::{answer, call, call_ok, send, signed};
use super::*;
use crate::gateway::protocol::auth;
use crate::gateway::server::api::signed_text;

#[test]
fn only_requests_with_a_valid_signature_are_accepted() {
    let gateway = gateway(|_| {});
    let body = r#"{"name":"e","channel":"a","data":"{}"}"#;
    let path = "/apps/app/events";
    assert_eq!(answer(&gateway, "POST", path, &[], body).0, 200);
    let set = |name: &'static str, value: String| {
        move |pairs: &mut Vec<(String, String)>, _: &mut String| {
            pairs.retain(|(n, _)| n != name);
            if !value.is_empty() {
                pairs.push((name.to_owned(), value));
            }
        }
    };
    for (name, value) in [
        ("auth_signature", ""),
        ("auth_signature", "00"),
        ("auth_key", "other"),
        ("auth_version", "2.0"),
        ("auth_timestamp", ""),
        ("auth_timestamp", "1"),
        ("body_md5", ""),
        ("body_md5", "00"),
        ("further", "1"),
    ] {
        let (status, response) = call(
            &gateway,
            "POST",
            path,
            &[],
            body,
            set(name, value.to_owned()),
        );
        assert_eq!(status, 401, "{name}={value}: {response}");
    }
    // Another body of the same length with the same signature.
    let bent = call(&gateway, "POST", path, &[], body, |_, b| {
        *b = b.replace("\"a\"", "\"b\"");
    });
    assert_eq!(bent.0, 401);
    // A duplicate parameter: it is ambiguous which one was signed.
    let doubled = call(&gateway, "POST", path, &[], body, |p, _| {
        p.push(("auth_key".into(), KEY.into()));
    });
    assert_eq!(doubled.0, 400);
    let cased = call(&gateway, "POST", path, &[], body, |p, _| {
        p.push(("Auth_Key".into(), KEY.into()));
    });
    assert_eq!(cased.0, 400);
    // Correctly signed, but for another application.
    assert_eq!(
        answer(&gateway, "POST", "/apps/other/events", &[], body).0,
        404
    );
    assert_eq!(
        answer(&gateway, "GET", "/apps/other/channels", &[], "").0,
        404
    );
    // Correctly signed, but expired.
    let old = (crate::ids::unix_ms() / 1000 - 601).to_string();
    let stale = call(
        &gateway,
        "GET",
        "/apps/app/channels",
        &[],
        "",
        |pairs, _| {
            pairs.retain(|(n, _)| n != "auth_signature" && n != "auth_timestamp");
            pairs.push(("auth_timestamp".into(), old));
            let signature =
                auth::signature(SECRET, &signed_text("GET", "/apps/app/channels", pairs));
            pairs.push(("auth_signature".into(), signature));
        },
    );
    assert_eq!(stale.0, 401);
    assert_eq!(send(&gateway, "GET", "/apps/app/channels", "").0, 401);
    assert_eq!(answer(&gateway, "PUT", "/apps/app/events", &[], "").0, 405);
    assert_eq!(answer(&gateway, "GET", "/apps/app/nothing", &[], "").0, 404);
}

#[test]
fn the_api_can_have_a_port_of_its_own() {
    let api = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gateway = gateway(|s| s.api_listen = Some(api.to_string()));
    assert_eq!(
        answer(&gateway, "GET", "/apps/app/channels", &[], "").0,
        404
    );
    let mut client = TestClient::raw(api);
    client.write(b"GET /apps/app/channels HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.read_to_end().starts_with("HTTP/1.1 401"));
    let mut client = TestClient::raw(api);
    client.write(b"GET /app/app-key?protocol=7 HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    assert!(client.read_to_end().starts_with("HTTP/1.1 426"));
}

#[test]
fn every_listed_secret_is_accepted() {
    let old = "9a8b7c6d5e4f30211203f4e5d6c7b8a9";
    let gateway = gateway(|s| s.secrets = vec![old.into(), SECRET.into()]);
    TestClient::connect(&gateway).subscribe("private-a", None);
    call_ok(&gateway, "GET", "/apps/app/channels", &[], "");
}

#[test]
fn a_client_that_expects_100_continue_is_told_to_send_its_body() {
    let gateway = gateway(|_| {});
    let body = json!({"name": "e", "channel": "private-a", "data": "x".repeat(2000)}).to_string();
    for (secret, expected) in [(SECRET, "HTTP/1.1 100"), ("guessed", "HTTP/1.1 401")] {
        let pairs = signed(secret, "POST", "/apps/app/events", &[], Some(&body));
        let query: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let mut client = TestClient::raw(gateway.address());
        client.write(
            format!(
                "POST /apps/app/events?{} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\
                 Expect: 100-continue\r\n\r\n",
                query.join("&"),
                body.len()
            )
            .as_bytes(),
        );
        let head = client.read_head();
        assert!(head.starts_with(expected), "{head}");
        if expected.ends_with("100") {
            client.write(body.as_bytes());
            let response = client.read_to_end();
            assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        }
    }
}
