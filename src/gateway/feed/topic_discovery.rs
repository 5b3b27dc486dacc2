//! The thread that finds topics and partitions and decides the offset from which each is read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::positions::{initial_start, late_start_offsets, StartOffset};
use super::{Key, OffsetSpec, PartitionReader, Shared, TopicRole};
use crate::kafka::client::TopicInfo;
use crate::runtime;

/// Timeout of one request to Kafka.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A partition found later is read from this long before the last complete refresh.
pub(super) const OVERLAP_MS: i64 = 5_000;
/// Control records up to this age show which nodes are alive, ms.
const NODE_LOOKBACK_MS: i64 = 12_000;
/// Maximum pause between two refreshes, however long they take.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Maximum pause before a requested refresh.
const MAX_PAUSE_REQUESTED: Duration = Duration::from_secs(1);

/// How often the ids of the topics are checked.
const ID_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Up to this many topics the request is small, and ids are checked more often.
const SMALL_CLUSTER: usize = 500;
const SMALL_CLUSTER_ID_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// A topic missing in this many consecutive refreshes was deleted.
const MISSING_BEFORE_CLOSE: u32 = 3;

/// State of topic discovery between two refreshes.
#[derive(Default)]
pub(super) struct TopicDiscovery {
    pub active: HashMap<Key, TopicRole>,
    /// Partitions that are read from a time, Unix ms, as soon as their leaders answer.
    pub pending: BTreeMap<Key, (TopicRole, i64)>,
    /// Start of the last complete refresh, Unix ms.
    pub last_complete_ms: Option<i64>,
    pub missing: HashMap<String, u32>,
    /// Topics listed without partitions, and the time from which they will be read.
    delayed: HashMap<String, i64>,
    pub ids_checked_at: Option<Instant>,
    /// As `ids_checked_at`, Unix ms.
    pub ids_checked_ms: i64,
    pub is_mock: bool,
}

pub(super) fn run(shared: &Shared) {
    let mut discovery = TopicDiscovery::default();
    while !shared.is_stopping() {
        let started = Instant::now();
        discovery.refresh_topics(shared);
        // In a cluster with very many topics a refresh is slow: at most a tenth of the time is spent on it.
        let rest = started.elapsed() * 9;
        let pause = if discovery.last_complete_ms.is_none() {
            Duration::from_millis(50)
        } else if discovery.pending.is_empty() {
            shared.settings.topic_refresh
        } else {
            shared
                .settings
                .topic_refresh
                .min(Duration::from_millis(200))
        };
        let refresh_request = &shared.positions.refresh_request;
        let ended = Instant::now();
        if refresh_request.wait(pause.max(rest.min(MAX_PAUSE))) {
            // Many requests may follow each other, so they are rate-limited. Lost partitions do not wait.
            let rest = rest.min(MAX_PAUSE_REQUESTED);
            while ended.elapsed() < rest
                && !shared.is_stopping()
                && shared.to_restart.lock().is_empty()
            {
                refresh_request.wait(rest.saturating_sub(ended.elapsed()));
            }
        }
    }
    for (topic, partition) in discovery.active.keys() {
        shared.client.close(topic, *partition);
    }
}

pub(super) fn now_ms() -> i64 {
    i64::try_from(crate::ids::unix_ms()).unwrap_or(i64::MAX)
}

impl TopicDiscovery {
    fn refresh_topics(&mut self, shared: &Shared) {
        let requested_ms = now_ms();
        let waited_ms = i64::try_from(shared.begun.elapsed().as_millis()).unwrap_or(0);
        if self.last_complete_ms.is_none() {
            match shared.client.is_mock(Duration::from_millis(500)) {
                Some(is_mock) => self.is_mock = is_mock,
                None => return shared.connected.store(false, Ordering::Release),
            }
        }
        let Ok(topics) = shared.client.topics(REQUEST_TIMEOUT) else {
            return shared.connected.store(false, Ordering::Release);
        };
        shared.connected.store(true, Ordering::Release);
        let wanted: Vec<(&TopicInfo, TopicRole)> = topics
            .iter()
            .filter_map(|topic| Some((topic, shared.selector.role(&topic.name)?)))
            .collect();
        let to_restart = std::mem::take(&mut *shared.to_restart.lock());
        self.check_topic_ids(shared, &wanted, !to_restart.is_empty());
        for key in to_restart {
            let ms = self
                .last_complete_ms
                .map_or_else(now_ms, |ms| ms - OVERLAP_MS);
            self.restart_from(shared, &key, ms);
        }
        self.close_deleted(shared, &wanted);
        let first = self.last_complete_ms.is_none();
        let threshold = self
            .last_complete_ms
            .map_or(requested_ms - waited_ms, |ms| ms - OVERLAP_MS);
        let mut fresh = Vec::new();
        let mut is_delayed = HashSet::new();
        for (topic, role) in wanted {
            if topic.error != Code::NoError {
                is_delayed.insert(topic.name.clone());
                let delayed = self.delayed.entry(topic.name.clone());
                delayed.or_insert(threshold);
                continue;
            }
            for partition in &topic.partitions {
                let key = (topic.name.clone(), partition.id);
                if !self.active.contains_key(&key) && !self.pending.contains_key(&key) {
                    fresh.push((key, role));
                }
            }
        }
        if first {
            shared.live_since_ms.store(threshold, Ordering::Release);
            if !self.start_initial(shared, &fresh, requested_ms, waited_ms) {
                return;
            }
        }
        for (key, role) in fresh {
            if !self.active.contains_key(&key) {
                let from = self.delayed.get(&key.0).copied().unwrap_or(threshold);
                self.pending.insert(key, (role, from));
            }
        }
        self.delayed.retain(|topic, _| is_delayed.contains(topic));
        self.start_pending(shared);
        self.last_complete_ms = Some(requested_ms);
        if self.pending.is_empty() && self.delayed.is_empty() {
            shared.positions.set_refreshed(requested_ms);
        }
        shared.started.store(true, Ordering::Release);
    }

    /// The first refresh: partitions are read from the end, after recent records have filled the replay buffer; those
    /// since the feed began are live, because Kafka may have been away. False to retry.
    fn start_initial(
        &mut self,
        shared: &Shared,
        fresh: &[(Key, TopicRole)],
        requested_ms: i64,
        waited_ms: i64,
    ) -> bool {
        let keys: Vec<Key> = fresh.iter().map(|(key, _)| key.clone()).collect();
        let names: HashSet<&String> = keys.iter().map(|(topic, _)| topic).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let Ok(ends) = shared
            .client
            .offsets(&keys, OffsetSpec::End, REQUEST_TIMEOUT)
        else {
            return false;
        };
        let history_ms = shared.history_ms().max(waited_ms);
        let mut since = HashMap::new();
        for (role, back_ms) in [
            (TopicRole::Channels, history_ms),
            (TopicRole::Presence, NODE_LOOKBACK_MS),
        ] {
            let some = fresh.iter().filter(|(_, other)| *other == role);
            let some: Vec<Key> = some.map(|(key, _)| key.clone()).collect();
            let offset_spec = if self.is_mock {
                OffsetSpec::Beginning
            } else {
                OffsetSpec::Since(requested_ms - back_ms)
            };
            match shared.client.offsets(&some, offset_spec, REQUEST_TIMEOUT) {
                Ok(found) => since.extend(found),
                Err(_) => return false,
            }
        }
        let ids = self.ids(shared, &names);
        self.ids_checked_at = Some(Instant::now());
        self.ids_checked_ms = requested_ms;
        for (name, id) in ids {
            shared.positions.get_or_insert(&name).set_id(id);
        }
        for (key, role) in fresh {
            // Without a response from its leader it is treated as found later.
            let Some(&end) = ends.get(key) else {
                continue;
            };
            let since = since.get(key).copied();
            let start = initial_start(*role, end, since, requested_ms, history_ms);
            let start = start.for_mock(self.is_mock, requested_ms - history_ms.min(i64::MAX / 2));
            self.open(shared, key, *role, start);
        }
        true
    }

    /// The ids of topics; none for the embedded broker, which does not answer the request.
    pub fn ids(
        &self,
        shared: &Shared,
        names: &[String],
    ) -> HashMap<String, super::positions::TopicId> {
        if self.is_mock || names.is_empty() {
            return HashMap::new();
        }
        shared.client.topic_ids(names, REQUEST_TIMEOUT)
    }

    /// Starts the pending partitions whose leaders answer.
    fn start_pending(&mut self, shared: &Shared) {
        if self.pending.is_empty() {
            return;
        }
        let mut by_time: BTreeMap<i64, Vec<Key>> = BTreeMap::new();
        for (key, (_, ms)) in &self.pending {
            by_time.entry(*ms).or_default().push(key.clone());
        }
        for (ms, keys) in by_time {
            let offset_spec = if self.is_mock {
                OffsetSpec::Beginning
            } else {
                OffsetSpec::Since(ms)
            };
            let send_admin_request =
                |offset_spec| shared.client.offsets(&keys, offset_spec, REQUEST_TIMEOUT);
            let Some(starts) = late_start_offsets(send_admin_request, offset_spec) else {
                continue;
            };
            let names: HashSet<String> = keys.iter().map(|(topic, _)| topic.clone()).collect();
            self.update_topic_ids(shared, &names.into_iter().collect::<Vec<_>>(), ms);
            for key in keys {
                let Some(&(mut from, end)) = starts.get(&key) else {
                    continue;
                };
                let Some((role, _)) = self.pending.remove(&key) else {
                    continue;
                };
                let state = shared.positions.get_or_insert(&key.0).get_or_insert(key.1);
                if (from..=end).contains(&state.next()) {
                    // It was read before, so records are not delivered twice.
                    from = state.next();
                }
                let start = StartOffset {
                    from,
                    live_from: from,
                    not_before_ms: i64::MIN,
                    since_ms: ms,
                };
                let start = start.for_mock(self.is_mock, ms);
                self.open(shared, &key, role, start);
            }
        }
    }

    fn open(&mut self, shared: &Shared, key: &Key, role: TopicRole, start: StartOffset) {
        let (topic, partition) = key;
        let state = shared
            .positions
            .get_or_insert(topic)
            .get_or_insert(*partition);
        let Some(handle) = shared.client.handle(topic) else {
            return;
        };
        state.restart(start.from, start.live_from, start.not_before_ms);
        if role == TopicRole::Channels {
            shared
                .sink
                .partition_started(&state, start.from, start.since_ms);
        }
        let reader = PartitionReader { state, role };
        shared.readers.lock().insert((handle, *partition), reader);
        match shared.client.open(topic, *partition, start.from) {
            Ok(()) => {
                self.active.insert(key.clone(), role);
            }
            Err(error) => {
                runtime::error(error.message());
                self.pending.insert(key.clone(), (role, start.since_ms));
            }
        }
    }

    /// The partitions of a topic that are read.
    fn active_keys(&self, topic: &str) -> Vec<Key> {
        let keys = self.active.keys();
        keys.filter(|key| key.0 == topic).cloned().collect()
    }

    pub fn close(&mut self, shared: &Shared, key: &Key) -> Option<TopicRole> {
        let role = self.active.remove(key)?;
        shared.client.close(&key.0, key.1);
        if let Some(state) = shared
            .positions
            .find(&key.0)
            .and_then(|t| t.partition(key.1))
        {
            state.is_active.store(false, Ordering::Release);
            shared.sink.partition_stopped(&state);
        }
        Some(role)
    }

    /// Reads a partition again from this time, as soon as its leader answers.
    pub fn restart_from(&mut self, shared: &Shared, key: &Key, ms: i64) {
        if let Some(role) = self.close(shared, key) {
            self.pending.insert(key.clone(), (role, ms));
        }
    }

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
            for key in self.active_keys(&name) {
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
            for key in self.active_keys(&topic) {
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
