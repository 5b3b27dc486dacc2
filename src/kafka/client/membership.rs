//! The calls of a consumer: its group, assignment, positions and commits. And the transactional calls of a producer,
//! which commit offsets as a member of the group; the crate has them as methods of its own producers only.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ptr::without_provenance_mut;
use std::time::Duration;

use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::TopicPartitionList;
use rdkafka_sys::{self as sys, rd_kafka_consumer_group_metadata_t as Membership};

use super::errors::{read_error, Failure};
use super::handle::{ms, NativeClient};
use super::message::KafkaMessage;
use super::owned::{
    entries, offsets_of, text, AssignedPartitions, NativeList, Owned, PartitionEntry, Text,
};
use super::{describe, take_error, EventQueue};

// SAFETY: as librdkafka has them. It checks the kind of the client, copies lists and memberships, and writes to lists
// that it may change.
unsafe extern "C" {
    safe fn rd_kafka_unsubscribe(client: &NativeClient) -> RDKafkaRespErr;
    safe fn rd_kafka_subscribe(client: &NativeClient, topics: &NativeList) -> RDKafkaRespErr;
    safe fn rd_kafka_consumer_poll(client: &NativeClient, wait: c_int) -> Option<KafkaMessage>;
    safe fn rd_kafka_yield(client: &NativeClient);
    safe fn rd_kafka_rebalance_protocol(client: &NativeClient) -> Option<Text<'static>>;
    safe fn rd_kafka_assign(client: &NativeClient, list: Option<&NativeList>) -> RDKafkaRespErr;
    safe fn rd_kafka_incremental_assign(client: &NativeClient, list: &NativeList) -> Failure;
    safe fn rd_kafka_incremental_unassign(client: &NativeClient, list: &NativeList) -> Failure;
    safe fn rd_kafka_assignment_lost(client: &NativeClient) -> c_int;
    safe fn rd_kafka_pause_partitions(
        client: &NativeClient,
        list: &mut NativeList,
    ) -> RDKafkaRespErr;
    safe fn rd_kafka_resume_partitions(
        client: &NativeClient,
        list: &mut NativeList,
    ) -> RDKafkaRespErr;
    safe fn rd_kafka_seek_partitions(
        client: &NativeClient,
        list: &mut NativeList,
        bound: c_int,
    ) -> Failure;
    safe fn rd_kafka_committed(
        client: &NativeClient,
        list: &mut NativeList,
        bound: c_int,
    ) -> RDKafkaRespErr;
    safe fn rd_kafka_offsets_for_times(
        client: &NativeClient,
        list: &mut NativeList,
        bound: c_int,
    ) -> RDKafkaRespErr;
    safe fn rd_kafka_consumer_close_queue(
        client: &NativeClient,
        queue: &sys::rd_kafka_queue_t,
    ) -> Failure;
    safe fn rd_kafka_consumer_closed(client: &NativeClient) -> c_int;
    safe fn rd_kafka_init_transactions(client: &NativeClient, wait: c_int) -> Failure;
    safe fn rd_kafka_begin_transaction(client: &NativeClient) -> Failure;
    safe fn rd_kafka_commit_transaction(client: &NativeClient, wait: c_int) -> Failure;
    safe fn rd_kafka_abort_transaction(client: &NativeClient, wait: c_int) -> Failure;
    safe fn rd_kafka_send_offsets_to_transaction(
        client: &NativeClient,
        offsets: &NativeList,
        member: &Membership,
        wait: c_int,
    ) -> Failure;
    safe fn rd_kafka_error_is_fatal(error: &sys::rd_kafka_error_t) -> c_int;
    safe fn rd_kafka_error_is_retriable(error: &sys::rd_kafka_error_t) -> c_int;
    safe fn rd_kafka_error_txn_requires_abort(error: &sys::rd_kafka_error_t) -> c_int;
    safe fn rd_kafka_consumer_group_metadata(
        client: &NativeClient,
    ) -> Option<Owned<'static, Membership>>;
    safe fn rd_kafka_consumer_group_metadata_member_id(member: &Membership) -> Option<Text<'_>>;
    safe fn rd_kafka_consumer_group_metadata_generation_id(member: &Membership) -> i32;
}

/// The error of a transactional call.
pub(in crate::kafka) struct CallError {
    pub code: Code,
    pub reason: String,
    /// The client is unusable.
    pub is_fatal: bool,
    /// The same call may succeed later.
    pub is_retriable: bool,
    pub requires_abort: bool,
}

fn result_of(error: Failure) -> Result<(), CallError> {
    let Some(error) = error else {
        return Ok(());
    };
    let (code, reason) = read_error(&error);
    Err(CallError {
        code,
        reason,
        is_fatal: rd_kafka_error_is_fatal(&error) != 0,
        is_retriable: rd_kafka_error_is_retriable(&error) != 0,
        requires_abort: rd_kafka_error_txn_requires_abort(&error) != 0,
    })
}

/// The membership of a consumer in its group, which a transaction commits with its offsets.
pub(in crate::kafka) struct GroupMetadata(Owned<'static, Membership>);

// SAFETY: plain data of librdkafka with a single owner, not changed any more.
unsafe impl Send for GroupMetadata {}
// SAFETY: as above.
unsafe impl Sync for GroupMetadata {}

impl GroupMetadata {
    /// `None` if the consumer has no group, or is not a member of it.
    pub fn of(consumer: &NativeClient) -> Option<Self> {
        let member = rd_kafka_consumer_group_metadata(consumer)?;
        let id = text(rd_kafka_consumer_group_metadata_member_id(&member));
        let generation = rd_kafka_consumer_group_metadata_generation_id(&member);
        (!id.is_empty() && generation >= 0).then_some(Self(member))
    }
}

fn refusal(code: RDKafkaRespErr) -> Result<(), Code> {
    if code.is_error() {
        return Err(code.into());
    }
    Ok(())
}

fn reason(error: Failure) -> Option<String> {
    take_error(error).map(|(_, reason)| reason)
}

impl NativeClient {
    /// Subscribes to topics and patterns, in place of what was subscribed before; to nothing for an empty list.
    ///
    /// # Errors
    /// librdkafka's reason.
    pub(in crate::kafka) fn subscribe(&self, topics: &TopicPartitionList) -> Result<(), Code> {
        refusal(if topics.count() == 0 {
            rd_kafka_unsubscribe(self)
        } else {
            rd_kafka_subscribe(self, NativeList::of(topics))
        })
    }

    /// The next message of a consumer; waits at most `wait`.
    #[inline]
    pub(in crate::kafka) fn poll_message(&self, wait: Duration) -> Option<KafkaMessage> {
        rd_kafka_consumer_poll(self, ms(wait))
    }

    /// Ends the running poll of a consumer, which would wait for its full timeout otherwise; only in its callbacks.
    pub(in crate::kafka) fn end_poll(&self) {
        rd_kafka_yield(self);
    }

    fn is_cooperative(&self) -> bool {
        text(rd_kafka_rebalance_protocol(self)) == "COOPERATIVE"
    }

    /// Takes assigned partitions; the reason where librdkafka refuses.
    pub(in crate::kafka) fn assign(&self, list: &AssignedPartitions) -> Option<String> {
        if self.is_cooperative() {
            return reason(rd_kafka_incremental_assign(self, list.list()));
        }
        let code = rd_kafka_assign(self, Some(list.list()));
        refusal(code).err().map(describe)
    }

    /// Releases partitions, all of them for an eager protocol; the reason where librdkafka refuses.
    pub(in crate::kafka) fn unassign(&self, list: &AssignedPartitions) -> Option<String> {
        if !self.is_cooperative() {
            return self.unassign_all();
        }
        reason(rd_kafka_incremental_unassign(self, list.list()))
    }

    /// Releases all partitions; the reason where librdkafka refuses.
    pub(in crate::kafka) fn unassign_all(&self) -> Option<String> {
        refusal(rd_kafka_assign(self, None)).err().map(describe)
    }

    /// True where the partitions belong to other members already.
    pub(in crate::kafka) fn has_lost_assignment(&self) -> bool {
        rd_kafka_assignment_lost(self) != 0
    }

    /// Pauses or resumes fetching.
    pub(in crate::kafka) fn set_paused(&self, mut list: TopicPartitionList, is_paused: bool) {
        let set = if is_paused {
            rd_kafka_pause_partitions
        } else {
            rd_kafka_resume_partitions
        };
        set(self, NativeList::of_mut(&mut list));
    }

    /// Moves positions: the partitions in order, each with its error, and the error of the call as a whole.
    pub(in crate::kafka) fn seek<T: AsRef<str>>(
        &self,
        places: impl IntoIterator<Item = (T, i32, i64)>,
        bound: Duration,
    ) -> (Vec<PartitionEntry>, Option<Code>) {
        let mut list = offsets_of(places);
        let failed = rd_kafka_seek_partitions(self, NativeList::of_mut(&mut list), ms(bound));
        (entries(&list), take_error(failed).map(|(code, _)| code))
    }

    /// The group's offsets with their metadata.
    ///
    /// # Errors
    /// That of the call as a whole.
    pub(in crate::kafka) fn committed(
        &self,
        mut list: TopicPartitionList,
        bound: Duration,
    ) -> Result<Vec<PartitionEntry>, Code> {
        let code = rd_kafka_committed(self, NativeList::of_mut(&mut list), ms(bound));
        refusal(code).map(|()| entries(&list))
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
        let mut list = offsets_of([(topic, partition, time)]);
        let code = rd_kafka_offsets_for_times(self, NativeList::of_mut(&mut list), ms(bound));
        refusal(code)?;
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
        let (client, number) = (self.raw(), without_provenance_mut(number));
        // SAFETY: live objects; the list is copied, and the number only comes back.
        refusal(unsafe {
            sys::rd_kafka_commit_queue(client, list.ptr(), queue.raw(), None, number)
        })
    }

    /// Leaves the group; the events of that come to `queue`.
    pub(in crate::kafka) fn leave_group(&self, queue: &EventQueue) {
        take_error(rd_kafka_consumer_close_queue(self, queue.native()));
    }

    /// True once the group is left.
    pub(in crate::kafka) fn has_left_group(&self) -> bool {
        rd_kafka_consumer_closed(self) != 0
    }

    pub(in crate::kafka) fn init_transactions(&self, wait: Duration) -> Result<(), CallError> {
        result_of(rd_kafka_init_transactions(self, ms(wait)))
    }

    pub(in crate::kafka) fn begin_transaction(&self) -> Result<(), CallError> {
        result_of(rd_kafka_begin_transaction(self))
    }

    pub(in crate::kafka) fn commit_transaction(&self, wait: Duration) -> Result<(), CallError> {
        result_of(rd_kafka_commit_transaction(self, ms(wait)))
    }

    pub(in crate::kafka) fn abort_transaction(&self, wait: Duration) -> Result<(), CallError> {
        result_of(rd_kafka_abort_transaction(self, ms(wait)))
    }

    pub(in crate::kafka) fn send_offsets_to_transaction(
        &self,
        offsets: &TopicPartitionList,
        member: &GroupMetadata,
        wait: Duration,
    ) -> Result<(), CallError> {
        let offsets = NativeList::of(offsets);
        let sent = rd_kafka_send_offsets_to_transaction(self, offsets, &member.0, ms(wait));
        result_of(sent)
    }
}
