//! Routing of records to subscriptions, case by case.

use super::{channels, topics, Route, Style, Subscription, Subscriptions};
use crate::topic::{ChannelPattern, Mapping, TopicMap, TopicSpec};

fn subscriptions(map: &TopicMap, names: &[&str]) -> Subscriptions<String> {
    let mut all = Subscriptions::default();
    for name in names {
        let (target, style) = match name.strip_prefix("topic:") {
            Some(topic) => (topics(topic).expect("a topic"), Style::Single),
            None => (channels(name, map).expect("a channel"), Style::Single),
        };
        let callback = Some((*name).to_owned());
        all.add(Subscription::new(target, style, callback))
            .expect("added");
    }
    all
}

fn envelope(channel: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::envelope::write_envelope(&mut bytes, b"id", "event", channel, Some("e"), None, 1);
    bytes
}

/// The name of the subscription, or a word for the other results.
fn route_of(
    all: &Subscriptions<String>,
    map: &TopicMap,
    topic: &str,
    value: Option<&[u8]>,
) -> String {
    match all.route(map, topic, value) {
        Route::To(one, Some(_)) => one.callback.clone().unwrap_or_default(),
        Route::To(one, None) => format!("raw {}", one.callback.clone().unwrap_or_default()),
        Route::Mismatch(_) => "mismatch".to_owned(),
        Route::Unclaimed => "unclaimed".to_owned(),
        Route::NotAnEnvelope(_) => "not an envelope".to_owned(),
    }
}

#[test]
fn each_record_is_routed_to_exactly_one_subscription() {
    let map = TopicMap::one_per_channel("rt", false);
    let all = subscriptions(
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
        ("rt_chat_1", "chat.1", "unclaimed"),
        ("rt_user_1", "user_1", "unclaimed"),
        ("rt_user_1", "user.2", "mismatch"),
        ("rt_staging_user_1", "user.1", "mismatch"),
        ("orders", "user.1", "raw topic:orders"),
        ("audit_a", "user.1", "raw topic:audit_*"),
    ] {
        let bytes = envelope(Some(channel));
        let found = route_of(&all, &map, topic, Some(&bytes));
        assert_eq!(found, expected, "{channel} in {topic}");
    }
    assert_eq!(
        route_of(&all, &map, "rt_user_1", Some(b"{broken")),
        "not an envelope"
    );
    assert_eq!(route_of(&all, &map, "rt_user_1", None), "not an envelope");
    assert_eq!(route_of(&all, &map, "orders", None), "raw topic:orders");
}

#[test]
fn an_envelope_without_a_channel_goes_to_the_only_subscription_of_its_topic() {
    let map = TopicMap::one_per_channel("rt", false);
    let without_channel = envelope(None);
    let one = subscriptions(&map, &["user.*", "chat.1"]);
    assert_eq!(
        route_of(&one, &map, "rt_user_1", Some(&without_channel)),
        "user.*"
    );
    assert_eq!(
        route_of(&one, &map, "rt_chat_1", Some(&without_channel)),
        "chat.1"
    );
    let two = subscriptions(&map, &["user.*", "user.1"]);
    assert_eq!(
        route_of(&two, &map, "rt_user_1", Some(&without_channel)),
        "unclaimed"
    );
}

#[test]
fn grouped_channels_share_one_topic() {
    let mapping = vec![Mapping {
        pattern: ChannelPattern::parse("user.*").expect("a pattern"),
        topic: "realtime.user".into(),
        spec: TopicSpec::default(),
    }];
    let map = TopicMap::grouped("rt", mapping, "rest", None);
    let all = subscriptions(&map, &["user.1", "news"]);
    for (topic, channel, expected) in [
        ("realtime.user", "user.1", "user.1"),
        ("realtime.user", "user.2", "unclaimed"),
        ("rest", "news", "news"),
        ("rest", "user.1", "mismatch"),
    ] {
        let bytes = envelope(Some(channel));
        assert_eq!(route_of(&all, &map, topic, Some(&bytes)), expected);
    }
    assert_eq!(all.filters(&map).len(), 2);
}

#[test]
fn resubscribing_replaces_and_unsubscribing_invalidates_the_cached_route() {
    let map = TopicMap::one_per_channel("rt", false);
    let mut all = subscriptions(&map, &["user.1", "user.*"]);
    let bytes = envelope(Some("user.1"));
    let found = |all: &Subscriptions<String>| route_of(all, &map, "rt_user_1", Some(&bytes));
    assert_eq!(found(&all), "user.1");
    let target = channels("user.1", &map).expect("a channel");
    let callback = Some("newer".to_owned());
    all.add(Subscription::new(target, Style::Single, callback))
        .expect("replaced");
    assert_eq!(found(&all), "newer");
    assert!(all.remove("user.1"));
    assert_eq!(found(&all), "user.*");
    assert!(!all.remove("user.1"));
}

#[test]
fn callbacks_and_polling_cannot_be_mixed() {
    let map = TopicMap::one_per_channel("rt", false);
    let mut all = subscriptions(&map, &["user.1"]);
    let pull =
        |name: &str| Subscription::new(channels(name, &map).expect("a channel"), Style::Pull, None);
    assert!(all.add(pull("user.2")).is_err());
    assert!(all.add(pull("user.1")).is_ok());
    assert!(all.is_pull());
}

#[test]
fn the_fingerprint_does_not_depend_on_order() {
    let map = TopicMap::one_per_channel("rt", false);
    let one = subscriptions(&map, &["a", "b.*", "topic:t"]).fingerprint();
    assert_eq!(
        one,
        subscriptions(&map, &["topic:t", "b.*", "a"]).fingerprint()
    );
    assert_ne!(one, subscriptions(&map, &["a", "b.*", "t"]).fingerprint());
}
