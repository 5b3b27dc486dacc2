//! The HTTP API: events, queries and commands.

use md5::{Digest, Md5};
use serde_json::{json, Value};

use super::*;
use crate::gateway::protocol::auth;
use crate::gateway::server::api::signed_text;

/// The parameters of a request with its signature.
pub fn signed(
    secret: &str,
    method: &str,
    path: &str,
    parameters: &[(&str, &str)],
    body: Option<&String>,
) -> Vec<(String, String)> {
    let now = (crate::ids::unix_ms() / 1000).to_string();
    let md5 = body.map(|body| hex::encode(Md5::digest(body.as_bytes())));
    let own = [
        ("auth_key", KEY),
        ("auth_timestamp", &now),
        ("auth_version", "1.0"),
    ];
    let md5 = md5.as_deref().map(|md5| ("body_md5", md5));
    let all = parameters.iter().copied().chain(own).chain(md5);
    let mut pairs: Vec<_> = all.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let signature = auth::signature(secret, &signed_text(method, path, &pairs));
    pairs.push(("auth_signature".into(), signature));
    pairs
}

/// Sends a signed request, after `modify` changed its parameters and body.
pub fn call(
    gateway: &Gateway,
    method: &str,
    path: &str,
    parameters: &[(&str, &str)],
    body: &str,
    modify: impl FnOnce(&mut Vec<(String, String)>, &mut String),
) -> (u16, Value) {
    let mut body = body.to_owned();
    let with_md5 = Some(&body).filter(|body| !body.is_empty());
    let mut pairs = signed(SECRET, method, path, parameters, with_md5);
    modify(&mut pairs, &mut body);
    let query: Vec<String> = pairs
        .iter()
        .map(|(n, v)| format!("{n}={}", v.replace('#', "%23").replace(',', "%2C")))
        .collect();
    send(
        gateway,
        method,
        &format!("{path}?{}", query.join("&")),
        &body,
    )
}

/// Sends a signed request.
pub fn answer(
    gateway: &Gateway,
    method: &str,
    path: &str,
    parameters: &[(&str, &str)],
    body: &str,
) -> (u16, Value) {
    call(gateway, method, path, parameters, body, |_, _| {})
}

pub fn send(gateway: &Gateway, method: &str, target: &str, body: &str) -> (u16, Value) {
    let mut client = TestClient::raw(gateway.address());
    client.write(
        format!(
            "{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    let response = client.read_to_end();
    let status = response[9..12].parse().unwrap();
    let text = response.split_once("\r\n\r\n").unwrap().1;
    (
        status,
        serde_json::from_str(text).unwrap_or(Value::String(text.to_owned())),
    )
}

pub fn call_ok(
    gateway: &Gateway,
    method: &str,
    path: &str,
    parameters: &[(&str, &str)],
    body: &str,
) -> Value {
    let (status, response) = answer(gateway, method, path, parameters, body);
    assert_eq!(status, 200, "{method} {path}: {response}");
    response
}

#[test]
fn an_event_reaches_only_the_channel_it_names() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    for channel in ["private-a", "public.a"] {
        client.send_subscribe(channel, None);
        client.expect("pusher_internal:subscription_succeeded", channel);
    }
    let body = json!({"name": "e", "channel": "a", "data": "{}"}).to_string();
    call_ok(&gateway, "POST", "/apps/app/events", &[], &body);
    client.expect_silence();
    let body = json!({"name": "e", "channels": ["private-a", "public.a"], "data": "{\"id\":7}"})
        .to_string();
    call_ok(&gateway, "POST", "/apps/app/events", &[], &body);
    assert_eq!(
        client.event(),
        json!({"event": "e", "channel": "private-a", "data": "{\"id\":7}"})
    );
    client.expect("e", "public.a");
    // Data that is not JSON is sent as a string. socket_id is left out.
    let batch = json!({"batch": [
        {"name": "own", "channel": "private-a", "data": "x", "socket_id": client.id},
        {"name": "text", "channel": "private-a", "data": "hello \"you\""},
    ]});
    call_ok(
        &gateway,
        "POST",
        "/apps/app/batch_events",
        &[],
        &batch.to_string(),
    );
    assert_eq!(client.expect("text", "private-a"), "hello \"you\"");
}

#[test]
fn parameters_of_an_event_may_be_in_the_query() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-a", None);
    let query = [
        ("name", "e"),
        ("channel", "private-a"),
        ("data", "{\"id\":7}"),
    ];
    call_ok(&gateway, "POST", "/apps/app/events", &query, "");
    assert_eq!(client.expect("e", "private-a"), json!({"id": 7}));
    // The body takes precedence.
    let body = json!({"name": "f", "channels": ["private-a"], "data": "1"}).to_string();
    let id = client.id.to_string();
    let more = [
        ("name", "e"),
        ("channel", "private-b"),
        ("socket_id", id.as_str()),
        ("info", "subscription_count"),
    ];
    let counts = call_ok(&gateway, "POST", "/apps/app/events", &more, &body);
    assert_eq!(
        counts,
        json!({"channels": {"private-a": {"subscription_count": 1}}})
    );
    client.expect_silence();
    let (status, why) = answer(&gateway, "POST", "/apps/app/events", &query[..2], "");
    assert_eq!((status, why), (400, json!("name and data are required.")));
}

#[test]
fn a_chunked_body_is_read_within_its_bound() {
    let gateway = gateway(|settings| settings.max_body = 1000);
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-a", None);
    let body = json!({"name": "e", "channel": "private-a", "data": "{}"}).to_string();
    let post = |body: &String, chunks: &str, with_md5: bool| {
        let body = Some(body).filter(|_| with_md5);
        let pairs = signed(SECRET, "POST", "/apps/app/events", &[], body);
        let query: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let mut raw = TestClient::raw(gateway.address());
        raw.write(
            format!(
                "POST /apps/app/events?{} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                query.join("&")
            )
            .as_bytes(),
        );
        raw.write(chunks.as_bytes());
        raw.read_to_end()[9..12].parse::<u16>().unwrap()
    };
    let (one, two) = body.split_at(7);
    let chunks = format!("7\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", two.len());
    assert_eq!(post(&body, &chunks, true), 200);
    client.expect("e", "private-a");
    let other = chunks.replace("private-a", "private-b");
    assert_eq!(post(&body, &other, true), 401);
    assert_eq!(post(&body, &chunks, false), 401);
    assert_eq!(post(&body, "3e9\r\n", true), 413);
    assert_eq!(post(&body, "nonsense\r\n", true), 400);
    client.expect_silence();
}

#[test]
fn invalid_events_are_rejected() {
    let gateway = gateway(|_| {});
    let event = |name: &str, channels: Value, data: String| {
        json!({"name": name, "channels": channels, "data": data}).to_string()
    };
    let many: Vec<String> = (0..101).map(|i| format!("c{i}")).collect();
    let cases = [
        (event("e", json!(["a"]), "x".repeat(10_241)), 413),
        (event("e", json!(many), "{}".into()), 400),
        (event("e", json!([]), "{}".into()), 400),
        (event("pusher:error", json!(["a"]), "{}".into()), 400),
        (event("realtime:recovered", json!(["a"]), "{}".into()), 400),
        (event("", json!(["a"]), "{}".into()), 400),
        (event(&"e".repeat(201), json!(["a"]), "{}".into()), 400),
        (event("e", json!(["a b"]), "{}".into()), 400),
        (
            event("e", json!(["private-encrypted-a"]), "{\"plain\":1}".into()),
            400,
        ),
        (
            json!({"name": "e", "channel": "a", "data": {"a": 1}}).to_string(),
            400,
        ),
        (
            json!({"name": "e", "channel": "a", "data": "", "socket_id": "1.2:x"}).to_string(),
            400,
        ),
        (
            r#"{"name":"e","channel":"a","channel":"b","data":""}"#.to_owned(),
            400,
        ),
        ("[".repeat(100_000), 400),
        ("nonsense".to_owned(), 400),
    ];
    for (body, status) in cases {
        let (got, response) = answer(&gateway, "POST", "/apps/app/events", &[], &body);
        assert_eq!(got, status, "{} {response}", &body[..body.len().min(100)]);
    }
    let batch = json!({"batch": vec![json!({"name": "e", "channel": "a", "data": ""}); 11]});
    assert_eq!(
        answer(
            &gateway,
            "POST",
            "/apps/app/batch_events",
            &[],
            &batch.to_string()
        )
        .0,
        400
    );
    assert_eq!(gateway.hub().counters().broadcasts.get(), 0);
}

#[test]
fn channels_and_users_are_listed() {
    let gateway = gateway(|_| {});
    let (mut a, mut b) = (TestClient::connect(&gateway), TestClient::connect(&gateway));
    a.subscribe("private-a", None);
    b.subscribe("private-a", None);
    a.subscribe("presence-a", Some(r#"{"user_id":"x"}"#));
    b.subscribe("presence-a", Some(r#"{"user_id":"x"}"#));
    let all = call_ok(&gateway, "GET", "/apps/app/channels", &[], "");
    assert_eq!(
        all,
        json!({"channels": {"private-a": {}, "presence-a": {}}})
    );
    let some = call_ok(
        &gateway,
        "GET",
        "/apps/app/channels",
        &[
            ("filter_by_prefix", "presence-"),
            ("info", "user_count,subscription_count"),
        ],
        "",
    );
    assert_eq!(
        some,
        json!({"channels": {"presence-a": {"user_count": 1, "subscription_count": 2}}})
    );
    assert_eq!(
        answer(
            &gateway,
            "GET",
            "/apps/app/channels",
            &[("info", "user_count")],
            ""
        )
        .0,
        400
    );
    let one = call_ok(
        &gateway,
        "GET",
        "/apps/app/channels/private-a",
        &[("info", "subscription_count")],
        "",
    );
    assert_eq!(one, json!({"occupied": true, "subscription_count": 2}));
    assert_eq!(
        call_ok(&gateway, "GET", "/apps/app/channels/private-b", &[], ""),
        json!({"occupied": false})
    );
    assert_eq!(
        call_ok(
            &gateway,
            "GET",
            "/apps/app/channels/presence-a/users",
            &[],
            ""
        ),
        json!({"users": [{"id": "x"}]})
    );
    assert_eq!(
        answer(
            &gateway,
            "GET",
            "/apps/app/channels/private-a/users",
            &[],
            ""
        )
        .0,
        400
    );
}

#[test]
fn connections_are_listed_unsubscribed_and_kicked() {
    let gateway = gateway(|_| {});
    let (mut a, mut b) = (TestClient::connect(&gateway), TestClient::connect(&gateway));
    for client in [&mut a, &mut b] {
        client.subscribe("private-a", None);
        client.subscribe("presence-a", Some(r#"{"user_id":"x"}"#));
    }
    let rows = call_ok(
        &gateway,
        "GET",
        "/apps/app/connections",
        &[("user", "x")],
        "",
    );
    assert_eq!(rows["connections"].as_array().unwrap().len(), 2);
    let socket = a.id.to_string();
    let rows = call_ok(
        &gateway,
        "GET",
        "/apps/app/connections",
        &[("socket", &socket)],
        "",
    );
    assert_eq!(
        rows["connections"][0]["channels"],
        json!(["private-a", "presence-a"])
    );
    assert_eq!(rows["connections"][0]["address"], "127.0.0.1");

    let order = json!({"user": "x", "from": "private-a"}).to_string();
    assert_eq!(
        call_ok(&gateway, "POST", "/apps/app/unsubscribe", &[], &order),
        json!({"sockets": 2})
    );
    for client in [&mut a, &mut b] {
        assert_eq!(
            client.expect("pusher:subscription_error", "private-a")["status"],
            401
        );
    }
    assert_eq!(
        gateway
            .broadcast_locally("private-a", "e", b"1", None)
            .unwrap(),
        0
    );
    // An empty target is an error and does not mean all connections.
    assert_eq!(
        call(&gateway, "POST", "/apps/app/kick", &[], "{}", |_, _| {}).0,
        400
    );
    let order = json!({"socket": socket}).to_string();
    assert_eq!(
        call_ok(&gateway, "POST", "/apps/app/kick", &[], &order),
        json!({"sockets": 1})
    );
    assert_eq!(a.expect_close(), 4009);
    b.sign_in(r#"{"id":"u 7"}"#);
    call_ok(
        &gateway,
        "POST",
        "/apps/app/users/u%207/terminate_connections",
        &[],
        "",
    );
    assert_eq!(b.expect_close(), 4009);
}

#[test]
fn info_of_events_is_answered_as_pushers_libraries_read_it() {
    let gateway = gateway(|_| {});
    let (mut a, mut b) = (TestClient::connect(&gateway), TestClient::connect(&gateway));
    a.subscribe("private-a", None);
    b.subscribe("private-a", None);
    a.subscribe("presence-a", Some(r#"{"user_id":"x"}"#));
    b.subscribe("presence-a", Some(r#"{"user_id":"x"}"#));
    let post = |path: &str, body: Value| {
        let path = format!("/apps/app/{path}");
        answer(&gateway, "POST", &path, &[], &body.to_string())
    };
    let channels = ["private-a", "presence-a", "private-empty"];
    let event = json!({"name": "e", "channels": channels, "data": "1", "info": "user_count,subscription_count"});
    assert_eq!(
        post("events", event),
        (
            200,
            json!({"channels": {
                "private-a": {"subscription_count": 2},
                "presence-a": {"user_count": 1, "subscription_count": 2},
                "private-empty": {"subscription_count": 0},
            }})
        )
    );
    let event = json!({"name": "e", "channel": "private-a", "data": "1", "info": "user_count"});
    assert_eq!(
        post("events", event),
        (200, json!({"channels": {"private-a": {}}}))
    );
    let one = |channel: &str, info: Value| json!({"name": "e", "channel": channel, "data": "1", "info": info});
    let batch = json!({"batch": [
        one("presence-a", json!("user_count")),
        one("private-a", Value::Null),
        one("private-a", json!("subscription_count")),
    ]});
    assert_eq!(
        post("batch_events", batch),
        (
            200,
            json!({"batch": [{"user_count": 1}, {}, {"subscription_count": 2}]})
        )
    );
    let batch = json!({"batch": [one("private-a", Value::Null)]});
    assert_eq!(post("batch_events", batch), (200, json!({})));
    // An invalid attribute prevents the event.
    let sent = gateway.hub().counters().broadcasts.get();
    assert_eq!(post("events", one("private-a", json!("colour"))).0, 400);
    assert_eq!(gateway.hub().counters().broadcasts.get(), sent);
}

#[test]
fn info_of_a_cache_channel_has_its_last_event() {
    let gateway = gateway(|_| {});
    let send_admin_request = |channel: &str| {
        let path = format!("/apps/app/channels/{channel}");
        call_ok(&gateway, "GET", &path, &[("info", "cache")], "")
    };
    assert_eq!(
        send_admin_request("private-cache-a"),
        json!({"occupied": false})
    );
    gateway
        .broadcast_locally("a", "e", br#"{"id":7}"#, None)
        .unwrap();
    let response = send_admin_request("private-cache-a");
    assert_eq!(response["cache"]["data"], r#"{"id":7}"#);
    let ttl = response["cache"]["ttl"].as_u64().unwrap();
    assert!((1790..=1800).contains(&ttl), "{response}");
    assert_eq!(send_admin_request("private-a"), json!({"occupied": false}));
}
