//! Partitions coming and going: what the consumer does when the group deals them anew, and seek, pause and resume.
#![allow(unsafe_code)]

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::consumer::{Consumer, State};
use super::native::{self, Partitions};
use super::offsets::{Metadata, Partition};
use super::rebalance::{self, Event};
use crate::error::{Error, Result};
use crate::log::Level;
use crate::process;
use crate::topic::TopicFilter;

/// A partition of a topic.
pub type TopicPartition = (String, i32);

/// Where to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The first record Kafka still has.
    Beginning,
    /// Behind the last one.
    End,
    /// An offset, 0 or more.
    Offset(i64),
    /// The first record of this time (milliseconds since 1970) or later.
    Time(i64),
}

/// What the host may do while partitions come and go.
pub trait Watcher {
    /// Why the host wants to stop.
    type Abort;
    /// Partitions were given to us; reading has not begun, so this is the place to seek.
    ///
    /// # Errors
    /// The host wants to stop; the partitions are taken nevertheless.
    fn assigned(&self, partitions: &[TopicPartition]) -> Result<(), Self::Abort>;
    /// Partitions are taken away. `lost`: they already belong to somebody else.
    ///
    /// # Errors
    /// The host wants to stop; the partitions are let go nevertheless.
    fn revoked(&self, partitions: &[TopicPartition], lost: bool) -> Result<(), Self::Abort>;
}

/// Where a metadata answer or a committed offset may take its time.
const PATIENCE: Duration = Duration::from_secs(3);

fn names(list: &Partitions) -> Vec<TopicPartition> {
    list.elements()
        .iter()
        .map(|element| (native::topic_of(element), element.partition))
        .collect()
}

impl Consumer {
    /// Deals with everything librdkafka has noted.
    ///
    /// # Errors
    /// What the watcher answered.
    pub fn serve_events<W: Watcher>(&self, watcher: &W) -> Result<(), W::Abort> {
        while let Some(event) = self.next_event() {
            match event {
                Event::Assign(list) => self.assign(list, watcher)?,
                Event::Revoke(list) => self.revoke(&list, watcher)?,
                Event::Error(code, reason) => {
                    self.complain(&mut self.state.borrow_mut(), code, &reason, "");
                }
            }
        }
        Ok(())
    }

    fn assign<W: Watcher>(&self, mut list: Partitions, watcher: &W) -> Result<(), W::Abort> {
        self.heard_from_kafka();
        self.stats.rebalances.set(self.stats.rebalances.get() + 1);
        let names = names(&list);
        let committed = self.committed(&names);
        {
            let mut state = self.state.borrow_mut();
            state.assigning = true;
            state.seeks.clear();
            for ((topic, number), (offset, metadata)) in names.iter().zip(&committed) {
                state.waiting_for.remove(topic);
                self.compare_subscriptions(&mut state, metadata);
                state.add(topic, *number, *offset);
                if *offset < 0 && self.reads_from_end && state.is_late(topic) {
                    // It appeared after we subscribed: everything in it is news.
                    let beginning = i64::from(sys::bindings::RD_KAFKA_OFFSET_BEGINNING);
                    state.seeks.insert((topic.clone(), *number), beginning);
                }
            }
        }
        let wish = watcher.assigned(&names);
        {
            let mut state = self.state.borrow_mut();
            state.assigning = false;
            for element in list.elements_mut() {
                let key = (native::topic_of(element), element.partition);
                if let Some(&offset) = state.seeks.get(&key) {
                    element.offset = offset;
                }
            }
            state.seeks.clear();
        }
        // SAFETY: a live client; the list is copied.
        let refused = unsafe {
            if rebalance::is_cooperative(self.client) {
                let error = sys::bindings::rd_kafka_incremental_assign(self.client, list.raw());
                native::take_error(error).map(|(_, reason)| reason)
            } else {
                let code = sys::bindings::rd_kafka_assign(self.client, list.raw());
                (code != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| native::describe(code))
            }
        };
        self.note_refusal(refused);
        wish
    }

    fn revoke<W: Watcher>(&self, list: &Partitions, watcher: &W) -> Result<(), W::Abort> {
        self.stats.rebalances.set(self.stats.rebalances.get() + 1);
        let names = names(list);
        // SAFETY: a live client.
        let is_lost = unsafe { sys::bindings::rd_kafka_assignment_lost(self.client) } != 0;
        if !is_lost {
            // What is not acknowledged in time comes again at the new owner.
            let _ = self.commit_now(Duration::from_secs(3));
        }
        let wish = watcher.revoked(&names, is_lost);
        {
            let mut state = self.state.borrow_mut();
            for (topic, number) in &names {
                state.remove(topic, *number);
            }
        }
        // SAFETY: a live client and a valid list.
        let refused = unsafe { rebalance::unassign(self.client, list.raw()) };
        self.note_refusal(refused);
        wish
    }

    fn note_refusal(&self, refused: Option<String>) {
        if let Some(reason) = refused {
            process::current().log.say(
                Level::Warning,
                format!(
                    "Kafka consumer group \"{}\": {reason}",
                    self.config.consumer_group
                ),
            );
            self.state.borrow_mut().last_error = Some(reason);
        }
    }

    /// The group's offsets and metadata; -1 where it has none or Kafka does not say in time.
    fn committed(&self, partitions: &[TopicPartition]) -> Vec<(i64, Metadata)> {
        let mut list = Partitions::new();
        for (topic, number) in partitions {
            list.add(topic, *number, native::INVALID_OFFSET);
        }
        let bound = i32::try_from(PATIENCE.as_millis()).unwrap_or(3000);
        // SAFETY: a live client; the list is ours.
        let code = unsafe { sys::bindings::rd_kafka_committed(self.client, list.raw(), bound) };
        list.elements()
            .iter()
            .map(|element| {
                if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR || element.metadata.is_null() {
                    return (element.offset.max(-1), Metadata::default());
                }
                // SAFETY: librdkafka gives pointer and size of the metadata, alive with the list.
                let bytes = unsafe {
                    std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size)
                };
                (element.offset.max(-1), Metadata::read(bytes))
            })
            .collect()
    }

    fn compare_subscriptions(&self, state: &mut State, theirs: &Metadata) {
        if theirs.subscriptions.is_empty()
            || theirs.subscriptions == state.subscriptions
            || state.conflict
        {
            return;
        }
        state.conflict = true;
        process::current().log.say(
            Level::Warning,
            format!(
                "Consumer group \"{}\" has members that subscribe different channels on the same topic: whoever gets a partition \
                 skips what it did not subscribe, and the others never see it. Give every member the same channels, or each \
                 set of channels its own group. (After a change of channels this is said once.)",
                self.config.consumer_group
            ),
        );
    }

    /// True where a member with other subscriptions has committed to a partition of ours.
    #[must_use]
    pub fn has_conflict(&self) -> bool {
        self.state.borrow().conflict
    }

    /// What is assigned: topic, partition, the next offset (negative: not known yet) and the lag (negative: not known yet).
    #[must_use]
    pub fn assignment(&self) -> Vec<(String, i32, i64, i64)> {
        let state = self.state.borrow();
        let assigned = state.partitions.iter().flatten();
        assigned
            .map(|partition| {
                let (low, high) = self.watermarks(&partition.topic, partition.number);
                let next = match (partition.position(), partition.group_offset()) {
                    (next, _) if next >= 0 => next,
                    (_, committed) if committed >= 0 => committed,
                    _ if partition.at_end => high,
                    _ => -1,
                };
                let lag = match (next, high) {
                    (_, high) if high < 0 => -1,
                    (next, high) if next >= 0 => (high - next).max(0),
                    (_, high) => (high - low).max(0),
                };
                (partition.topic.to_string(), partition.number, next, lag)
            })
            .collect()
    }

    fn watermarks(&self, topic: &str, number: i32) -> (i64, i64) {
        let topic = native::c_string(topic);
        let (mut low, mut high) = (-1, -1);
        // SAFETY: a live client; answers from memory, without asking Kafka.
        let code = unsafe {
            sys::bindings::rd_kafka_get_watermark_offsets(
                self.client,
                topic.as_ptr(),
                number,
                &raw mut low,
                &raw mut high,
            )
        };
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            (low, high)
        } else {
            (-1, -1)
        }
    }

    /// True where something is assigned and all of it is read to its end.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        let state = self.state.borrow();
        let mut assigned = state.partitions.iter().flatten().peekable();
        state.hand.is_empty()
            && assigned.peek().is_some()
            && assigned.all(|partition| partition.at_end)
    }

    /// True where nothing is assigned.
    #[must_use]
    pub fn is_unassigned(&self) -> bool {
        self.state
            .borrow()
            .partitions
            .iter()
            .flatten()
            .next()
            .is_none()
    }

    /// True where nothing was subscribed but topics that do not exist.
    #[must_use]
    pub fn waits_for_everything(&self) -> bool {
        let state = self.state.borrow();
        !state.filters.is_empty()
            && state.filters.iter().all(|filter| match filter {
                TopicFilter::Exact(name) => state.waiting_for.contains(name),
                TopicFilter::Regex(_) => false,
            })
    }

    /// Reads on from `position`. Inside `assigned` it takes effect before the first record, otherwise at once.
    ///
    /// # Errors
    /// Configuration: the partition is not assigned to this consumer. Connection: Kafka does not answer.
    pub fn seek(&self, topic: &str, partition: i32, position: Position) -> Result<()> {
        let place = format!("Cannot seek in topic \"{topic}\" partition {partition}");
        let assigned = self
            .state
            .borrow()
            .index
            .contains_key(&(Rc::from(topic), partition));
        if !assigned {
            return Err(Error::configuration(format!(
                "{place}: it is not assigned to this consumer. Seek in the callback of onAssigned()."
            )));
        }
        let offset = match position {
            Position::Beginning => i64::from(sys::bindings::RD_KAFKA_OFFSET_BEGINNING),
            Position::End => i64::from(sys::bindings::RD_KAFKA_OFFSET_END),
            Position::Offset(offset) => offset,
            Position::Time(time) => self.offset_at(topic, partition, time, &place)?,
        };
        {
            let mut state = self.state.borrow_mut();
            if state.assigning {
                state.seeks.insert((topic.to_owned(), partition), offset);
                return Ok(());
            }
            state.drop_from_hand(topic, partition);
        }
        self.seek_now(topic, partition, offset, &place)
    }

    fn seek_now(&self, topic: &str, partition: i32, offset: i64, place: &str) -> Result<()> {
        let mut list = Partitions::new();
        list.add(topic, partition, offset);
        // SAFETY: a live client; the list is ours.
        let failed = unsafe {
            let error = sys::bindings::rd_kafka_seek_partitions(self.client, list.raw(), 5000);
            native::take_error(error)
        };
        let code = failed.map_or_else(|| list.elements()[0].err, |(code, _)| code);
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(native::to_error(code, place, "", &self.config.brokers));
        }
        let mut state = self.state.borrow_mut();
        if let Some(partition) = state.find(topic, partition) {
            partition.moved(offset.max(-1));
        }
        Ok(())
    }

    fn offset_at(&self, topic: &str, partition: i32, time: i64, place: &str) -> Result<i64> {
        let mut list = Partitions::new();
        list.add(topic, partition, time);
        let bound = i32::try_from(PATIENCE.as_millis()).unwrap_or(3000);
        // SAFETY: a live client; the list is ours.
        let code =
            unsafe { sys::bindings::rd_kafka_offsets_for_times(self.client, list.raw(), bound) };
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(native::to_error(code, place, "", &self.config.brokers));
        }
        Ok(list.elements()[0].offset)
    }

    /// Stops or goes on fetching; `None`s mean everything assigned.
    pub fn set_paused(&self, topic: Option<&str>, partition: Option<i32>, paused: bool) {
        let chosen: Vec<TopicPartition> = {
            let state = self.state.borrow();
            let assigned = state.partitions.iter().flatten();
            assigned
                .filter(|assigned| topic.is_none_or(|topic| topic == &*assigned.topic))
                .filter(|assigned| partition.is_none_or(|partition| partition == assigned.number))
                .map(|assigned| (assigned.topic.to_string(), assigned.number))
                .collect()
        };
        let mut list = Partitions::new();
        for (topic, number) in &chosen {
            list.add(topic, *number, native::INVALID_OFFSET);
        }
        // SAFETY: a live client; the list is ours.
        unsafe {
            if paused {
                sys::bindings::rd_kafka_pause_partitions(self.client, list.raw());
            } else {
                sys::bindings::rd_kafka_resume_partitions(self.client, list.raw());
            }
        }
        if !paused {
            return;
        }
        for (topic, number) in chosen {
            // What was fetched and not handled yet is fetched again after resume().
            let first = self.state.borrow_mut().drop_from_hand(&topic, number);
            if let Some(offset) = first {
                let place = format!("Cannot pause topic \"{topic}\" partition {number}");
                if let Err(error) = self.seek_now(&topic, number, offset, &place) {
                    process::current().log.say(Level::Error, error.message());
                }
            }
        }
    }

    /// For a consumer that reads from the end: which topics there were before, so that later ones are read from their beginning.
    pub(super) fn remember_topics(&self) {
        let patterns = |filter: &TopicFilter| matches!(filter, TopicFilter::Regex(_));
        let wanted = self.reads_from_end && self.state.borrow().filters.iter().any(patterns);
        if wanted {
            let topics = self.topics(Duration::from_secs(2));
            self.state.borrow_mut().known_topics = topics;
        }
    }

    /// All topics of the cluster, or `None` where Kafka does not answer in time.
    pub(super) fn topics(&self, bound: Duration) -> Option<HashSet<String>> {
        let mut metadata = std::ptr::null();
        let bound = i32::try_from(bound.as_millis()).unwrap_or(1000);
        // SAFETY: a live client; the answer is read and destroyed here.
        unsafe {
            let code = sys::bindings::rd_kafka_metadata(
                self.client,
                1,
                std::ptr::null_mut(),
                &raw mut metadata,
                bound,
            );
            if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            let count = usize::try_from((*metadata).topic_cnt).unwrap_or(0);
            let topics = (0..count)
                .map(|n| native::text((*(*metadata).topics.add(n)).topic))
                .collect();
            sys::bindings::rd_kafka_metadata_destroy(metadata);
            Some(topics)
        }
    }
}

impl State {
    fn add(&mut self, topic: &str, number: i32, committed: i64) {
        let name: Rc<str> = self
            .partitions
            .iter()
            .flatten()
            .find(|partition| &*partition.topic == topic)
            .map_or_else(|| Rc::from(topic), |partition| Rc::clone(&partition.topic));
        let partition = Partition::new(Rc::clone(&name), number, committed);
        let free = self.partitions.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.partitions.push(None);
            self.partitions.len() - 1
        });
        self.partitions[slot] = Some(partition);
        self.index.insert((name, number), slot);
        self.recent = None;
    }

    fn remove(&mut self, topic: &str, number: i32) {
        self.drop_from_hand(topic, number);
        if let Some(slot) = self.index.remove(&(Rc::from(topic), number)) {
            self.partitions[slot] = None;
        }
        self.recent = None;
    }

    fn find(&mut self, topic: &str, number: i32) -> Option<&mut Partition> {
        let slot = *self.index.get(&(Rc::from(topic), number))?;
        self.partitions[slot].as_mut()
    }

    fn is_late(&self, topic: &str) -> bool {
        let unknown = |known: &HashSet<String>| !known.contains(topic);
        self.late.contains(topic) || self.known_topics.as_ref().is_some_and(unknown)
    }

    /// Gives back the records of a partition that nobody has handled yet; the offset of the first.
    fn drop_from_hand(&mut self, topic: &str, number: i32) -> Option<i64> {
        let mut first = None;
        self.hand.retain(|&raw| {
            // SAFETY: in hand, so alive; destroyed once, when it leaves.
            unsafe {
                let here = (*raw).partition == number
                    && !(*raw).rkt.is_null()
                    && native::text(sys::rd_kafka_topic_name((*raw).rkt)) == topic;
                if here {
                    if (*raw).err == Code::RD_KAFKA_RESP_ERR_NO_ERROR && first.is_none() {
                        first = Some((*raw).offset);
                    }
                    sys::rd_kafka_message_destroy(raw);
                }
                !here
            }
        });
        first
    }
}
