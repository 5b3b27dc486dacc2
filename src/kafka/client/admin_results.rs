//! Results of Kafka's admin API.
#![allow(unsafe_code)]
#![allow(clippy::trivially_copy_pass_by_ref)] // only librdkafka knows the size of its objects

use std::ffi::c_int;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;
use rdkafka_sys::{
    rd_kafka_AclOperation_t as Allowed, rd_kafka_ConfigEntry_t as NativeEntry,
    rd_kafka_ConfigResource_t as Resource,
    rd_kafka_ConsumerGroupDescription_t as NativeGroupDescription,
    rd_kafka_ConsumerGroupListing_t as Listing, rd_kafka_ListOffsetsResultInfo_t as OffsetInfo,
    rd_kafka_MemberAssignment_t as Assignment, rd_kafka_MemberDescription_t as Member,
    rd_kafka_Node_t as Node, rd_kafka_TopicDescription_t as Topic,
    rd_kafka_TopicPartitionInfo_t as PartitionInfo, rd_kafka_Uuid_t as Uuid,
    rd_kafka_consumer_group_state_t as State, rd_kafka_consumer_group_type_t as Type,
    rd_kafka_error_t as NativeError, rd_kafka_event_t as Event,
    rd_kafka_group_result_t as GroupResult, rd_kafka_topic_result_t as TopicResult,
};

use super::errors::read_error;
use super::owned::{text, NativeElement, NativeList, PartitionEntry, Text};
use super::ClientEvent;
use crate::error::Error;

macro_rules! results {
    ($($name:ident)*) => {$(
        /// A result, which is an event for librdkafka.
        #[repr(C)]
        struct $name {
            opaque: [u8; 0],
        }
    )*};
}

results!(Created Deleted Extended DeletedRecords Cluster Configs Groups Topics GroupOffsets ListedGroups Offsets);

// SAFETY: as librdkafka has them. It checks the kind of an event, and the parts of a result live as long as its event.
#[rustfmt::skip]
unsafe extern "C" {
    safe fn rd_kafka_event_DescribeCluster_result(event: &Event) -> Option<&Cluster>;
    safe fn rd_kafka_DescribeCluster_result_controller(result: &Cluster) -> Option<&Node>;
    safe fn rd_kafka_DescribeCluster_result_cluster_id(result: &Cluster) -> Option<Text<'_>>;
    safe fn rd_kafka_event_DescribeTopics_result(event: &Event) -> Option<&Topics>;
    safe fn rd_kafka_event_ListConsumerGroups_result(event: &Event) -> Option<&ListedGroups>;
    safe fn rd_kafka_event_DescribeConsumerGroups_result(event: &Event) -> Option<&Groups>;
    safe fn rd_kafka_event_ListConsumerGroupOffsets_result(event: &Event) -> Option<&GroupOffsets>;
    safe fn rd_kafka_group_result_partitions(group: &GroupResult) -> Option<&NativeList>;
    safe fn rd_kafka_event_ListOffsets_result(event: &Event) -> Option<&Offsets>;
    safe fn rd_kafka_ListOffsetsResultInfo_topic_partition(info: &OffsetInfo) -> &NativeElement;
    safe fn rd_kafka_event_CreateTopics_result(event: &Event) -> Option<&Created>;
    safe fn rd_kafka_event_DeleteTopics_result(event: &Event) -> Option<&Deleted>;
    safe fn rd_kafka_event_CreatePartitions_result(event: &Event) -> Option<&Extended>;
    safe fn rd_kafka_topic_result_error(topic: &TopicResult) -> RDKafkaRespErr;
    safe fn rd_kafka_topic_result_error_string(topic: &TopicResult) -> Option<Text<'_>>;
    safe fn rd_kafka_event_DeleteRecords_result(event: &Event) -> Option<&DeletedRecords>;
    safe fn rd_kafka_DeleteRecords_result_offsets(result: &DeletedRecords) -> Option<&NativeList>;
    safe fn rd_kafka_event_DescribeConfigs_result(event: &Event) -> Option<&Configs>;
    safe fn rd_kafka_ConfigResource_error(resource: &Resource) -> RDKafkaRespErr;
    safe fn rd_kafka_ConfigResource_error_string(resource: &Resource) -> Option<Text<'_>>;
    safe fn rd_kafka_ConfigEntry_name(entry: &NativeEntry) -> Text<'_>;
    safe fn rd_kafka_ConfigEntry_value(entry: &NativeEntry) -> Option<Text<'_>>;
    safe fn rd_kafka_ConfigEntry_is_sensitive(entry: &NativeEntry) -> c_int;
    safe fn rd_kafka_TopicPartitionInfo_leader(partition: &PartitionInfo) -> Option<&Node>;
    safe fn rd_kafka_TopicPartitionInfo_partition(partition: &PartitionInfo) -> c_int;
    safe fn rd_kafka_TopicDescription_error(topic: &Topic) -> Option<&NativeError>;
    safe fn rd_kafka_TopicDescription_topic_id(topic: &Topic) -> Option<&Uuid>;
    safe fn rd_kafka_TopicDescription_name(topic: &Topic) -> Text<'_>;
    safe fn rd_kafka_Uuid_most_significant_bits(id: &Uuid) -> i64;
    safe fn rd_kafka_Uuid_least_significant_bits(id: &Uuid) -> i64;
    safe fn rd_kafka_Node_id(node: &Node) -> c_int;
    safe fn rd_kafka_Node_host(node: &Node) -> Option<Text<'_>>;
    safe fn rd_kafka_Node_port(node: &Node) -> u16;
    safe fn rd_kafka_Node_rack(node: &Node) -> Option<Text<'_>>;
    safe fn rd_kafka_ConsumerGroupListing_is_simple_consumer_group(group: &Listing) -> c_int;
    safe fn rd_kafka_ConsumerGroupListing_state(group: &Listing) -> State;
    safe fn rd_kafka_ConsumerGroupListing_type(group: &Listing) -> Type;
    safe fn rd_kafka_ConsumerGroupListing_group_id(group: &Listing) -> Text<'_>;
    safe fn rd_kafka_consumer_group_state_name(state: State) -> Option<Text<'static>>;
    safe fn rd_kafka_consumer_group_type_name(kind: Type) -> Option<Text<'static>>;
    safe fn rd_kafka_ConsumerGroupDescription_error(
        group: &NativeGroupDescription,
    ) -> Option<&NativeError>;
    safe fn rd_kafka_ConsumerGroupDescription_member_count(group: &NativeGroupDescription) -> usize;
    safe fn rd_kafka_ConsumerGroupDescription_state(group: &NativeGroupDescription) -> State;
    safe fn rd_kafka_ConsumerGroupDescription_type(group: &NativeGroupDescription) -> Type;
    safe fn rd_kafka_ConsumerGroupDescription_partition_assignor(
        group: &NativeGroupDescription,
    ) -> Option<Text<'_>>;
    safe fn rd_kafka_ConsumerGroupDescription_coordinator(
        group: &NativeGroupDescription,
    ) -> Option<&Node>;
    safe fn rd_kafka_ConsumerGroupDescription_group_id(group: &NativeGroupDescription) -> Text<'_>;
    safe fn rd_kafka_ConsumerGroupDescription_member(
        group: &NativeGroupDescription,
        place: usize,
    ) -> Option<&Member>;
    safe fn rd_kafka_MemberDescription_group_instance_id(member: &Member) -> Option<Text<'_>>;
    safe fn rd_kafka_MemberDescription_assignment(member: &Member) -> Option<&Assignment>;
    safe fn rd_kafka_MemberAssignment_partitions(of: &Assignment) -> Option<&NativeList>;
    safe fn rd_kafka_MemberDescription_consumer_id(member: &Member) -> Option<Text<'_>>;
    safe fn rd_kafka_MemberDescription_client_id(member: &Member) -> Option<Text<'_>>;
    safe fn rd_kafka_MemberDescription_host(member: &Member) -> Option<Text<'_>>;
}

macro_rules! arrays {
    ($($name:ident: $native:ident($of:ident) -> $(&$part:ident)? $($value:ident)?;)*) => {
        // SAFETY: as librdkafka has them.
        unsafe extern "C" {
            $(safe fn $native<'a>(
                of: &'a $of,
                count: &mut usize,
            ) -> *const $(&'a $part)? $($value)?;)*
        }

        $(#[allow(clippy::needless_lifetimes)] // for parts that are references
        fn $name<'a>(of: &'a $of) -> Option<&'a [$(&'a $part)? $($value)?]> {
            let mut count = 0;
            let first = $native(of, &mut count);
            // SAFETY: librdkafka returns null, or so many parts, which live as long as what they are part of.
            (!first.is_null()).then(|| unsafe { array(first, count) })
        })*
    };
}

arrays! {
    nodes: rd_kafka_DescribeCluster_result_nodes(Cluster) -> &Node;
    cluster_operations: rd_kafka_DescribeCluster_result_authorized_operations(Cluster) -> Allowed;
    topics: rd_kafka_DescribeTopics_result_topics(Topics) -> &Topic;
    partitions: rd_kafka_TopicDescription_partitions(Topic) -> &PartitionInfo;
    topic_operations: rd_kafka_TopicDescription_authorized_operations(Topic) -> Allowed;
    valid_groups: rd_kafka_ListConsumerGroups_result_valid(ListedGroups) -> &Listing;
    errors: rd_kafka_ListConsumerGroups_result_errors(ListedGroups) -> &NativeError;
    groups: rd_kafka_DescribeConsumerGroups_result_groups(Groups) -> &NativeGroupDescription;
    group_operations:
        rd_kafka_ConsumerGroupDescription_authorized_operations(NativeGroupDescription) -> Allowed;
    group_results: rd_kafka_ListConsumerGroupOffsets_result_groups(GroupOffsets) -> &GroupResult;
    offset_infos: rd_kafka_ListOffsets_result_infos(Offsets) -> &OffsetInfo;
    created: rd_kafka_CreateTopics_result_topics(Created) -> &TopicResult;
    deleted: rd_kafka_DeleteTopics_result_topics(Deleted) -> &TopicResult;
    extended: rd_kafka_CreatePartitions_result_topics(Extended) -> &TopicResult;
    resources: rd_kafka_DescribeConfigs_result_resources(Configs) -> &Resource;
    config_entries: rd_kafka_ConfigResource_configs(Resource) -> &NativeEntry;
}

/// # Safety
/// `first` must be null or point at `count` values that live as long as the slice is used.
pub(super) unsafe fn array<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if first.is_null() {
        return &[];
    }
    std::slice::from_raw_parts(first, count)
}

/// A broker's advertised address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerNode {
    pub id: i32,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
}

/// Result of DescribeCluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterDescription {
    pub id: Option<String>,
    /// Node id of the controller; -1 if unknown.
    pub controller: i32,
    pub brokers: Vec<BrokerNode>,
    /// The caller's authorized operations on the cluster; `None` if the broker does not report them.
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

/// The results, each of the response to the request of that name; empty for another response.
impl ClientEvent {
    pub fn described_cluster(&self) -> Option<ClusterDescription> {
        let result = rd_kafka_event_DescribeCluster_result(self.native())?;
        let brokers = nodes(result).unwrap_or_default();
        let id = text(rd_kafka_DescribeCluster_result_cluster_id(result));
        Some(ClusterDescription {
            id: (!id.is_empty()).then_some(id),
            controller: rd_kafka_DescribeCluster_result_controller(result)
                .map_or(-1, |node| rd_kafka_Node_id(node)),
            brokers: brokers.iter().copied().map(node).collect(),
            authorized_operations: cluster_operations(result).map(names),
        })
    }

    pub fn described_topics(&self) -> Vec<DescribedTopic> {
        let result = rd_kafka_event_DescribeTopics_result(self.native());
        let all = result.and_then(topics).unwrap_or_default();
        all.iter().copied().map(described_topic).collect()
    }

    /// The groups, and the errors of brokers.
    pub fn listed_groups(&self) -> (Vec<GroupListing>, Vec<(Code, String)>) {
        let Some(result) = rd_kafka_event_ListConsumerGroups_result(self.native()) else {
            return (Vec::new(), Vec::new());
        };
        let groups = valid_groups(result).unwrap_or_default().iter();
        let errors = errors(result).unwrap_or_default().iter();
        (
            groups.copied().map(listing).collect(),
            errors.copied().map(read_error).collect(),
        )
    }

    /// The groups, each with Kafka's response for it; their `error` is not set.
    pub fn described_groups(&self) -> Vec<(GroupDescription, (Code, String))> {
        let result = rd_kafka_event_DescribeConsumerGroups_result(self.native());
        let all = result.and_then(groups).unwrap_or_default();
        all.iter().copied().map(described_group).collect()
    }

    /// The committed offsets of the only group.
    pub fn group_offsets(&self) -> Vec<PartitionEntry> {
        let result = rd_kafka_event_ListConsumerGroupOffsets_result(self.native());
        let group = result.and_then(group_results).and_then(<[_]>::first);
        let list = group.and_then(|group| rd_kafka_group_result_partitions(group));
        list.map_or_else(Vec::new, NativeList::read)
    }

    /// The offsets; partitions may be missing.
    pub fn listed_offsets(&self) -> Vec<PartitionEntry> {
        let result = rd_kafka_event_ListOffsets_result(self.native());
        let infos = result.and_then(offset_infos).unwrap_or_default().iter();
        let read = rd_kafka_ListOffsetsResultInfo_topic_partition;
        infos.map(|info| read(info).read()).collect()
    }

    /// The result for the only topic of CreateTopics, DeleteTopics or CreatePartitions.
    pub fn topic_result(&self) -> (Code, String) {
        let event = self.native();
        let topics = rd_kafka_event_CreateTopics_result(event)
            .and_then(created)
            .or_else(|| rd_kafka_event_DeleteTopics_result(event).and_then(deleted))
            .or_else(|| rd_kafka_event_CreatePartitions_result(event).and_then(extended));
        match topics.and_then(<[_]>::first) {
            Some(topic) => (
                rd_kafka_topic_result_error(topic).into(),
                text(rd_kafka_topic_result_error_string(topic)),
            ),
            None => (Code::NoError, String::new()),
        }
    }

    pub fn deleted_records(&self) -> Vec<PartitionEntry> {
        let result = rd_kafka_event_DeleteRecords_result(self.native());
        let list = result.and_then(|result| rd_kafka_DeleteRecords_result_offsets(result));
        list.map_or_else(Vec::new, NativeList::read)
    }

    /// The settings of the only topic, sorted, or its error; `None` for an empty result.
    pub fn topic_config(&self) -> Option<Result<Vec<ConfigEntry>, (Code, String)>> {
        let result = rd_kafka_event_DescribeConfigs_result(self.native())?;
        let resource = *resources(result)?.first()?;
        let error = Code::from(rd_kafka_ConfigResource_error(resource));
        if error != Code::NoError {
            let reason = text(rd_kafka_ConfigResource_error_string(resource));
            return Some(Err((error, reason)));
        }
        let entries = config_entries(resource).unwrap_or_default().iter();
        let read = entries.map(|entry| {
            let is_secret = rd_kafka_ConfigEntry_is_sensitive(entry) == 1;
            let value = rd_kafka_ConfigEntry_value(entry).filter(|_| !is_secret);
            let name = rd_kafka_ConfigEntry_name(entry).to_string();
            (name, value.map(|value| value.to_string()))
        });
        let mut all: Vec<ConfigEntry> = read.collect();
        all.sort_unstable();
        Some(Ok(all))
    }
}

fn described_topic(topic: &Topic) -> DescribedTopic {
    let infos = partitions(topic).unwrap_or_default().iter();
    let read = infos.map(|info| {
        let leader = rd_kafka_TopicPartitionInfo_leader(info);
        let has_leader = leader.is_some_and(|leader| rd_kafka_Node_id(leader) >= 0);
        (rd_kafka_TopicPartitionInfo_partition(info), has_leader)
    });
    let mut partitions: Vec<(i32, bool)> = read.collect();
    partitions.sort_unstable();
    let (error, error_text) = code(rd_kafka_TopicDescription_error(topic));
    DescribedTopic {
        name: rd_kafka_TopicDescription_name(topic).to_string(),
        error,
        error_text,
        id: rd_kafka_TopicDescription_topic_id(topic).map(uuid),
        partitions,
        authorized_operations: topic_operations(topic).map(names),
    }
}

#[allow(clippy::cast_sign_loss)] // 64 bits are 64 bits
fn uuid(id: &Uuid) -> u128 {
    let half = |bits: i64| u128::from(bits as u64);
    half(rd_kafka_Uuid_most_significant_bits(id)) << 64
        | half(rd_kafka_Uuid_least_significant_bits(id))
}

fn code(error: Option<&NativeError>) -> (Code, String) {
    error.map_or((Code::NoError, String::new()), read_error)
}

fn node(node: &Node) -> BrokerNode {
    let rack = text(rd_kafka_Node_rack(node));
    BrokerNode {
        id: rd_kafka_Node_id(node),
        host: text(rd_kafka_Node_host(node)),
        port: rd_kafka_Node_port(node),
        rack: (!rack.is_empty()).then_some(rack),
    }
}

/// The names of authorized operations.
fn names(list: &[Allowed]) -> Vec<&'static str> {
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
    list.iter().filter_map(known).collect()
}

fn listing(group: &Listing) -> GroupListing {
    let is_simple = rd_kafka_ConsumerGroupListing_is_simple_consumer_group(group) != 0;
    let state = rd_kafka_ConsumerGroupListing_state(group);
    let kind = rd_kafka_ConsumerGroupListing_type(group);
    GroupListing {
        group: rd_kafka_ConsumerGroupListing_group_id(group).to_string(),
        state: text(rd_kafka_consumer_group_state_name(state)),
        kind: text(rd_kafka_consumer_group_type_name(kind)),
        protocol: if is_simple { "" } else { "consumer" },
    }
}

fn described_group(group: &NativeGroupDescription) -> (GroupDescription, (Code, String)) {
    let places = 0..rd_kafka_ConsumerGroupDescription_member_count(group);
    let all = places.filter_map(|place| rd_kafka_ConsumerGroupDescription_member(group, place));
    let mut members: Vec<GroupMember> = all.map(member).collect();
    members.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let state = rd_kafka_ConsumerGroupDescription_state(group);
    let kind = rd_kafka_ConsumerGroupDescription_type(group);
    let assignor = rd_kafka_ConsumerGroupDescription_partition_assignor(group);
    let description = GroupDescription {
        group: rd_kafka_ConsumerGroupDescription_group_id(group).to_string(),
        error: None,
        state: text(rd_kafka_consumer_group_state_name(state)),
        kind: text(rd_kafka_consumer_group_type_name(kind)),
        assignor: text(assignor),
        coordinator: rd_kafka_ConsumerGroupDescription_coordinator(group).map(node),
        members,
        authorized_operations: group_operations(group).map(names),
    };
    let response = code(rd_kafka_ConsumerGroupDescription_error(group));
    (description, response)
}

fn member(member: &Member) -> GroupMember {
    let assignment = rd_kafka_MemberDescription_assignment(member);
    let list = assignment.and_then(|of| rd_kafka_MemberAssignment_partitions(of));
    let entries = list.map_or_else(Vec::new, NativeList::read).into_iter();
    let mut assignment: Vec<(String, i32)> =
        entries.map(|one| (one.topic, one.partition)).collect();
    assignment.sort_unstable();
    let instance = rd_kafka_MemberDescription_group_instance_id(member);
    let host = text(rd_kafka_MemberDescription_host(member));
    GroupMember {
        id: text(rd_kafka_MemberDescription_consumer_id(member)),
        instance: instance.map(|instance| instance.to_string()),
        client: text(rd_kafka_MemberDescription_client_id(member)),
        host: host.trim_start_matches('/').to_owned(),
        assignment,
    }
}
