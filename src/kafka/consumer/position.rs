//! Where a consumer reads on: seek, pause and resume.
#![allow(unsafe_code)]

use std::rc::Rc;
use std::time::Duration;

use rdkafka_sys as sys;
use sys::bindings::rd_kafka_resp_err_t as Code;

use super::assignment::{TopicPartition, PATIENCE};
use super::Consumer;
use crate::error::{Error, Result};
use crate::kafka::native::{self, Partitions};
use crate::log::Level;
use crate::process;

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

impl Consumer {
    /// Takes back everything handled since the last commit: it comes again. Nothing beyond can be committed, also where the
    /// partition cannot be rewound.
    pub(in crate::kafka) fn rewind(&self) {
        let back: Vec<(String, i32, i64)> = {
            let state = self.state.borrow();
            let partitions = state.partitions.iter().flatten();
            partitions
                .filter_map(|one| Some((one.topic.to_string(), one.number, one.last_certain()?)))
                .collect()
        };
        for (topic, number, offset) in back {
            self.state.borrow_mut().drop_everything(&topic, number);
            let rewound = self.seek_now(&topic, number, offset, "Cannot go back");
            if let Some(partition) = self.state.borrow_mut().find(&topic, number) {
                partition.moved(-1);
                if rewound.is_err() {
                    partition.hold();
                }
            }
        }
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
            state.drop_everything(topic, partition);
        }
        self.seek_now(topic, partition, offset, &place)
    }

    pub(super) fn seek_now(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        place: &str,
    ) -> Result<()> {
        let bound = crate::clock::bounded(Duration::from_secs(5)).as_millis();
        let bound = i32::try_from(bound).unwrap_or(5000);
        let mut list = Partitions::new();
        list.add(topic, partition, offset);
        // SAFETY: a live client; the list is ours.
        let failed = unsafe {
            let error = sys::bindings::rd_kafka_seek_partitions(self.client, list.raw(), bound);
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
        {
            let mut state = self.state.borrow_mut();
            if state.assigning {
                state.pauses.retain(|one| !chosen.contains(one));
                if paused {
                    state.pauses.extend(chosen);
                }
                return;
            }
        }
        for (topic, number) in &chosen {
            if let Some(partition) = self.state.borrow_mut().find(topic, *number) {
                partition.paused = paused;
                // What was set aside is fetched again after resume(), as everything else.
                partition.held_back &= !paused;
            }
        }
        let mut list = Partitions::new();
        for (topic, number) in &chosen {
            let mut state = self.state.borrow_mut();
            let waits = state.find(topic, *number).is_some_and(|one| one.held_back);
            if !waits {
                list.add(topic, *number, native::INVALID_OFFSET);
            }
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
}
