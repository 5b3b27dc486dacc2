//! Presence changes that arrive from other gateways.

use super::*;
use crate::gateway::presence::{Change, Membership, NodeId};
use crate::gateway::protocol::frame::Member;
use serde_json::json;

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

fn added(user: &str) -> Change {
    Change::Added {
        channel: "presence-a".into(),
        user_id: user.into(),
    }
}

fn removed(user: &str) -> Change {
    Change::Removed {
        channel: "presence-a".into(),
        user_id: user.into(),
    }
}

#[test]
fn remote_members_are_added_and_removed() {
    let gateway = gateway(|_| {});
    let mut client = TestClient::connect(&gateway);
    client.subscribe("presence-a", Some(r#"{"user_id":"local"}"#));
    let presence = gateway.hub().presence();
    let (one, two) = (NodeId::from("one"), NodeId::from("two"));
    let id = |text: &str| text.parse().unwrap();
    assert_eq!(
        presence.add(&one, "presence-a", id("1.1"), &member("u")),
        [added("u")]
    );
    client.expect("pusher_internal:member_added", "presence-a");
    // The same user on another node, a repeated record, the local user on another node: no new member.
    assert!(presence
        .add(&two, "presence-a", id("2.1"), &member("u"))
        .is_empty());
    assert!(presence
        .add(&two, "presence-a", id("2.1"), &member("u"))
        .is_empty());
    assert!(presence
        .add(&two, "presence-a", id("2.2"), &member("local"))
        .is_empty());
    assert!(presence.remove(&one, "presence-a", id("1.1")).is_empty());
    assert!(presence.remove(&one, "presence-a", id("1.1")).is_empty());
    assert_eq!(presence.drop_node(&two), [removed("u")]);
    assert_eq!(
        client.expect("pusher_internal:member_removed", "presence-a"),
        json!({"user_id": "u"})
    );
    client.expect_silence();
    assert_eq!(presence.count("presence-a"), 1);
    // A snapshot has only this gateway's members.
    presence.add(&one, "presence-a", id("1.2"), &member("v"));
    let own = presence.snapshot(gateway.hub().node());
    assert_eq!(own.len(), 1);
    assert_eq!(
        (own[0].socket, own[0].member.user_id.as_str()),
        (client.id, "local")
    );
}

#[test]
fn a_snapshot_sends_only_the_difference() {
    let gateway = gateway(|_| {});
    let presence = gateway.hub().presence();
    let node = NodeId::from("one");
    let first = [
        membership("1.1", "a"),
        membership("1.2", "b"),
        membership("1.3", "c"),
    ];
    assert_eq!(
        presence.replace_node(&node, &first),
        [added("a"), added("b"), added("c")]
    );
    assert!(presence.replace_node(&node, &first).is_empty());
    // b left, c has another socket, 1.1 is another user, d is new.
    let second = [
        membership("1.1", "x"),
        membership("1.9", "c"),
        membership("1.4", "d"),
    ];
    let changes = presence.replace_node(&node, &second);
    assert_eq!(
        changes,
        [removed("a"), added("x"), added("d"), removed("b")]
    );
    let users: Vec<String> = presence
        .members("presence-a")
        .into_iter()
        .map(|m| m.user_id)
        .collect();
    assert_eq!(users, ["c", "x", "d"]);
    assert_eq!(presence.drop_node(&node).len(), 3);
    assert!(presence.members("presence-a").is_empty());
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
