//! Results of Kafka's admin API.
#![allow(unsafe_code)]

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use sys::bindings::{self, rd_kafka_AclOperation_t as Allowed};

use super::partitions::{read_element, read_list, PartitionEntry};
use super::{text, ClientEvent};
use crate::error::Error;

/// A broker's advertised address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerNode {
    pub id: i32,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
}

/// Result of DescribeCluster.
pub(crate) struct DescribedCluster {
    pub id: Option<String>,
    pub controller: Option<BrokerNode>,
    pub brokers: Vec<BrokerNode>,
    pub authorized_operations: Option<Vec<&'static str>>,
}

/// Result of DescribeTopics for one topic.
pub(crate) struct DescribedTopic {
    pub name: String,
    pub error: Code,
    pub error_text: String,
    /// `None` for brokers before 2.8.
    pub id: Option<u128>,
    /// Partition numbers in order, and whether each has a leader.
    pub partitions: Vec<(i32, bool)>,
    /// The caller's authorized operations on the topic; `None` if the broker does not report them.
    pub authorized_operations: Option<Vec<&'static str>>,
}

/// An entry of ListConsumerGroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    pub group: String,
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Dead` or `Unknown`.
    pub state: String,
    /// `Classic`, `Consumer` (the KIP-848 protocol) or `Unknown`.
    pub kind: String,
    /// `consumer`; empty if offsets were committed without joining.
    pub protocol: &'static str,
}

/// A member of a consumer group.
#[derive(Debug, Clone)]
pub struct GroupMember {
    /// Member id, assigned by Kafka.
    pub id: String,
    /// `group.instance.id`, for static members.
    pub instance: Option<String>,
    pub client: String,
    /// Host the member connects from.
    pub host: String,
    /// Assigned topics and partitions, in order.
    pub assignment: Vec<(String, i32)>,
}

/// Result of DescribeConsumerGroups for one group.
#[derive(Debug, Clone)]
pub struct GroupDescription {
    pub group: String,
    /// Set if the group could not be described.
    pub error: Option<Error>,
    pub state: String,
    pub kind: String,
    /// Partition assignor; empty without members.
    pub assignor: String,
    pub coordinator: Option<BrokerNode>,
    /// Sorted by member id.
    pub members: Vec<GroupMember>,
    /// The caller's authorized operations on the group; `None` if the broker does not report them.
    pub authorized_operations: Option<Vec<&'static str>>,
}

/// A setting of a topic, with `None` for a sensitive value.
pub(crate) type ConfigEntry = (String, Option<String>);

/// The results, each of the response to the request of that name.
impl ClientEvent {
    pub fn described_cluster(&self) -> DescribedCluster {
        let mut count = 0;
        // SAFETY: the result and its parts live as long as the event. The same in the results below.
        unsafe {
            let result = bindings::rd_kafka_event_DescribeCluster_result(self.raw());
            let nodes = bindings::rd_kafka_DescribeCluster_result_nodes(result, &raw mut count);
            let brokers = array(nodes, count).iter().filter_map(|one| node(*one));
            let brokers = brokers.collect();
            let controller = node(bindings::rd_kafka_DescribeCluster_result_controller(result));
            let id = text(bindings::rd_kafka_DescribeCluster_result_cluster_id(result));
            let list = bindings::rd_kafka_DescribeCluster_result_authorized_operations(
                result,
                &raw mut count,
            );
            DescribedCluster {
                id: (!id.is_empty()).then_some(id),
                controller,
                brokers,
                authorized_operations: authorized_operations(list, count),
            }
        }
    }

    pub fn described_topics(&self) -> Vec<DescribedTopic> {
        let mut count = 0;
        // SAFETY: as above.
        unsafe {
            let result = bindings::rd_kafka_event_DescribeTopics_result(self.raw());
            let topics = bindings::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            array(topics, count)
                .iter()
                .map(|topic| described_topic(*topic))
                .collect()
        }
    }

    /// The groups, and the errors of brokers.
    pub fn listed_groups(&self) -> (Vec<GroupListing>, Vec<(Code, String)>) {
        let mut count = 0;
        // SAFETY: as above.
        unsafe {
            let result = bindings::rd_kafka_event_ListConsumerGroups_result(self.raw());
            let valid = bindings::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut count);
            let groups = array(valid, count).iter().map(|group| listing(*group));
            let groups = groups.collect();
            let errors =
                bindings::rd_kafka_ListConsumerGroups_result_errors(result, &raw mut count);
            let errors = array(errors, count).iter().map(|one| code(*one));
            (groups, errors.collect())
        }
    }

    /// The groups, each with Kafka's response for it; their `error` is not set.
    pub fn described_groups(&self) -> Vec<(GroupDescription, (Code, String))> {
        let mut count = 0;
        // SAFETY: as above.
        unsafe {
            let result = bindings::rd_kafka_event_DescribeConsumerGroups_result(self.raw());
            let groups =
                bindings::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
            array(groups, count)
                .iter()
                .map(|group| described_group(*group))
                .collect()
        }
    }

    /// The committed offsets of the only group.
    pub fn group_offsets(&self) -> Vec<PartitionEntry> {
        let mut count = 0;
        // SAFETY: as above.
        unsafe {
            let result = bindings::rd_kafka_event_ListConsumerGroupOffsets_result(self.raw());
            let groups =
                bindings::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
            match array(groups, count).first() {
                Some(group) => read_list(bindings::rd_kafka_group_result_partitions(*group)),
                None => Vec::new(),
            }
        }
    }

    /// The offsets; partitions may be missing.
    pub fn listed_offsets(&self) -> Vec<PartitionEntry> {
        let mut count = 0;
        // SAFETY: as above.
        unsafe {
            let result = bindings::rd_kafka_event_ListOffsets_result(self.raw());
            let infos = bindings::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            let read = bindings::rd_kafka_ListOffsetsResultInfo_topic_partition;
            array(infos, count)
                .iter()
                .map(|info| read_element(&*read(*info)))
                .collect()
        }
    }

    /// The result for the only topic of CreateTopics, DeleteTopics or CreatePartitions.
    pub fn topic_result(&self) -> (Code, String) {
        let (event, mut count) = (self.raw(), 0);
        // SAFETY: as above. The three results are one type for librdkafka, which checks that of the event.
        unsafe {
            let created = sys::rd_kafka_event_CreateTopics_result(event);
            let deleted = sys::rd_kafka_event_DeleteTopics_result(event);
            let extended = sys::rd_kafka_event_CreatePartitions_result(event);
            let topics = if !created.is_null() {
                sys::rd_kafka_CreateTopics_result_topics(created, &raw mut count)
            } else if !deleted.is_null() {
                sys::rd_kafka_DeleteTopics_result_topics(deleted, &raw mut count)
            } else {
                sys::rd_kafka_CreatePartitions_result_topics(extended, &raw mut count)
            };
            match array(topics, count).first() {
                Some(topic) => (
                    sys::rd_kafka_topic_result_error(*topic).into(),
                    text(sys::rd_kafka_topic_result_error_string(*topic)),
                ),
                None => (Code::NoError, String::new()),
            }
        }
    }

    pub fn deleted_records(&self) -> Vec<PartitionEntry> {
        // SAFETY: as above.
        unsafe {
            let result = bindings::rd_kafka_event_DeleteRecords_result(self.raw());
            read_list(bindings::rd_kafka_DeleteRecords_result_offsets(result))
        }
    }

    /// The settings of the only topic, sorted, or its error; `None` for an empty result.
    pub fn topic_config(&self) -> Option<Result<Vec<ConfigEntry>, (Code, String)>> {
        let mut count = 0;
        // SAFETY: as above.
        unsafe {
            let result = bindings::rd_kafka_event_DescribeConfigs_result(self.raw());
            let list = bindings::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
            let resource = *array(list, count).first()?;
            let error = Code::from(bindings::rd_kafka_ConfigResource_error(resource));
            if error != Code::NoError {
                let reason = text(bindings::rd_kafka_ConfigResource_error_string(resource));
                return Some(Err((error, reason)));
            }
            let entries = bindings::rd_kafka_ConfigResource_configs(resource, &raw mut count);
            let mut all: Vec<ConfigEntry> = array(entries, count)
                .iter()
                .map(|entry| {
                    let value = bindings::rd_kafka_ConfigEntry_value(*entry);
                    let secret = bindings::rd_kafka_ConfigEntry_is_sensitive(*entry) == 1;
                    (
                        text(bindings::rd_kafka_ConfigEntry_name(*entry)),
                        (!secret && !value.is_null()).then(|| text(value)),
                    )
                })
                .collect();
            all.sort_unstable();
            Some(Ok(all))
        }
    }
}

/// # Safety
/// `first` must be null or point at `count` values that live as long as the slice is used.
pub(super) unsafe fn array<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if first.is_null() {
        return &[];
    }
    std::slice::from_raw_parts(first, count)
}

// The parts of results: each must be alive, or null where a function checks it.

unsafe fn described_topic(topic: *const bindings::rd_kafka_TopicDescription_t) -> DescribedTopic {
    let mut count = 0;
    let infos = bindings::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
    let mut partitions: Vec<(i32, bool)> = array(infos, count)
        .iter()
        .map(|info| {
            let leader = node(bindings::rd_kafka_TopicPartitionInfo_leader(*info));
            (
                bindings::rd_kafka_TopicPartitionInfo_partition(*info),
                leader.is_some_and(|leader| leader.id >= 0),
            )
        })
        .collect();
    partitions.sort_unstable();
    let list = bindings::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
    let (error, error_text) = code(bindings::rd_kafka_TopicDescription_error(topic));
    let id = bindings::rd_kafka_TopicDescription_topic_id(topic);
    DescribedTopic {
        name: text(bindings::rd_kafka_TopicDescription_name(topic)),
        error,
        error_text,
        id: (!id.is_null()).then(|| uuid(id)),
        partitions,
        authorized_operations: authorized_operations(list, count),
    }
}

#[allow(clippy::cast_sign_loss)] // 64 bits are 64 bits
unsafe fn uuid(id: *const bindings::rd_kafka_Uuid_t) -> u128 {
    let half = |bits: i64| u128::from(bits as u64);
    half(bindings::rd_kafka_Uuid_most_significant_bits(id)) << 64
        | half(bindings::rd_kafka_Uuid_least_significant_bits(id))
}

unsafe fn code(error: *const sys::rd_kafka_error_t) -> (Code, String) {
    if error.is_null() {
        return (Code::NoError, String::new());
    }
    (
        sys::rd_kafka_error_code(error).into(),
        text(sys::rd_kafka_error_string(error)),
    )
}

unsafe fn node(node: *const bindings::rd_kafka_Node_t) -> Option<BrokerNode> {
    if node.is_null() {
        return None;
    }
    let rack = text(bindings::rd_kafka_Node_rack(node));
    Some(BrokerNode {
        id: bindings::rd_kafka_Node_id(node),
        host: text(bindings::rd_kafka_Node_host(node)),
        port: bindings::rd_kafka_Node_port(node),
        rack: (!rack.is_empty()).then_some(rack),
    })
}

/// `None` if the broker did not report them.
unsafe fn authorized_operations(list: *const Allowed, count: usize) -> Option<Vec<&'static str>> {
    let known = |one: &Allowed| {
        Some(match one {
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
    };
    (!list.is_null()).then(|| array(list, count).iter().filter_map(known).collect())
}

unsafe fn listing(group: *const bindings::rd_kafka_ConsumerGroupListing_t) -> GroupListing {
    let simple = bindings::rd_kafka_ConsumerGroupListing_is_simple_consumer_group(group);
    let state = bindings::rd_kafka_ConsumerGroupListing_state(group);
    let kind = bindings::rd_kafka_ConsumerGroupListing_type(group);
    GroupListing {
        group: text(bindings::rd_kafka_ConsumerGroupListing_group_id(group)),
        state: text(bindings::rd_kafka_consumer_group_state_name(state)),
        kind: text(bindings::rd_kafka_consumer_group_type_name(kind)),
        protocol: if simple == 0 { "consumer" } else { "" },
    }
}

unsafe fn described_group(
    group: *const bindings::rd_kafka_ConsumerGroupDescription_t,
) -> (GroupDescription, (Code, String)) {
    let response = code(bindings::rd_kafka_ConsumerGroupDescription_error(group));
    let mut count = 0;
    let list =
        bindings::rd_kafka_ConsumerGroupDescription_authorized_operations(group, &raw mut count);
    let places = 0..bindings::rd_kafka_ConsumerGroupDescription_member_count(group);
    let mut members: Vec<GroupMember> = places
        .map(|place| {
            member(bindings::rd_kafka_ConsumerGroupDescription_member(
                group, place,
            ))
        })
        .collect();
    members.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let state = bindings::rd_kafka_ConsumerGroupDescription_state(group);
    let kind = bindings::rd_kafka_ConsumerGroupDescription_type(group);
    let assignor = bindings::rd_kafka_ConsumerGroupDescription_partition_assignor(group);
    let coordinator = bindings::rd_kafka_ConsumerGroupDescription_coordinator(group);
    let description = GroupDescription {
        group: text(bindings::rd_kafka_ConsumerGroupDescription_group_id(group)),
        error: None,
        state: text(bindings::rd_kafka_consumer_group_state_name(state)),
        kind: text(bindings::rd_kafka_consumer_group_type_name(kind)),
        assignor: text(assignor),
        coordinator: node(coordinator),
        members,
        authorized_operations: authorized_operations(list, count),
    };
    (description, response)
}

unsafe fn member(member: *const bindings::rd_kafka_MemberDescription_t) -> GroupMember {
    let instance = bindings::rd_kafka_MemberDescription_group_instance_id(member);
    let assignment = bindings::rd_kafka_MemberDescription_assignment(member);
    let list = if assignment.is_null() {
        std::ptr::null()
    } else {
        bindings::rd_kafka_MemberAssignment_partitions(assignment)
    };
    let entries = read_list(list).into_iter();
    let mut assignment: Vec<(String, i32)> =
        entries.map(|one| (one.topic, one.partition)).collect();
    assignment.sort_unstable();
    GroupMember {
        id: text(bindings::rd_kafka_MemberDescription_consumer_id(member)),
        instance: (!instance.is_null()).then(|| text(instance)),
        client: text(bindings::rd_kafka_MemberDescription_client_id(member)),
        host: text(bindings::rd_kafka_MemberDescription_host(member))
            .trim_start_matches('/')
            .to_owned(),
        assignment,
    }
}
