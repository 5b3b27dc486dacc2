//! Events of single sockets for webhooks: client events and misses of cache channels. The gateway of the socket writes
//! them to `<prefix>.__events`. All gateways read the misses there, and then report none of the channel for a while.

use std::collections::HashMap;
use std::time::Instant;

use crate::config::gateway_settings::EventKind;
use crate::envelope::{write_envelope, write_php_string, EnvelopeKind};
use crate::gateway::backend::SocketEvent;
use crate::gateway::session::limits::TokenBucket;
use crate::ids::{new_id, unix_ms};

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

/// The times of the last misses, so that many subscribers of an empty channel cause one event.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
}
