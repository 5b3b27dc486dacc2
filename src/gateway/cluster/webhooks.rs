//! Webhooks by topic: what happened is written to `<prefix>.__events` once, by the lowest live node. The others keep it in mind until
//! they see it there, so that nothing is lost when that node dies.
//!
//! What follows from records has the same id on every node. What follows from a node that fell silent has not: each finds out by its
//! own clock, and of two that are gone the one that is missed last vacates a channel. Such a happening is the one that another node
//! has written for the same channel and user.

use std::collections::{HashMap, VecDeque};

use super::totals::{Happening, What};
use crate::envelope::{write_envelope, EnvelopeKind};
use crate::ids::unix_ms;

/// What nobody wrote is kept for so long, ms; so is what was seen.
const KEEP: u64 = 60_000;
/// At most so many.
const MOST: usize = 100_000;
/// Who leads from now on first sees what its predecessor has written, ms.
const GRACE: u64 = 1_000;

/// What is still to be seen in the topic.
#[derive(Default)]
pub(super) struct Webhooks {
    pending: VecDeque<(u64, Happening)>,
    /// What is there already, by id.
    seen: HashMap<String, u64>,
    /// What others wrote and did not happen here yet.
    ahead: VecDeque<(u64, Told)>,
    leads_since: Option<u64>,
    swept: u64,
}

/// What stands in the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub id: String,
    pub what: What,
    pub channel: String,
    pub user: Option<String>,
}

impl Told {
    fn is_about(&self, happening: &Happening) -> bool {
        self.what == happening.what
            && self.channel == happening.channel
            && self.user == happening.user
    }
}

impl Webhooks {
    /// Something happened. It is to be written now where the answer has it.
    pub fn happened(&mut self, happening: Happening, leads: bool, now: u64) -> Option<Happening> {
        let leads = self.leads(leads, now);
        if self.seen.contains_key(&happening.id) {
            self.ahead.retain(|(_, told)| told.id != happening.id);
            return None;
        }
        if happening.by_silence {
            let mut ahead = self.ahead.iter();
            if let Some(at) = ahead.position(|(_, told)| told.is_about(&happening)) {
                self.ahead.remove(at);
                return None;
            }
        }
        if leads {
            self.seen.insert(happening.id.clone(), now);
            return Some(happening);
        }
        if self.pending.len() < MOST {
            self.pending.push_back((now, happening));
        }
        None
    }

    /// Somebody wrote it.
    pub fn saw(&mut self, told: Told, now: u64) {
        if self.seen.len() >= MOST || self.seen.insert(told.id.clone(), now).is_some() {
            return;
        }
        let same = |(_, one): &(u64, Happening)| one.id == told.id;
        let alike = |(_, one): &(u64, Happening)| one.by_silence && told.is_about(one);
        let mut pending = self.pending.iter();
        let at = pending.position(same);
        match at.or_else(|| self.pending.iter().position(alike)) {
            Some(at) => {
                self.pending.remove(at);
            }
            None if self.ahead.len() < MOST => self.ahead.push_back((now, told)),
            None => {}
        }
    }

    /// This node slept, or heard nobody for long: another may have led meanwhile.
    pub fn was_away(&mut self) {
        self.leads_since = None;
    }

    /// What is to be written because this node leads now.
    pub fn take(&mut self, leads: bool, now: u64) -> Vec<Happening> {
        if now.saturating_sub(self.swept) > KEEP / 4 {
            self.swept = now;
            let is_young = |at: &u64| now.saturating_sub(*at) <= KEEP;
            self.seen.retain(|_, at| is_young(at));
            self.ahead.retain(|(at, _)| is_young(at));
            self.pending.retain(|(at, _)| is_young(at));
        }
        if !self.leads(leads, now) {
            return Vec::new();
        }
        let pending = std::mem::take(&mut self.pending);
        for (_, one) in &pending {
            self.seen.insert(one.id.clone(), now);
        }
        pending.into_iter().map(|(_, one)| one).collect()
    }

    fn leads(&mut self, leads: bool, now: u64) -> bool {
        if !leads {
            self.leads_since = None;
            return false;
        }
        now.saturating_sub(*self.leads_since.get_or_insert(now)) >= GRACE
    }
}

impl Happening {
    /// The record's value: an envelope whose event is the webhook's name.
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
            Some(self.what.as_str()),
            data.as_deref(),
            i64::try_from(unix_ms() / 1000).unwrap_or(0),
        );
        value
    }
}

impl Told {
    /// Reads what [`Happening::envelope`] wrote; `None` where it is anything else.
    pub fn read(value: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Data {
            user_id: String,
        }
        let scanned = crate::envelope::scan_envelope(value).ok()?;
        let user = match scanned.data {
            None => None,
            Some(data) => Some(serde_json::from_slice::<Data>(data).ok()?.user_id),
        };
        Some(Self {
            id: scanned.id.into_owned(),
            what: What::read(&scanned.event?)?,
            channel: scanned.channel?.into_owned(),
            user,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(id: &str, by_silence: bool) -> Happening {
        Happening {
            what: What::MemberRemoved,
            channel: "presence-x".to_owned(),
            user: Some("7".to_owned()),
            id: id.to_owned(),
            by_silence,
        }
    }

    fn told(id: &str) -> Told {
        Told::read(&happening(id, false).envelope()).expect("ours")
    }

    /// One that leads for long.
    fn leader() -> Webhooks {
        let mut hooks = Webhooks::default();
        assert!(hooks.take(true, 10_000).is_empty());
        hooks
    }

    #[test]
    fn an_envelope_reads_back() {
        assert_eq!(
            told("a"),
            Told {
                id: "a".to_owned(),
                what: What::MemberRemoved,
                channel: "presence-x".to_owned(),
                user: Some("7".to_owned()),
            }
        );
        let vacated = Happening {
            what: What::Vacated,
            user: None,
            ..happening("b", false)
        };
        assert_eq!(Told::read(&vacated.envelope()).expect("ours").user, None);
        for other in ["", "{}", r#"{"id":"1","channel":"a","event":"order.paid"}"#] {
            assert_eq!(Told::read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn who_leads_writes_at_once_and_once() {
        let mut hooks = leader();
        assert!(hooks
            .happened(happening("a", false), true, 11_000)
            .is_some());
        hooks.saw(told("a"), 11_010);
        assert_eq!(hooks.happened(happening("a", false), true, 11_020), None);
        assert!(hooks.take(true, 11_030).is_empty() && hooks.ahead.is_empty());
    }

    #[test]
    fn a_successor_writes_what_its_predecessor_did_not() {
        let mut hooks = Webhooks::default();
        for id in ["a", "b"] {
            assert_eq!(hooks.happened(happening(id, false), false, 10_000), None);
        }
        hooks.saw(told("a"), 10_100);
        assert!(hooks.take(false, 15_000).is_empty());
        // What the other wrote last may still be on its way.
        assert!(hooks.take(true, 20_000).is_empty());
        assert_eq!(hooks.take(true, 21_000), [happening("b", false)]);
        assert!(hooks.take(true, 21_100).is_empty());
    }

    #[test]
    fn two_nodes_that_die_at_once_are_told_once_whoever_was_missed_first() {
        // The leader missed b last, this node a: one happening, two ids, and the leader dies as well.
        for told_first in [false, true] {
            let mut hooks = Webhooks::default();
            if told_first {
                hooks.saw(told("gone b"), 10_000);
            }
            assert_eq!(
                hooks.happened(happening("gone a", true), false, 10_100),
                None
            );
            if !told_first {
                hooks.saw(told("gone b"), 10_200);
            }
            assert!(hooks.take(true, 20_000).is_empty());
            assert!(hooks.take(true, 25_000).is_empty(), "{told_first}");
            // The next time it is another happening.
            assert!(hooks
                .happened(happening("gone c", true), true, 26_000)
                .is_some());
        }
    }

    #[test]
    fn another_user_is_another_happening() {
        let mut hooks = Webhooks::default();
        let other = Happening {
            user: Some("8".to_owned()),
            ..happening("gone a", true)
        };
        assert_eq!(hooks.happened(other.clone(), false, 10_000), None);
        hooks.saw(told("gone b"), 10_100);
        assert!(hooks.take(true, 20_000).is_empty());
        assert_eq!(hooks.take(true, 21_000), [other]);
    }

    #[test]
    fn a_leader_that_slept_sees_first_what_was_written_meanwhile() {
        let mut hooks = leader();
        hooks.was_away();
        assert_eq!(hooks.happened(happening("a", false), true, 30_000), None);
        hooks.saw(told("a"), 30_300);
        assert!(hooks.take(true, 31_500).is_empty());
        assert!(hooks
            .happened(happening("b", false), true, 31_600)
            .is_some());
    }
}
