//! Routes a record to exactly one callback: an exact subscription before a pattern, among patterns the first
//! subscribed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::envelope::{scan_envelope, Scanned};
use crate::error::{Error, Result};
use crate::ids::fnv1a;
use crate::retry::Circuit;
use crate::topic::{ChannelPattern, TopicFilter, TopicMap};

/// How records are delivered to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One by one, to a callback.
    Single,
    /// As lists, to a callback.
    Batch,
    /// By `poll()`, acknowledged explicitly.
    Pull,
}

/// The channels or topics of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Envelopes of matching channels.
    Channels(ChannelPattern),
    /// Every record of matching topics.
    Topics(ChannelPattern),
}

/// A subscription with the host's callback.
#[derive(Debug)]
pub struct Subscription<C> {
    pub target: Target,
    pub style: Style,
    /// The host's callback; `None` for [`Style::Pull`].
    pub callback: Option<C>,
    /// Pauses it while the callback fails for every record.
    pub circuit: Circuit,
}

impl<C> Subscription<C> {
    #[must_use]
    pub fn new(target: Target, style: Style, callback: Option<C>) -> Self {
        Self {
            target,
            style,
            callback,
            circuit: Circuit::default(),
        }
    }

    /// The channel, topic or pattern.
    #[must_use]
    pub fn name(&self) -> &str {
        let (Target::Channels(pattern) | Target::Topics(pattern)) = &self.target;
        pattern.as_str()
    }

    fn is_exact(&self) -> bool {
        let (Target::Channels(pattern) | Target::Topics(pattern)) = &self.target;
        pattern.is_exact()
    }

    fn filters(&self, map: &TopicMap) -> Vec<TopicFilter> {
        match &self.target {
            Target::Channels(pattern) => map.topics_for_subscription(pattern),
            Target::Topics(pattern) if pattern.is_exact() => {
                vec![TopicFilter::Exact(pattern.as_str().to_owned())]
            }
            Target::Topics(pattern) => vec![TopicFilter::Regex(pattern.topic_regex())],
        }
    }

    fn reads(&self, map: &TopicMap, topic: &str) -> bool {
        match &self.target {
            Target::Topics(pattern) => pattern.matches(topic),
            Target::Channels(pattern) if pattern.is_exact() => map.maps_to(pattern.as_str(), topic),
            Target::Channels(pattern) => pattern.may_be_in(map, topic),
        }
    }
}

/// The result of routing a record.
#[derive(Debug)]
pub enum Route<'r, C> {
    /// To this subscription, with its envelope unless it is raw.
    To(Rc<Subscription<C>>, Option<Scanned<'r>>),
    /// Its channel belongs to another topic, so the envelope cannot be trusted.
    Mismatch(Scanned<'r>),
    /// No subscription matches its channel.
    Unclaimed,
    /// On a channel topic, but not an envelope.
    NotAnEnvelope(Error),
}

#[derive(Debug)]
struct CachedRoute {
    topic: String,
    channel: String,
    index: usize,
}

/// All subscriptions of a consumer, in the order they were added.
#[derive(Debug)]
pub struct Subscriptions<C> {
    /// The last route: the next record is often of the same channel.
    cached: RefCell<Option<CachedRoute>>,
    all: Vec<Rc<Subscription<C>>>,
    channels: HashMap<String, usize>,
    topics: HashMap<String, usize>,
    patterns: Vec<usize>,
}

impl<C> Default for Subscriptions<C> {
    fn default() -> Self {
        Self {
            cached: RefCell::default(),
            all: Vec::new(),
            channels: HashMap::new(),
            topics: HashMap::new(),
            patterns: Vec::new(),
        }
    }
}

/// Validates and wraps a channel or a channel pattern.
///
/// # Errors
/// InvalidChannel: not a channel name or pattern, or no topic name fits it.
pub fn channels(pattern: &str, map: &TopicMap) -> Result<Target> {
    let parsed = ChannelPattern::parse(pattern)?;
    if parsed.is_exact() {
        map.topic_for(pattern)?;
    }
    Ok(Target::Channels(parsed))
}

/// Validates and wraps a topic or a topic pattern.
///
/// # Errors
/// InvalidChannel: not a topic name or pattern.
pub fn topics(pattern: &str) -> Result<Target> {
    ChannelPattern::parse_topic(pattern).map(Target::Topics)
}

impl<C> Subscriptions<C> {
    /// Adds a subscription; one with the same name is replaced in its position.
    ///
    /// # Errors
    /// Configuration: callbacks and `poll()` on one broker.
    pub fn add(&mut self, subscription: Subscription<C>) -> Result<()> {
        let pull = subscription.style == Style::Pull;
        let others = self
            .all
            .iter()
            .find(|other| other.target != subscription.target);
        if let Some(other) = others.filter(|other| (other.style == Style::Pull) != pull) {
            return Err(Error::configuration(format!(
                "\"{}\" cannot be subscribed {} a callback: \"{}\" was subscribed {} one, and a broker either runs \
                callbacks or \
                 is polled. Use a second Broker.",
                subscription.name(),
                if pull { "without" } else { "with" },
                other.name(),
                if pull { "with" } else { "without" },
            )));
        }
        let index = self
            .all
            .iter()
            .position(|other| other.target == subscription.target);
        match index {
            Some(index) => self.all[index] = Rc::new(subscription),
            None => self.all.push(Rc::new(subscription)),
        }
        self.reindex();
        Ok(())
    }

    /// Removes a subscription by the name it was added with; false if there is none.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.all.len();
        self.all.retain(|subscription| subscription.name() != name);
        self.reindex();
        self.all.len() < before
    }

    fn reindex(&mut self) {
        self.cached.take();
        self.channels.clear();
        self.topics.clear();
        self.patterns.clear();
        for (index, subscription) in self.all.iter().enumerate() {
            match &subscription.target {
                _ if !subscription.is_exact() => self.patterns.push(index),
                Target::Channels(_) => {
                    self.channels.insert(subscription.name().to_owned(), index);
                }
                Target::Topics(_) => {
                    self.topics.insert(subscription.name().to_owned(), index);
                }
            }
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// True for a broker that is polled.
    #[must_use]
    pub fn is_pull(&self) -> bool {
        self.all
            .iter()
            .any(|subscription| subscription.style == Style::Pull)
    }

    /// All subscriptions, for the host's garbage collector.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<Subscription<C>>> {
        self.all.iter()
    }

    /// The names of subscriptions whose circuit is open.
    #[must_use]
    pub fn open_circuits(&self) -> Vec<String> {
        let open = self.all.iter().filter(|one| one.circuit.is_open());
        open.map(|one| one.name().to_owned()).collect()
    }

    #[must_use]
    pub fn has_open_circuit(&self) -> bool {
        self.all.iter().any(|one| one.circuit.is_open())
    }

    /// The topics to read, without duplicates.
    #[must_use]
    pub fn filters(&self, map: &TopicMap) -> Vec<TopicFilter> {
        let mut filters: Vec<TopicFilter> =
            self.all.iter().flat_map(|one| one.filters(map)).collect();
        filters.sort();
        filters.dedup();
        filters
    }

    /// A hash of the set of subscriptions, the same on every machine.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut names: Vec<String> = self
            .all
            .iter()
            .map(|one| match one.target {
                Target::Channels(_) => format!("c:{}", one.name()),
                Target::Topics(_) => format!("t:{}", one.name()),
            })
            .collect();
        names.sort();
        let hash = fnv1a(names.join("\n").bytes());
        format!("{hash:016x}")
    }

    /// Finds the subscription of a record.
    #[must_use]
    pub fn route<'r>(&self, map: &TopicMap, topic: &str, value: Option<&'r [u8]>) -> Route<'r, C> {
        if let Some(&index) = self.topics.get(topic) {
            return Route::To(Rc::clone(&self.all[index]), None);
        }
        let raw = self.matching_topic_pattern(topic);
        let scanned = match value.map(scan_envelope) {
            Some(Ok(scanned)) => scanned,
            other => {
                return match (raw, other) {
                    (Some(raw), _) => Route::To(raw, None),
                    (None, Some(Err(error))) => Route::NotAnEnvelope(error),
                    (None, _) => Route::NotAnEnvelope(Error::encoding(
                        "Not an envelope: the record has no value.",
                    )),
                }
            }
        };
        let Some(channel) = scanned.channel.as_deref() else {
            return match (self.only_subscription(map, topic), raw) {
                (Some(only), _) => Route::To(only, Some(scanned)),
                (None, Some(raw)) => Route::To(raw, None),
                (None, None) => Route::Unclaimed,
            };
        };
        if let Some(cached) = &*self.cached.borrow() {
            if cached.channel == channel && cached.topic == topic {
                return Route::To(Rc::clone(&self.all[cached.index]), Some(scanned));
            }
        }
        if !map.maps_to(channel, topic) {
            return raw.map_or(Route::Mismatch(scanned), |raw| Route::To(raw, None));
        }
        if let Some(&index) = self.channels.get(channel) {
            *self.cached.borrow_mut() = Some(CachedRoute {
                topic: topic.to_owned(),
                channel: channel.to_owned(),
                index,
            });
            return Route::To(Rc::clone(&self.all[index]), Some(scanned));
        }
        for &index in &self.patterns {
            let subscription = &self.all[index];
            match &subscription.target {
                Target::Channels(pattern) if pattern.matches(channel) => {
                    return Route::To(Rc::clone(subscription), Some(scanned));
                }
                Target::Topics(pattern) if pattern.matches(topic) => {
                    return Route::To(Rc::clone(subscription), None);
                }
                _ => {}
            }
        }
        Route::Unclaimed
    }

    fn matching_topic_pattern(&self, topic: &str) -> Option<Rc<Subscription<C>>> {
        let mut patterns = self.patterns.iter().map(|&index| &self.all[index]);
        patterns
            .find(|one| matches!(&one.target, Target::Topics(pattern) if pattern.matches(topic)))
            .cloned()
    }

    /// The subscription that reads this topic, if there is only one.
    fn only_subscription(&self, map: &TopicMap, topic: &str) -> Option<Rc<Subscription<C>>> {
        let mut readers = self.all.iter().filter(|one| one.reads(map, topic));
        let first = readers.next()?;
        readers.next().is_none().then(|| Rc::clone(first))
    }
}

#[cfg(test)]
mod tests {
    use super::{channels, topics, Route, Style, Subscription, Subscriptions};
    use crate::topic::{ChannelPattern, Mapping, TopicMap, TopicSpec};

    fn subscriptions(map: &TopicMap, names: &[&str]) -> Subscriptions<String> {
        let mut all = Subscriptions::default();
        for name in names {
            let target = match name.strip_prefix("topic:") {
                Some(topic) => topics(topic),
                None => channels(name, map),
            };
            let callback = Some((*name).to_owned());
            let subscription = Subscription::new(target.expect("valid"), Style::Single, callback);
            all.add(subscription).expect("added");
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
        let names = "user.** user.* user.1 topic:orders topic:audit_*";
        let all = subscriptions(&map, &names.split(' ').collect::<Vec<_>>());
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
        let pull = |name: &str| {
            Subscription::new(channels(name, &map).expect("a channel"), Style::Pull, None)
        };
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
}
