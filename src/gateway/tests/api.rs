//! The HTTP API: events, queries, commands and authentication.

use md5::{Digest, Md5};
use serde_json::{json, Value};

use super::*;
use crate::gateway::protocol::auth;
use crate::gateway::server::api::signed_text;

type Pairs = Vec<(String, String)>;

/// The parameters of a request with its signature.
fn signed(
    secret: &str,
    method: &str,
    path: &str,
    parameters: &[(&str, &str)],
    body: Option<&String>,
) -> Pairs {
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
fn call(
    gateway: &Gateway,
    method: &str,
    path: &str,
    parameters: &[(&str, &str)],
    body: &str,
    modify: impl FnOnce(&mut Pairs, &mut String),
) -> (u16, Value) {
    let mut body = body.to_owned();
    let with_md5 = Some(&body).filter(|body| !body.is_empty());
    let mut pairs = signed(SECRET, method, path, parameters, with_md5);
    modify(&mut pairs, &mut body);
    send_raw(gateway, method, &format!("{path}?{}", query(&pairs)), &body)
}

fn query(pairs: &Pairs) -> String {
    let encoded = |v: &String| v.replace('#', "%23").replace(',', "%2C");
    let each = pairs.iter().map(|(n, v)| format!("{n}={}", encoded(v)));
    each.collect::<Vec<_>>().join("&")
}

/// Sends a signed request to a route of the application.
fn answer(
    gateway: &Gateway,
    method: &str,
    route: &str,
    parameters: &[(&str, &str)],
    body: &str,
) -> (u16, Value) {
    let path = format!("/apps/app/{route}");
    call(gateway, method, &path, parameters, body, |_, _| {})
}

fn ok((status, response): (u16, Value)) -> Value {
    assert_eq!(status, 200, "{response}");
    response
}

fn get(gateway: &Gateway, route: &str, parameters: &[(&str, &str)]) -> Value {
    ok(answer(gateway, "GET", route, parameters, ""))
}

fn post(gateway: &Gateway, route: &str, body: &str) -> Value {
    ok(answer(gateway, "POST", route, &[], body))
}

fn send_raw(gateway: &Gateway, method: &str, target: &str, body: &str) -> (u16, Value) {
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
    let json = serde_json::from_str(text);
    (status, json.unwrap_or(Value::String(text.to_owned())))
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
    post(&gateway, "events", &body);
    client.expect_silence();
    let body = json!({"name": "e", "channels": ["private-a", "public.a"], "data": "{\"id\":7}"})
        .to_string();
    post(&gateway, "events", &body);
    assert_eq!(
        client.event(),
        json!({"event": "e", "channel": "private-a", "data": "{\"id\":7}"})
    );
    client.expect("e", "public.a");
    // socket_id is left out.
    let batch = json!({"batch": [
        {"name": "own", "channel": "private-a", "data": "x", "socket_id": client.id},
        {"name": "text", "channel": "private-a", "data": "hello \"you\""},
    ]});
    post(&gateway, "batch_events", &batch.to_string());
    assert_eq!(client.expect("text", "private-a"), "hello \"you\"");
}

#[test]
fn data_of_the_api_reaches_clients_as_it_was_sent() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-cache-a", None);
    client.expect("pusher:cache_miss", "private-cache-a");
    let nested = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    for data in [
        "hello \"you\"\n",
        "\"hello\"",
        "",
        "NaN",
        "{\"a\": 1}",
        &nested(512),
        &nested(3000),
    ] {
        let body = json!({"name": "e", "channel": "private-cache-a", "data": data});
        post(&gateway, "events", &body.to_string());
        assert_eq!(client.event()["data"], data);
        let cache = [("info", "cache")];
        let cached = get(&gateway, "channels/private-cache-a", &cache);
        assert_eq!(cached["cache"]["data"], data);
    }
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
    ok(answer(&gateway, "POST", "events", &query, ""));
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
    let counts = ok(answer(&gateway, "POST", "events", &more, &body));
    assert_eq!(
        counts,
        json!({"channels": {"private-a": {"subscription_count": 1}}})
    );
    client.expect_silence();
    let (status, why) = answer(&gateway, "POST", "events", &query[..2], "");
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
        let query = query(&pairs);
        let mut raw = TestClient::raw(gateway.address());
        raw.write(
            format!(
                "POST /apps/app/events?{query} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
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
        (r#"["e","a",null,"1"]"#.to_owned(), 400),
        ("[".repeat(100_000), 400),
        ("nonsense".to_owned(), 400),
    ];
    for (body, status) in cases {
        let (got, response) = answer(&gateway, "POST", "events", &[], &body);
        assert_eq!(got, status, "{} {response}", &body[..body.len().min(100)]);
    }
    let batch = json!({"batch": vec![json!({"name": "e", "channel": "a", "data": ""}); 11]});
    assert_eq!(
        answer(&gateway, "POST", "batch_events", &[], &batch.to_string()).0,
        400
    );
    let arrays = r#"{"batch":[["e","a",null,"1"]]}"#;
    assert_eq!(answer(&gateway, "POST", "batch_events", &[], arrays).0, 400);
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
    let all = get(&gateway, "channels", &[]);
    assert_eq!(
        all,
        json!({"channels": {"private-a": {}, "presence-a": {}}})
    );
    let info = "user_count,subscription_count";
    let parameters = [("filter_by_prefix", "presence-"), ("info", info)];
    let some = get(&gateway, "channels", &parameters);
    assert_eq!(
        some,
        json!({"channels": {"presence-a": {"user_count": 1, "subscription_count": 2}}})
    );
    assert_eq!(
        answer(&gateway, "GET", "channels", &[("info", "user_count")], "").0,
        400
    );
    let count = [("info", "subscription_count")];
    let one = get(&gateway, "channels/private-a", &count);
    assert_eq!(one, json!({"occupied": true, "subscription_count": 2}));
    assert_eq!(
        get(&gateway, "channels/private-b", &[]),
        json!({"occupied": false})
    );
    assert_eq!(
        get(&gateway, "channels/presence-a/users", &[]),
        json!({"users": [{"id": "x"}]})
    );
    assert_eq!(
        answer(&gateway, "GET", "channels/private-a/users", &[], "").0,
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
    let rows = get(&gateway, "connections", &[("user", "x")]);
    assert_eq!(rows["connections"].as_array().unwrap().len(), 2);
    let socket = a.id.to_string();
    let rows = get(&gateway, "connections", &[("socket", &socket)]);
    assert_eq!(
        rows["connections"][0]["channels"],
        json!(["private-a", "presence-a"])
    );
    assert_eq!(rows["connections"][0]["address"], "127.0.0.1");

    let order = json!({"user": "x", "from": "private-a"}).to_string();
    assert_eq!(post(&gateway, "unsubscribe", &order), json!({"sockets": 2}));
    for client in [&mut a, &mut b] {
        client.expect_refused("private-a", 401);
    }
    assert_eq!(send(&gateway, "private-a", "e", "1"), 0);
    // An empty target is an error and does not mean all connections.
    assert_eq!(answer(&gateway, "POST", "kick", &[], "{}").0, 400);
    let order = json!({"socket": socket}).to_string();
    assert_eq!(post(&gateway, "kick", &order), json!({"sockets": 1}));
    assert_eq!(a.expect_close(), 4009);
    b.sign_in(r#"{"id":"u 7"}"#);
    post(&gateway, "users/u%207/terminate_connections", "");
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
    let post = |path: &str, body: Value| answer(&gateway, "POST", path, &[], &body.to_string());
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
        let route = format!("channels/{channel}");
        get(&gateway, &route, &[("info", "cache")])
    };
    assert_eq!(
        send_admin_request("private-cache-a"),
        json!({"occupied": false})
    );
    send(&gateway, "a", "e", r#"{"id":7}"#);
    let response = send_admin_request("private-cache-a");
    assert_eq!(response["cache"]["data"], r#"{"id":7}"#);
    let ttl = response["cache"]["ttl"].as_u64().unwrap();
    assert!((1790..=1800).contains(&ttl), "{response}");
    assert_eq!(send_admin_request("private-a"), json!({"occupied": false}));
}

#[test]
fn only_requests_with_a_valid_signature_are_accepted() {
    let gateway = gateway(|_| {});
    let body = r#"{"name":"e","channel":"a","data":"{}"}"#;
    let path = "/apps/app/events";
    assert_eq!(answer(&gateway, "POST", "events", &[], body).0, 200);
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
        let (status, response) = call(&gateway, "POST", path, &[], body, |pairs, _| {
            pairs.retain(|(n, _)| n != name);
            pairs.extend((!value.is_empty()).then(|| (name.to_owned(), value.to_owned())));
        });
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
        call(&gateway, "POST", "/apps/other/events", &[], body, |_, _| {}).0,
        404
    );
    assert_eq!(
        call(&gateway, "GET", "/apps/other/channels", &[], "", |_, _| {}).0,
        404
    );
    // Correctly signed, but expired.
    let old = (crate::ids::unix_ms() / 1000 - 601).to_string();
    let path = "/apps/app/channels";
    let stale = call(&gateway, "GET", path, &[], "", |pairs, _| {
        pairs.retain(|(n, _)| n != "auth_signature" && n != "auth_timestamp");
        pairs.push(("auth_timestamp".into(), old));
        let signature = auth::signature(SECRET, &signed_text("GET", path, pairs));
        pairs.push(("auth_signature".into(), signature));
    });
    assert_eq!(stale.0, 401);
    assert_eq!(send_raw(&gateway, "GET", "/apps/app/channels", "").0, 401);
    assert_eq!(answer(&gateway, "PUT", "events", &[], "").0, 405);
    assert_eq!(answer(&gateway, "GET", "nothing", &[], "").0, 404);
}

#[test]
fn every_listed_secret_is_accepted() {
    let old = "9a8b7c6d5e4f30211203f4e5d6c7b8a9";
    let gateway = gateway(|s| s.secrets = vec![old.into(), SECRET.into()]);
    TestClient::connect(&gateway).subscribe("private-a", None);
    get(&gateway, "channels", &[]);
}

#[test]
fn a_client_that_expects_100_continue_is_told_to_send_its_body() {
    let gateway = gateway(|_| {});
    let body = json!({"name": "e", "channel": "private-a", "data": "x".repeat(2000)}).to_string();
    for (secret, expected) in [(SECRET, "HTTP/1.1 100"), ("guessed", "HTTP/1.1 401")] {
        let pairs = signed(secret, "POST", "/apps/app/events", &[], Some(&body));
        let query = query(&pairs);
        let mut client = TestClient::raw(gateway.address());
        client.write(
            format!(
                "POST /apps/app/events?{} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\
                 Expect: 100-continue\r\n\r\n",
                query,
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
