//! Webhooks by topic: what happened is written to `<prefix>.__events` once, by the lowest live node. The others keep it in mind until
//! they see it there, so that nothing is lost when that node dies.

use std::collections::{HashMap, VecDeque};

use super::totals::Happening;
use crate::ids::unix_ms;
use crate::message::{write_envelope, Kind};

/// What nobody wrote is kept for so long, ms; so is what was seen.
const KEEP: u64 = 60_000;
/// At most so many.
const MOST: usize = 100_000;

/// What is still to be seen in the topic.
#[derive(Default)]
pub(super) struct Webhooks {
    pending: VecDeque<(u64, Happening)>,
    /// What is there already, by id.
    seen: HashMap<String, u64>,
    swept: u64,
}

impl Webhooks {
    /// Something happened. It is to be written now where the answer has it.
    pub fn happened(&mut self, happening: Happening, leads: bool, now: u64) -> Option<Happening> {
        if self.seen.contains_key(&happening.id) {
            return None;
        }
        if leads {
            return Some(happening);
        }
        if self.pending.len() < MOST {
            self.pending.push_back((now, happening));
        }
        None
    }

    /// Somebody wrote it.
    pub fn saw(&mut self, id: String, now: u64) {
        if self.seen.len() < MOST {
            self.seen.insert(id, now);
        }
    }

    /// What is to be written because this node leads now.
    pub fn take(&mut self, leads: bool, now: u64) -> Vec<Happening> {
        if now.saturating_sub(self.swept) > KEEP / 4 {
            self.swept = now;
            self.seen.retain(|_, at| now.saturating_sub(*at) <= KEEP);
            let seen = &self.seen;
            self.pending
                .retain(|(at, one)| now.saturating_sub(*at) <= KEEP && !seen.contains_key(&one.id));
        }
        if !leads {
            return Vec::new();
        }
        let seen = &self.seen;
        let pending = self.pending.drain(..).map(|(_, one)| one);
        pending.filter(|one| !seen.contains_key(&one.id)).collect()
    }
}

impl Happening {
    /// The record's value: an envelope whose event is the webhook's name.
    pub(super) fn envelope(&self) -> Vec<u8> {
        let data = self.user.as_ref().map(|user| {
            let mut data = b"{\"user_id\":".to_vec();
            crate::message::write_php_string(&mut data, user);
            data.push(b'}');
            data
        });
        let mut value = Vec::with_capacity(160);
        write_envelope(
            &mut value,
            self.id.as_bytes(),
            Kind::Event.as_str(),
            Some(&self.channel),
            Some(self.what.as_str()),
            data.as_deref(),
            i64::try_from(unix_ms() / 1000).unwrap_or(0),
        );
        value
    }
}
