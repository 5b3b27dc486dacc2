//! The thread that looks which topics there are, and decides from which offset each partition is read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka_sys::bindings::rd_kafka_resp_err_t as Code;

use super::start::{first_start, late_starts, Start};
use super::{Key, Lane, Purpose, Shared, Which};
use crate::kafka::client::TopicInfo;
use crate::log::Level;
use crate::process;

/// One answer of Kafka's takes this long at most.
pub(super) const BOUND: Duration = Duration::from_secs(5);
/// What appears late is read from this long before the last complete look.
pub(super) const BEFORE_MS: i64 = 5_000;
/// Control records of this age still say which nodes are alive, ms.
const NODES_MS: i64 = 12_000;
/// The longest time between two looks, however long they take.
const MOST: Duration = Duration::from_secs(30);
/// The same for a look that somebody waits for.
const MOST_ASKED: Duration = Duration::from_secs(1);

/// What the scout remembers between two looks.
#[derive(Default)]
pub(super) struct Scout {
    /// What is being read.
    pub known: HashMap<Key, Purpose>,
    /// What is to be read from a time, Unix ms, as soon as its leader answers.
    pub pending: BTreeMap<Key, (Purpose, i64)>,
    /// When the last complete look was asked for, Unix ms.
    pub complete_ms: Option<i64>,
    pub missing: HashMap<String, u32>,
    /// Topics that were seen without their partitions, and the time they are read from.
    delayed: HashMap<String, i64>,
    pub ids_at: Option<Instant>,
    /// The same, Unix ms.
    pub ids_ms: i64,
    pub is_mock: bool,
}

pub(super) fn run(shared: &Shared) {
    let mut scout = Scout::default();
    while !shared.is_stopping() {
        let begun = Instant::now();
        scout.look(shared);
        // In a cluster of very many topics a look takes its time: at most a tenth of everything is spent on it.
        let rest = begun.elapsed() * 9;
        let pause = if scout.complete_ms.is_none() {
            Duration::from_millis(50)
        } else if scout.pending.is_empty() {
            shared.manner.refresh
        } else {
            shared.manner.refresh.min(Duration::from_millis(200))
        };
        let bell = &shared.positions.bell;
        let ended = Instant::now();
        if bell.wait(pause.max(rest.min(MOST))) {
            // Many may ask, one after the other. What was lost does not wait.
            let rest = rest.min(MOST_ASKED);
            while ended.elapsed() < rest && !shared.is_stopping() && shared.lost.lock().is_empty() {
                bell.wait(rest.saturating_sub(ended.elapsed()));
            }
        }
    }
    for (topic, partition) in scout.known.keys() {
        shared.client.close(topic, *partition);
    }
}

pub(super) fn now_ms() -> i64 {
    i64::try_from(crate::ids::unix_ms()).unwrap_or(i64::MAX)
}

impl Scout {
    fn look(&mut self, shared: &Shared) {
        let asked_ms = now_ms();
        if self.complete_ms.is_none() {
            match shared.client.is_mock(Duration::from_millis(500)) {
                Some(is_mock) => self.is_mock = is_mock,
                None => return shared.reached.store(false, Ordering::Release),
            }
        }
        let Ok(topics) = shared.client.topics(BOUND) else {
            return shared.reached.store(false, Ordering::Release);
        };
        shared.reached.store(true, Ordering::Release);
        let wanted: Vec<(&TopicInfo, Purpose)> = topics
            .iter()
            .filter_map(|topic| Some((topic, shared.choice.purpose(&topic.name)?)))
            .collect();
        let lost = std::mem::take(&mut *shared.lost.lock());
        self.compare_ids(shared, &wanted, !lost.is_empty());
        for key in lost {
            let ms = self.complete_ms.map_or_else(now_ms, |ms| ms - BEFORE_MS);
            self.again(shared, &key, ms);
        }
        self.forget_gone(shared, &wanted);
        let first = self.complete_ms.is_none();
        let threshold = self.complete_ms.map_or(asked_ms, |ms| ms - BEFORE_MS);
        let mut fresh = Vec::new();
        let mut is_delayed = HashSet::new();
        for (topic, purpose) in wanted {
            if topic.error != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                is_delayed.insert(topic.name.clone());
                let delayed = self.delayed.entry(topic.name.clone());
                delayed.or_insert(threshold);
                continue;
            }
            for partition in &topic.partitions {
                let key = (topic.name.clone(), partition.id);
                if !self.known.contains_key(&key) && !self.pending.contains_key(&key) {
                    fresh.push((key, purpose));
                }
            }
        }
        if first && !self.begin(shared, &fresh, asked_ms) {
            return;
        }
        for (key, purpose) in fresh {
            if !self.known.contains_key(&key) {
                let from = self.delayed.get(&key.0).copied().unwrap_or(threshold);
                self.pending.insert(key, (purpose, from));
            }
        }
        self.delayed.retain(|topic, _| is_delayed.contains(topic));
        self.settle(shared);
        self.complete_ms = Some(asked_ms);
        if self.pending.is_empty() && self.delayed.is_empty() {
            shared.positions.looked(asked_ms);
        }
        shared.begun.store(true, Ordering::Release);
    }

    /// The first look: what is there is read from the end, after the ring got what came before. False to look again.
    fn begin(&mut self, shared: &Shared, fresh: &[(Key, Purpose)], asked_ms: i64) -> bool {
        let keys: Vec<Key> = fresh.iter().map(|(key, _)| key.clone()).collect();
        let names: HashSet<&String> = keys.iter().map(|(topic, _)| topic).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let Ok(ends) = shared.client.offsets(&keys, Which::End, BOUND) else {
            return false;
        };
        let keep_ms = i64::try_from(shared.manner.keep.as_millis()).unwrap_or(i64::MAX);
        let mut since = HashMap::new();
        for (purpose, back_ms) in [(Purpose::Channels, keep_ms), (Purpose::Presence, NODES_MS)] {
            let some = fresh.iter().filter(|(_, other)| *other == purpose);
            let some: Vec<Key> = some.map(|(key, _)| key.clone()).collect();
            let which = if self.is_mock {
                Which::Beginning
            } else {
                Which::Since(asked_ms - back_ms)
            };
            match shared.client.offsets(&some, which, BOUND) {
                Ok(found) => since.extend(found),
                Err(_) => return false,
            }
        }
        let ids = self.ids(shared, &names);
        self.ids_at = Some(Instant::now());
        self.ids_ms = asked_ms;
        for (name, id) in ids {
            shared.positions.enter(&name).set_id(id);
        }
        for (key, purpose) in fresh {
            // Without an answer of its leader it is late: read from now on.
            let Some(&end) = ends.get(key) else {
                continue;
            };
            let since = since.get(key).copied();
            let start = first_start(
                *purpose,
                end,
                since,
                asked_ms,
                shared.manner.most_kept,
                keep_ms,
            );
            let start = if self.is_mock {
                start.not_before(asked_ms - keep_ms.min(i64::MAX / 2))
            } else {
                start
            };
            self.open(shared, key, *purpose, start);
        }
        true
    }

    /// The ids of topics; the embedded broker has none to tell, and does not even answer.
    pub fn ids(
        &self,
        shared: &Shared,
        names: &[String],
    ) -> HashMap<String, super::positions::TopicId> {
        if self.is_mock || names.is_empty() {
            return HashMap::new();
        }
        shared.client.topic_ids(names, BOUND)
    }

    /// Starts what is pending, as far as its leaders answer.
    fn settle(&mut self, shared: &Shared) {
        if self.pending.is_empty() {
            return;
        }
        let mut by_time: BTreeMap<i64, Vec<Key>> = BTreeMap::new();
        for (key, (_, ms)) in &self.pending {
            by_time.entry(*ms).or_default().push(key.clone());
        }
        for (ms, keys) in by_time {
            let which = if self.is_mock {
                Which::Beginning
            } else {
                Which::Since(ms)
            };
            let ask = |which| shared.client.offsets(&keys, which, BOUND);
            let Some(starts) = late_starts(ask, which) else {
                continue;
            };
            let names: HashSet<String> = keys.iter().map(|(topic, _)| topic.clone()).collect();
            self.note_ids(shared, &names.into_iter().collect::<Vec<_>>(), ms);
            for key in keys {
                let Some(&(mut from, end)) = starts.get(&key) else {
                    continue;
                };
                let Some((purpose, _)) = self.pending.remove(&key) else {
                    continue;
                };
                let part = shared.positions.enter(&key.0).enter(key.1);
                if (from..=end).contains(&part.next()) {
                    // It was read before: nothing comes twice.
                    from = part.next();
                }
                let start = Start {
                    from,
                    live_from: from,
                    not_before_ms: i64::MIN,
                    since_ms: ms,
                };
                let start = if self.is_mock {
                    start.not_before(ms)
                } else {
                    start
                };
                self.open(shared, &key, purpose, start);
            }
        }
    }

    fn open(&mut self, shared: &Shared, key: &Key, purpose: Purpose, start: Start) {
        let (topic, partition) = key;
        let part = shared.positions.enter(topic).enter(*partition);
        let Some(handle) = shared.client.handle(topic) else {
            return;
        };
        part.restart(start.from, start.live_from, start.not_before_ms);
        if purpose == Purpose::Channels {
            shared.sink.began(&part, start.from, start.since_ms);
        }
        let lane = Lane { part, purpose };
        shared.lanes.lock().insert((handle, *partition), lane);
        match shared.client.open(topic, *partition, start.from) {
            Ok(()) => {
                self.known.insert(key.clone(), purpose);
            }
            Err(error) => {
                process::current().log.say(Level::Error, error.message());
                self.pending.insert(key.clone(), (purpose, start.since_ms));
            }
        }
    }

    pub fn close(&mut self, shared: &Shared, key: &Key) -> Option<Purpose> {
        let purpose = self.known.remove(key)?;
        shared.client.close(&key.0, key.1);
        if let Some(part) = shared.positions.find(&key.0).and_then(|t| t.part(key.1)) {
            part.reads.store(false, Ordering::Release);
            shared.sink.ended(&part);
        }
        Some(purpose)
    }

    /// A partition that could not be read on: from this time, as soon as its leader answers.
    pub fn again(&mut self, shared: &Shared, key: &Key, ms: i64) {
        if let Some(purpose) = self.close(shared, key) {
            self.pending.insert(key.clone(), (purpose, ms));
        }
    }
}
