//! Webhooks by topic: each event is written to `<prefix>.__events` once, by the leader, the lowest live node. The other
//! nodes keep the event until they read it there, so that none is lost when the leader crashes.
//!
//! An event derived from a record has the same id on every node. An event derived from the absence of a node has not:
//! every node uses its own clock, and if two nodes time out, the later one vacates a channel. Such an event is matched
//! by kind, channel and user.
//!
//! A node that was cut off has not removed its own members, but the others have, and the topic says so. As the leader
//! it writes that they are present again.

use std::collections::{HashMap, VecDeque};

use super::webhook_events::WebhookEvent;
use crate::config::gateway_settings::EventKind;

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
    /// Time of the last entry of `early` that was compared with the state.
    compared_until: u64,
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
    /// Parses a value of [`WebhookEvent::envelope`]; `None` for any other value.
    pub fn read(value: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Data {
            user_id: String,
        }
        let scanned = crate::envelope::scan_envelope(value).ok()?;
        let kind = EventKind::read(scanned.event.as_deref()?)?;
        // Written by one gateway alone: other gateways do not derive them.
        if matches!(kind, EventKind::ClientEvent | EventKind::SubscriptionCount) {
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

    fn is_about(&self, event: &WebhookEvent) -> bool {
        self.kind == event.kind && self.concerns(&event.channel, event.user.as_deref())
    }

    fn concerns(&self, channel: &str, user: Option<&str>) -> bool {
        self.channel == channel && self.user.as_deref() == user
    }

    /// The kind that reverses a removal.
    fn addition(&self) -> Option<EventKind> {
        match self.kind {
            EventKind::MemberRemoved => Some(EventKind::MemberAdded),
            EventKind::Vacated => Some(EventKind::Occupied),
            _ => None,
        }
    }
}

impl Webhooks {
    /// Adds an event; returns it if this node must write it now.
    pub fn add(&mut self, event: WebhookEvent, is_leader: bool, now: u64) -> Option<WebhookEvent> {
        let is_leader = self.is_leader(is_leader, now);
        if self.written.contains_key(&event.id) {
            if let Some(at) = self.early.iter().position(|(_, sent)| sent.id == event.id) {
                self.forget_until(at);
            }
            return None;
        }
        let known = if event.by_absence {
            self.early
                .iter()
                .position(|(_, sent)| sent.is_about(&event))
        } else if is_leader {
            self.last_word(&event)
        } else {
            None
        };
        if let Some(at) = known {
            self.forget_until(at);
            return None;
        }
        if is_leader {
            self.set_written(&event, now);
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
        let alike = |(_, one): &(u64, WebhookEvent)| one.by_absence && sent.is_about(one);
        let mut pending = self.pending.iter();
        let at = pending.position(same);
        match at.or_else(|| self.pending.iter().position(alike)) {
            Some(at) => {
                self.pending.remove(at);
                let user = sent.user.as_deref();
                self.early
                    .retain(|(_, known)| !known.concerns(&sent.channel, user));
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
        let mut due = Vec::new();
        for (_, event) in std::mem::take(&mut self.pending) {
            if let Some(at) = self.last_word(&event) {
                self.forget_until(at);
            } else {
                self.set_written(&event, now);
                due.push(event);
            }
        }
        due
    }

    /// The additions that this node must write as the leader: the topic ends with a removal by another node, read
    /// `settle` ms ago or more, of something that is present. `is_present` is called with it and the time it was read.
    pub fn take_contradicted(
        &mut self,
        is_leader: bool,
        now: u64,
        settle: u64,
        is_present: impl Fn(&SentWebhook, u64) -> bool,
    ) -> Vec<WebhookEvent> {
        if !self.is_leader(is_leader, now) {
            return Vec::new();
        }
        let until = now.saturating_sub(settle);
        let from = std::mem::replace(&mut self.compared_until, until);
        let mut contradicted = Vec::new();
        for (i, (at, sent)) in self.early.iter().enumerate() {
            let Some(kind) = sent.addition().filter(|_| *at > from && *at <= until) else {
                continue;
            };
            let event = WebhookEvent {
                by_absence: true,
                ..WebhookEvent::new(kind, &sent.channel, sent.user.as_deref(), &sent.id)
            };
            let is_added = self
                .early
                .iter()
                .skip(i + 1)
                .any(|(_, later)| later.is_about(&event));
            if !is_added && is_present(sent, *at) {
                contradicted.push(event);
            }
        }
        for event in &contradicted {
            self.set_written(event, now);
        }
        contradicted
    }

    /// The place of what another node wrote last about the member or channel, if it is the same event: a node that was
    /// cut off derives it from records that the others did not wait for.
    fn last_word(&self, event: &WebhookEvent) -> Option<usize> {
        let user = event.user.as_deref();
        let mut early = self.early.iter();
        early
            .rposition(|(_, sent)| sent.concerns(&event.channel, user))
            .filter(|at| self.early[*at].1.kind == event.kind)
    }

    /// The event at this place of `early` is derived now: it and what was written before it about the same member or
    /// channel is no longer of interest.
    fn forget_until(&mut self, at: usize) {
        let rest = self.early.split_off(at + 1);
        if let Some((_, last)) = self.early.pop_back() {
            let user = last.user.as_deref();
            self.early
                .retain(|(_, sent)| !sent.concerns(&last.channel, user));
        }
        self.early.extend(rest);
    }

    /// This node writes the event: what others wrote about the same member or channel is no longer the last word.
    fn set_written(&mut self, event: &WebhookEvent, now: u64) {
        self.written.insert(event.id.clone(), now);
        if !self.early.is_empty() {
            let user = event.user.as_deref();
            self.early
                .retain(|(_, sent)| !sent.concerns(&event.channel, user));
        }
    }

    fn is_leader(&mut self, is_leader: bool, now: u64) -> bool {
        if !is_leader {
            self.leader_since = None;
            return false;
        }
        now.saturating_sub(*self.leader_since.get_or_insert(now)) >= LEADER_GRACE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, by_absence: bool) -> WebhookEvent {
        WebhookEvent {
            kind: EventKind::MemberRemoved,
            channel: "presence-x".to_owned(),
            user: Some("7".to_owned()),
            id: id.to_owned(),
            by_absence,
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
    fn a_leader_that_was_cut_off_writes_that_its_members_are_present_again() {
        let removed_by_others = || {
            let mut hooks = leader();
            hooks.after_absence();
            hooks.record_sent(sent("gone b"), 30_000);
            assert!(hooks.take_due(true, 30_000).is_empty());
            hooks
        };
        let present = |sent: &SentWebhook, at: u64| {
            assert_eq!((sent.channel.as_str(), at), ("presence-x", 30_000));
            true
        };
        let mut hooks = removed_by_others();
        assert!(hooks
            .take_contradicted(true, 32_400, 2_500, present)
            .is_empty());
        let written = hooks.take_contradicted(true, 32_500, 2_500, present);
        let [added] = &written[..] else {
            panic!("{written:?}");
        };
        assert_eq!(added.kind, EventKind::MemberAdded);
        assert_eq!(added.user.as_deref(), Some("7"));
        assert!(hooks
            .take_contradicted(true, 60_000, 2_500, present)
            .is_empty());

        // The others derive the addition from the snapshot of the node that came back, with another id.
        let mut other = Webhooks::default();
        let from_snapshot = WebhookEvent {
            kind: EventKind::MemberAdded,
            ..event("snapshot", true)
        };
        assert_eq!(other.add(from_snapshot, false, 31_000), None);
        other.record_sent(SentWebhook::read(&added.envelope()).expect("ours"), 32_600);
        assert!(other.take_due(true, 40_000).is_empty() && other.take_due(true, 42_000).is_empty());

        // A removal that the others have written is not written again, an addition after it is.
        let mut hooks = removed_by_others();
        assert!(hooks.take_due(true, 32_000).is_empty());
        let added_again = WebhookEvent {
            kind: EventKind::MemberAdded,
            ..event("again", false)
        };
        assert_eq!(hooks.add(event("left", false), true, 32_000), None);
        assert!(hooks.add(added_again, true, 32_100).is_some());
        assert!(hooks
            .add(event("left again", false), true, 32_200)
            .is_some());

        // The same for what it derived before it was the leader again.
        let mut hooks = removed_by_others();
        let added_again = WebhookEvent {
            kind: EventKind::MemberAdded,
            ..event("again", false)
        };
        assert_eq!(hooks.add(event("left", false), false, 30_100), None);
        assert_eq!(hooks.add(added_again.clone(), false, 30_200), None);
        assert!(hooks.take_due(true, 30_300).is_empty());
        assert_eq!(hooks.take_due(true, 31_300), [added_again]);

        // Not what is gone, nor what the interim leader has added again, nor before this node is the leader.
        let mut hooks = removed_by_others();
        assert!(hooks
            .take_contradicted(true, 40_000, 2_500, |_, _| false)
            .is_empty());
        let mut hooks = removed_by_others();
        hooks.record_sent(SentWebhook::read(&added.envelope()).expect("ours"), 30_100);
        assert!(hooks
            .take_contradicted(true, 40_000, 2_500, present)
            .is_empty());
        let mut hooks = removed_by_others();
        assert!(hooks
            .take_contradicted(false, 40_000, 2_500, present)
            .is_empty());
        assert!(hooks
            .take_contradicted(true, 41_000, 2_500, present)
            .is_empty());
        assert_eq!(
            hooks.take_contradicted(true, 42_000, 2_500, present).len(),
            1
        );
    }

    #[test]
    fn what_others_wrote_is_compared_until_a_later_event_is_known() {
        // A node that starts does not derive the events of its first seconds.
        let added = WebhookEvent {
            kind: EventKind::MemberAdded,
            ..event("added", false)
        };
        let written = SentWebhook::read(&added.envelope()).expect("ours");
        for derived_first in [false, true] {
            let mut hooks = Webhooks::default();
            hooks.record_sent(sent("removed"), 10_000);
            if derived_first {
                assert_eq!(hooks.add(added.clone(), false, 11_000), None);
                hooks.record_sent(written.clone(), 11_100);
            } else {
                hooks.record_sent(written.clone(), 11_000);
                assert_eq!(hooks.add(added.clone(), false, 11_100), None);
            }
            assert!(hooks.early.is_empty());
            // As the leader it neither adds the member again nor withholds its removal.
            assert!(hooks.take_due(true, 12_000).is_empty());
            assert!(hooks
                .take_contradicted(true, 20_000, 2_500, |_, _| true)
                .is_empty());
            assert!(hooks
                .add(event("removed again", false), true, 20_100)
                .is_some());
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
