//! Webhooks by topic: each event is written to `<prefix>.__events` once, by the leader, the lowest live node. The other
//! nodes keep the event until they read it there, so that none is lost when the leader crashes.
//!
//! An event derived from a record has the same id on every node. An event derived from the timeout of a node has not:
//! every node uses its own clock, and if two nodes time out, the later one vacates a channel. Such an event is matched
//! by kind, channel and user.

use std::collections::{HashMap, VecDeque};

use super::webhook_state::{EventKind, WebhookEvent};
use crate::envelope::{write_envelope, EnvelopeKind};
use crate::ids::unix_ms;

/// Retention of unwritten events and of ids, ms.
const RETENTION_MS: u64 = 60_000;
/// Maximum entries of each table.
const MAX_ENTRIES: usize = 100_000;
/// A new leader first reads the events of its predecessor for this time, ms.
const LEADER_GRACE_MS: u64 = 1_000;

/// Events that have not been read from the topic yet.
#[derive(Default)]
pub(super) struct Webhooks {
    pending: VecDeque<(u64, WebhookEvent)>,
    /// Ids that are in the topic, with their times.
    written: HashMap<String, u64>,
    /// Events written by other nodes and not derived here yet.
    early: VecDeque<(u64, SentWebhook)>,
    leader_since: Option<u64>,
    swept_at: u64,
}

/// An event as read from the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentWebhook {
    pub id: String,
    pub kind: EventKind,
    pub channel: String,
    pub user: Option<String>,
}

impl SentWebhook {
    fn is_about(&self, event: &WebhookEvent) -> bool {
        self.kind == event.kind && self.channel == event.channel && self.user == event.user
    }
}

impl Webhooks {
    /// Adds an event; returns it if this node must write it now.
    pub fn add(&mut self, event: WebhookEvent, is_leader: bool, now: u64) -> Option<WebhookEvent> {
        let is_leader = self.is_leader(is_leader, now);
        if self.written.contains_key(&event.id) {
            self.early.retain(|(_, sent)| sent.id != event.id);
            return None;
        }
        if event.by_timeout {
            let mut early = self.early.iter();
            if let Some(at) = early.position(|(_, sent)| sent.is_about(&event)) {
                self.early.remove(at);
                return None;
            }
        }
        if is_leader {
            self.written.insert(event.id.clone(), now);
            return Some(event);
        }
        if self.pending.len() < MAX_ENTRIES {
            self.pending.push_back((now, event));
        }
        None
    }

    /// An event was read from the topic.
    pub fn record_sent(&mut self, sent: SentWebhook, now: u64) {
        if self.written.len() >= MAX_ENTRIES || self.written.insert(sent.id.clone(), now).is_some()
        {
            return;
        }
        let same = |(_, one): &(u64, WebhookEvent)| one.id == sent.id;
        let alike = |(_, one): &(u64, WebhookEvent)| one.by_timeout && sent.is_about(one);
        let mut pending = self.pending.iter();
        let at = pending.position(same);
        match at.or_else(|| self.pending.iter().position(alike)) {
            Some(at) => {
                self.pending.remove(at);
            }
            None if self.early.len() < MAX_ENTRIES => self.early.push_back((now, sent)),
            None => {}
        }
    }

    /// This node was suspended or isolated: another node may have been the leader.
    pub fn after_absence(&mut self) {
        self.leader_since = None;
    }

    /// The pending events that this node must write as the leader.
    pub fn take_due(&mut self, is_leader: bool, now: u64) -> Vec<WebhookEvent> {
        if now.saturating_sub(self.swept_at) > RETENTION_MS / 4 {
            self.swept_at = now;
            let is_retained = |at: &u64| now.saturating_sub(*at) <= RETENTION_MS;
            self.written.retain(|_, at| is_retained(at));
            self.early.retain(|(at, _)| is_retained(at));
            self.pending.retain(|(at, _)| is_retained(at));
        }
        if !self.is_leader(is_leader, now) {
            return Vec::new();
        }
        let pending = std::mem::take(&mut self.pending);
        for (_, one) in &pending {
            self.written.insert(one.id.clone(), now);
        }
        pending.into_iter().map(|(_, one)| one).collect()
    }

    fn is_leader(&mut self, is_leader: bool, now: u64) -> bool {
        if !is_leader {
            self.leader_since = None;
            return false;
        }
        now.saturating_sub(*self.leader_since.get_or_insert(now)) >= LEADER_GRACE_MS
    }
}

impl WebhookEvent {
    /// The record value: an envelope whose event is the name of the webhook.
    pub(super) fn envelope(&self) -> Vec<u8> {
        let data = self.user.as_ref().map(|user| {
            let mut data = b"{\"user_id\":".to_vec();
            crate::envelope::write_php_string(&mut data, user);
            data.push(b'}');
            data
        });
        let mut value = Vec::with_capacity(160);
        write_envelope(
            &mut value,
            self.id.as_bytes(),
            EnvelopeKind::Event.as_str(),
            Some(&self.channel),
            Some(self.kind.as_str()),
            data.as_deref(),
            i64::try_from(unix_ms() / 1000).unwrap_or(0),
        );
        value
    }
}

impl SentWebhook {
    /// Parses a value of [`WebhookEvent::envelope`]; `None` for any other value.
    pub fn read(value: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Data {
            user_id: String,
        }
        let scanned = crate::envelope::scan_envelope(value).ok()?;
        let kind = EventKind::read(scanned.event.as_deref()?)?;
        // Written by the gateway of the socket alone: other gateways do not derive them.
        if matches!(kind, EventKind::ClientEvent | EventKind::CacheMiss) {
            return None;
        }
        let user = match scanned.data {
            None => None,
            Some(data) => Some(serde_json::from_slice::<Data>(data).ok()?.user_id),
        };
        Some(Self {
            id: scanned.id.into_owned(),
            kind,
            channel: scanned.channel?.into_owned(),
            user,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, by_timeout: bool) -> WebhookEvent {
        WebhookEvent {
            kind: EventKind::MemberRemoved,
            channel: "presence-x".to_owned(),
            user: Some("7".to_owned()),
            id: id.to_owned(),
            by_timeout,
        }
    }

    fn sent(id: &str) -> SentWebhook {
        SentWebhook::read(&event(id, false).envelope()).expect("ours")
    }

    /// A node that has been the leader for a long time.
    fn leader() -> Webhooks {
        let mut hooks = Webhooks::default();
        assert!(hooks.take_due(true, 10_000).is_empty());
        hooks
    }

    #[test]
    fn a_webhook_envelope_survives_a_round_trip() {
        assert_eq!(
            sent("a"),
            SentWebhook {
                id: "a".to_owned(),
                kind: EventKind::MemberRemoved,
                channel: "presence-x".to_owned(),
                user: Some("7".to_owned()),
            }
        );
        let vacated = WebhookEvent {
            kind: EventKind::Vacated,
            user: None,
            ..event("b", false)
        };
        assert_eq!(
            SentWebhook::read(&vacated.envelope()).expect("ours").user,
            None
        );
        for other in ["", "{}", r#"{"id":"1","channel":"a","event":"order.paid"}"#] {
            assert_eq!(SentWebhook::read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn the_leader_writes_each_webhook_once() {
        let mut hooks = leader();
        assert!(hooks.add(event("a", false), true, 11_000).is_some());
        hooks.record_sent(sent("a"), 11_010);
        assert_eq!(hooks.add(event("a", false), true, 11_020), None);
        assert!(hooks.take_due(true, 11_030).is_empty() && hooks.early.is_empty());
    }

    #[test]
    fn a_new_leader_writes_pending_webhooks() {
        let mut hooks = Webhooks::default();
        for id in ["a", "b"] {
            assert_eq!(hooks.add(event(id, false), false, 10_000), None);
        }
        hooks.record_sent(sent("a"), 10_100);
        assert!(hooks.take_due(false, 15_000).is_empty());
        // The last events of the predecessor may not have been read yet.
        assert!(hooks.take_due(true, 20_000).is_empty());
        assert_eq!(hooks.take_due(true, 21_000), [event("b", false)]);
        assert!(hooks.take_due(true, 21_100).is_empty());
    }

    #[test]
    fn simultaneous_node_failures_are_written_once() {
        // The leader removed b last, this node a: one event with two ids. Then the leader crashes.
        for sent_first in [false, true] {
            let mut hooks = Webhooks::default();
            if sent_first {
                hooks.record_sent(sent("gone b"), 10_000);
            }
            assert_eq!(hooks.add(event("gone a", true), false, 10_100), None);
            if !sent_first {
                hooks.record_sent(sent("gone b"), 10_200);
            }
            assert!(hooks.take_due(true, 20_000).is_empty());
            assert!(hooks.take_due(true, 25_000).is_empty(), "{sent_first}");
            // A later event is distinct.
            assert!(hooks.add(event("gone c", true), true, 26_000).is_some());
        }
    }

    #[test]
    fn webhooks_of_different_users_are_distinct() {
        let mut hooks = Webhooks::default();
        let other = WebhookEvent {
            user: Some("8".to_owned()),
            ..event("gone a", true)
        };
        assert_eq!(hooks.add(other.clone(), false, 10_000), None);
        hooks.record_sent(sent("gone b"), 10_100);
        assert!(hooks.take_due(true, 20_000).is_empty());
        assert_eq!(hooks.take_due(true, 21_000), [other]);
    }

    #[test]
    fn a_suspended_leader_reads_before_it_writes() {
        let mut hooks = leader();
        hooks.after_absence();
        assert_eq!(hooks.add(event("a", false), true, 30_000), None);
        hooks.record_sent(sent("a"), 30_300);
        assert!(hooks.take_due(true, 31_500).is_empty());
        assert!(hooks.add(event("b", false), true, 31_600).is_some());
    }
}
