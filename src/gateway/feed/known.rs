//! Topics that were known before: one may have been made anew under its name, one may be gone.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::scout::{now_ms, Scout, BEFORE_MS};
use super::{Key, Purpose, Shared};
use crate::kafka::client::TopicInfo;

/// The ids of known topics are compared this often.
const IDS: Duration = Duration::from_secs(10);
/// So many topics are one small request: theirs are compared at this pace.
const FEW: usize = 500;
const IDS_OF_FEW: Duration = Duration::from_secs(2);
/// A topic that is missing in so many looks in turn is gone.
const GONE: u32 = 3;

impl Scout {
    /// A topic that was deleted and made again has the same name and another id: its offsets mean something else.
    pub(super) fn compare_ids(
        &mut self,
        shared: &Shared,
        wanted: &[(&TopicInfo, Purpose)],
        now: bool,
    ) {
        let pace = if wanted.len() <= FEW { IDS_OF_FEW } else { IDS };
        let is_due = self.ids_at.is_none_or(|at| at.elapsed() >= pace);
        if self.complete_ms.is_none() || !(is_due || now) {
            return;
        }
        self.ids_at = Some(Instant::now());
        // One that was made since the last time has nothing older.
        let since_ms = std::mem::replace(&mut self.ids_ms, now_ms()) - BEFORE_MS;
        let names: Vec<String> = wanted.iter().map(|(topic, _)| topic.name.clone()).collect();
        self.note_ids(shared, &names, since_ms);
    }

    /// Asks for the ids of these topics; one that has another now is begun anew, with what is as young as `ms`.
    pub(super) fn note_ids(&mut self, shared: &Shared, names: &[String], ms: i64) {
        for (name, id) in self.ids(shared, names) {
            let topic = shared.positions.enter(&name);
            let before = topic.id();
            topic.set_id(id);
            if before == 0 || before == id {
                continue;
            }
            let keys: Vec<Key> = self.known.keys().filter(|k| k.0 == name).cloned().collect();
            for key in keys {
                self.again(shared, &key, ms);
            }
            // What it had been read to means nothing any more.
            for part in topic.parts() {
                part.forget();
            }
        }
    }

    pub(super) fn forget_gone(&mut self, shared: &Shared, wanted: &[(&TopicInfo, Purpose)]) {
        let is_there: HashSet<&str> = wanted.iter().map(|(t, _)| t.name.as_str()).collect();
        let away: HashSet<String> = self
            .known
            .keys()
            .map(|(topic, _)| topic)
            .filter(|topic| !is_there.contains(topic.as_str()))
            .cloned()
            .collect();
        self.missing.retain(|topic, _| away.contains(topic));
        self.pending
            .retain(|(topic, _), _| is_there.contains(topic.as_str()));
        for topic in away {
            let times = self.missing.entry(topic.clone()).or_default();
            *times += 1;
            if *times < GONE {
                continue;
            }
            let keys: Vec<Key> = self
                .known
                .keys()
                .filter(|k| k.0 == topic)
                .cloned()
                .collect();
            for key in keys {
                self.close(shared, &key);
            }
            if let Some(topic) = shared.positions.find(&topic) {
                topic.set_id(0);
                for part in topic.parts() {
                    part.forget();
                }
            }
        }
    }
}
