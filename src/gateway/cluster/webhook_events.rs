//! Events for webhooks: derived from the first and the last socket or member of all nodes; of single sockets (client
//! events and misses of cache channels), which the gateway of the socket writes; and the number of subscriptions of a
//! channel.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::producers::ControlProducer;
use crate::config::gateway_settings::{EventKind, Settings};
use crate::envelope::{write_envelope, write_php_string, EnvelopeKind};
use crate::gateway::backend::SocketEvent;
use crate::gateway::hub::Hub;
use crate::gateway::limits::TokenBucket;
use crate::gateway::protocol::incoming::Member;
use crate::gateway::protocol::SocketId;
use crate::ids::{new_id, unix_ms};
use crate::topic::socket_channel::{ChannelKind, Name};

/// One event for webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookEvent {
    pub kind: EventKind,
    pub channel: String,
    pub user: Option<String>,
    /// A hash of the event and its cause. It is the same on every gateway, so that the event is written once.
    pub id: String,
    /// Caused by the timeout or return of a node: another gateway may derive the same event from another cause, with
    /// another id.
    pub by_absence: bool,
}

impl WebhookEvent {
    pub(super) fn new(kind: EventKind, channel: &str, user: Option<&str>, cause: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [kind.as_str(), channel, user.unwrap_or_default(), cause] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self {
            kind,
            channel: channel.to_owned(),
            user: user.map(str::to_owned),
            id: hex::encode(&hash.finalize()[..16]),
            by_absence: false,
        }
    }

    /// The record value: an envelope whose event is the name of the webhook.
    pub(super) fn envelope(&self) -> Vec<u8> {
        let data = self.user.as_ref().map(|user| {
            let mut data = b"{\"user_id\":".to_vec();
            write_php_string(&mut data, user);
            data.push(b'}');
            data
        });
        webhook_envelope(&self.id, self.kind, &self.channel, data.as_deref())
    }
}

#[derive(Debug, Default)]
pub(super) struct WebhookState {
    /// Number of nodes with sockets on a channel.
    nodes: HashMap<String, usize>,
    /// Number of a user's sockets on a channel.
    members: HashMap<(String, String), usize>,
}

impl WebhookState {
    /// Adds a node with sockets on the channel.
    pub fn occupy(&mut self, channel: &str, cause: &str) -> Option<WebhookEvent> {
        let count = self.nodes.entry(channel.to_owned()).or_default();
        *count += 1;
        (*count == 1).then(|| WebhookEvent::new(EventKind::Occupied, channel, None, cause))
    }

    /// Removes a node from the channel.
    pub fn vacate(&mut self, channel: &str, cause: &str) -> Option<WebhookEvent> {
        let count = self.nodes.get_mut(channel)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.nodes.remove(channel);
        Some(WebhookEvent::new(EventKind::Vacated, channel, None, cause))
    }

    /// Adds a user's socket.
    pub fn add_member(&mut self, channel: &str, user: &str, cause: &str) -> Option<WebhookEvent> {
        let key = (channel.to_owned(), user.to_owned());
        let count = self.members.entry(key).or_default();
        *count += 1;
        (*count == 1).then(|| WebhookEvent::new(EventKind::MemberAdded, channel, Some(user), cause))
    }

    /// Removes a user's socket.
    pub fn remove_member(
        &mut self,
        channel: &str,
        user: &str,
        cause: &str,
    ) -> Option<WebhookEvent> {
        let key = (channel.to_owned(), user.to_owned());
        let count = self.members.get_mut(&key)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.members.remove(&key);
        Some(WebhookEvent::new(
            EventKind::MemberRemoved,
            channel,
            Some(user),
            cause,
        ))
    }

    /// Removes everything of a node.
    pub fn clear(
        &mut self,
        members: &HashMap<String, HashMap<SocketId, Member>>,
        channels: &HashMap<String, usize>,
        cause: &str,
    ) -> Vec<WebhookEvent> {
        let mut events = Vec::new();
        for (channel, channel_members) in members {
            for member in channel_members.values() {
                events.extend(self.remove_member(channel, &member.user_id, cause));
            }
        }
        for channel in channels.keys() {
            events.extend(self.vacate(channel, cause));
        }
        events
    }
}

/// Subscribers of an empty cache channel cause one event within this time, ms.
const CACHE_MISS_INTERVAL_MS: u64 = 10_000;
/// Maximum channels remembered; above, those of the last interval are forgotten and may be reported again.
const MAX_CHANNELS: usize = 10_000;
/// Maximum misses a second and in a burst: a client can subscribe to a new name each time. Above, the next subscriber
/// reports the miss.
const RATE: f64 = 200.0;
const BURST: u32 = 2_000;

/// The channel of an event, which is its record key, and the record value.
pub(super) fn envelope(event: &SocketEvent) -> (&str, Vec<u8>) {
    let (kind, channel, data) = match event {
        SocketEvent::CacheMiss { channel } => (EventKind::CacheMiss, channel, None),
        SocketEvent::ClientEvent {
            channel,
            event,
            data,
            socket,
            user,
        } => {
            let mut members = vec![
                ("event", event.clone()),
                ("data", data.clone()),
                ("socket_id", socket.to_string()),
            ];
            members.extend(user.clone().map(|user| ("user_id", user)));
            let mut json = b"{".to_vec();
            for (i, (name, value)) in members.iter().enumerate() {
                if i > 0 {
                    json.push(b',');
                }
                write_php_string(&mut json, name);
                json.push(b':');
                write_php_string(&mut json, value);
            }
            json.push(b'}');
            (EventKind::ClientEvent, channel, Some(json))
        }
    };
    let value = webhook_envelope(&new_id(), kind, channel, data.as_deref());
    (channel, value)
}

/// The record value of a webhook: an envelope whose event is the name of the webhook.
pub(super) fn webhook_envelope(
    id: &str,
    kind: EventKind,
    channel: &str,
    data: Option<&[u8]>,
) -> Vec<u8> {
    let mut value = Vec::with_capacity(160 + data.map_or(0, <[u8]>::len));
    write_envelope(
        &mut value,
        id.as_bytes(),
        EnvelopeKind::Event.as_str(),
        Some(channel),
        Some(kind.as_str()),
        data,
        i64::try_from(unix_ms() / 1000).unwrap_or(0),
    );
    value
}

/// The times of the last misses, so that many subscribers of an empty channel cause one event. All gateways read the
/// misses in `<prefix>.__events`.
pub(super) struct CacheMisses {
    reported: HashMap<String, u64>,
    rate: TokenBucket,
}

impl CacheMisses {
    pub fn new(now: Instant) -> Self {
        Self {
            reported: HashMap::new(),
            rate: TokenBucket::new(RATE, BURST, now),
        }
    }

    /// True if a miss of an own socket must be reported now: none was reported recently, here or by another gateway.
    pub fn is_due(&mut self, channel: &str, now_ms: u64, now: Instant) -> bool {
        let at = self.reported.get(channel);
        let is_due = !at.is_some_and(|at| is_recent(*at, now_ms)) && self.rate.take(now);
        if is_due {
            self.record(channel, now_ms);
        }
        is_due
    }

    /// A miss was reported, by this gateway or another.
    pub fn record(&mut self, channel: &str, now: u64) {
        if self.reported.len() >= MAX_CHANNELS {
            self.reported.retain(|_, at| is_recent(*at, now));
            if self.reported.len() >= MAX_CHANNELS {
                self.reported.clear();
            }
        }
        self.reported.insert(channel.to_owned(), now);
    }
}

fn is_recent(at: u64, now: u64) -> bool {
    now.saturating_sub(at) < CACHE_MISS_INTERVAL_MS
}

/// Channels with more subscriptions are told at intervals, because each change is sent to every subscriber.
const LARGE: usize = 100;
const LARGE_INTERVAL_MS: u64 = 5_000;

/// The channels whose number of subscriptions on all gateways changed: sent to their subscribers
/// (`pusher_internal:subscription_count`), and by the leader as a webhook.
pub(super) struct SubscriptionCounts {
    tells_subscribers: bool,
    has_webhook: bool,
    due: HashSet<String>,
    /// The times at which the counts of large channels were sent.
    large: HashMap<String, u64>,
}

impl SubscriptionCounts {
    pub fn new(settings: &Settings) -> Self {
        Self {
            tells_subscribers: settings.subscription_count,
            has_webhook: settings.has_webhook(EventKind::SubscriptionCount),
            due: HashSet::new(),
            large: HashMap::new(),
        }
    }

    /// The count of a channel changed. Presence channels have `member_added` and `member_removed`.
    pub fn changed(&mut self, channel: String) {
        let is_presence =
            Name::parse(&channel).is_none_or(|name| name.kind == ChannelKind::Presence);
        if (self.tells_subscribers || self.has_webhook) && !is_presence {
            self.due.insert(channel);
        }
    }

    /// Takes the channels to send now, with their counts.
    pub fn take_due(&mut self, now: u64, count: impl Fn(&str) -> usize) -> Vec<(String, usize)> {
        let (mut send, mut wait) = (Vec::new(), HashSet::new());
        for channel in std::mem::take(&mut self.due) {
            let count = count(&channel);
            if count <= LARGE {
                self.large.remove(&channel);
            } else {
                let last = self.large.get(&channel).copied();
                if last.is_some_and(|at| now.saturating_sub(at) < LARGE_INTERVAL_MS) {
                    wait.insert(channel);
                    continue;
                }
                self.large.insert(channel.clone(), now);
            }
            send.push((channel, count));
        }
        self.due = wait;
        send
    }

    /// Sends a count to the subscribers of this gateway, and as the leader to the webhooks.
    pub fn send(
        &self,
        channel: &str,
        count: usize,
        hub: &Hub,
        producer: &mut ControlProducer,
        is_leader: bool,
    ) {
        let data = format!("{{\"subscription_count\":{count}}}");
        if self.tells_subscribers {
            hub.channels().send_to_subscribers(
                channel,
                "pusher_internal:subscription_count",
                &data,
                None,
            );
        }
        if self.has_webhook && is_leader {
            let kind = EventKind::SubscriptionCount;
            let value = webhook_envelope(&new_id(), kind, channel, Some(data.as_bytes()));
            producer.send_webhook(channel, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_client_event_has_the_members_of_pushers_webhook() {
        let event = SocketEvent::ClientEvent {
            channel: "presence-a".to_owned(),
            event: "client-typing".to_owned(),
            data: r#"{"on":true}"#.to_owned(),
            socket: "1.2".parse().expect("an id"),
            user: Some("7".to_owned()),
        };
        let (channel, value) = envelope(&event);
        assert_eq!(channel, "presence-a");
        let json: serde_json::Value = serde_json::from_slice(&value).expect("JSON");
        assert_eq!(json["event"], "client_event");
        assert_eq!(
            json["data"],
            serde_json::json!({
                "event": "client-typing", "data": "{\"on\":true}", "socket_id": "1.2", "user_id": "7"
            })
        );
        let miss = SocketEvent::CacheMiss {
            channel: "cache-a".to_owned(),
        };
        let json: serde_json::Value = serde_json::from_slice(&envelope(&miss).1).expect("JSON");
        assert_eq!(
            (&json["event"], &json["channel"]),
            (&"cache_miss".into(), &"cache-a".into())
        );
        assert!(json.get("data").is_none());
    }

    #[test]
    fn misses_of_a_channel_are_reported_once_per_interval() {
        let start = Instant::now();
        let mut misses = CacheMisses::new(start);
        assert!(misses.is_due("a", 1_000, start) && misses.is_due("b", 1_000, start));
        assert!(!misses.is_due("a", 10_999, start));
        assert!(misses.is_due("a", 11_000, start));
        // Reported by another gateway.
        misses.record("c", 11_000);
        assert!(!misses.is_due("c", 20_999, start) && misses.is_due("c", 21_000, start));
        // Channels with new names, 10,000 a second for 10 s.
        let mut reported = 0;
        for i in 0..100_000_u64 {
            let now = start + Duration::from_micros(100 * i);
            reported += u64::from(misses.is_due(&format!("d{i}"), 30_000 + i / 10, now));
            assert!(misses.reported.len() <= MAX_CHANNELS);
        }
        assert!(reported <= u64::from(BURST) + 10 * 200, "{reported}");
    }

    #[test]
    fn large_channels_are_told_at_intervals() {
        let settings = Settings {
            subscription_count: true,
            ..Settings::default()
        };
        let mut counts = SubscriptionCounts::new(&settings);
        let change = |counts: &mut SubscriptionCounts, count, now| {
            counts.changed("private-a".to_owned());
            counts.changed("presence-a".to_owned());
            counts.take_due(now, |_| count)
        };
        let one = |count| vec![("private-a".to_owned(), count)];
        assert_eq!(change(&mut counts, 100, 1_000), one(100));
        assert_eq!(change(&mut counts, 99, 1_001), one(99));
        assert_eq!(change(&mut counts, 101, 1_002), one(101));
        assert_eq!(change(&mut counts, 102, 1_003), []);
        assert_eq!(counts.take_due(6_001, |_| 103), []);
        assert_eq!(counts.take_due(6_002, |_| 104), one(104));
        assert_eq!(counts.take_due(99_000, |_| 105), []);
        let mut off = SubscriptionCounts::new(&Settings::default());
        assert_eq!(change(&mut off, 1, 1_000), []);
    }
}
