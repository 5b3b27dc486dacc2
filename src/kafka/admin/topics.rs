//! The cluster (brokers, controller, authorized operations) and its topics: lists, creates, extends and deletes them,
//! and reads their configuration.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::{
    is_transient, is_unknown_topic, Admin, AdminCall, AdminResult, PollInterrupts,
    METADATA_TIMEOUT, POLL_INTERVAL,
};
use crate::error::{Error, Kind};
use crate::kafka::client::{
    self, BrokerNode, DescribedTopic, PartitionInfo, TopicHandle, TopicInfo, TopicToCreate,
};
use crate::topic::{validate_kafka_topic, ChannelPattern};

/// Longest wait until brokers have learned of a created or deleted topic.
const PROPAGATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Specification of a topic to create.
#[derive(Debug, Clone)]
pub struct NewTopic {
    pub name: String,
    /// Number of partitions, at least 1.
    pub partitions: i32,
    /// Replication factor; -1 selects the broker's default.
    pub replication: i32,
    /// Topic configuration, such as `retention.ms`.
    pub config: Vec<(String, String)>,
    /// Kafka only checks whether it would create the topic.
    pub validate_only: bool,
}

#[derive(Debug, Clone)]
pub struct ClusterDescription {
    pub id: Option<String>,
    /// Node id of the controller; -1 if unknown.
    pub controller: i32,
    /// Sorted by node id.
    pub brokers: Vec<BrokerNode>,
    /// The caller's authorized operations on the cluster; `None` if the broker does not report them.
    pub authorized_operations: Option<Vec<&'static str>>,
}

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

impl Admin {
    /// Describes the brokers, the controller and the id of the cluster.
    ///
    /// # Errors
    /// Connection: Kafka does not respond, or refuses.
    pub fn cluster(&self, poll_interrupts: PollInterrupts<'_>) -> AdminResult<ClusterDescription> {
        let action = "The cluster cannot be described";
        let call = AdminCall::new(poll_interrupts);
        if client::is_mock(&self.wait_for_cluster_id(&call, action)?) {
            return self.describe_mock(&call, action);
        }
        let response = self.request(&call, action, |request| {
            request.describe_cluster();
        })?;
        let found = response.described_cluster().unwrap_or_default();
        let mut brokers = found.brokers;
        brokers.sort_unstable_by_key(|broker| broker.id);
        Ok(ClusterDescription {
            id: found.id,
            controller: found.controller.map_or(-1, |broker| broker.id),
            brokers,
            authorized_operations: found.authorized_operations,
        })
    }

    /// The mock cluster has no DescribeCluster; its brokers are in the metadata.
    fn describe_mock(&self, call: &AdminCall<'_>, action: &str) -> AdminResult<ClusterDescription> {
        loop {
            match client::brokers(&self.client, call.remaining().min(METADATA_TIMEOUT)) {
                Ok(brokers) => {
                    let mut brokers: Vec<BrokerNode> = brokers
                        .into_iter()
                        .map(|(id, host, port)| BrokerNode {
                            id,
                            host,
                            port,
                            rack: None,
                        })
                        .collect();
                    brokers.sort_unstable_by_key(|broker| broker.id);
                    return Ok(ClusterDescription {
                        id: self.client.cluster_id(POLL_INTERVAL),
                        // The controller id it reports does not exist.
                        controller: -1,
                        brokers,
                        authorized_operations: None,
                    });
                }
                Err(code) if is_transient(code) => self.check_deadline(call, action)?,
                Err(code) => return Err(self.error_for(code, action, "").into()),
            }
        }
    }

    /// The caller's authorized operations on each of these topics; an empty list for a topic the caller may not
    /// describe. Unknown topics are left out.
    ///
    /// # Errors
    /// InvalidChannel: not a valid topic name. Configuration: an embedded broker, or a version that does not report
    /// operations. Connection: Kafka does not respond, or refuses.
    pub fn authorized_operations(
        &self,
        topics: &[String],
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Vec<(String, Vec<&'static str>)>> {
        let action = "The authorized operations cannot be read";
        let call = AdminCall::new(poll_interrupts);
        self.refuse_mock(&call, action)?;
        let mut all = Vec::with_capacity(topics.len());
        for topic in self.describe_topics(topics, &call, action)? {
            match (topic.error, topic.authorized_operations) {
                (Code::TopicAuthorizationFailed, _) => {
                    all.push((topic.name, Vec::new()));
                }
                (code, _) if is_unknown_topic(code) => {}
                (Code::NoError, Some(list)) => all.push((topic.name, list)),
                (Code::NoError, None) => {
                    return Err(Error::configuration(format!(
                        "{action}: this broker does not report them. Kafka 2.3 or newer is required."
                    ))
                    .into());
                }
                (code, _) => {
                    let action = format!("{action} (topic \"{}\")", topic.name);
                    return Err(self.error_for(code, &action, "").into());
                }
            }
        }
        Ok(all)
    }

    /// Describes these topics, without duplicates, sorted by name.
    pub(super) fn describe_topics(
        &self,
        topics: &[String],
        call: &AdminCall<'_>,
        action: &str,
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
        if client::is_mock(&self.wait_for_cluster_id(call, action)?) {
            let mut all = self.request_metadata(None, call, action)?;
            all.retain(|topic| names.contains(&topic.name.as_str()));
            all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            return Ok(all.into_iter().map(DescribedTopic::from).collect());
        }
        loop {
            let response = self.request(call, action, |request| {
                request.describe_topics(&names, true);
            })?;
            let described = response.described_topics();
            // A new topic has no leaders yet.
            if !described.iter().any(|topic| is_transient(topic.error)) {
                return Ok(described);
            }
            self.check_deadline(call, action)?;
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Topics that match the pattern, sorted by name; without a pattern all except internal ones (`__…`).
    ///
    /// # Errors
    /// InvalidChannel: not a valid topic name or pattern. Connection: Kafka does not respond.
    pub fn topics(
        &self,
        pattern: Option<&str>,
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Vec<TopicInfo>> {
        let action = "The topics cannot be listed";
        let call = AdminCall::new(poll_interrupts);
        let pattern = pattern.map(ChannelPattern::parse_topic).transpose()?;
        let wanted = |name: &str| match &pattern {
            Some(pattern) if pattern.is_exact() => pattern.as_str() == name,
            Some(pattern) => !name.starts_with("__") && pattern.matches(name),
            None => !name.starts_with("__"),
        };
        let exact = pattern.as_ref().filter(|pattern| pattern.is_exact());
        let mut topics = match exact.map(ChannelPattern::as_str) {
            Some(name) => {
                self.request_metadata(Some(&self.handle(name, action)?), &call, action)?
            }
            None => self.request_metadata(None, &call, action)?,
        };
        topics.retain(|topic| wanted(&topic.name) && !is_unknown_topic(topic.error));
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    pub(super) fn partitions(
        &self,
        name: &str,
        call: &AdminCall<'_>,
        action: &str,
    ) -> AdminResult<Vec<PartitionInfo>> {
        validate_kafka_topic(name)?;
        let handle = self.handle(name, action)?;
        loop {
            let topics = self.request_metadata(Some(&handle), call, action)?;
            let Some(topic) = topics.into_iter().find(|topic| topic.name == name) else {
                return Err(self.unknown_topic(name, action).into());
            };
            match topic.error {
                Code::NoError => return Ok(topic.partitions),
                code if is_unknown_topic(code) => {
                    return Err(self.unknown_topic(name, action).into())
                }
                code if is_transient(code) => {
                    self.check_deadline(call, action)?;
                    std::thread::sleep(POLL_INTERVAL);
                }
                code => return Err(self.error_for(code, action, "").into()),
            }
        }
    }

    pub(super) fn handle(&self, name: &str, action: &str) -> AdminResult<TopicHandle> {
        TopicHandle::new(&self.client, name).ok_or_else(|| {
            Error::channel(format!("{action}: \"{name}\" is not a valid topic name.")).into()
        })
    }

    /// Creates a topic and waits until it is available; false if it exists.
    ///
    /// # Errors
    /// InvalidChannel: not a valid topic name, or it differs from an existing one only by `.` and `_`. Configuration:
    /// Kafka rejects the configuration, or the broker is an embedded one of another process. Connection: Kafka does not
    /// respond.
    pub fn create_topic(
        &self,
        new: &NewTopic,
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<bool> {
        validate_kafka_topic(&new.name)?;
        let action = format!("Topic \"{}\" cannot be created", new.name);
        let call = AdminCall::new(poll_interrupts);
        if let Some(embedded) = self.local_embedded() {
            return Ok(embedded.create_topic(&new.name, new.partitions)?);
        }
        self.refuse_mock(&call, &action)?;
        let config = new.config.iter();
        let to_create = TopicToCreate {
            name: &new.name,
            partitions: new.partitions,
            replication: new.replication,
            validate_only: new.validate_only,
            config: config
                .map(|(name, value)| (name.as_str(), value.clone()))
                .collect(),
        };
        let response =
            self.try_request(&call, &action, |request| request.create_topic(&to_create))?;
        let (code, detail) = response.topic_result();
        match code {
            Code::NoError if new.validate_only => return Ok(true),
            Code::NoError => {}
            Code::TopicAlreadyExists => return Ok(false),
            code => return Err(self.error_for(code, &action, &detail).into()),
        }
        let is_there = |partitions: Option<&[PartitionInfo]>| {
            partitions.is_some_and(|list| list.iter().all(|one| one.leader >= 0))
        };
        self.wait_for_propagation(&new.name, &call, is_there)?;
        Ok(true)
    }

    /// Deletes a topic with all its records, and waits until it is gone.
    ///
    /// # Errors
    /// UnknownTopic: it does not exist. Configuration: the cluster does not allow it, or is an embedded broker.
    /// Connection: Kafka does not respond.
    pub fn delete_topic(&self, name: &str, poll_interrupts: PollInterrupts<'_>) -> AdminResult<()> {
        validate_kafka_topic(name)?;
        let action = format!("Topic \"{name}\" cannot be deleted");
        let call = AdminCall::new(poll_interrupts);
        self.refuse_mock(&call, &action)?;
        let response = self.request(&call, &action, |request| request.delete_topic(name))?;
        let (code, detail) = response.topic_result();
        match code {
            Code::NoError => {}
            code if is_unknown_topic(code) => return Err(self.unknown_topic(name, &action).into()),
            code => return Err(self.error_for(code, &action, &detail).into()),
        }
        self.wait_for_propagation(name, &call, |partitions| partitions.is_none())
    }

    /// Waits until the brokers know of the change; a timeout is not an error, since the change was made.
    fn wait_for_propagation(
        &self,
        name: &str,
        call: &AdminCall<'_>,
        is_visible: impl Fn(Option<&[PartitionInfo]>) -> bool,
    ) -> AdminResult<()> {
        let action = "The topic cannot be looked up";
        let handle = self.handle(name, action)?;
        let until = call.until.min(Instant::now() + PROPAGATION_TIMEOUT);
        while Instant::now() < until {
            call.poll_interrupts()?;
            let topics = client::metadata(&self.client, Some(&handle), METADATA_TIMEOUT);
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
    pub fn topic_config(
        &self,
        topic: &str,
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<Vec<(String, Option<String>)>> {
        validate_kafka_topic(topic)?;
        let action = format!("The configuration of topic \"{topic}\" cannot be read");
        let call = AdminCall::new(poll_interrupts);
        self.refuse_mock(&call, &action)?;
        let response = self.request(&call, &action, |request| {
            request.describe_topic_config(topic);
        })?;
        match response.topic_config() {
            None => Err(self.timeout_error(&action).into()),
            Some(Ok(settings)) => Ok(settings),
            Some(Err((code, _))) if is_unknown_topic(code) => {
                Err(self.unknown_topic(topic, &action).into())
            }
            Some(Err((code, detail))) => Err(self.response_error(code, &action, &detail).into()),
        }
    }

    /// Increases the number of partitions to `total`, and waits until they are available.
    ///
    /// # Errors
    /// UnknownTopic; Configuration: the topic has as many or more, or an embedded broker. Connection: Kafka does not
    /// respond, or refuses.
    pub fn create_partitions(
        &self,
        topic: &str,
        total: i32,
        poll_interrupts: PollInterrupts<'_>,
    ) -> AdminResult<()> {
        validate_kafka_topic(topic)?;
        let action = format!("Topic \"{topic}\" cannot have {total} partitions");
        let call = AdminCall::new(poll_interrupts);
        self.refuse_mock(&call, &action)?;
        let has = self.partitions(topic, &call, &action)?.len();
        let wanted = usize::try_from(total).unwrap_or(0);
        if wanted <= has {
            return Err(Error::configuration(format!(
                "{action}: it has {has}, and partitions can only be added."
            ))
            .into());
        }
        let response = self.try_request(&call, &action, |request| {
            request.create_partitions(topic, wanted)
        })?;
        let (code, detail) = response.topic_result();
        match code {
            Code::NoError => {}
            Code::ReassignmentInProgress => {
                return Err(Error::new(
                    Kind::Connection,
                    format!("{action}: a partition reassignment is in progress. Try again when it has completed."),
                )
                .into());
            }
            code if is_unknown_topic(code) => {
                return Err(self.unknown_topic(topic, &action).into())
            }
            code => return Err(self.response_error(code, &action, &detail).into()),
        }
        let is_there = |partitions: Option<&[PartitionInfo]>| {
            partitions
                .is_some_and(|list| list.len() >= wanted && list.iter().all(|one| one.leader >= 0))
        };
        self.wait_for_propagation(topic, &call, is_there)
    }
}
