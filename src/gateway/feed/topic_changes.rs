//! Detects topics that were deleted, or deleted and created again under the same name.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::topic_discovery::{now_ms, TopicDiscovery, OVERLAP_MS};
use super::{Key, Shared, TopicRole};
use crate::kafka::client::TopicInfo;

/// How often the ids of the topics are checked.
const ID_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Up to this many topics the request is small, and ids are checked more often.
const SMALL_CLUSTER: usize = 500;
const SMALL_CLUSTER_ID_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// A topic missing in this many consecutive refreshes was deleted.
const MISSING_BEFORE_CLOSE: u32 = 3;

impl TopicDiscovery {
    /// Finds topics that were deleted and created again: same name, another id, and unrelated offsets.
    pub(super) fn check_topic_ids(
        &mut self,
        shared: &Shared,
        wanted: &[(&TopicInfo, TopicRole)],
        now: bool,
    ) {
        let pace = if wanted.len() <= SMALL_CLUSTER {
            SMALL_CLUSTER_ID_CHECK_INTERVAL
        } else {
            ID_CHECK_INTERVAL
        };
        let is_due = self.ids_checked_at.is_none_or(|at| at.elapsed() >= pace);
        if self.last_complete_ms.is_none() || !(is_due || now) {
            return;
        }
        self.ids_checked_at = Some(Instant::now());
        // A topic created since the last check has no older records.
        let since_ms = std::mem::replace(&mut self.ids_checked_ms, now_ms()) - OVERLAP_MS;
        let names: Vec<String> = wanted.iter().map(|(topic, _)| topic.name.clone()).collect();
        self.update_topic_ids(shared, &names, since_ms);
    }

    /// Requests the ids of these topics; a topic whose id has changed is read again from the records since `ms`.
    pub(super) fn update_topic_ids(&mut self, shared: &Shared, names: &[String], ms: i64) {
        for (name, id) in self.ids(shared, names) {
            let topic = shared.positions.get_or_insert(&name);
            let before = topic.id();
            topic.set_id(id);
            if before == 0 || before == id {
                continue;
            }
            let keys: Vec<Key> = self
                .active
                .keys()
                .filter(|k| k.0 == name)
                .cloned()
                .collect();
            for key in keys {
                self.restart_from(shared, &key, ms);
            }
            // The positions belong to the deleted topic.
            for state in topic.partitions() {
                state.reset();
            }
        }
    }

    pub(super) fn close_deleted(&mut self, shared: &Shared, wanted: &[(&TopicInfo, TopicRole)]) {
        let is_there: HashSet<&str> = wanted.iter().map(|(t, _)| t.name.as_str()).collect();
        let unavailable: HashSet<String> = self
            .active
            .keys()
            .map(|(topic, _)| topic)
            .filter(|topic| !is_there.contains(topic.as_str()))
            .cloned()
            .collect();
        self.missing.retain(|topic, _| unavailable.contains(topic));
        self.pending
            .retain(|(topic, _), _| is_there.contains(topic.as_str()));
        for topic in unavailable {
            let times = self.missing.entry(topic.clone()).or_default();
            *times += 1;
            if *times < MISSING_BEFORE_CLOSE {
                continue;
            }
            let keys: Vec<Key> = self
                .active
                .keys()
                .filter(|k| k.0 == topic)
                .cloned()
                .collect();
            for key in keys {
                self.close(shared, &key);
            }
            if let Some(topic) = shared.positions.find(&topic) {
                topic.set_id(0);
                for state in topic.partitions() {
                    state.reset();
                }
            }
        }
    }
}
