//! Committed offsets of one or many consumer groups.

use std::collections::VecDeque;
use std::time::Instant;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::TopicPartitionList;

use super::groups::distinct;
use super::{is_transient, Admin, AdminCall, AdminResult, PollInterrupts, POLL_INTERVAL};
use crate::error::{Error, Result};
use crate::kafka::client::{self, AdminRequests, Client, ClientEvent, EventQueue};
use crate::kafka::standalone_consumer;

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
                AdminRequests::new(client, &queue, call.remaining())
                    .tagged(place)
                    .list_group_offsets(names[place], every.as_ref());
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
        let topics = self.request_metadata(None, call, action)?;
        let every = topics.iter().flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|partition| (topic.name.as_str(), partition.id))
        });
        Ok(Some(client::partitions_of(&every.collect::<Vec<_>>())))
    }

    /// A second client with a group id, which it never joins: the application's group, for which it has permissions.
    ///
    /// When the coordinator moves, librdkafka 2.12 continues a `ListConsumerGroupOffsets` request with the client's own
    /// group, and dereferences a null pointer if the client has none (`rd_kafka_handle_OffsetFetch`).
    fn group_client(&self) -> Result<&Client> {
        if let Some(made) = self.group_client.get() {
            return Ok(made);
        }
        let group = Some(self.config.consumer_group.as_str()).filter(|name| !name.is_empty());
        let ours = [("group.id", group.unwrap_or("toporia-realtime"))];
        let made = standalone_consumer::start(&self.config, &ours)?.client;
        // There is no group to leave.
        made.destroy_with(client::NO_CONSUMER_CLOSE);
        Ok(self.group_client.get_or_init(|| made))
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
            let entries = response.group_offsets().into_iter();
            let with_offset = entries.filter(|entry| entry.offset >= 0);
            commits.extend(with_offset.map(|entry| CommittedOffset {
                topic: entry.topic,
                partition: entry.partition,
                offset: entry.offset,
                metadata: entry.metadata,
            }));
        }
        commits.sort_unstable();
        GroupOffsets {
            group: group.to_owned(),
            error,
            commits,
        }
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
