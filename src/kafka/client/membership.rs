//! The calls of a consumer: its group, assignment, positions and commits, and what librdkafka's callbacks tell it.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::ptr::null;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::TopicPartitionList;
use rdkafka_sys as sys;

use super::conf::{on_log, Conf};
use super::handle::{ms, NativeClient};
use super::message::KafkaMessage;
use super::partitions::{entries, offsets_of, AssignedPartitions, PartitionEntry};
use super::{describe, take_error, text, EventQueue};

/// The severity of a debug line in syslog.
const DEBUG: c_int = 7;

/// What librdkafka tells a consumer; called while it polls, and `on_debug_line` by librdkafka's threads.
pub(in crate::kafka) trait ConsumerEvents: Send + Sync + 'static {
    /// The group assigns partitions, or revokes them, and waits for the answer.
    fn on_rebalance(&self, client: &NativeClient, is_assigned: bool, list: AssignedPartitions);
    /// An error of the client.
    fn on_error(&self, client: &NativeClient, code: Code, reason: String);
    fn on_debug_line(&self, line: &str);
}

impl Conf {
    /// Passes the events of the consumer to `events`, which its client keeps.
    pub(in crate::kafka) fn set_consumer_events<E: ConsumerEvents>(&mut self, events: &Arc<E>) {
        self.keep(Arc::clone(events) as _);
        let conf = self.raw();
        // SAFETY: the conf is ours, the functions are static, and the client keeps the receiver until it is destroyed.
        unsafe {
            sys::bindings::rd_kafka_conf_set_rebalance_cb(conf, Some(on_rebalance::<E>));
            sys::bindings::rd_kafka_conf_set_error_cb(conf, Some(on_error::<E>));
            sys::bindings::rd_kafka_conf_set_opaque(conf, super::opaque(Arc::as_ptr(events)));
        }
    }

    /// Passes debug lines to the events of the consumer; `are_logged`: to the log too.
    pub(in crate::kafka) fn watch_debug_lines<E: ConsumerEvents>(&mut self, are_logged: bool) {
        let callback = if are_logged {
            on_watched_log::<E, true>
        } else {
            on_watched_log::<E, false>
        };
        // SAFETY: the conf is ours; the callback is a static function.
        unsafe { sys::rd_kafka_conf_set_log_cb(self.raw(), Some(callback)) };
    }
}

unsafe extern "C" fn on_rebalance<E: ConsumerEvents>(
    client: *mut sys::rd_kafka_t,
    code: RDKafkaRespErr,
    list: *mut sys::rd_kafka_topic_partition_list_t,
    events: *mut c_void,
) {
    let is_assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    let list = AssignedPartitions::copy_of(list);
    let client = NativeClient::from_raw(client);
    (*events.cast::<E>()).on_rebalance(&client, is_assigned, list);
}

unsafe extern "C" fn on_error<E: ConsumerEvents>(
    client: *mut sys::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    events: *mut c_void,
) {
    // librdkafka hands over its own enum as an int.
    let code = RDKafkaRespErr::try_from(code).map_or(Code::Unknown, Code::from);
    let client = NativeClient::from_raw(client);
    (*events.cast::<E>()).on_error(&client, code, text(reason));
}

unsafe extern "C" fn on_watched_log<E: ConsumerEvents, const ARE_LOGGED: bool>(
    client: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    if level >= DEBUG && !client.is_null() {
        let events = sys::bindings::rd_kafka_opaque(client).cast::<E>();
        if let Some(events) = events.as_ref() {
            events.on_debug_line(&text(line));
        }
    }
    if ARE_LOGGED || level < DEBUG {
        on_log(client, level, facility, line);
    }
}

fn refusal(code: RDKafkaRespErr) -> Result<(), Code> {
    if code.is_error() {
        return Err(code.into());
    }
    Ok(())
}

impl NativeClient {
    /// Subscribes to topics and patterns, in place of what was subscribed before; to nothing for an empty list.
    ///
    /// # Errors
    /// librdkafka's reason.
    pub(in crate::kafka) fn subscribe(&self, topics: &TopicPartitionList) -> Result<(), Code> {
        // SAFETY: a live consumer; the list is copied.
        refusal(unsafe {
            if topics.count() == 0 {
                sys::bindings::rd_kafka_unsubscribe(self.raw())
            } else {
                sys::rd_kafka_subscribe(self.raw(), topics.ptr())
            }
        })
    }

    /// The next message of a consumer; waits at most `wait`.
    #[inline]
    pub(in crate::kafka) fn poll_message(&self, wait: Duration) -> Option<KafkaMessage> {
        // SAFETY: a live consumer. A message is ours until it is dropped.
        unsafe { KafkaMessage::from_raw(sys::rd_kafka_consumer_poll(self.raw(), ms(wait))) }
    }

    /// Ends the running poll of a consumer, which would wait for its full timeout otherwise; only in its callbacks.
    pub(in crate::kafka) fn end_poll(&self) {
        // SAFETY: a live consumer.
        unsafe { sys::bindings::rd_kafka_yield(self.raw()) };
    }

    fn is_cooperative(&self) -> bool {
        // SAFETY: a live consumer; a static text.
        unsafe { text(sys::bindings::rd_kafka_rebalance_protocol(self.raw())) == "COOPERATIVE" }
    }

    /// Takes assigned partitions; the reason where librdkafka refuses.
    pub(in crate::kafka) fn assign(&self, list: &AssignedPartitions) -> Option<String> {
        let is_cooperative = self.is_cooperative();
        // SAFETY: a live consumer; the list is copied.
        unsafe {
            if is_cooperative {
                let error = sys::bindings::rd_kafka_incremental_assign(self.raw(), list.raw());
                return take_error(error).map(|(_, reason)| reason);
            }
            refusal(sys::bindings::rd_kafka_assign(self.raw(), list.raw()))
        }
        .err()
        .map(describe)
    }

    /// Releases partitions, all of them for an eager protocol; the reason where librdkafka refuses.
    pub(in crate::kafka) fn unassign(&self, list: &AssignedPartitions) -> Option<String> {
        if !self.is_cooperative() {
            return self.unassign_all();
        }
        // SAFETY: a live consumer; the list is copied.
        unsafe {
            let error = sys::bindings::rd_kafka_incremental_unassign(self.raw(), list.raw());
            take_error(error).map(|(_, reason)| reason)
        }
    }

    /// Releases all partitions; the reason where librdkafka refuses.
    pub(in crate::kafka) fn unassign_all(&self) -> Option<String> {
        // SAFETY: a live consumer.
        let code = unsafe { sys::bindings::rd_kafka_assign(self.raw(), null()) };
        refusal(code).err().map(describe)
    }

    /// True where the partitions belong to other members already.
    pub(in crate::kafka) fn has_lost_assignment(&self) -> bool {
        // SAFETY: a live consumer.
        unsafe { sys::bindings::rd_kafka_assignment_lost(self.raw()) != 0 }
    }

    /// Pauses or resumes fetching.
    pub(in crate::kafka) fn set_paused(&self, list: &TopicPartitionList, is_paused: bool) {
        // SAFETY: a live consumer and a live list.
        unsafe {
            if is_paused {
                sys::bindings::rd_kafka_pause_partitions(self.raw(), list.ptr());
            } else {
                sys::bindings::rd_kafka_resume_partitions(self.raw(), list.ptr());
            }
        }
    }

    /// Moves positions: the partitions in order, each with its error, and the error of the call as a whole.
    pub(in crate::kafka) fn seek<T: AsRef<str>>(
        &self,
        places: impl IntoIterator<Item = (T, i32, i64)>,
        bound: Duration,
    ) -> (Vec<PartitionEntry>, Option<Code>) {
        let list = offsets_of(places);
        // SAFETY: a live consumer and a live list; the error is ours.
        let failed = unsafe {
            let error = sys::bindings::rd_kafka_seek_partitions(self.raw(), list.ptr(), ms(bound));
            take_error(error)
        };
        (entries(&list), failed.map(|(code, _)| code))
    }

    /// The group's offsets with their metadata.
    ///
    /// # Errors
    /// That of the call as a whole.
    pub(in crate::kafka) fn committed(
        &self,
        list: &TopicPartitionList,
        bound: Duration,
    ) -> Result<Vec<PartitionEntry>, Code> {
        // SAFETY: a live consumer and a live list.
        refusal(unsafe { sys::bindings::rd_kafka_committed(self.raw(), list.ptr(), ms(bound)) })?;
        Ok(entries(list))
    }

    /// The offset of the first record with this timestamp or a later one.
    ///
    /// # Errors
    /// That of the call as a whole.
    pub(in crate::kafka) fn offset_for_time(
        &self,
        topic: &str,
        partition: i32,
        time: i64,
        bound: Duration,
    ) -> Result<i64, Code> {
        let list = offsets_of([(topic, partition, time)]);
        // SAFETY: a live consumer and a live list.
        refusal(unsafe {
            sys::bindings::rd_kafka_offsets_for_times(self.raw(), list.ptr(), ms(bound))
        })?;
        Ok(entries(&list).first().map_or(-1, |one| one.offset))
    }

    /// Sends a commit; the response arrives in `queue` with the number.
    ///
    /// # Errors
    /// librdkafka's reason.
    pub(in crate::kafka) fn commit(
        &self,
        list: &TopicPartitionList,
        queue: &EventQueue,
        number: usize,
    ) -> Result<(), Code> {
        // SAFETY: live objects; the list is copied.
        refusal(unsafe {
            sys::bindings::rd_kafka_commit_queue(
                self.raw(),
                list.ptr(),
                queue.raw(),
                None,
                std::ptr::without_provenance_mut(number),
            )
        })
    }

    /// Leaves the group; the events of that come to `queue`.
    pub(in crate::kafka) fn leave_group(&self, queue: &EventQueue) {
        // SAFETY: live objects; the error is ours.
        unsafe {
            let error = sys::bindings::rd_kafka_consumer_close_queue(self.raw(), queue.raw());
            take_error(error);
        }
    }

    /// True once the group is left.
    pub(in crate::kafka) fn has_left_group(&self) -> bool {
        // SAFETY: a live consumer.
        unsafe { sys::bindings::rd_kafka_consumer_closed(self.raw()) != 0 }
    }
}
