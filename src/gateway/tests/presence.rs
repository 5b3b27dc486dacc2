//! Presence of this and other gateways, client events and sign-in.

use serde_json::json;

use super::*;
use crate::gateway::hub::presence::Membership;
use crate::gateway::protocol::incoming::Member;

#[test]
fn presence_events_concern_users_and_not_sockets() {
    let gateway = gateway(|_| {});
    let (mut a, mut b, mut b2) = (
        TestClient::connect(&gateway),
        TestClient::connect(&gateway),
        TestClient::connect(&gateway),
    );
    let first = a.subscribe(
        "presence-chat.1",
        Some(r#"{"user_id":1,"user_info":{"n":"A"}}"#),
    );
    assert_eq!(
        first,
        json!({"presence": {"ids": ["1"], "hash": {"1": {"n": "A"}}, "count": 1}})
    );
    let both = b.subscribe(
        "presence-chat.1",
        Some(r#"{"user_id":"2","user_info":{"n":"B"}}"#),
    );
    assert_eq!(both["presence"]["ids"], json!(["1", "2"]));
    let added = a.expect("pusher_internal:member_added", "presence-chat.1");
    assert_eq!(added, json!({"user_id": "2", "user_info": {"n": "B"}}));
    // The second socket of a user is not a new member, even with an id of another type and other info.
    let again = b2.subscribe(
        "presence-chat.1",
        Some(r#"{"user_id":2,"user_info":{"n":"other"}}"#),
    );
    assert_eq!(again["presence"]["hash"]["2"], json!({"n": "B"}));
    assert_eq!(again["presence"]["count"], 2);
    a.expect_silence();
    drop(b);
    a.expect_silence();
    b2.unsubscribe("presence-chat.1");
    let removed = a.expect("pusher_internal:member_removed", "presence-chat.1");
    assert_eq!(removed, json!({"user_id": "2"}));
    // A broadcast to the presence name reaches the channel itself.
    assert_eq!(send(&gateway, "presence-chat.1", "said", json!(1)), 1);
    assert_eq!(send(&gateway, "chat.1", "said", json!(1)), 1);
}

#[test]
fn presence_members_are_limited_in_number_and_size() {
    let gateway = gateway(|s| {
        s.max_members = 2;
        s.presence_joins = 100;
    });
    let mut clients: Vec<TestClient> = (0..3).map(|_| TestClient::connect(&gateway)).collect();
    for (i, client) in clients.iter_mut().take(2).enumerate() {
        client.subscribe("presence-a", Some(&format!("{{\"user_id\":{i}}}")));
    }
    let late = &mut clients[2];
    late.send_subscribe("presence-a", Some(r#"{"user_id":"x"}"#));
    late.expect_refused("presence-a", 429);
    // A present user may join with another socket.
    late.subscribe("presence-a", Some(r#"{"user_id":1}"#));
    let info = format!("{{\"user_id\":7,\"user_info\":\"{}\"}}", "x".repeat(1100));
    late.send_subscribe("presence-b", Some(&info));
    late.expect_refused("presence-b", 401);
    late.send_subscribe(
        "presence-b",
        Some(&format!("{{\"user_id\":\"{}\"}}", "x".repeat(129))),
    );
    late.expect_refused("presence-b", 401);
}

#[test]
fn client_events_reach_the_other_subscribers() {
    let gateway = gateway(|_| {});
    let (mut a, mut b) = (TestClient::connect(&gateway), TestClient::connect(&gateway));
    a.subscribe("presence-a", Some(r#"{"user_id":1}"#));
    b.subscribe("presence-a", Some(r#"{"user_id":2}"#));
    a.expect("pusher_internal:member_added", "presence-a");
    // A forged user_id and additional fields are not relayed.
    a.text(r#"{"event":"client-typing","channel":"presence-a","data":{"on":true},"user_id":"2","x":1}"#);
    assert_eq!(
        b.event(),
        json!({"event": "client-typing", "channel": "presence-a", "data": {"on": true}, "user_id": "1"})
    );
    a.expect_silence();
    for (event, channel) in [
        ("client-x", "private-other"),
        ("client-x", "public.a"),
        ("x-client-y", "presence-a"),
        ("client-", "presence-a"),
    ] {
        a.client_event(event, channel, &json!(1));
        a.expect("pusher:error", "");
    }
    for _ in 0..20 {
        a.client_event("client-x", "presence-a", &json!(1));
    }
    let mut errors = 0;
    while let Frame::Text(text) = a.next(Duration::from_millis(200)) {
        assert!(text.contains("4301"), "{text}");
        errors += 1;
    }
    assert!((8..=12).contains(&errors), "{errors}");
    // The connection stays open.
    a.expect_pong();
}

#[test]
fn a_client_event_without_data_is_relayed_with_null() {
    let gateway = gateway(|_| {});
    let (mut a, mut b) = (TestClient::connect(&gateway), TestClient::connect(&gateway));
    a.subscribe("private-a", None);
    b.subscribe("private-a", None);
    for data in ["", r#","data":null"#] {
        a.text(&format!(
            r#"{{"event":"client-x","channel":"private-a"{data}}}"#
        ));
        let relayed = json!({"event": "client-x", "channel": "private-a", "data": null});
        assert_eq!(b.event(), relayed, "{data}");
    }
}

#[test]
fn a_signed_in_user_can_subscribe_the_user_channel() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.send("pusher:subscribe", &json!({"channel": "#server-to-user-7"}));
    client.expect_refused("#server-to-user-7", 401);
    client.send(
        "pusher:signin",
        &json!({"auth": "app-key:0", "user_data": "{\"id\":\"7\"}"}),
    );
    assert_eq!(client.expect("pusher:error", "")["code"], 4009);
    client.sign_in(r#"{"id":"7","user_info":{"n":1}}"#);
    for channel in ["#server-to-user-7", "#server-to-user-8"] {
        client.send("pusher:subscribe", &json!({"channel": channel}));
    }
    client.expect(
        "pusher_internal:subscription_succeeded",
        "#server-to-user-7",
    );
    client.expect("pusher:subscription_error", "#server-to-user-8");
    assert_eq!(send(&gateway, "#server-to-user-7", "hello", json!(1)), 1);
    client.expect("hello", "#server-to-user-7");
    // A presence channel without channel_data uses the signed-in user.
    let joined = client.subscribe("presence-a", None);
    assert_eq!(joined["presence"]["hash"], json!({"7": {"n": 1}}));
    // One sign-in per socket.
    let text = crate::gateway::protocol::auth::user_text(client.id, r#"{"id":"8"}"#);
    let auth = format!(
        "{KEY}:{}",
        crate::gateway::protocol::auth::signature(SECRET, &text)
    );
    client.send(
        "pusher:signin",
        &json!({"auth": auth, "user_data": r#"{"id":"8"}"#}),
    );
    assert_eq!(client.expect("pusher:error", "")["code"], 4009);
    assert_eq!(gateway.hub().terminate_user("7"), 1);
    assert_eq!(client.expect_close(), 4009);
}

fn member(user: &str) -> Member {
    Member {
        user_id: user.into(),
        user_info: Some(format!("{{\"name\":\"{user}\"}}")),
    }
}

fn membership(socket: &str, user: &str) -> Membership {
    Membership {
        channel: "presence-a".into(),
        socket: socket.parse().unwrap(),
        member: member(user),
    }
}

/// Reads the added and removed members up to the event `end`, which is sent here.
fn changes(gateway: &Gateway, client: &mut TestClient) -> Vec<String> {
    send(gateway, "presence-a", "end", json!(1));
    let mut changes = Vec::new();
    loop {
        let event = client.event();
        let data = event["data"].as_str().unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let sign = match event["event"].as_str().unwrap() {
            "pusher_internal:member_added" => "+",
            "pusher_internal:member_removed" => "-",
            _ => return changes,
        };
        changes.push(format!("{sign}{}", data["user_id"].as_str().unwrap()));
    }
}

#[test]
fn remote_members_are_added_and_removed() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.subscribe("presence-a", Some(r#"{"user_id":"local"}"#));
    let presence = gateway.hub().presence();
    let (one, two) = ("one", "two");
    let add = |node: &str, socket: &str, user: &str| {
        presence.add(node, "presence-a", socket.parse().unwrap(), &member(user));
    };
    add(one, "1.1", "u");
    assert_eq!(changes(&gateway, &mut client), ["+u"]);
    // The same user on another node, a repeated record, the local user on another node: no new member.
    add(two, "2.1", "u");
    add(two, "2.1", "u");
    add(two, "2.2", "local");
    for _ in 0..2 {
        presence.remove(one, "presence-a", "1.1".parse().unwrap());
    }
    assert!(changes(&gateway, &mut client).is_empty());
    presence.replace_node(two, &[]);
    assert_eq!(changes(&gateway, &mut client), ["-u"]);
    assert_eq!(presence.count("presence-a"), 1);
}

#[test]
fn a_snapshot_sends_only_the_difference() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.subscribe("presence-a", Some(r#"{"user_id":"local"}"#));
    let presence = gateway.hub().presence();
    let mut replace = |members: &[(&str, &str)]| {
        let all: Vec<_> = members
            .iter()
            .map(|(s, user)| membership(s, user))
            .collect();
        presence.replace_node("one", &all);
        changes(&gateway, &mut client)
    };
    let first = [("1.1", "a"), ("1.2", "b"), ("1.3", "c")];
    assert_eq!(replace(&first), ["+a", "+b", "+c"]);
    assert!(replace(&first).is_empty());
    // b left, c has another socket, 1.1 is another user, d is new.
    let second = [("1.1", "x"), ("1.9", "c"), ("1.4", "d")];
    assert_eq!(replace(&second), ["-a", "+x", "+d", "-b"]);
    let users: Vec<String> = presence
        .members("presence-a")
        .into_iter()
        .map(|m| m.user_id)
        .collect();
    assert_eq!(users, ["local", "c", "x", "d"]);
    assert_eq!(replace(&[]).len(), 3);
    assert_eq!(presence.count("presence-a"), 1);
}

#[test]
fn admin_responses_are_merged() {
    use crate::gateway::backend::{AdminRequest, AdminResponse, Target};
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.subscribe("private-a", None);
    let here = gateway.send_admin_request(AdminRequest::Channels {
        prefix: String::new(),
    });
    let text = serde_json::to_string(&here).unwrap();
    let there: AdminResponse = serde_json::from_str(&text).unwrap();
    assert_eq!(here.merge(there).channels["private-a"], 2);
    let request = AdminRequest::Kick {
        target: Target {
            socket: Some(client.id),
            ..Target::default()
        },
    };
    let sent: AdminRequest =
        serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
    assert_eq!(gateway.send_admin_request(sent).count, 1);
    assert_eq!(client.expect_close(), 4009);
    assert_eq!(
        gateway
            .send_admin_request(AdminRequest::Kick {
                target: Target::default()
            })
            .count,
        0
    );
}
