//! Describes the cluster (brokers, controller) and the caller's authorized operations.
#![allow(unsafe_code)]

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use sys::bindings::{self, rd_kafka_AclOperation_t as Allowed, rd_kafka_admin_op_t as Operation};

use super::{
    is_transient, is_unknown_topic, Admin, AdminCall, AdminResult, PollInterrupts,
    METADATA_TIMEOUT, POLL_INTERVAL,
};
use crate::error::Error;
use crate::kafka::client::{self, TopicInfo};
use crate::topic::validate_kafka_topic;

/// A broker's advertised address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerNode {
    pub id: i32,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
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

/// Result of DescribeTopics for one topic.
pub(super) struct TopicDescription {
    pub name: String,
    pub error: Code,
    /// Partition numbers in order, and whether each has a leader.
    pub partitions: Vec<(i32, bool)>,
    pub authorized_operations: Option<Vec<&'static str>>,
}

impl From<TopicInfo> for TopicDescription {
    fn from(topic: TopicInfo) -> Self {
        let partitions = topic.partitions.iter();
        Self {
            partitions: partitions.map(|one| (one.id, one.leader >= 0)).collect(),
            name: topic.name,
            error: topic.error,
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
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER, &call);
        let options = options.with_operations();
        // SAFETY: live objects; the request copies what it needs.
        let response = self.request(&options, &call, action, |client, options, queue| unsafe {
            bindings::rd_kafka_DescribeCluster(client, options, queue);
        })?;
        // SAFETY: the result lives as long as its event.
        unsafe {
            let result = bindings::rd_kafka_event_DescribeCluster_result(response.raw());
            let mut count = 0usize;
            let nodes = bindings::rd_kafka_DescribeCluster_result_nodes(result, &raw mut count);
            let mut brokers: Vec<BrokerNode> = (0..count)
                .filter_map(|place| node(*nodes.add(place)))
                .collect();
            brokers.sort_unstable_by_key(|broker| broker.id);
            let controller = node(bindings::rd_kafka_DescribeCluster_result_controller(result));
            let id = client::text(bindings::rd_kafka_DescribeCluster_result_cluster_id(result));
            let mut count = 0usize;
            let list = bindings::rd_kafka_DescribeCluster_result_authorized_operations(
                result,
                &raw mut count,
            );
            Ok(ClusterDescription {
                id: (!id.is_empty()).then_some(id),
                controller: controller.map_or(-1, |broker| broker.id),
                brokers,
                authorized_operations: authorized_operations(list, count),
            })
        }
    }

    /// The mock cluster has no DescribeCluster; its brokers are in the metadata.
    fn describe_mock(&self, call: &AdminCall<'_>, action: &str) -> AdminResult<ClusterDescription> {
        loop {
            match client::brokers(self.client, call.remaining().min(METADATA_TIMEOUT)) {
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
                        id: client::cluster_id(self.client, POLL_INTERVAL),
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
    ) -> AdminResult<Vec<TopicDescription>> {
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
            return Ok(all.into_iter().map(TopicDescription::from).collect());
        }
        let names: Vec<_> = names.iter().map(|name| client::c_string(name)).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        loop {
            let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, call);
            let options = options.with_operations();
            // SAFETY: the collection copies the names, the request the collection.
            let response =
                self.request(&options, call, action, |client, options, queue| unsafe {
                    let topics = bindings::rd_kafka_TopicCollection_of_topic_names(
                        pointers.as_mut_ptr(),
                        pointers.len(),
                    );
                    bindings::rd_kafka_DescribeTopics(client, topics, options, queue);
                    bindings::rd_kafka_TopicCollection_destroy(topics);
                })?;
            // SAFETY: the event is alive.
            let described = unsafe { read_topics(response.raw()) };
            // A new topic has no leaders yet.
            if !described.iter().any(|topic| is_transient(topic.error)) {
                return Ok(described);
            }
            self.check_deadline(call, action)?;
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

unsafe fn read_topics(event: *mut sys::rd_kafka_event_t) -> Vec<TopicDescription> {
    let result = bindings::rd_kafka_event_DescribeTopics_result(event);
    let mut count = 0usize;
    let topics = bindings::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
    let mut all = Vec::with_capacity(count);
    for place in 0..count {
        let topic = *topics.add(place);
        let mut count = 0usize;
        let infos = bindings::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let mut partitions: Vec<(i32, bool)> = (0..count)
            .map(|place| {
                let info = *infos.add(place);
                let leader = node(bindings::rd_kafka_TopicPartitionInfo_leader(info));
                (
                    bindings::rd_kafka_TopicPartitionInfo_partition(info),
                    leader.is_some_and(|leader| leader.id >= 0),
                )
            })
            .collect();
        partitions.sort_unstable();
        let mut count = 0usize;
        let list = bindings::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
        all.push(TopicDescription {
            name: client::text(bindings::rd_kafka_TopicDescription_name(topic)),
            error: code(bindings::rd_kafka_TopicDescription_error(topic)).0,
            partitions,
            authorized_operations: authorized_operations(list, count),
        });
    }
    all
}

/// Code and text of an error object that librdkafka owns.
///
/// # Safety
/// `error` must be null or alive.
pub(super) unsafe fn code(error: *const sys::bindings::rd_kafka_error_t) -> (Code, String) {
    if error.is_null() {
        return (Code::NoError, String::new());
    }
    (
        bindings::rd_kafka_error_code(error).into(),
        client::text(bindings::rd_kafka_error_string(error)),
    )
}

/// # Safety
/// `node` must be null or alive.
pub(super) unsafe fn node(node: *const bindings::rd_kafka_Node_t) -> Option<BrokerNode> {
    if node.is_null() {
        return None;
    }
    let rack = client::text(bindings::rd_kafka_Node_rack(node));
    Some(BrokerNode {
        id: bindings::rd_kafka_Node_id(node),
        host: client::text(bindings::rd_kafka_Node_host(node)),
        port: bindings::rd_kafka_Node_port(node),
        rack: (!rack.is_empty()).then_some(rack),
    })
}

/// `None` if the broker did not report them.
///
/// # Safety
/// `list` must be null or point at `count` operations.
pub(super) unsafe fn authorized_operations(
    list: *const Allowed,
    count: usize,
) -> Option<Vec<&'static str>> {
    if list.is_null() {
        return None;
    }
    let list = std::slice::from_raw_parts(list, count);
    Some(list.iter().filter_map(|one| name(*one)).collect())
}

fn name(operation: Allowed) -> Option<&'static str> {
    Some(match operation {
        Allowed::RD_KAFKA_ACL_OPERATION_READ => "read",
        Allowed::RD_KAFKA_ACL_OPERATION_WRITE => "write",
        Allowed::RD_KAFKA_ACL_OPERATION_CREATE => "create",
        Allowed::RD_KAFKA_ACL_OPERATION_DELETE => "delete",
        Allowed::RD_KAFKA_ACL_OPERATION_ALTER => "alter",
        Allowed::RD_KAFKA_ACL_OPERATION_DESCRIBE => "describe",
        Allowed::RD_KAFKA_ACL_OPERATION_CLUSTER_ACTION => "cluster_action",
        Allowed::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => "describe_configs",
        Allowed::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS => "alter_configs",
        Allowed::RD_KAFKA_ACL_OPERATION_IDEMPOTENT_WRITE => "idempotent_write",
        _ => return None,
    })
}
