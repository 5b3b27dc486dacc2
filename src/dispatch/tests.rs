//! Which subscription gets a record, case by case.

use super::{channels, topics, Route, Style, Subscription, Subscriptions};
use crate::topic::{ChannelPattern, Mapping, TopicMap, TopicSpec};

fn table(map: &TopicMap, names: &[&str]) -> Subscriptions<String> {
    let mut all = Subscriptions::default();
    for name in names {
        let (target, style) = match name.strip_prefix("topic:") {
            Some(topic) => (topics(topic).expect("a topic"), Style::Single),
            None => (channels(name, map).expect("a channel"), Style::Single),
        };
        let callback = Some((*name).to_owned());
        all.add(Subscription {
            target,
            style,
            callback,
        })
        .expect("added");
    }
    all
}

fn envelope(channel: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::envelope::write_envelope(&mut bytes, b"id", "event", channel, Some("e"), None, 1);
    bytes
}

/// The name of the subscription, or the word for where the record went instead.
fn goes_to(
    all: &Subscriptions<String>,
    map: &TopicMap,
    topic: &str,
    value: Option<&[u8]>,
) -> String {
    match all.route(map, topic, value) {
        Route::To(one, Some(_)) => one.callback.clone().unwrap_or_default(),
        Route::To(one, None) => format!("raw {}", one.callback.clone().unwrap_or_default()),
        Route::Mismatch(_) => "mismatch".to_owned(),
        Route::Unclaimed => "nobody".to_owned(),
        Route::NotAnEnvelope(_) => "not an envelope".to_owned(),
    }
}

#[test]
fn exactly_one_subscription_gets_a_record() {
    let map = TopicMap::one_per_channel("rt", false);
    let all = table(
        &map,
        &[
            "user.**",
            "user.*",
            "user.1",
            "topic:orders",
            "topic:audit_*",
        ],
    );
    for (topic, channel, expected) in [
        ("rt_user_1", "user.1", "user.1"),
        ("rt_user_1", "user.1", "user.1"),
        ("rt_user_2", "user.2", "user.**"),
        ("rt_user_2_x", "user.2.x", "user.**"),
        ("rt_chat_1", "chat.1", "nobody"),
        ("rt_user_1", "user_1", "nobody"),
        ("rt_user_1", "user.2", "mismatch"),
        ("rt_staging_user_1", "user.1", "mismatch"),
        ("orders", "user.1", "raw topic:orders"),
        ("audit_a", "user.1", "raw topic:audit_*"),
    ] {
        let bytes = envelope(Some(channel));
        let found = goes_to(&all, &map, topic, Some(&bytes));
        assert_eq!(found, expected, "{channel} in {topic}");
    }
    assert_eq!(
        goes_to(&all, &map, "rt_user_1", Some(b"{broken")),
        "not an envelope"
    );
    assert_eq!(goes_to(&all, &map, "rt_user_1", None), "not an envelope");
    assert_eq!(goes_to(&all, &map, "orders", None), "raw topic:orders");
}

#[test]
fn an_envelope_without_a_channel_belongs_to_the_only_reader_of_its_topic() {
    let map = TopicMap::one_per_channel("rt", false);
    let nameless = envelope(None);
    let one = table(&map, &["user.*", "chat.1"]);
    assert_eq!(goes_to(&one, &map, "rt_user_1", Some(&nameless)), "user.*");
    assert_eq!(goes_to(&one, &map, "rt_chat_1", Some(&nameless)), "chat.1");
    let two = table(&map, &["user.*", "user.1"]);
    assert_eq!(goes_to(&two, &map, "rt_user_1", Some(&nameless)), "nobody");
}

#[test]
fn channels_of_a_group_share_their_topic() {
    let mapping = vec![Mapping {
        pattern: ChannelPattern::parse("user.*").expect("a pattern"),
        topic: "realtime.user".into(),
        spec: TopicSpec::default(),
    }];
    let map = TopicMap::grouped("rt", mapping, "rest", None);
    let all = table(&map, &["user.1", "news"]);
    for (topic, channel, expected) in [
        ("realtime.user", "user.1", "user.1"),
        ("realtime.user", "user.2", "nobody"),
        ("rest", "news", "news"),
        ("rest", "user.1", "mismatch"),
    ] {
        let bytes = envelope(Some(channel));
        assert_eq!(goes_to(&all, &map, topic, Some(&bytes)), expected);
    }
    assert_eq!(all.filters(&map).len(), 2);
}

#[test]
fn subscribing_again_replaces_and_unsubscribing_forgets_the_last_route() {
    let map = TopicMap::one_per_channel("rt", false);
    let mut all = table(&map, &["user.1", "user.*"]);
    let bytes = envelope(Some("user.1"));
    let found = |all: &Subscriptions<String>| goes_to(all, &map, "rt_user_1", Some(&bytes));
    assert_eq!(found(&all), "user.1");
    let target = channels("user.1", &map).expect("a channel");
    let callback = Some("newer".to_owned());
    all.add(Subscription {
        target,
        style: Style::Single,
        callback,
    })
    .expect("replaced");
    assert_eq!(found(&all), "newer");
    assert!(all.remove("user.1"));
    assert_eq!(found(&all), "user.*");
    assert!(!all.remove("user.1"));
}

#[test]
fn callbacks_and_polling_do_not_mix() {
    let map = TopicMap::one_per_channel("rt", false);
    let mut all = table(&map, &["user.1"]);
    let pull = |name: &str| Subscription {
        target: channels(name, &map).expect("a channel"),
        style: Style::Pull,
        callback: None,
    };
    assert!(all.add(pull("user.2")).is_err());
    assert!(all.add(pull("user.1")).is_ok());
    assert!(all.is_pull());
}

#[test]
fn the_same_set_has_the_same_fingerprint_in_any_order() {
    let map = TopicMap::one_per_channel("rt", false);
    let one = table(&map, &["a", "b.*", "topic:t"]).fingerprint();
    assert_eq!(one, table(&map, &["topic:t", "b.*", "a"]).fingerprint());
    assert_ne!(one, table(&map, &["a", "b.*", "t"]).fingerprint());
}
