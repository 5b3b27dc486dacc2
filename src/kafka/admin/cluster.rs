//! Describes the cluster (brokers, controller) and the caller's authorized operations.

use rdkafka::error::RDKafkaErrorCode as Code;

use super::{
    is_transient, is_unknown_topic, Admin, AdminCall, AdminResult, PollInterrupts,
    METADATA_TIMEOUT, POLL_INTERVAL,
};
use crate::error::Error;
use crate::kafka::client::{self, BrokerNode, DescribedTopic, TopicInfo};
use crate::topic::validate_kafka_topic;

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
}
