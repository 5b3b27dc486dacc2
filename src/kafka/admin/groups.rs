//! Consumer groups: state, members with their assignments and subscriptions, and committed offsets.

use std::collections::VecDeque;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::TopicPartitionList;

use super::{is_transient, Admin, AdminCall, AdminResult, PollInterrupts, POLL_INTERVAL};
use crate::error::Error;
use crate::kafka::client::{
    self, AdminRequests, ClientEvent, EventQueue, GroupDescription, GroupListing,
};
use crate::kafka::consumer::CommitMetadata;

/// Maximum length of a group name: Kafka's protocol uses 15 bits.
const MAX_GROUP_NAME_BYTES: usize = 32_767;
/// Concurrent requests: the brokers serve other clients too.
const MAX_IN_FLIGHT: usize = 32;
/// Time limit of the request, which does not poll interrupts.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A committed offset: the next record the group will read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommittedOffset {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// The metadata that the member committed with the offset.
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

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupSubscriptions {
    /// The topics by member id, both sorted. Empty for a group of the new protocol.
    pub members: Vec<(String, Vec<String>)>,
    /// One for each distinct list of subscriptions with which our workers have committed.
    pub fingerprints: Vec<String>,
}

/// Lists the consumer groups visible to the caller, sorted by name.
///
/// # Errors
/// Configuration: an embedded broker. Connection: no broker responds, or one refuses.
pub fn list(admin: &Admin, poll_interrupts: PollInterrupts<'_>) -> AdminResult<Vec<GroupListing>> {
    let call = admin.call("The consumer groups cannot be listed", poll_interrupts);
    call.refuse_mock()?;
    let response = call.request(|request| {
        request.list_groups();
    })?;
    let (mut groups, errors) = response.listed_groups();
    for (code, detail) in errors {
        // A broker that is down coordinates no groups: others have taken them over.
        if !is_transient(code) || groups.is_empty() {
            return Err(call.response_error(code, &detail).into());
        }
    }
    groups.sort_unstable_by(|a, b| a.group.cmp(&b.group));
    groups.dedup_by(|a, b| a.group == b.group);
    Ok(groups)
}

/// Describes one group. A group that does not exist is `Dead`, without members.
///
/// # Errors
/// Configuration: an embedded broker, or not a consumer group. Connection: Kafka does not respond, or refuses.
pub fn describe(
    admin: &Admin,
    group: &str,
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<GroupDescription> {
    let found = describe_all(admin, &[group.to_owned()], poll_interrupts)?.pop();
    let Some(description) = found else {
        let action = "The consumer group cannot be described";
        return Err(admin.call(action, poll_interrupts).timeout().into());
    };
    match description.error {
        Some(error) => Err(error.into()),
        None => Ok(description),
    }
}

/// Describes several groups with one request, sorted by name. An error of one group is stored in its result.
///
/// # Errors
/// Configuration: an embedded broker, or an empty name. Connection: Kafka does not respond.
pub fn describe_all(
    admin: &Admin,
    groups: &[String],
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<Vec<GroupDescription>> {
    let call = admin.call("The consumer groups cannot be described", poll_interrupts);
    let names = distinct(groups, &call)?;
    call.refuse_mock()?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let response = call.request(|request| request.describe_groups(&names))?;
    let found = response.described_groups().into_iter();
    let judged = found.map(|(group, (code, detail))| match code {
        Code::NoError => group,
        Code::GroupIdNotFound => GroupDescription {
            state: "Dead".to_owned(),
            ..group
        },
        _ => {
            let action = format!("Consumer group \"{}\" cannot be described", group.group);
            let error = Some(call.about(action).response_error(code, &detail));
            GroupDescription { error, ..group }
        }
    });
    Ok(judged.collect())
}

/// Committed offsets of a group.
///
/// # Errors
/// Configuration: an empty name. Connection: Kafka does not respond, or refuses.
pub fn committed(
    admin: &Admin,
    group: &str,
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<Vec<CommittedOffset>> {
    let found = committed_of_all(admin, &[group.to_owned()], poll_interrupts)?.pop();
    let Some(GroupOffsets { error, commits, .. }) = found else {
        return Ok(Vec::new());
    };
    error.map_or(Ok(commits), |error| Err(error.into()))
}

/// Committed offsets of several groups, sorted by name; several requests run concurrently. An error of one group is
/// stored in its result.
///
/// # Errors
/// Configuration: an empty name. Connection: Kafka does not respond.
pub fn committed_of_all(
    admin: &Admin,
    groups: &[String],
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<Vec<GroupOffsets>> {
    let action = "The offsets of the consumer groups cannot be read";
    let call = admin.call(action, poll_interrupts);
    let names = distinct(groups, &call)?;
    let every = every_partition(&call)?;
    if every.as_ref().is_some_and(|list| list.count() == 0) {
        // librdkafka refuses an empty list. Without topics nothing is committed.
        let none = names.into_iter().map(|group| GroupOffsets {
            group: group.to_owned(),
            error: None,
            commits: Vec::new(),
        });
        return Ok(none.collect());
    }
    let mut results: Vec<Option<GroupOffsets>> = vec![None; names.len()];
    let mut unsent: VecDeque<usize> = (0..names.len()).collect();
    let mut in_flight = 0;
    let mut timed_out = 0;
    let client = admin.group_client()?;
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
        let Some(response) = call.poll(&queue)? else {
            continue;
        };
        in_flight -= 1;
        let place = response.tag().min(names.len() - 1);
        match response.error() {
            Some((code, _)) if is_coordinator_moving(code) && call.remaining() > POLL_INTERVAL => {
                call.poll_interrupts()?;
                std::thread::sleep(POLL_INTERVAL);
                unsent.push_back(place);
            }
            error => {
                timed_out +=
                    usize::from(error.as_ref().is_some_and(|(code, _)| is_transient(*code)));
                results[place] = Some(commits(&call, names[place], &response, error));
            }
        }
    }
    // If only some brokers are down, their groups carry the error; if every request timed out, the call fails.
    if timed_out > 0 && timed_out == names.len() {
        return Err(call.timeout().into());
    }
    Ok(results.into_iter().flatten().collect())
}

/// The mock cluster does not support a request for all partitions, so they are listed.
fn every_partition(call: &AdminCall<'_>) -> AdminResult<Option<TopicPartitionList>> {
    if !call.is_mock()? {
        return Ok(None);
    }
    let topics = call.request_metadata(None)?;
    let every = topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|partition| (topic.name.as_str(), partition.id))
    });
    Ok(Some(client::partitions_of(&every.collect::<Vec<_>>())))
}

fn commits(
    call: &AdminCall<'_>,
    group: &str,
    response: &ClientEvent,
    error: Option<(Code, String)>,
) -> GroupOffsets {
    let action = format!("The offsets of consumer group \"{group}\" cannot be read");
    let mut commits = Vec::new();
    let error = error.map(|(code, detail)| call.about(action).response_error(code, &detail));
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

/// The subscriptions of a group; empty where the caller may not describe it.
///
/// # Errors
/// Configuration: an embedded broker. Connection: Kafka does not respond, or refuses.
pub fn subscriptions(
    admin: &Admin,
    group: &str,
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<GroupSubscriptions> {
    let action = "The subscriptions of the group cannot be read";
    let call = admin.call(action, poll_interrupts);
    call.refuse_mock()?;
    let commits = committed(admin, group, poll_interrupts)?;
    let mut fingerprints: Vec<String> = commits
        .iter()
        .map(|commit| CommitMetadata::read(&commit.metadata).subscriptions)
        .filter(|fingerprint| !fingerprint.is_empty())
        .collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    let found = client::group_members(&admin.client, group, TIMEOUT);
    let found = found.map_err(|code| call.error(code, ""))?;
    let members = found.into_iter();
    let mut members: Vec<_> = members
        .filter_map(|(id, metadata)| Some((id, topics(&metadata)?)))
        .collect();
    members.sort_unstable();
    Ok(GroupSubscriptions {
        members,
        fingerprints,
    })
}

/// Group names, sorted and without duplicates.
fn distinct<'a>(groups: &'a [String], call: &AdminCall<'_>) -> AdminResult<Vec<&'a str>> {
    let mut names: Vec<&str> = groups.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    // A longer name would corrupt the request and break the connection.
    let cannot =
        |name: &&str| name.is_empty() || name.len() > MAX_GROUP_NAME_BYTES || name.contains('\0');
    if let Some(name) = names.iter().copied().find(cannot) {
        let start: String = name.chars().take(40).collect();
        let wrong = call.wrong(format_args!(
            "\"{}\" is not a valid consumer group name. \
             A name has 1 to {MAX_GROUP_NAME_BYTES} bytes and no NUL.",
            start.escape_debug()
        ));
        return Err(wrong.into());
    }
    Ok(names)
}

/// True while the group's coordinator is moving: a retry finds the new one.
fn is_coordinator_moving(code: Code) -> bool {
    is_transient(code)
        || matches!(
            code,
            Code::CoordinatorLoadInProgress | Code::CoordinatorNotAvailable | Code::NotCoordinator
        )
}

/// The topics in a member's metadata (`ConsumerProtocolSubscription`): version, then a list of names.
fn topics(bytes: &[u8]) -> Option<Vec<String>> {
    let mut rest = bytes.get(2..)?;
    let mut take = |length: usize| {
        let (head, tail) = rest.split_at_checked(length)?;
        rest = tail;
        Some(head)
    };
    let count = i32::from_be_bytes(take(4)?.try_into().ok()?);
    let mut topics = Vec::new();
    for _ in 0..count {
        let length = i16::from_be_bytes(take(2)?.try_into().ok()?);
        let name = take(usize::try_from(length).ok()?)?;
        topics.push(String::from_utf8_lossy(name).into_owned());
    }
    topics.sort_unstable();
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::topics;

    #[test]
    fn topics_of_a_member() {
        let two = b"\0\x01\0\0\0\x02\0\x01b\0\x02aa\0\0\0\0";
        assert_eq!(topics(two), Some(vec!["aa".to_owned(), "b".to_owned()]));
        assert_eq!(topics(b"\0\x01\0\0\0\x02\0\x01b"), None);
        assert_eq!(topics(b""), None);
    }
}
