//! Committed offsets of one or many consumer groups.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::time::Instant;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use sys::bindings::{self, rd_kafka_admin_op_t as Operation};

use super::group_client::GroupClient;
use super::groups::distinct;
use super::{is_transient, Admin, AdminCall, AdminResult, PollInterrupts, POLL_INTERVAL};
use crate::error::{Error, Result};
use crate::kafka::client::{self, AdminOptions, ClientEvent, EventQueue, TopicPartitionList};

/// Concurrent requests: the brokers serve other clients too.
const MAX_IN_FLIGHT: usize = 32;

/// A committed offset: the next record the group will read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommittedOffset {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// What the member wrote beside the offset.
    pub metadata: Vec<u8>,
}

/// Committed offsets of one group.
#[derive(Debug, Clone)]
pub struct GroupOffsets {
    pub group: String,
    /// Set if the offsets could not be read.
    pub error: Option<Error>,
    /// In order; empty for a group that has committed nothing, or does not exist.
    pub commits: Vec<CommittedOffset>,
}

impl Admin {
    /// Committed offsets of a group.
    ///
    /// # Errors
    /// Configuration: an empty name. Connection: Kafka does not respond, or refuses.
    pub fn group_offsets(
        &self,
        group: &str,
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Vec<CommittedOffset>> {
        let mut found = self.offsets_of_groups(&[group.to_owned()], poll_interrupts)?;
        match found.pop() {
            Some(GroupOffsets {
                error: Some(error), ..
            }) => Err(error.into()),
            Some(GroupOffsets { commits, .. }) => Ok(commits),
            None => Ok(Vec::new()),
        }
    }

    /// Committed offsets of several groups, sorted by name; several requests run concurrently. An error of one group is
    /// stored in its result.
    ///
    /// # Errors
    /// Configuration: an empty name. Connection: Kafka does not respond.
    pub fn offsets_of_groups(
        &self,
        groups: &[String],
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Vec<GroupOffsets>> {
        let action = "The offsets of the consumer groups cannot be read";
        let call = AdminCall::new(poll_interrupts);
        let names = distinct(groups, action)?;
        let every = self.every_partition(&call, action)?;
        let mut results: Vec<Option<GroupOffsets>> = vec![None; names.len()];
        let mut unsent: VecDeque<usize> = (0..names.len()).collect();
        let mut in_flight = 0;
        let mut timed_out = 0;
        let client = self.group_client()?;
        let queue = EventQueue::new(client);
        while in_flight > 0 || !unsent.is_empty() {
            while in_flight < MAX_IN_FLIGHT {
                let Some(place) = unsent.pop_front() else {
                    break;
                };
                let operation = Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
                let options = AdminOptions::new(client, operation, call.remaining()).tagged(place);
                request_metadata(client, names[place], every.as_ref(), &options, &queue);
                in_flight += 1;
            }
            let Some(response) = queue.poll(POLL_INTERVAL) else {
                self.check_client_errors(action)?;
                call.poll_interrupts()?;
                if Instant::now() > call.until + std::time::Duration::from_secs(1) {
                    return Err(self.timeout_error(action).into());
                }
                continue;
            };
            in_flight -= 1;
            let place = response.tag().min(names.len() - 1);
            match response.error() {
                Some((code, _))
                    if is_coordinator_moving(code) && call.remaining() > POLL_INTERVAL =>
                {
                    call.poll_interrupts()?;
                    std::thread::sleep(POLL_INTERVAL);
                    unsent.push_back(place);
                }
                error => {
                    timed_out +=
                        usize::from(error.as_ref().is_some_and(|(code, _)| is_transient(*code)));
                    results[place] = Some(self.commits(names[place], &response, error));
                }
            }
        }
        // If only some brokers are down, their groups carry the error; if every request timed out, the call fails.
        if timed_out > 0 && timed_out == names.len() {
            return Err(self.timeout_error(action).into());
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// The mock cluster does not support a request for all partitions, so they are listed.
    fn every_partition(
        &self,
        call: &AdminCall<'_>,
        action: &str,
    ) -> AdminResult<Option<TopicPartitionList>> {
        if !client::is_mock(&self.wait_for_cluster_id(call, action)?) {
            return Ok(None);
        }
        let mut list = TopicPartitionList::new();
        for topic in self.request_metadata(None, call, action)? {
            for partition in &topic.partitions {
                list.add(&topic.name, partition.id, client::INVALID_OFFSET);
            }
        }
        Ok(Some(list))
    }

    fn group_client(&self) -> Result<*mut sys::rd_kafka_t> {
        if let Some(made) = self.group_client.get() {
            return Ok(made.raw());
        }
        let made = GroupClient::start(&self.config)?;
        Ok(self.group_client.get_or_init(|| made).raw())
    }

    fn commits(
        &self,
        group: &str,
        response: &ClientEvent,
        error: Option<(Code, String)>,
    ) -> GroupOffsets {
        let action = format!("The offsets of consumer group \"{group}\" cannot be read");
        let mut commits = Vec::new();
        let error = error.map(|(code, detail)| self.response_error(code, &action, &detail));
        if error.is_none() {
            // SAFETY: the result lives as long as its event; the copy is ours.
            unsafe {
                let result =
                    bindings::rd_kafka_event_ListConsumerGroupOffsets_result(response.raw());
                let mut count = 0usize;
                let groups = bindings::rd_kafka_ListConsumerGroupOffsets_result_groups(
                    result,
                    &raw mut count,
                );
                if count > 0 {
                    let list = bindings::rd_kafka_group_result_partitions(*groups);
                    client::each_element(list, |element| {
                        if element.offset >= 0 {
                            commits.push(CommittedOffset {
                                topic: client::topic_of(element),
                                partition: element.partition,
                                offset: element.offset,
                                metadata: client::metadata_of(element),
                            });
                        }
                    });
                }
            }
        }
        commits.sort_unstable();
        GroupOffsets {
            group: group.to_owned(),
            error,
            commits,
        }
    }
}

/// Sends the request for one group; `every` lists the partitions for brokers that require it.
fn request_metadata(
    client: *mut sys::rd_kafka_t,
    group: &str,
    every: Option<&TopicPartitionList>,
    options: &AdminOptions,
    queue: &EventQueue,
) {
    let group = client::c_string(group);
    let every = every.map_or(std::ptr::null(), |list| list.raw().cast_const());
    // SAFETY: live objects; the request copies what it needs.
    unsafe {
        let requested = bindings::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), every);
        let mut list = [requested];
        bindings::rd_kafka_ListConsumerGroupOffsets(
            client,
            list.as_mut_ptr(),
            1,
            options.raw(),
            queue.raw(),
        );
        bindings::rd_kafka_ListConsumerGroupOffsets_destroy(requested);
    }
}

/// True while the group's coordinator is moving: a retry finds the new one.
fn is_coordinator_moving(code: Code) -> bool {
    is_transient(code)
        || matches!(
            code,
            Code::CoordinatorLoadInProgress | Code::CoordinatorNotAvailable | Code::NotCoordinator
        )
}
