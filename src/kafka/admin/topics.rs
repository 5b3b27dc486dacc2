//! The cluster (brokers, controller, authorized operations) and its topics: lists, creates, extends and deletes them,
//! and reads their configuration.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::{
    is_transient, is_unknown_topic, Admin, AdminCall, AdminResult, PollInterrupts,
    METADATA_TIMEOUT, POLL_INTERVAL,
};
use crate::error::Error;
use crate::kafka::client::{
    self, BrokerNode, ClusterDescription, DescribedTopic, NewTopic, PartitionInfo, TopicHandle,
    TopicInfo,
};
use crate::kafka::embedded;
use crate::topic::{validate_kafka_topic, ChannelPattern};

/// Longest wait until brokers have learned of a created or deleted topic.
const PROPAGATION_TIMEOUT: Duration = Duration::from_secs(5);

impl From<TopicInfo> for DescribedTopic {
    fn from(topic: TopicInfo) -> Self {
        let partitions = topic.partitions.iter();
        Self {
            partitions: partitions.map(|one| (one.id, one.leader >= 0)).collect(),
            name: topic.name,
            error: topic.error,
            error_text: String::new(),
            id: None,
            authorized_operations: None,
        }
    }
}

/// Describes the brokers, the controller and the id of the cluster.
///
/// # Errors
/// Connection: Kafka does not respond, or refuses.
pub fn cluster(
    admin: &Admin,
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<ClusterDescription> {
    let call = admin.call("The cluster cannot be described", poll_interrupts);
    let mut found = if call.is_mock()? {
        // It has no DescribeCluster; its brokers are in the metadata, where the controller id does not exist.
        let brokers = call.repeat(|bound| client::brokers(&admin.client, bound))?;
        ClusterDescription {
            id: admin.client.cluster_id(POLL_INTERVAL),
            brokers: brokers
                .into_iter()
                .map(|(id, host, port)| BrokerNode {
                    id,
                    host,
                    port,
                    rack: None,
                })
                .collect(),
            controller: -1,
            authorized_operations: None,
        }
    } else {
        let response = call.request(|request| {
            request.describe_cluster();
        })?;
        response.described_cluster().unwrap_or_default()
    };
    found.brokers.sort_unstable_by_key(|broker| broker.id);
    Ok(found)
}

/// The caller's authorized operations on each of these topics; an empty list for a topic the caller may not describe.
/// Unknown topics are left out.
///
/// # Errors
/// InvalidChannel: not a valid topic name. Configuration: an embedded broker, or a version that does not report
/// operations. Connection: Kafka does not respond, or refuses.
pub fn authorized_operations(
    admin: &Admin,
    topics: &[String],
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<Vec<(String, Vec<&'static str>)>> {
    let call = admin.call("The authorized operations cannot be read", poll_interrupts);
    call.refuse_mock()?;
    let mut all = Vec::with_capacity(topics.len());
    for topic in describe(topics, &call)? {
        match (topic.error, topic.authorized_operations) {
            (Code::TopicAuthorizationFailed, _) => all.push((topic.name, Vec::new())),
            (code, _) if is_unknown_topic(code) => {}
            (Code::NoError, Some(list)) => all.push((topic.name, list)),
            (Code::NoError, None) => {
                let old = "this broker does not report them. Kafka 2.3 or newer is required.";
                return Err(call.wrong(old).into());
            }
            (code, _) => {
                let action = format!("{} (topic \"{}\")", call.action, topic.name);
                return Err(call.about(action).error(code, "").into());
            }
        }
    }
    Ok(all)
}

/// Describes these topics, without duplicates, sorted by name.
pub(super) fn describe(
    topics: &[String],
    call: &AdminCall<'_>,
) -> AdminResult<Vec<DescribedTopic>> {
    let mut names: Vec<&str> = topics.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    for name in &names {
        validate_kafka_topic(name)?;
    }
    if call.is_mock()? {
        let mut all = call.request_metadata(None)?;
        all.retain(|topic| names.contains(&topic.name.as_str()));
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        return Ok(all.into_iter().map(DescribedTopic::from).collect());
    }
    loop {
        let response = call.request(|request| request.describe_topics(&names, true))?;
        let described = response.described_topics();
        // A new topic has no leaders yet.
        if !described.iter().any(|topic| is_transient(topic.error)) {
            return Ok(described);
        }
        call.pause()?;
    }
}

/// Topics that match the pattern, sorted by name; without a pattern all except internal ones (`__…`).
///
/// # Errors
/// InvalidChannel: not a valid topic name or pattern. Connection: Kafka does not respond.
pub fn list(
    admin: &Admin,
    pattern: Option<&str>,
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<Vec<TopicInfo>> {
    let call = admin.call("The topics cannot be listed", poll_interrupts);
    let pattern = pattern.map(ChannelPattern::parse_topic).transpose()?;
    let wanted = |name: &str| match &pattern {
        Some(pattern) if pattern.is_exact() => pattern.as_str() == name,
        Some(pattern) => !name.starts_with("__") && pattern.matches(name),
        None => !name.starts_with("__"),
    };
    let exact = pattern.as_ref().filter(|pattern| pattern.is_exact());
    let handle = exact.map(|name| handle(name.as_str(), &call)).transpose()?;
    let mut topics = call.request_metadata(handle.as_ref())?;
    topics.retain(|topic| wanted(&topic.name) && !is_unknown_topic(topic.error));
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

pub(super) fn partitions(name: &str, call: &AdminCall<'_>) -> AdminResult<Vec<PartitionInfo>> {
    validate_kafka_topic(name)?;
    let handle = handle(name, call)?;
    loop {
        let topics = call.request_metadata(Some(&handle))?;
        let Some(topic) = topics.into_iter().find(|topic| topic.name == name) else {
            return Err(call.unknown_topic(name).into());
        };
        match topic.error {
            Code::NoError => return Ok(topic.partitions),
            code if is_unknown_topic(code) => return Err(call.unknown_topic(name).into()),
            code if is_transient(code) => call.pause()?,
            code => return Err(call.error(code, "").into()),
        }
    }
}

pub(super) fn handle(name: &str, call: &AdminCall<'_>) -> AdminResult<TopicHandle> {
    TopicHandle::new(&call.admin.client, name).ok_or_else(|| {
        let action = &call.action;
        Error::channel(format!("{action}: \"{name}\" is not a valid topic name.")).into()
    })
}

/// Creates a topic and waits until it is available; false if it exists.
///
/// # Errors
/// InvalidChannel: not a valid topic name, or it differs from an existing one only by `.` and `_`. Configuration: Kafka
/// rejects the configuration, or the broker is an embedded one of another process. Connection: Kafka does not respond.
pub fn create(
    admin: &Admin,
    new: &NewTopic,
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<bool> {
    validate_kafka_topic(&new.name)?;
    let action = format!("Topic \"{}\" cannot be created", new.name);
    let call = admin.call(action, poll_interrupts);
    if let Some(embedded) = embedded::local(&admin.config.brokers) {
        return Ok(embedded.create_topic(&new.name, new.partitions)?);
    }
    call.refuse_mock()?;
    let response = call.try_request(|request| request.create_topic(new))?;
    let (code, detail) = response.topic_result();
    match code {
        Code::NoError if new.validate_only => return Ok(true),
        Code::NoError => {}
        Code::TopicAlreadyExists => return Ok(false),
        code => return Err(call.error(code, &detail).into()),
    }
    wait_for_propagation(&new.name, &call, |partitions| has_leaders(partitions, 0))?;
    Ok(true)
}

/// Deletes a topic with all its records, and waits until it is gone.
///
/// # Errors
/// UnknownTopic: it does not exist. Configuration: the cluster does not allow it, or is an embedded broker. Connection:
/// Kafka does not respond.
pub fn delete(admin: &Admin, name: &str, poll_interrupts: PollInterrupts<'_>) -> AdminResult<()> {
    validate_kafka_topic(name)?;
    let action = format!("Topic \"{name}\" cannot be deleted");
    let call = admin.call(action, poll_interrupts);
    call.refuse_mock()?;
    let response = call.request(|request| request.delete_topic(name))?;
    let (code, detail) = response.topic_result();
    match code {
        Code::NoError => {}
        code if is_unknown_topic(code) => return Err(call.unknown_topic(name).into()),
        code => return Err(call.error(code, &detail).into()),
    }
    wait_for_propagation(name, &call, |partitions| partitions.is_none())
}

/// True for at least so many partitions, each with a leader.
fn has_leaders(partitions: Option<&[PartitionInfo]>, count: usize) -> bool {
    partitions.is_some_and(|all| all.len() >= count && all.iter().all(|one| one.leader >= 0))
}

/// Waits until the brokers know of the change; a timeout is not an error, since the change was made.
fn wait_for_propagation(
    name: &str,
    call: &AdminCall<'_>,
    is_visible: impl Fn(Option<&[PartitionInfo]>) -> bool,
) -> AdminResult<()> {
    let handle = handle(name, call)?;
    let until = call.until.min(Instant::now() + PROPAGATION_TIMEOUT);
    while Instant::now() < until {
        call.poll_interrupts()?;
        let topics = client::metadata(&call.admin.client, Some(&handle), METADATA_TIMEOUT);
        if let Ok(topics) = topics {
            let known = topics
                .iter()
                .find(|topic| topic.name == name && topic.error == Code::NoError);
            if is_visible(known.map(|topic| topic.partitions.as_slice())) {
                return Ok(());
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// All settings of a topic, sorted, including defaults; `None` for sensitive values.
///
/// # Errors
/// UnknownTopic; Configuration: an embedded broker. Connection: Kafka does not respond, or refuses.
pub fn config(
    admin: &Admin,
    topic: &str,
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<Vec<(String, Option<String>)>> {
    validate_kafka_topic(topic)?;
    let action = format!("The configuration of topic \"{topic}\" cannot be read");
    let call = admin.call(action, poll_interrupts);
    call.refuse_mock()?;
    let response = call.request(|request| request.describe_topic_config(topic))?;
    match response.topic_config() {
        None => Err(call.timeout().into()),
        Some(Ok(settings)) => Ok(settings),
        Some(Err((code, _))) if is_unknown_topic(code) => Err(call.unknown_topic(topic).into()),
        Some(Err((code, detail))) => Err(call.response_error(code, &detail).into()),
    }
}

/// Increases the number of partitions to `total`, and waits until they are available.
///
/// # Errors
/// UnknownTopic; Configuration: the topic has as many or more, or an embedded broker. Connection: Kafka does not
/// respond, or refuses.
pub fn create_partitions(
    admin: &Admin,
    topic: &str,
    total: i32,
    poll_interrupts: PollInterrupts<'_>,
) -> AdminResult<()> {
    validate_kafka_topic(topic)?;
    let action = format!("Topic \"{topic}\" cannot have {total} partitions");
    let call = admin.call(action, poll_interrupts);
    call.refuse_mock()?;
    let has = partitions(topic, &call)?.len();
    let wanted = usize::try_from(total).unwrap_or(0);
    if wanted <= has {
        let wrong = format_args!("it has {has}, and partitions can only be added.");
        return Err(call.wrong(wrong).into());
    }
    let response = call.try_request(|request| request.create_partitions(topic, wanted))?;
    let (code, detail) = response.topic_result();
    match code {
        Code::NoError => {}
        Code::ReassignmentInProgress => {
            return Err(Error::connection(format!(
                "{}: a partition reassignment is in progress. Try again when it has completed.",
                call.action
            ))
            .into());
        }
        code if is_unknown_topic(code) => return Err(call.unknown_topic(topic).into()),
        code => return Err(call.response_error(code, &detail).into()),
    }
    wait_for_propagation(topic, &call, |partitions| has_leaders(partitions, wanted))
}
