//! Requests of Kafka's admin API, and their results.
//!
//! Not the crate's `AdminClient`. It makes its client itself, so that our callbacks cannot be installed (the lock of
//! name lookups that makes forks safe); it polls its own queue only, so that OAUTHBEARER tokens are not refreshed and
//! errors of the client, such as a wrong password, are not seen. And it lacks half of the calls.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void, CString};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::TopicPartitionList;
use rdkafka_sys as sys;
use sys::bindings::{
    self, rd_kafka_AclOperation_t as Allowed, rd_kafka_ResourceType_t as Resource,
    rd_kafka_admin_op_t as Operation,
};

use super::handle::{ms, Client, NativeClient};
use super::partitions::{read_element, read_list, PartitionEntry};
use super::{c_string, take_error, text, ClientEvent, EventQueue};
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

/// A topic to create.
pub(crate) struct TopicToCreate<'a> {
    pub name: &'a str,
    /// -1 selects the broker's default (Kafka 2.4 and later). The same for the replication factor.
    pub partitions: i32,
    pub replication: i32,
    pub config: Vec<(&'a str, String)>,
    /// Kafka only checks whether it would create the topic.
    pub validate_only: bool,
}

/// Sends requests, whose responses arrive in a queue. A request copies what it needs.
pub(crate) struct AdminRequests<'a> {
    client: &'a Client,
    queue: &'a EventQueue,
    /// Timeout of a request.
    bound: Duration,
    /// Returned with the response, for several requests on one queue.
    tag: usize,
}

/// Options of one request.
struct Options(*mut sys::rd_kafka_AdminOptions_t);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) };
    }
}

impl<'a> AdminRequests<'a> {
    pub fn new(client: &'a Client, queue: &'a EventQueue, bound: Duration) -> Self {
        Self {
            client,
            queue,
            bound,
            tag: 0,
        }
    }

    pub fn tagged(self, tag: usize) -> Self {
        Self { tag, ..self }
    }

    fn options(&self, operation: Operation) -> Options {
        let mut reason = [0 as c_char; 256];
        let bound = ms(self.bound).clamp(1, 3_600_000);
        // SAFETY: a live client; a rejected value leaves the default, and these are within their limits. The tag is
        // only ever read as a number.
        unsafe {
            let raw = sys::rd_kafka_AdminOptions_new(self.client.raw(), operation);
            let (reason, size) = (reason.as_mut_ptr(), reason.len());
            sys::rd_kafka_AdminOptions_set_request_timeout(raw, bound, reason, size);
            if matches!(
                operation,
                Operation::RD_KAFKA_ADMIN_OP_CREATETOPICS
                    | Operation::RD_KAFKA_ADMIN_OP_DELETETOPICS
                    | Operation::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS
                    | Operation::RD_KAFKA_ADMIN_OP_DELETERECORDS
            ) {
                // The broker's own limit: it responds once the topic exists, or the records are deleted.
                sys::rd_kafka_AdminOptions_set_operation_timeout(raw, bound, reason, size);
            }
            bindings::rd_kafka_AdminOptions_set_opaque(raw, self.tag as *mut c_void);
            Options(raw)
        }
    }

    /// Asks the broker to include the authorized operations in its response.
    fn with_operations(options: &Options) {
        let set = bindings::rd_kafka_AdminOptions_set_include_authorized_operations;
        // SAFETY: ours; the error too.
        unsafe { take_error(set(options.0, 1)) };
    }

    pub fn describe_cluster(&self) {
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER);
        Self::with_operations(&options);
        // SAFETY: live objects. The same in the requests below.
        unsafe {
            bindings::rd_kafka_DescribeCluster(self.client.raw(), options.0, self.queue.raw());
        }
    }

    pub fn describe_topics(&self, names: &[impl AsRef<str>], operations: bool) {
        let names: Vec<CString> = names.iter().map(|name| c_string(name.as_ref())).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        if operations {
            Self::with_operations(&options);
        }
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above; the collection copies the names.
        unsafe {
            let topics = bindings::rd_kafka_TopicCollection_of_topic_names(
                pointers.as_mut_ptr(),
                pointers.len(),
            );
            bindings::rd_kafka_DescribeTopics(client, topics, options.0, queue);
            bindings::rd_kafka_TopicCollection_destroy(topics);
        }
    }

    pub fn list_groups(&self) {
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
        // SAFETY: as above.
        unsafe {
            bindings::rd_kafka_ListConsumerGroups(self.client.raw(), options.0, self.queue.raw());
        }
    }

    pub fn describe_groups(&self, names: &[&str]) {
        let names: Vec<CString> = names.iter().map(|name| c_string(name)).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
        Self::with_operations(&options);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        let (list, count) = (pointers.as_mut_ptr(), pointers.len());
        // SAFETY: as above.
        unsafe { bindings::rd_kafka_DescribeConsumerGroups(client, list, count, options.0, queue) };
    }

    /// `every`: the partitions, for brokers that require them.
    pub fn list_group_offsets(&self, group: &str, every: Option<&TopicPartitionList>) {
        let group = c_string(group);
        let every = every.map_or(std::ptr::null(), |list| list.ptr().cast_const());
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above.
        unsafe {
            let requested = bindings::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), every);
            let list = &raw const requested;
            let list = list.cast_mut();
            bindings::rd_kafka_ListConsumerGroupOffsets(client, list, 1, options.0, queue);
            bindings::rd_kafka_ListConsumerGroupOffsets_destroy(requested);
        }
    }

    /// The offset of a partition is `Beginning`, `End`, or a time in Unix ms. `is_committed`: the end offset is the
    /// last stable offset.
    pub fn list_offsets(&self, requested: &TopicPartitionList, is_committed: bool) {
        use bindings::rd_kafka_IsolationLevel_t::{
            RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED, RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        };
        let level = if is_committed {
            RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
        } else {
            RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
        };
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above; the error is ours.
        unsafe {
            let set = bindings::rd_kafka_AdminOptions_set_isolation_level;
            take_error(set(options.0, level));
            bindings::rd_kafka_ListOffsets(client, requested.ptr(), options.0, queue);
        }
    }

    /// # Errors
    /// librdkafka's reason to refuse the request.
    pub fn create_topic(&self, new: &TopicToCreate<'_>) -> Result<(), String> {
        let name = c_string(new.name);
        let mut reason = [0 as c_char; 256];
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_CREATETOPICS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above; the topic is ours until it is destroyed.
        unsafe {
            let mut topic = sys::rd_kafka_NewTopic_new(
                name.as_ptr(),
                new.partitions,
                new.replication,
                reason.as_mut_ptr(),
                reason.len(),
            );
            if topic.is_null() {
                return Err(text(reason.as_ptr()));
            }
            for (key, value) in &new.config {
                let (key, value) = (c_string(key), c_string(value));
                sys::rd_kafka_NewTopic_set_config(topic, key.as_ptr(), value.as_ptr());
            }
            if new.validate_only {
                let (reason, size) = (reason.as_mut_ptr(), reason.len());
                sys::rd_kafka_AdminOptions_set_validate_only(options.0, 1, reason, size);
            }
            sys::rd_kafka_CreateTopics(client, &raw mut topic, 1, options.0, queue);
            sys::rd_kafka_NewTopic_destroy(topic);
        }
        Ok(())
    }

    pub fn delete_topic(&self, name: &str) {
        let name = c_string(name);
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DELETETOPICS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above.
        unsafe {
            let mut delete = sys::rd_kafka_DeleteTopic_new(name.as_ptr());
            sys::rd_kafka_DeleteTopics(client, &raw mut delete, 1, options.0, queue);
            sys::rd_kafka_DeleteTopic_destroy(delete);
        }
    }

    /// # Errors
    /// librdkafka's reason to refuse the request.
    pub fn create_partitions(&self, topic: &str, total: usize) -> Result<(), String> {
        let topic = c_string(topic);
        let mut reason = [0 as c_char; 256];
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above.
        unsafe {
            let (reason, size) = (reason.as_mut_ptr(), reason.len());
            let mut more =
                bindings::rd_kafka_NewPartitions_new(topic.as_ptr(), total, reason, size);
            if more.is_null() {
                return Err(text(reason));
            }
            bindings::rd_kafka_CreatePartitions(client, &raw mut more, 1, options.0, queue);
            bindings::rd_kafka_NewPartitions_destroy(more);
        }
        Ok(())
    }

    /// Deletes the records before the offsets of the list.
    pub fn delete_records(&self, before: &TopicPartitionList) {
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DELETERECORDS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above.
        unsafe {
            let mut delete = bindings::rd_kafka_DeleteRecords_new(before.ptr());
            bindings::rd_kafka_DeleteRecords(client, &raw mut delete, 1, options.0, queue);
            bindings::rd_kafka_DeleteRecords_destroy(delete);
        }
    }

    pub fn describe_topic_config(&self, topic: &str) {
        let topic = c_string(topic);
        let options = self.options(Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
        let (client, queue) = (self.client.raw(), self.queue.raw());
        // SAFETY: as above.
        unsafe {
            let kind = Resource::RD_KAFKA_RESOURCE_TOPIC;
            let mut resource = bindings::rd_kafka_ConfigResource_new(kind, topic.as_ptr());
            bindings::rd_kafka_DescribeConfigs(client, &raw mut resource, 1, options.0, queue);
            bindings::rd_kafka_ConfigResource_destroy(resource);
        }
    }
}

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

impl NativeClient {
    /// The members of a group: ids, and what each tells the group about itself, if it does.
    ///
    /// # Errors
    /// The error code if Kafka does not respond within `bound`, or refuses.
    pub(in crate::kafka) fn list_members(
        &self,
        group: &str,
        bound: Duration,
    ) -> Result<Vec<(String, Vec<u8>)>, Code> {
        let (group, mut list) = (c_string(group), std::ptr::null());
        // SAFETY: a live client; the list is read and destroyed here.
        unsafe {
            let code = bindings::rd_kafka_list_groups(
                self.raw(),
                group.as_ptr(),
                &raw mut list,
                ms(bound),
            );
            if list.is_null() {
                return match Code::from(code) {
                    Code::NoError => Ok(Vec::new()),
                    code => Err(code),
                };
            }
            let members = read_members(&*list);
            bindings::rd_kafka_group_list_destroy(list);
            Ok(members)
        }
    }
}

unsafe fn read_members(list: &bindings::rd_kafka_group_list) -> Vec<(String, Vec<u8>)> {
    let groups = array(
        list.groups.cast_const(),
        usize::try_from(list.group_cnt).unwrap_or(0),
    );
    let members = groups.iter().flat_map(|group| {
        let count = usize::try_from(group.member_cnt).unwrap_or(0);
        array(group.members.cast_const(), count)
    });
    let read = members.map(|member| {
        let length = usize::try_from(member.member_metadata_size).unwrap_or(0);
        let metadata = array(member.member_metadata.cast_const().cast::<u8>(), length);
        (text(member.member_id), metadata.to_vec())
    });
    read.collect()
}

/// # Safety
/// `first` must be null or point at `count` values that live as long as the slice is used.
unsafe fn array<'a, T>(first: *const T, count: usize) -> &'a [T] {
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
